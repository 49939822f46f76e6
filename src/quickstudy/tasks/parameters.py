"""How the parameters of a task are drawn, split by split: each a small frozen value that knows its bounds.

No task is in two of the splits train, validation and test: continuous values lie on interleaved grids, so fine that each looks
continuous, and finite families of at least fifty tasks are dealt out. Smaller ones are drawn anew for each split, and say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Generator, Tensor

from quickstudy.errors import UsageError
from quickstudy.protocol import Split, Splits, Tasks

FEWEST_TO_PARTITION = 50
GRID = 2**18
"""Points of a continuous support: of every four neighbours two are for training, one for validation, one for tests."""
OUTWARD = 0.25
"""Extrapolation reaches this share of an interval's width beyond it, on both sides."""


@runtime_checkable
class Parameter(Protocol):
    """One named task parameter: where it is drawn from, and how it reads on a scale of about [-1, 1]."""

    @property
    def extrapolates(self) -> bool:
        """Whether values outside its support mean something, so that it has an `extrapolation` split."""
        ...

    def sample(self, count: int, split: Split, generator: Generator) -> Shaped[Tensor, "count ..."]: ...
    def normalise(self, values: Shaped[Tensor, "count ..."]) -> Float[Tensor, "count size"]: ...


def fraction(shape: tuple[int, ...], split: Split, generator: Generator, points: int = GRID) -> Float[Tensor, "..."]:
    """Uniform on (0, 1), in float64, from the points that belong to a split."""
    cell = torch.randint(points // 4, shape, generator=generator)
    point = torch.randint(4, shape, generator=generator)
    if split != "extrapolation":
        point = {"train": point % 2, "validation": torch.full_like(point, 2), "test": torch.full_like(point, 3)}[split]
    return (cell * 4 + point + 0.5).double() / points


def distinct_points(width: float, largest: float) -> int:
    """How many points of an interval stay apart as float32, where its values are as large as `largest`; a multiple of four."""
    spacing = max(abs(largest), 1e-30) * 2.0**-23
    return min(GRID, max(16, 4 * int(width / (16 * spacing))))


def between(
    low: float, high: float, shape: tuple[int, ...], split: Split, generator: Generator, extrapolates: bool
) -> Float[Tensor, "..."]:
    """Uniform between two bounds; for extrapolation beyond them, at most a quarter of the width, never across or onto zero."""
    share = fraction(shape, split, generator, distinct_points(high - low, max(abs(low), abs(high))))
    if split != "extrapolation" or not extrapolates:
        return low + (high - low) * share
    below = above = OUTWARD * (high - low)
    if low >= 0:
        below = min(below, low / 2)
    if high <= 0:
        above = min(above, -high / 2)
    beyond = share * (below + above)
    return torch.where(beyond < below, low - beyond, high + beyond - below)


@dataclass(frozen=True)
class Uniform:
    """Every value between `low` and `high`; with `shape`, a tensor of independent ones.

    `extrapolates=False` says that values outside mean nothing, as for a probability.
    """

    low: float
    high: float
    shape: tuple[int, ...] = ()
    extrapolates: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(f"{self}: low must be less than high, both finite")

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        return between(self.low, self.high, (count, *self.shape), split, generator, self.extrapolates).float()

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return ((values - self.low) / (self.high - self.low) * 2 - 1).reshape(len(values), -1)

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]" + (f" x {math.prod(self.shape)}" if self.shape else "")


@dataclass(frozen=True)
class LogUniform:
    """Between two positive bounds, every order of magnitude as likely as any other."""

    low: float
    high: float
    shape: tuple[int, ...] = ()
    extrapolates = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.high) and 0 < self.low < self.high):
            raise UsageError(f"{self}: both bounds must be positive, low less than high")

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        # relative to the middle, so that no bound of the exponent is at zero
        middle, reach = math.log(self.low * self.high) / 2, math.log(self.high / self.low) / 2
        exponent = between(-reach, reach, (count, *self.shape), split, generator, True)
        return (middle + exponent).exp().float()

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return ((values / self.low).log() / math.log(self.high / self.low) * 2 - 1).reshape(len(values), -1)

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}] by order of magnitude" + (f" x {math.prod(self.shape)}" if self.shape else "")


@dataclass(frozen=True)
class Normal:
    """Normally distributed; with `shape`, a tensor of independent ones."""

    mean: float
    std: float
    shape: tuple[int, ...] = ()
    extrapolates = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise UsageError(f"{self}: mean must be finite and std positive")

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        points = distinct_points(self.std, abs(self.mean) + 5 * self.std)
        share = fraction((count, *self.shape), split, generator, points)
        return (self.mean + self.std * torch.special.ndtri(share)).float()

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return ((values - self.mean) / self.std).reshape(len(values), -1)

    def __str__(self) -> str:
        return f"N({self.mean:g}, {self.std:g})" + (f" x {math.prod(self.shape)}" if self.shape else "")


@dataclass(frozen=True)
class Simplex:
    """Probabilities over the last axis of `shape`, uniform on the simplex: Dirichlet(1)."""

    shape: tuple[int, ...]
    extrapolates = False

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        clocks = -fraction((count, *self.shape), split, generator).log()
        return (clocks / clocks.sum(-1, keepdim=True)).float()

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return (values * 2 - 1).reshape(len(values), -1)

    def __str__(self) -> str:
        return f"Dirichlet(1) over {self.shape[-1]}" + (f" x {math.prod(self.shape[:-1])}" if self.shape[1:] else "")


class Choice:
    """One of the given values, each as likely as any other; the values are numbers or rows of numbers."""

    extrapolates = False

    def __init__(self, *values: float | tuple[float, ...]):
        if len(set(values)) < 2:
            raise UsageError(f"Choice{values}: give at least two different values to choose from")
        self.values = values
        self.table = torch.tensor(values, dtype=torch.float32)

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        return self.table[torch.randint(len(self.values), (count,), generator=generator)]

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        table = self.table.reshape(len(self.values), -1)
        low, high = table.amin(0), table.amax(0)
        return (values.reshape(len(values), -1) - low) / (high - low).clamp(min=1e-12) * 2 - 1

    def __repr__(self) -> str:
        return f"Choice{self.values}"

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.values))}" if len(self.values) <= 4 else f"one of {len(self.values)} values"


def number_of_tasks(parameters: Mapping[str, Parameter]) -> int | None:
    """How many tasks there are; None where some parameter is other than a Choice, and so continuous."""
    counts = [len(parameter.values) for parameter in parameters.values() if isinstance(parameter, Choice)]
    return math.prod(counts) if len(counts) == len(parameters) else None


def splits_of(parameters: Mapping[str, Parameter]) -> Splits:
    """`partitioned` where no task is in two splits, `iid` where there are too few tasks for that."""
    total = number_of_tasks(parameters)
    return "partitioned" if total is None or total >= FEWEST_TO_PARTITION else "iid"


def sample_parameters(parameters: Mapping[str, Parameter], count: int, split: Split, generator: Generator) -> Tasks:
    """Draws `count` tasks of a split, each parameter independently, in the order in which they are named."""
    if split == "extrapolation" and not any(parameter.extrapolates for parameter in parameters.values()):
        kinds = ", ".join(f"{name} {parameter}" for name, parameter in parameters.items())
        raise UsageError(f"these tasks have no extrapolation split: nothing lies beyond their parameters ({kinds})")
    total = number_of_tasks(parameters)
    if total is None or splits_of(parameters) == "iid":
        return {name: parameter.sample(count, split, generator) for name, parameter in parameters.items()}
    dealt = deal(total)[split]
    number = dealt[torch.randint(len(dealt), (count,), generator=generator)]
    drawn = {}
    for name, choice in parameters.items():
        assert isinstance(choice, Choice)
        drawn[name] = choice.table[number % len(choice.values)]
        number = number // len(choice.values)
    return drawn


@lru_cache(maxsize=8)
def deal(total: int) -> dict[str, Int64[Tensor, "number"]]:
    """Numbered tasks dealt out to the splits, three fifths for training: the same ones in every run, whatever its seed."""
    order = torch.randperm(total, generator=Generator().manual_seed(total))
    train, validation, test = order.tensor_split([total * 3 // 5, total * 4 // 5])
    return {"train": train, "validation": validation, "test": test}


def normalise_parameters(parameters: Mapping[str, Parameter], tasks: Tasks) -> Float[Tensor, "task size"]:
    """All parameters of each task in one row, each scaled to about [-1, 1]."""
    return torch.cat([parameter.normalise(tasks[name].cpu()) for name, parameter in parameters.items()], dim=-1)
