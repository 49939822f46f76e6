"""The episodes of one trial, lived by the evaluator's own loop in an environment that is filmed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from torch import Generator, Tensor

from quickstudy.data.rollout import Lifetime, live
from quickstudy.display import tracked
from quickstudy.errors import UsageError
from quickstudy.evaluation import batch_of, shards_of
from quickstudy.protocol import Agent, BatchEnv, Observation, Shard, Site, Split, TaskDistribution, Tasks, Transition
from quickstudy.scene import Drawable, Scene
from quickstudy.tasks import describe, drawn_families
from quickstudy.video.raster import pillow
from quickstudy.work import LocalSite, run_unit


class Frame(NamedTuple):
    """One moment of an episode."""

    picture: Scene | bytes
    """A scene, or an image as PNG: a film of images as they are would fill the memory."""
    total: float
    """The return so far."""


@dataclass(frozen=True)
class Film:
    """The episodes of one trial in one lane, moment by moment."""

    algorithm: str
    tasks: str
    task: int
    """Which of the tasks that an evaluation draws."""
    split: Split
    parameters: Tasks
    """Of that task, without a task axis."""
    lanes: int
    """Episodes of the task between one adaptation and the next, of which the film shows one."""
    episodes: Sequence[Sequence[Frame]]
    """The first frame of an episode shows its start, each later one what a step led to."""

    @property
    def steps(self) -> int:
        """Of the longest episode."""
        return max(map(len, self.episodes)) - 1


def film(
    agent: Agent,
    tasks: TaskDistribution | None = None,
    *,
    episodes: int | None = None,
    task: int = 0,
    num_tasks: int = 100,
    split: Split = "test",
    seed: int = 0,
    greedy: bool = False,
) -> Film:
    """Films the first lane of a trial, as `evaluate` with the same arguments lives it: task number `task` of its `num_tasks`.

    Raises UsageError where the tasks can't be drawn, here or anywhere.
    """
    # pygame, with which many Gymnasium environments draw, wants neither a window nor the signal that ends a process
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")
    tasks = tasks or agent.tasks
    episodes = episodes or tasks.episodes_per_trial
    shard, row = find_task(task, shards_of(num_tasks, batch_of(agent.lanes), split, seed))
    life = Lifetime(agent.explorer(), agent.adapt, agent.lanes, episodes, greedy)
    site = LocalSite(tasks, agent.device)
    studio = Studio(site, row)
    try:
        run_unit(watch, studio, life, shard)
    finally:
        site.close()
    [camera] = studio.cameras
    return Film(
        algorithm=agent.name,
        tasks=named(tasks),
        task=task,
        split=split,
        parameters=camera.parameters,
        lanes=agent.lanes,
        episodes=camera.episodes,
    )


def find_task(task: int, shards: Sequence[Shard]) -> tuple[Shard, int]:
    """The shard that holds a task of an evaluation, and its number there; UsageError where there are not so many."""
    count = 0
    for shard in shards:
        if count <= task < count + shard.tasks:
            return shard, task - count
        count += shard.tasks
    raise UsageError(f"task {task} is none of the {count} tasks, 0 to {count - 1}; draw more of them: --num-tasks {task + 1}")


def watch(site: Site, life: Lifetime, shard: Shard) -> None:
    """A unit of work: all of `live`, for the sake of what it does to the environment."""
    for _ in tracked(live(site, life, shard), "living", life.episodes):
        pass


def named(tasks: TaskDistribution) -> str:
    """What tasks are called: their registered name, or what they say of themselves."""
    described = describe(tasks)
    return described[0] if described else repr(tasks)


class Studio:
    """A site whose environments are filmed."""

    def __init__(self, site: Site, row: int):
        self.distribution, self.device = site.distribution, site.device
        self._site, self._row = site, row
        self.cameras: list[Camera] = []

    def env(self, tasks: int, lanes: int) -> Camera:
        self.cameras.append(Camera(self._site.env(tasks, lanes), self._row, named(self.distribution)))
        return self.cameras[-1]


class Camera:
    """An environment that is filmed: all passes through unchanged, and one task's first lane is kept, an episode each."""

    def __init__(self, env: BatchEnv, row: int, name: str):
        self._env, self._row, self._name = env, row, name
        self.episodes: list[list[Frame]] = []
        self.parameters: Tasks = {}

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        self.parameters = {name: value[self._row].cpu() for name, value in tasks.items()}
        observation = self._env.reset(tasks, generator)
        self._begin()
        return observation

    def restart(self) -> Observation:
        observation = self._env.restart()
        self._begin()
        return observation

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        transition = self._env.step(action)
        # once its episode has ended, the lane waits for the others
        if self._rolling:
            self._shoot(self.episodes[-1][-1].total + float(transition.reward[self._row, 0]))
            self._rolling = not bool((transition.terminated | transition.truncated)[self._row, 0])
        return transition

    def close(self) -> None:
        self._env.close()

    def _begin(self) -> None:
        self.episodes.append([])
        self._rolling = True
        self._shoot(0.0)

    def _shoot(self, total: float) -> None:
        picture = self._env.draw(self._row, 0) if isinstance(self._env, Drawable) else None
        if picture is None:
            raise UsageError(
                f"{self._name} can't be drawn; what can: {', '.join(drawn_families())}, and Gymnasium environments that have"
                " the render mode rgb_array"
            )
        self.episodes[-1].append(Frame(picture if isinstance(picture, Scene) else png(picture), total))


def png(image: np.ndarray) -> bytes:
    """An image (height, width, 3) as PNG, quickly rather than small."""
    file = BytesIO()
    pillow().Image.fromarray(image).save(file, "png", compress_level=1)
    return file.getvalue()
