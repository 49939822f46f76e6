"""The best search for a hidden goal on a grid: until the goal is met, the optimal policy is one fixed walk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Generator, Tensor

from quickstudy.errors import UsageError
from quickstudy.families.classic.cells import cell_seen
from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.ops.tree import where_lane
from quickstudy.oracles.told import parts_told
from quickstudy.protocol import Act, Memory, Percept, has_past
from quickstudy.tasks.parameters import Choice

MOST_GOALS = 62
"""Goal cells that fit into the bits of a set of cells."""
BEAM = 2_000
"""Walks kept at each step of the search that only has to find a good one."""
MOST_STATES = 100_000
"""Walks kept at each step of the search that is to be exact."""
FOUND = 1.1
"""What a step onto the goal pays more than any other step, which pays -0.1."""
MOVES = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])


@dataclass(frozen=True)
class Walk:
    """A search: the actions of a whole trial in which the goal is not met, and the expected return of searching so."""

    actions: tuple[int, ...]
    value: float
    bound: float
    """No policy has an expected return above this; equal to `value` where the walk is proved optimal."""

    @property
    def exact(self) -> bool:
        return self.bound - self.value < 1e-9


@dataclass(frozen=True)
class Search:
    """The problem in numbers: goal cells are bits of a set, a state is a cell and the set of goal cells that were entered."""

    family: GridNavigation

    @property
    def size(self) -> int:
        return self.family.size

    @property
    def steps(self) -> int:
        return self.family.max_episode_steps * self.family.episodes_per_trial

    def goals(self) -> NDArray[np.int64]:
        """The goal cells as (goal, 2) rows and columns."""
        choice = self.family.parameters["goal"]
        assert isinstance(choice, Choice)
        return choice.table.long().numpy()

    def bits(self) -> NDArray[np.int64]:
        """For each cell the set that holds it alone; empty for a cell that is no goal."""
        bits = np.zeros(self.size**2, np.int64)
        for number, (row, column) in enumerate(self.goals()):
            bits[row * self.size + column] = 1 << number
        return bits

    def neighbours(self) -> NDArray[np.int64]:
        """Where each action leads from each cell: (cell, action)."""
        cells = np.stack(np.divmod(np.arange(self.size**2), self.size), -1)
        reached = (cells[:, None] + MOVES).clip(0, self.size - 1)
        return reached[..., 0] * self.size + reached[..., 1]

    def gains(self) -> NDArray[np.float64]:
        """What it is worth, beyond never finding it, to enter a goal first with step t of the trial: (t, goal).

        The goal pays from this step to the end of the episode, and in each later one from the step that reaches it.
        """
        limit, step = self.family.max_episode_steps, np.arange(self.steps)
        rest = limit - step % limit
        later = self.family.episodes_per_trial - 1 - step // limit
        distance = self.goals().sum(1)
        return FOUND * (rest[:, None] + later[:, None] * (limit - distance + 1).clip(0))


def extend_walks(search: Search, kept: int, floor: float) -> Walk:
    """Extends all walks step by step, of those that end in the same state the best, and at most `kept` in all.

    `floor` is a value known to be reached: a walk whose bound lies below it is dropped at no loss.
    """
    bits, neighbours, gains = search.bits(), search.neighbours(), search.gains()
    limit, goals = search.family.max_episode_steps, len(search.goals())
    number_of = np.full(search.size**2, -1)
    number_of[bits > 0] = np.log2(bits[bits > 0].astype(float)).round().astype(int)
    cell, entered, value = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1)
    history, lost = [], -np.inf
    for step in range(search.steps):
        if step % limit == 0:
            cell = np.zeros_like(cell)
        parent = np.repeat(np.arange(len(cell)), 5)
        action = np.tile(np.arange(5), len(cell))
        reached = neighbours[cell].ravel()
        new = (entered[parent] & bits[reached]) < bits[reached]
        total = value[parent] + np.where(new, gains[step, number_of[reached]], 0.0)
        both = entered[parent] | bits[reached]
        order = np.lexsort((-total, reached, both))
        first = np.ones(len(order), bool)
        first[1:] = (np.diff(both[order]) != 0) | (np.diff(reached[order]) != 0)
        chosen = order[first]
        bound = total[chosen] + ahead(search, step + 1, reached[chosen], both[chosen])
        useful = bound / goals > floor - 1e-9
        chosen, bound = chosen[useful], bound[useful]
        if len(chosen) > kept:
            best = np.argsort(-bound, kind="stable")
            lost = max(lost, bound[best[kept]])
            chosen = chosen[best[:kept]]
        history.append((parent[chosen].astype(np.int32), action[chosen].astype(np.int8)))
        cell, entered, value = reached[chosen], both[chosen], total[chosen]
    actions, at = [], int(value.argmax())
    for parents, taken in reversed(history):
        actions.append(int(taken[at]))
        at = parents[at]
    never = -0.1 * search.steps
    best_value = float(value.max()) / goals
    return Walk(tuple(reversed(actions)), never + best_value, never + max(best_value, float(lost) / goals))


def ahead(search: Search, step: int, cell: NDArray[np.int64], entered: NDArray[np.int64]) -> NDArray[np.float64]:
    """An upper bound of what the goals not yet entered can add: each as early as its distance allows, and one a step."""
    if step >= search.steps:
        return np.zeros(len(cell))
    limit, goals, gains = search.family.max_episode_steps, search.goals(), search.gains()
    rows, columns = np.divmod(cell, search.size)
    if step % limit == 0:
        rows, columns = np.zeros_like(rows), np.zeros_like(columns)
    distance = np.abs(rows[:, None] - goals[:, 0]) + np.abs(columns[:, None] - goals[:, 1])
    over = (step // limit + 1) * limit
    arrival = step + np.maximum(distance, 1) - 1
    arrival = np.where(arrival < over, arrival, over + goals.sum(1) - 1)
    open_goals = (entered[:, None] >> np.arange(len(goals))) & 1 == 0
    arrival = np.where(open_goals, arrival, search.steps)
    # the time and the goal of a gain are bounded apart: times may be shared out among the goals in any way
    padded = np.vstack([gains, np.zeros_like(gains[:1])])
    by_time = padded.max(1)
    queue = np.maximum(np.sort(arrival, 1), step + np.arange(len(goals)))
    together = by_time[np.minimum(queue, search.steps)] * (np.sort(arrival, 1) < search.steps)
    alone = padded[np.minimum(arrival, search.steps), np.arange(len(goals))] * open_goals
    return np.minimum(together.sum(1), alone.sum(1))


@lru_cache(maxsize=8)
def best_walk(family: GridNavigation) -> Walk:
    """The search with the highest expected return; UsageError for a grid too large to search at all.

    A narrow search gives a floor, then a wide one that keeps every walk which may still beat it is exact, unless the grid
    is so large that it has to drop some: `bound` tells.
    """
    search = Search(family)
    if len(search.goals()) > MOST_GOALS:
        raise UsageError(f"grid-navigation: bayes-optimal goes up to size 8, not {family.size}; see: posterior-sampling")
    narrow = extend_walks(search, BEAM, -np.inf)
    wide = extend_walks(search, MOST_STATES, narrow.value + 0.1 * search.steps)
    return wide


def towards(cell: Int64[Tensor, "*lead"], goal: Int64[Tensor, "*lead"], size: int) -> Int64[Tensor, "*lead"]:
    """The action that shortens the way to a goal, rows first; stay when there."""
    rows, columns = goal // size - cell // size, goal % size - cell % size
    across = torch.where(columns > 0, 2, torch.where(columns < 0, 4, 0))
    return torch.where(rows > 0, 1, torch.where(rows < 0, 3, across))


def met(percept: Percept) -> Bool[Tensor, "*lead"]:
    """Whether the step before this one paid: it ended on what was looked for."""
    return has_past(percept) & (percept.reward > 0)


@dataclass(frozen=True)
class BayesOptimalPolicy:
    """Walks the best search until the goal is met, and from then on straight to it."""

    family: GridNavigation
    walk: Walk

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        blank = torch.zeros(tasks, lanes, dtype=torch.long)
        return {"step": blank, "goal": blank - 1}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        cell, arrival = cell_seen(self.family.view, percept.observation), cell_seen(self.family.view, percept.arrival)
        goal = torch.where(met(percept), arrival, memory["goal"])
        actions = torch.tensor(self.walk.actions)
        search = actions[memory["step"].clamp(max=len(actions) - 1)]
        action = torch.where(goal >= 0, towards(cell, goal, self.family.size), search)
        return Act(action, None, {}), {"step": memory["step"] + 1, "goal": goal}


@dataclass(frozen=True)
class PosteriorSamplingPolicy:
    """In each episode walks to a goal drawn from the posterior as the episode begins, and stays there (Thompson 1933)."""

    family: GridNavigation

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        possible = torch.zeros(self.family.size**2)
        goals = Search(self.family).goals()
        possible[goals[:, 0] * self.family.size + goals[:, 1]] = 1
        return {"possible": possible.expand(tasks, lanes, -1), "target": torch.zeros(tasks, lanes, dtype=torch.long)}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        possible = posterior(self.family, percept, memory["possible"])
        luck = torch.ones_like(possible) if generator is None else torch.rand(possible.shape, generator=generator) + 1e-9
        target = where_lane(percept.first, ((possible > 0) * luck).argmax(-1), memory["target"])
        action = towards(cell_seen(self.family.view, percept.observation), target, self.family.size)
        return Act(action, None, {}), {"possible": possible, "target": target}


def posterior(
    family: GridNavigation, percept: Percept, possible: Float[Tensor, "task lane cell"]
) -> Float[Tensor, "task lane cell"]:
    """The cells that may hold the goal, after one more step: all those not entered, or the one where the goal was met."""
    arrival = cell_seen(family.view, percept.arrival)
    entered = torch.nn.functional.one_hot(arrival, possible.shape[-1]).to(possible.dtype)
    after = torch.where(met(percept)[..., None], entered, possible * (1 - entered))
    return where_lane(has_past(percept), after, possible)


@dataclass(frozen=True)
class InformedPolicy:
    """Walks straight to the goal that the observation tells (see `Informed`)."""

    family: GridNavigation

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        parts, task = parts_told(self.family.observation_space, 2, percept.observation)
        (seen,) = parts.values()
        goal = ((task + 1) / 2 * (self.family.size - 1)).round().long()
        number = goal[..., 0] * self.family.size + goal[..., 1]
        return Act(towards(cell_seen(self.family.view, seen), number, self.family.size), None, {}), memory
