"""The shown trials step by step: what was paid, what was believed, and what could be known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.nets.belief import Belief
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import Experience, Percept
from quickstudy.report.causes import CAUSES, causes
from quickstudy.report.cells import decoded, exact, tells_cells
from quickstudy.report.minds import Believed, Known
from quickstudy.report.series import short
from quickstudy.report.tasks import MOST_AXES, as_rows, words_of
from quickstudy.report.trials import Lived
from quickstudy.tasks.parameters import parameters_of

MOMENTS = 100
"""As many steps of a trial can be looked at; a longer one's are spread evenly."""
ENTRIES = 4
"""As many entries of a belief are shown: those that differ most between tasks."""
SAMPLES = 64
"""Samples of a belief that are decoded."""


def named(lived: Lived, task: int) -> dict[str, Any]:
    """What the first numbers of a task's parameters are called, and what they are."""
    names, rows = as_rows(lived.tasks, task + 1)
    words = words_of([lived.tasks], parameters_of(lived.agent.tasks))
    shown = list(zip(names, rows[task], strict=True))[:MOST_AXES]
    return {name: words[name][int(number)] if name in words else short(number) for name, number in shown}


class Trial:
    """What one task's first lane lived, its episodes one after another."""

    def __init__(self, lived: Lived, task: int):
        self.task = task
        self.lengths = [lived.steps(task, episode) for episode in range(len(lived.episodes))]
        self.steps = sum(self.lengths)
        self.moments = sorted({round(place) for place in np.linspace(0, self.steps - 1, min(self.steps, MOMENTS))})
        """The steps that are looked at."""

    def joined(self, episodes: list[Shaped[Tensor, "task _ ..."]]) -> Shaped[Tensor, "step ..."]:
        """What each episode holds of the task, without the steps in which the lane waited."""
        return torch.cat([values[self.task, :length] for values, length in zip(episodes, self.lengths, strict=True)])

    def percept(self, episodes: list[Experience]) -> Percept:
        """All that was seen, (1, 1, time)."""
        first_lanes = [tree_map(lambda part: part[:, 0], experience.percept) for experience in episodes]
        return Percept(*(self.joined(list(parts))[None, None] for parts in zip(*first_lanes, strict=True)))

    def at(self, values: Shaped[Tensor, "step ..."], digits: int) -> list[Any]:
        """Values at the moments, as plain numbers."""
        found = values[self.moments].double().flatten(1).tolist() if values.dim() > 1 else values[self.moments].tolist()
        return [[short(number, digits) for number in row] if isinstance(row, list) else short(row, digits) for row in found]


def steps(lived: Lived, found: Known | None) -> dict[str, Any]:
    """Each shown trial at its moments; `size` is the grid's, where cells are told."""
    family = getattr(lived.agent.tasks, "dynamics", None)
    # of several lanes more is known than what one of them has seen
    grid = family if isinstance(family, GridNavigation) and lived.agent.lanes == 1 else None
    [first, *_] = lived.policies
    replay = CAUSES.get(type(first))
    entries = telling(found) if found and found.believed else []
    trials = []
    for task in lived.shown:
        trial = Trial(lived, task)
        told: dict[str, Any] = {
            "task": named(lived, task),
            "lengths": trial.lengths,
            "moments": trial.moments,
            "rewards": trial.at(trial.joined([experience.transition.reward[:, 0] for experience in lived.episodes]), 4),
        }
        if found and found.believed:
            told["belief"] = belief_of(trial, found.believed, entries)
        if grid:
            told["exact"] = trial.at(exact(grid, tree_map(Tensor.cpu, trial.percept(lived.episodes)))[0, 0], 3)
        if tells_cells(lived.agent) and found and found.believed:
            mean, std = (trial.joined(part) for part in found.believed)
            chances = decoded(lived.agent, Belief(mean, 2 * std.log()), SAMPLES)
            told["decoded"] = trial.at(chances, 3)
        if replay:
            action = trial.joined([experience.act.action[:, 0] for experience in lived.episodes])
            moved = causes(replay(first, trial.percept(lived.episodes), action), trial.moments)
            told["causes"] = [[short(number, 3) for number in row[: place + 1].tolist()] for place, row in enumerate(moved)]
        trials.append(told)
    return {"size": grid.size if grid else None, "entries": [entry + 1 for entry in entries], "trials": trials}


def telling(found: Known) -> list[int]:
    """The entries of a belief that differ most between tasks in the end."""
    return found.end.var(0).argsort(descending=True)[:ENTRIES].sort().values.tolist()


def belief_of(trial: Trial, believed: Believed, entries: list[int]) -> dict[str, Any]:
    """Mean and spread of the belief's entries, each (entry, moment), and the mean spread of all of them."""
    mean, std = (trial.joined(part) for part in believed)
    return {
        "mean": list(map(list, zip(*trial.at(mean[:, entries], 4), strict=True))),
        "std": list(map(list, zip(*trial.at(std[:, entries], 4), strict=True))),
        "spread": trial.at(std.mean(1), 4),
    }
