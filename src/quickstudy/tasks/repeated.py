"""Tasks whose actions are held for several steps: exploration that goes somewhere before it turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.ops.tree import tree_map, where_lane
from quickstudy.protocol import BatchEnv, Observation, Split, Splits, TaskDistribution, Tasks, Transition
from quickstudy.scene import Drawable, Picture
from quickstudy.tasks.figures import Figures, figures_of, told
from quickstudy.tasks.holding import hold
from quickstudy.tasks.parameters import parameters_of


@checked
class Repeated:
    """The same tasks; each action is taken for `times` steps, or until the episode ends, and their rewards are added up.

        qs.RL2(qs.Repeated(tasks, 4))

    A policy decides less often: an episode has at most max_episode_steps / times decisions, rounded up, and steps, discounts
    and budgets count decisions. It has succeeded where any of the steps did. Who acts in the world, as by a session, holds each
    action as long and tells the sum of what it got. UsageError where actions are held already, or, at a step, where the tasks'
    environments can't let lanes wait whose episode is over (`tasks/holding.py`).
    """

    def __init__(self, tasks: TaskDistribution, times: int):
        if times < 1:
            raise UsageError(f"Repeated: times is {times}, it must be at least 1")
        if times_of(tasks) > 1:
            raise UsageError(f"Repeated: the actions of {tasks!r} are held already, for {times_of(tasks)} steps")
        self.tasks, self.times = tasks, times
        self.observation_space = tasks.observation_space
        self.action_space = tasks.action_space
        self.max_episode_steps = -(-tasks.max_episode_steps // times)
        self.episodes_per_trial = tasks.episodes_per_trial
        self.splits: Splits = tasks.splits
        self.parameters: Mapping[str, Any] = parameters_of(tasks)
        self.figures: Figures = figures_of(tasks)

    def __repr__(self) -> str:
        return f"Repeated({self.tasks!r}, {self.times})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return self.tasks.sample(count, split, generator)

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return self.tasks.normalise(tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> RepeatedEnv:
        return RepeatedEnv(self.tasks.make(tasks, lanes, device), self.times, self.figures)

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        return self.tasks.encode(observation)

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return self.tasks.decode(action)


class RepeatedEnv:
    """Another environment, each of whose actions is taken several times; lanes whose episode has ended wait for the others."""

    def __init__(self, env: BatchEnv, times: int, figures: Figures):
        self._env, self._times = env, times
        self._means = [name for name, how in figures.items() if how == "mean"]
        self._combined = COMBINED | {name: torch.add for name, how in figures.items() if how != "last"}

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        return self._env.reset(tasks, generator)

    def restart(self) -> Observation:
        return self._env.restart()

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        last = self._stepped(action)
        lived = torch.ones_like(last.reward)
        for _ in range(self._times - 1):
            ended = last.terminated | last.truncated
            lived = lived + ~ended
            holds = bool(ended.any())
            if holds:
                hold(self._env, ended)
            # stepped also where all lanes wait, so that a lane's noise doesn't depend on when other lanes end
            last = joined(last, self._stepped(action), ended if holds else None, self._combined)
        if self._times > 1:
            hold(self._env, torch.zeros_like(last.terminated))
        return last._replace(info=last.info | {name: told(name, last.info) / lived for name in self._means})

    def _stepped(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        """A step; what the environment gives and is given is copied, since it may write over it."""
        return tree_map(torch.clone, self._env.step(action.clone()))

    def draw(self, task: int, lane: int) -> Picture | None:
        """What the environment draws: where the last of the steps led."""
        return self._env.draw(task, lane) if isinstance(self._env, Drawable) else None

    def close(self) -> None:
        self._env.close()


def joined(
    before: Transition,
    now: Transition,
    ended: Bool[Tensor, "task lane"] | None,
    combined: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
) -> Transition:
    """Two steps as one, the first where it had ended the episode; rewards add up, reports as `combined` says."""
    info = dict(now.info)
    for name, value in info.items():
        if name in before.info:
            info[name] = combined.get(name, lambda _, latest: latest)(before.info[name], value)
    both = now._replace(reward=before.reward + now.reward, info=info)
    if ended is None:
        return both
    told = before._replace(info={name: before.info.get(name, value) for name, value in info.items()})
    return where_lane(ended, told, both)


COMBINED = {"success": torch.maximum, "dense_reward": torch.add}
"""What becomes of two steps' reports; figures that are means or sums add up, and of others the later one is kept."""


def times_of(tasks: Any) -> int:
    """For how many steps an action is held, whatever else is around the tasks that do it."""
    while tasks is not None and not isinstance(tasks, Repeated):
        tasks = getattr(tasks, "tasks", None)
    return tasks.times if tasks else 1


def with_repeat(tasks: TaskDistribution, times: int) -> TaskDistribution:
    """The tasks with each action held so long, as they are where it is held so already, or for a single step."""
    return tasks if times in (1, times_of(tasks)) else Repeated(tasks, times)
