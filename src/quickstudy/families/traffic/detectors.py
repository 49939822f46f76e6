"""Which of a crossing's detectors are dead."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from quickstudy.protocol import Split
from quickstudy.tasks.choices import require_split


@dataclass(frozen=True)
class Dead:
    """For each of some detectors whether it is dead, independently of each other."""

    chance: float
    entries: tuple[str, ...]
    extrapolates = False

    def sample(self, count: int, split: Split, generator: Generator) -> Bool[Tensor, "count detector"]:
        require_split(split)
        return torch.rand(count, len(self.entries), generator=generator) < self.chance

    def normalise(self, values: Bool[Tensor, "count detector"]) -> Float[Tensor, "count detector"]:
        return values.float() * 2 - 1

    def __str__(self) -> str:
        return f"each of {len(self.entries)} with chance {self.chance:g}"
