"""Whether runs that are set beside one another had as many environment steps to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from quickstudy.report.series import short
from quickstudy.runs.folder import Opened

ALIKE = 1.1
"""Of two budgets the larger may be so many times the smaller, and nobody needs to be told."""


class Uneven(NamedTuple):
    """The run that had the fewest environment steps in training, and the one that had the most; steps are those of a seed."""

    fewest: str
    least: float
    most: str
    largest: float

    @property
    def times(self) -> float:
        """How many times as many the one had as the other."""
        return self.largest / max(1.0, self.least)

    def __str__(self) -> str:
        return (
            f"budgets differ: {self.fewest} had {self.least:,.0f} environment steps a seed, {self.most} {self.largest:,.0f},"
            f" {self.times:.1f} times as many; what was trained less may do worse for that alone"
        )

    def plain(self, places: Mapping[str, int]) -> dict[str, Any]:
        """For a page, on which runs have numbers."""
        few, many = ({"run": places[run], "steps": round(steps)} for run, steps in (self[:2], self[2:]))
        return {"fewest": few, "most": many, "times": short(self.times, 2)}


def uneven(opened: Mapping[str, Sequence[Opened]]) -> Uneven | None:
    """Whose budgets of training lie farthest apart; None where they differ by no more than a tenth."""
    steps = {name: sum(run.progress.timesteps for run in runs) / len(runs) for name, runs in opened.items()}
    fewest, most = min(steps, key=steps.__getitem__), max(steps, key=steps.__getitem__)
    found = Uneven(fewest, steps[fewest], most, steps[most])
    return found if found.largest > ALIKE * found.least else None
