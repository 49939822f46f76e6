"""Random walks through tasks: what the checks of a task distribution look at."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from quickstudy.algorithms.baselines.random import UniformPolicy
from quickstudy.check.report import Unjudged
from quickstudy.data.rollout import check_shapes
from quickstudy.ops.tree import tree_map, where_lane
from quickstudy.protocol import BatchEnv, Observation, TaskDistribution, Tasks, Transition, begin_trial, counter

LANES = 16
"""Tasks walked through side by side."""
SHORT, LONGEST = 120, 5000
"""Steps of most walks, and at most of the one that waits for the time limit."""
STEADY = 0.8
"""How often a random walk keeps to its last action: one that doesn't gets nowhere."""


class Walk(NamedTuple):
    """A trial in each of some tasks, one lane each, under random actions."""

    first: Observation
    actions: list[Tensor]
    steps: Transition
    """Stacked over time, (task, 1, time, ...)."""


def draw(tasks: TaskDistribution, seed: int, count: int = LANES, purpose: str = "check tasks") -> Tasks:
    """Training tasks for a walk."""
    return tasks.sample(count, "train", counter(seed, 0, purpose))


def random_actions(tasks: TaskDistribution, seed: int, steps: int, lanes: int = LANES) -> list[Tensor]:
    """Uniform actions that mostly stay as they were, (task, 1, ...) for each step."""
    generator, policy = counter(seed, 0, "check actions"), UniformPolicy(tasks.action_space)
    percept = begin_trial(torch.zeros(lanes, 1), tasks.action_space)
    actions: list[Tensor] = []
    for _ in range(steps):
        action = policy.act(percept, {}, generator)[0].action
        keep = torch.rand(lanes, 1, generator=generator) < STEADY
        actions.append(where_lane(keep, actions[-1], action) if actions else action)
    return actions


def walk(env: BatchEnv, drawn: Tasks, actions: list[Tensor], seed: int, space: Any) -> Walk:
    """Lives the actions in the tasks; EnvironmentFault where the environment fails."""
    first = env.reset(drawn, counter(seed, 0, "check dynamics")).clone()
    percept = begin_trial(first, space)
    rows = []
    for step, action in enumerate(actions):
        rows.append(tree_map(torch.clone, env.step(action.clone())))
        check_shapes(rows[-1], percept, step)
    return Walk(first, actions, tree_map(lambda *parts: torch.stack(parts, 2), *rows))


def fresh_walk(tasks: TaskDistribution, drawn: Tasks, actions: list[Tensor], seed: int) -> Walk:
    """A walk through environments made for it."""
    env = tasks.make(len(actions[0]), 1)
    try:
        return walk(env, drawn, actions, seed, tasks.action_space)
    finally:
        env.close()


def same_lanes(one: Walk, other: Walk) -> Bool[Tensor, "task"]:
    """In which tasks two walks went the same way, bit for bit."""
    pairs = [(one.first, other.first), *zip(one.steps[:5], other.steps[:5], strict=True)]
    equal = [(mine == theirs).flatten(1).all(1) for mine, theirs in pairs if isinstance(mine, Tensor)]
    return torch.stack(equal).all(0)


def episode_lengths(walk: Walk) -> Iterator[tuple[int, int, int, str]]:
    """Every whole episode as (task, number within the task, steps, how it ended)."""
    terminated, truncated = walk.steps.terminated[:, 0], walk.steps.truncated[:, 0]
    for task in range(len(terminated)):
        begin = number = 0
        for step in (terminated[task] | truncated[task]).nonzero()[:, 0].tolist():
            yield task, number, step + 1 - begin, "terminated" if terminated[task, step] else "truncated"
            begin, number = step + 1, number + 1


class Trial:
    """A distribution under trial, and the walks that its clauses share."""

    def __init__(self, tasks: TaskDistribution, seed: int, called: str = "FILE.py:OBJECT"):
        self.tasks, self.seed, self.called = tasks, seed, called

    @cached_property
    def drawn(self) -> Tasks:
        return draw(self.tasks, self.seed)

    @cached_property
    def actions(self) -> list[Tensor]:
        return random_actions(self.tasks, self.seed, min(self.tasks.max_episode_steps + 2, SHORT))

    @cached_property
    def first_walk(self) -> Walk:
        seed_globally(self.seed)
        return fresh_walk(self.tasks, self.drawn, self.actions, self.seed)

    @cached_property
    def second_walk(self) -> Walk:
        """The same once more, from scratch."""
        seed_globally(self.seed)
        return fresh_walk(self.tasks, self.drawn, self.actions, self.seed)

    @cached_property
    def odd_walk(self) -> Walk:
        """The same under other global seeds."""
        seed_globally(self.seed + 1)
        return fresh_walk(self.tasks, self.drawn, self.actions, self.seed)

    @cached_property
    def long_walk(self) -> Walk:
        """One that passes the time limit, twice where that is near, not at all where it is very far."""
        limit = self.tasks.max_episode_steps
        steps = min(2 * limit + 2 if limit <= 2 * SHORT else limit + 2, LONGEST)
        return fresh_walk(self.tasks, self.drawn, random_actions(self.tasks, self.seed, steps), self.seed)

    def walked(self, name: str = "first_walk") -> Walk:
        """A walk, or Unjudged where it failed: `steps` tells of that."""
        try:
            return getattr(self, name)
        except Exception as error:
            raise Unjudged("the walk failed, see steps") from error

    def require_determinism(self) -> None:
        """Unjudged where equal walks differ, so that comparing walks says nothing."""
        if not bool(same_lanes(self.walked(), self.walked("second_walk")).all()):
            raise Unjudged("equal walks differ, see determinism")
        if not bool(same_lanes(self.walked(), self.walked("odd_walk")).all()):
            raise Unjudged("equal walks differ, see global randomness")


@contextmanager
def global_seeds(seed: int) -> Iterator[None]:
    """Seeds every global random state inside, and puts them back as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_globally(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def seed_globally(seed: int) -> None:
    """Seeds Python's, NumPy's and PyTorch's global random states."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def global_states() -> dict[str, Shaped[Tensor, "..."] | str]:
    """The global random states that nobody but the tasks should move: run-time type checkers draw from Python's own."""
    return {
        "numpy.random": repr([part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()]),
        "torch": torch.get_rng_state(),
    }
