"""The shown trials step by step: what was paid, what was believed, and what could be known."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from quickstudy.insight import Believed, Known, Retraces, retraced_by
from quickstudy.ops.tree import tree_map
from quickstudy.oracles.posteriors import posterior_of
from quickstudy.report.causes import causes
from quickstudy.report.cells import exact, foretold
from quickstudy.report.series import short
from quickstudy.report.tasks import MOST_AXES, words_of
from quickstudy.report.trials import Lived
from quickstudy.tasks.entries import as_rows
from quickstudy.tasks.parameters import parameters_of
from quickstudy.tasks.shifted import unshifted
from quickstudy.work import threads

MOMENTS = 100
"""As many steps of a trial can be looked at; a longer one's are spread evenly."""
ENTRIES = 4
"""As many entries of a belief are shown: those that differ most between tasks."""


def named(lived: Lived, task: int) -> dict[str, Any]:
    """What the first numbers of a task's parameters are called, and what they are."""
    parameters = parameters_of(lived.agent.tasks)
    names, rows = as_rows(lived.tasks, task + 1, parameters)
    words = words_of([lived.tasks], parameters)
    shown = list(zip(names, rows[task], strict=True))[:MOST_AXES]
    return {name: words[name][int(number)] if name in words else short(number) for name, number in shown}


class Moments:
    """The steps at which a task's trial is looked at, in its first lane, its episodes one after another."""

    def __init__(self, lived: Lived, task: int):
        self.trial, self.task = lived.trial, task
        self.lengths = self.trial.lengths(task)
        self.steps = sum(self.lengths)
        self.places = sorted({round(place) for place in np.linspace(0, self.steps - 1, min(self.steps, MOMENTS))})

    def at(self, values: Shaped[Tensor, "step ..."], digits: int) -> list[Any]:
        """Values at the moments, as plain numbers."""
        found = values[self.places].double().flatten(1).tolist() if values.dim() > 1 else values[self.places].tolist()
        return [[short(number, digits) for number in row] if isinstance(row, list) else short(row, digits) for row in found]


def steps(lived: Lived, found: Known | None) -> dict[str, Any]:
    """Each shown trial at its moments; `size` is the square's, where cells are told."""
    agent, believed = lived.agent, found.believed if found else None
    # of several lanes more is known than what one of them has seen
    posterior = posterior_of(unshifted(agent.tasks, lived.tasks)) if agent.lanes == 1 else None
    entries = telling(found) if found and believed else []
    trials = []
    for task in lived.shown:
        moments = Moments(lived, task)
        trial = moments.trial
        told: dict[str, Any] = {
            "task": named(lived, task),
            "lengths": moments.lengths,
            "moments": moments.places,
            "rewards": moments.at(trial.joined(task, [each.transition.reward for each in trial.episodes]), 4),
        }
        known = along(moments, believed) if believed else None
        if known:
            told["belief"] = belief_of(moments, *known, entries)
        if posterior:
            told["exact"] = moments.at(exact(posterior, tree_map(Tensor.cpu, trial.percept(task)))[0, 0], 3)
        if posterior and known:
            chances = foretold(agent, posterior, *known)
            told |= {} if chances is None else {"decoded": moments.at(chances, 3)}
        told["opens"], told["opens_for"] = eventful(told)
        if isinstance(agent, Retraces):
            with threads(1):  # small products, which several threads slow down
                moved = causes(retraced_by(agent, trial, task), moments.places)
            told["causes"] = [[short(number, 3) for number in row[: place + 1].tolist()] for place, row in enumerate(moved)]
        trials.append(told)
    return {"size": posterior.size if posterior else None, "entries": [entry + 1 for entry in entries], "trials": trials}


def eventful(told: dict[str, Any]) -> tuple[int, str]:
    """The moment at which a trial is opened, and why: what came just before it changed most.

    That is what the agent believes, of cells or else in its own numbers; where it tells no belief, what can be known; where
    nobody can tell that either, the reward that differs most from the usual one. Of several that are alike the first.
    """
    for name in ("decoded", "belief", "exact"):
        if name in told:
            values = np.array(told[name]["mean"]).T if name == "belief" else np.array(told[name])
            moved = np.abs(np.diff(values, axis=0)).sum(1)
            return (int(moved.argmax()) + 1 if moved.any() else 0), name
    rewards = np.array(told["rewards"])
    return int(np.abs(rewards - np.median(rewards)).argmax()), "rewards"


def telling(found: Known) -> list[int]:
    """The entries of a belief that differ most between tasks in the end."""
    return found.end.var(0).argsort(descending=True)[:ENTRIES].sort().values.tolist()


def along(moments: Moments, believed: Believed) -> tuple[Float[Tensor, "step latent"], Float[Tensor, "step latent"]]:
    """Mean and deviation of what was believed at each step of a trial."""
    mean, std = (moments.trial.joined(moments.task, [each[:, None] for each in part]) for part in believed)
    return mean, std


def belief_of(
    moments: Moments, mean: Float[Tensor, "step latent"], std: Float[Tensor, "step latent"], entries: list[int]
) -> dict[str, Any]:
    """Mean and spread of the belief's entries, each (entry, moment), and the mean spread of all of them."""
    return {
        "mean": list(map(list, zip(*moments.at(mean[:, entries], 4), strict=True))),
        "std": list(map(list, zip(*moments.at(std[:, entries], 4), strict=True))),
        "spread": moments.at(std.mean(1), 4),
    }
