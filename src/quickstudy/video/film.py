"""The episodes of one trial, lived by the evaluator's own loop in an environment that is filmed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from quickstudy.arguments import checked
from quickstudy.data.filming import Studio
from quickstudy.data.rollout import Lifetime, draw_tasks, live
from quickstudy.errors import UsageError, require_counts
from quickstudy.evaluation import batch_of, shards_of
from quickstudy.families import drawn_families
from quickstudy.families.making import called
from quickstudy.ops.tally import tracked
from quickstudy.protocol import Agent, Shard, Site, Split, TaskDistribution, Tasks
from quickstudy.scene import Picture, Scene
from quickstudy.tasks.mujoco.stage import without_display
from quickstudy.tasks.parameters import parameters_of, word_of
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
    words: Mapping[str, str] = field(default_factory=dict)
    """What parameters are called whose values are no numbers."""

    @property
    def steps(self) -> int:
        """Of the longest episode."""
        return max(map(len, self.episodes)) - 1


@checked
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
    # Gymnasium's own renderer of MuJoCo, with which Meta-World draws, would ask for a display first
    if way := without_display():
        os.environ.setdefault("MUJOCO_GL", way)
    require_counts("film", 1, episodes=episodes, num_tasks=num_tasks)
    require_counts("film", 0, task=task)
    tasks = agent.tasks if tasks is None else tasks
    episodes = tasks.episodes_per_trial if episodes is None else episodes
    shard, row = find_task(task, shards_of(num_tasks, batch_of(agent.lanes), split, seed))
    life = Lifetime(agent.explorer(), agent.adapt, agent.lanes, episodes, greedy)
    site = LocalSite(tasks, agent.device)
    studio = Studio(site, [row], partial(kept, called(tasks)))
    try:
        parameters = {name: value[row].cpu() for name, value in draw_tasks(site, shard).items()}
        totals = run_unit(returns_so_far, studio, (life, row), shard)
    finally:
        site.close()
    [pictures] = studio.films
    return Film(
        algorithm=agent.name,
        tasks=called(tasks),
        task=task,
        split=split,
        parameters=parameters,
        lanes=agent.lanes,
        words={name: word for name, value in parameters.items() if (word := word_of(parameters_of(tasks).get(name), value))},
        episodes=[list(map(Frame, *episode)) for episode in zip(pictures, totals, strict=True)],
    )


def find_task(task: int, shards: Sequence[Shard]) -> tuple[Shard, int]:
    """The shard that holds a task of an evaluation, and its number there; UsageError where there are not so many."""
    count = 0
    for shard in shards:
        if count <= task < count + shard.tasks:
            return shard, task - count
        count += shard.tasks
    raise UsageError(f"task {task} is none of the {count} tasks, 0 to {count - 1}; draw more of them: --num-tasks {task + 1}")


def returns_so_far(site: Site, plan: tuple[Lifetime, int], shard: Shard) -> list[list[float]]:
    """A unit of work: all of `live`; the return at each moment of each episode, in the first lane of one task."""
    life, row = plan
    found = []
    for experience in tracked(live(site, life, shard), "living", life.episodes):
        steps = int(experience.valid[row, 0].sum())
        found.append(list(accumulate(experience.transition.reward[row, 0, :steps].tolist(), initial=0.0)))
    return found


def kept(name: str, picture: Picture | None) -> Scene | bytes:
    """What is kept of a picture of tasks of that name; UsageError where there is none."""
    if picture is None:
        raise UsageError(
            f"{name} can't be drawn; what can: {', '.join(drawn_families())}, and Gymnasium environments that have"
            " the render mode rgb_array or show an image"
        )
    return picture if isinstance(picture, Scene) else png(picture)


def png(image: np.ndarray) -> bytes:
    """An image (height, width, 3) as PNG, quickly rather than small."""
    file = BytesIO()
    pillow().Image.fromarray(image).save(file, "png", compress_level=1)
    return file.getvalue()
