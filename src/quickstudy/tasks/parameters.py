"""How the parameters of a task are drawn: each a small frozen value that knows its bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.errors import UsageError
from quickstudy.protocol import Tasks


@runtime_checkable
class Parameter(Protocol):
    """One named task parameter: where it is drawn from, and how it reads on a scale of about [-1, 1]."""

    def sample(self, count: int, generator: Generator) -> Shaped[Tensor, "count ..."]: ...
    def normalise(self, values: Shaped[Tensor, "count ..."]) -> Float[Tensor, "count size"]: ...


@dataclass(frozen=True)
class Uniform:
    """Every value between `low` and `high`; with `shape`, a tensor of independent ones."""

    low: float
    high: float
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(f"{self}: low must be less than high, both finite")

    def sample(self, count: int, generator: Generator) -> Float[Tensor, "count ..."]:
        return self.low + (self.high - self.low) * torch.rand(count, *self.shape, generator=generator)

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return ((values - self.low) / (self.high - self.low) * 2 - 1).reshape(len(values), -1)

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]" + (f" x {math.prod(self.shape)}" if self.shape else "")


@dataclass(frozen=True)
class Normal:
    """Normally distributed; with `shape`, a tensor of independent ones."""

    mean: float
    std: float
    shape: tuple[int, ...] = ()

    def sample(self, count: int, generator: Generator) -> Float[Tensor, "count ..."]:
        return self.mean + self.std * torch.randn(count, *self.shape, generator=generator)

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return ((values - self.mean) / self.std).reshape(len(values), -1)

    def __str__(self) -> str:
        return f"N({self.mean:g}, {self.std:g})" + (f" x {math.prod(self.shape)}" if self.shape else "")


@dataclass(frozen=True)
class Simplex:
    """Probabilities over the last axis of `shape`, uniform on the simplex: Dirichlet(1)."""

    shape: tuple[int, ...]

    def sample(self, count: int, generator: Generator) -> Float[Tensor, "count ..."]:
        clocks = torch.empty(count, *self.shape).exponential_(generator=generator)
        return clocks / clocks.sum(-1, keepdim=True)

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return (values * 2 - 1).reshape(len(values), -1)

    def __str__(self) -> str:
        return f"Dirichlet(1) over {self.shape[-1]}" + (f" x {math.prod(self.shape[:-1])}" if self.shape[1:] else "")


class Choice:
    """One of the given values, each as likely as any other; the values are numbers or rows of numbers."""

    def __init__(self, *values: float | tuple[float, ...]):
        if len(values) < 2:
            raise UsageError(f"Choice{values}: give at least two values to choose from")
        self.values = values
        self._table = torch.tensor(values, dtype=torch.float32)

    def sample(self, count: int, generator: Generator) -> Float[Tensor, "count ..."]:
        return self._table[torch.randint(len(self.values), (count,), generator=generator)]

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        table = self._table.reshape(len(self.values), -1)
        low, high = table.amin(0), table.amax(0)
        return (values.reshape(len(values), -1) - low) / (high - low) * 2 - 1

    def __repr__(self) -> str:
        return f"Choice{self.values}"

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.values))}" if len(self.values) <= 4 else f"one of {len(self.values)} values"


def sample_parameters(parameters: Mapping[str, Parameter], count: int, generator: Generator) -> Tasks:
    """Draws `count` tasks, each parameter independently, in the order in which they are named."""
    return {name: parameter.sample(count, generator) for name, parameter in parameters.items()}


def normalise_parameters(parameters: Mapping[str, Parameter], tasks: Tasks) -> Float[Tensor, "task size"]:
    """All parameters of each task in one row, each scaled to about [-1, 1]."""
    return torch.cat([parameter.normalise(tasks[name].cpu()) for name, parameter in parameters.items()], dim=-1)
