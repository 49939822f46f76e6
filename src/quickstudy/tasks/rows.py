"""A parameter whose values are the rows of a table, each in a split that is stated: patients, instances, opponents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.protocol import Split
from quickstudy.tasks.choices import require_split


@checked
@dataclass(frozen=True)
class Rows:
    """The number of a row of a table; each row belongs to one split, so that few rows don't leak from one into another.

    What a row says, all of it together, is for the dynamics to look up by its number. `features` are the numbers that tell rows
    apart, a tuple a row: what a policy reads that is told the task, each column scaled to [-1, 1] over the whole table. Columns
    that tell nothing of a row but its number would tell a policy nothing about rows it has not met. UsageError for a row in two
    splits, or in none.
    """

    names: tuple[str, ...]
    """What each row is called."""
    features: tuple[tuple[float, ...], ...]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    extrapolation: tuple[int, ...] = ()
    """Rows of another kind than all others; without such there is no extrapolation."""

    def __post_init__(self) -> None:
        given = [*self.train, *self.validation, *self.test, *self.extrapolation]
        if not (self.train and self.validation and self.test):
            raise UsageError("Rows: train, validation and test each need at least one row")
        if sorted(given) != list(range(len(self.names))):
            raise UsageError(f"Rows: each of the {len(self.names)} rows must be in one split, and in no other")
        widths = {len(row) for row in self.features}
        if len(self.features) != len(self.names) or len(widths) != 1 or widths == {0}:
            raise UsageError("Rows: features must be a row of as many numbers for each name")

    @property
    def extrapolates(self) -> bool:
        """Whether there are rows of another kind."""
        return bool(self.extrapolation)

    def sample(self, count: int, split: Split, generator: Generator) -> Int64[Tensor, "count"]:
        require_split(split)
        # beyond the bounds of other parameters, where there is no row of another kind
        rows = torch.tensor(getattr(self, split) or self.test)
        return rows[torch.randint(len(rows), (count,), generator=generator)]

    def normalise(self, values: Shaped[Tensor, "count"]) -> Float[Tensor, "count feature"]:
        table = torch.tensor(self.features, dtype=torch.float64)
        low, high = table.amin(0), table.amax(0)
        return ((table[values.long()] - low) / (high - low).clamp(min=1e-12) * 2 - 1).float()

    def __repr__(self) -> str:
        return f"Rows of {len(self.names)}"

    def __str__(self) -> str:
        return f"one of {len(self.names)}, {len(self.train)} of them for training"
