"""Whom a learner is drawn beside: the best that can be done on a family, where that is known, and the rule of its field."""

from __future__ import annotations

from collections.abc import Iterator

from quickstudy.errors import UsageError
from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.oracles import oracle, practitioner
from quickstudy.oracles.agent import Oracle
from quickstudy.protocol import TaskDistribution
from quickstudy.report.trials import dynamics_of, untold

WIDEST = 5
"""Cells along a grid whose best walk is found in some seconds: at 6 the search takes a quarter of a minute, and isn't exact."""


def references(tasks: TaskDistribution, episodes: int | None) -> Iterator[tuple[str, Oracle]]:
    """The Bayes-optimal agent of these tasks, where a trial has as many episodes as it is made for, and who is told the task;
    the practitioner of their field, with settings for the population and for the task.

    Nothing for families without an oracle. Whatever an oracle refuses, such as a bandit of too many pulls, is left out.
    """
    plain = untold(tasks)
    dynamics = dynamics_of(plain)
    wide = isinstance(dynamics, GridNavigation) and dynamics.size > WIDEST
    for name in ("bayes-optimal", "optimal"):
        if name == "bayes-optimal" and (wide or episodes not in (None, tasks.episodes_per_trial)):
            continue
        try:
            found = oracle(name, plain)
        except UsageError:
            continue
        if found.name == name:  # a walk that isn't proved optimal has another
            yield name, found
    if rule := practitioner(plain, "population"):
        yield "practitioner", rule
    if rule := practitioner(plain, "told"):
        yield "practitioner-told", rule
