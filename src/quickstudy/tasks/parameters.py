"""How the parameters of a task are drawn, split by split: each a small value that knows its bounds.

No task is in two of the splits train, validation and test: continuous values lie on interleaved grids, so fine that each looks
continuous, and finite families of at least fifty tasks are dealt out. Smaller ones are drawn anew for each split, and say so.
Values are drawn in float64 and reach a Gymnasium environment as they are; torch-native and MuJoCo dynamics reckon in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked, shown
from quickstudy.errors import UsageError
from quickstudy.protocol import Split, Splits, Tasks
from quickstudy.tasks.choices import Choice, dealt_numbers, require_entries, require_split, rows_of, worded
from quickstudy.tasks.rows import Rows

FEWEST_TO_PARTITION = 50
GRID = 2**18
"""Points of a continuous support: of every four neighbours two are for training, one for validation, one for tests."""
SINGLE, DOUBLE = 2.0**-23, 2.0**-52
"""How far neighbouring numbers lie apart, relative to their size, as float32 and as float64."""
FEWEST_SINGLE = 2**12
"""A grid of fewer points than so many that float32 keeps apart is made of numbers that only float64 does."""
FEWEST_DOUBLE = 2**6
"""Of fewer points than so many no splits can be made."""
SMALLEST, LARGEST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max / 4
"""What bounds lie between in size, so that float32 holds what lies beyond them too."""
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
    require_split(split)
    cell = torch.randint(points // 4, shape, generator=generator)
    point = torch.randint(4, shape, generator=generator)
    if split != "extrapolation":
        point = {"train": point % 2, "validation": torch.full_like(point, 2), "test": torch.full_like(point, 3)}[split]
    return (cell * 4 + point + 0.5).double() / points


def distinct_points(width: float, largest: float, precision: float) -> int:
    """How many points of an interval stay apart, where its values are as large as `largest`; a multiple of four."""
    spacing = max(abs(largest), 1e-30) * precision
    return min(GRID, 4 * int(width / (16 * spacing)))


def grid_of(width: float, largest: float) -> int:
    """The points of an interval's grid: numbers that float32 keeps apart where there are enough of them, else float64."""
    single = distinct_points(width, largest, SINGLE)
    return single if single >= FEWEST_SINGLE else distinct_points(width, largest, DOUBLE)


def require_grid(parameter: Interval) -> None:
    """UsageError for a parameter whose shape is none, or whose values can't be told apart."""
    if any(size < 1 for size in parameter.shape):
        raise UsageError(f"{parameter!r}: every size of the shape must be at least 1")
    require_entries(parameter, parameter.entries, math.prod(parameter.shape))
    if grid_of(*parameter.span) < FEWEST_DOUBLE:
        raise UsageError(f"{parameter!r}: so narrow so far from 0 that its numbers can't be told apart; shift or rescale it")


def between(
    low: float, high: float, shape: tuple[int, ...], split: Split, generator: Generator, extrapolates: bool, points: int
) -> Float[Tensor, "..."]:
    """Uniform between two bounds; for extrapolation beyond them, at most a quarter of the width, never across or onto zero."""
    share = fraction(shape, split, generator, points)
    if split != "extrapolation" or not extrapolates:
        return low + (high - low) * share
    below = above = OUTWARD * (high - low)
    if low >= 0:
        below = min(below, low / 2)
    if high <= 0:
        above = min(above, -high / 2)
    beyond = share * (below + above)
    return torch.where(beyond < below, low - beyond, high + beyond - below)


@runtime_checkable
class Interval(Protocol):
    """A continuous parameter of this module: `span` is the width of what it is drawn from and the largest value there."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def entries(self) -> tuple[str, ...]: ...
    @property
    def span(self) -> tuple[float, float]: ...


@checked
@dataclass(frozen=True)
class Uniform:
    """Every value between `low` and `high`; with `shape`, a tensor of independent ones.

    `extrapolates=False` says that values outside mean nothing, as for a probability. `entries` names the numbers of a value
    where it has several, as in `Uniform(-1.0, 1.0, (2,), entries=("x", "y"))`: pages and tables call them so.
    """

    low: float
    high: float
    shape: tuple[int, ...] = ()
    extrapolates: bool = True
    entries: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not -LARGEST <= self.low < self.high <= LARGEST:
            raise UsageError(f"{self}: low must be less than high, both within {LARGEST:.1e} of 0")
        require_grid(self)

    @property
    def span(self) -> tuple[float, float]:
        return self.high - self.low, max(abs(self.low), abs(self.high))

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        shape = (count, *self.shape)
        return between(self.low, self.high, shape, split, generator, self.extrapolates, grid_of(*self.span))

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return ((values - self.low) / (self.high - self.low) * 2 - 1).reshape(len(values), -1).float()

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]" + (f" x {math.prod(self.shape)}" if self.shape else "")


@checked
@dataclass(frozen=True)
class LogUniform:
    """Between two positive bounds, every order of magnitude as likely as any other; `shape` and `entries` as of `Uniform`."""

    low: float
    high: float
    shape: tuple[int, ...] = ()
    entries: tuple[str, ...] = field(default=(), repr=False)
    extrapolates = True

    def __post_init__(self) -> None:
        if not SMALLEST <= self.low < self.high <= LARGEST:
            raise UsageError(f"{self}: low must be less than high, both between {SMALLEST:.1e} and {LARGEST:.1e}")
        middle, reach = self._exponents
        if abs(middle) + (1 + 2 * OUTWARD) * reach > -math.log(SMALLEST):
            raise UsageError(f"{self}: a quarter of its orders of magnitude beyond, float32 holds no numbers; narrow it")
        require_grid(self)

    @property
    def _exponents(self) -> tuple[float, float]:
        """The middle of the exponents, and how far they reach to either side."""
        return math.log(self.low * self.high) / 2, math.log(self.high / self.low) / 2

    @property
    def span(self) -> tuple[float, float]:
        middle, reach = self._exponents
        return 2 * reach, max(1.0, abs(middle) + reach)  # a step of the exponent is one of the value, relative to its size

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        # relative to the middle, so that no bound of the exponent is at zero
        middle, reach = self._exponents
        exponent = between(-reach, reach, (count, *self.shape), split, generator, True, grid_of(*self.span))
        return (middle + exponent).exp()

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return ((values / self.low).log() / math.log(self.high / self.low) * 2 - 1).reshape(len(values), -1).float()

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}] by order of magnitude" + (f" x {math.prod(self.shape)}" if self.shape else "")


@checked
@dataclass(frozen=True)
class Normal:
    """Normally distributed; `shape` and `entries` as of `Uniform`."""

    mean: float
    std: float
    shape: tuple[int, ...] = ()
    entries: tuple[str, ...] = field(default=(), repr=False)
    extrapolates = False

    def __post_init__(self) -> None:
        if not (self.std > 0 and self.span[1] <= LARGEST):
            raise UsageError(f"{self}: std must be positive, and five of them from the mean within {LARGEST:.1e} of 0")
        require_grid(self)

    @property
    def span(self) -> tuple[float, float]:
        return self.std, abs(self.mean) + 5 * self.std

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        share = fraction((count, *self.shape), split, generator, grid_of(*self.span))
        return self.mean + self.std * torch.special.ndtri(share)

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return ((values - self.mean) / self.std).reshape(len(values), -1).float()

    def __str__(self) -> str:
        return f"N({self.mean:g}, {self.std:g})" + (f" x {math.prod(self.shape)}" if self.shape else "")


@checked
@dataclass(frozen=True)
class Simplex:
    """Probabilities over the last axis of `shape`, uniform on the simplex: Dirichlet(1)."""

    shape: tuple[int, ...]
    extrapolates = False

    def __post_init__(self) -> None:
        if not self.shape or any(size < 1 for size in self.shape):
            raise UsageError(f"{self!r}: the shape has at least one size, each at least 1")

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        clocks = -fraction((count, *self.shape), split, generator).log()
        return clocks / clocks.sum(-1, keepdim=True)

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return (values * 2 - 1).reshape(len(values), -1).float()

    def __str__(self) -> str:
        return f"Dirichlet(1) over {self.shape[-1]}" + (f" x {math.prod(self.shape[:-1])}" if self.shape[1:] else "")


@checked
@dataclass(frozen=True)
class Dirichlet:
    """Probabilities over the last axis: Dirichlet(alpha), of which `shape` gives how many rows are drawn independently.

    Made of gamma variables, each by its inverse distribution function. `entries` as of `Uniform`.
    """

    alpha: tuple[float, ...]
    shape: tuple[int, ...] = ()
    entries: tuple[str, ...] = field(default=(), repr=False)
    extrapolates = False

    def __post_init__(self) -> None:
        if len(self.alpha) < 2 or not all(0.05 <= weight <= 1e4 for weight in self.alpha):
            raise UsageError(f"{self!r}: alpha must be at least two weights, each from 0.05 to 10,000")
        if any(size < 1 for size in self.shape):
            raise UsageError(f"{self!r}: every size of the shape must be at least 1")
        require_entries(self, self.entries, math.prod((*self.shape, len(self.alpha))))

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count ..."]:
        share = fraction((count, *self.shape, len(self.alpha)), split, generator)
        weights = torch.tensor(self.alpha, dtype=torch.float64)
        # relative to the largest, since gamma variables of small weights may be less than a number can be
        return gamma_logarithm(share, weights.expand_as(share)).softmax(-1)

    def normalise(self, values: Float[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        return (values * 2 - 1).reshape(len(values), -1).float()

    def __str__(self) -> str:
        weights = set(self.alpha)
        told = f"{self.alpha[0]:g}" if len(weights) == 1 else ", ".join(f"{weight:g}" for weight in self.alpha)
        return f"Dirichlet({told}) over {len(self.alpha)}" + (f" x {math.prod(self.shape)}" if self.shape else "")


def gamma_logarithm(share: Float[Tensor, "*lead"], weight: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
    """The logarithm of a gamma variable of a weight, below which so great a share lies, by bisection in float64."""
    low, high = torch.full_like(share, -700.0), (weight + 40 * weight.sqrt() + 60).log()
    for _ in range(64):
        middle = (low + high) / 2
        below = torch.special.gammainc(weight, middle.exp()) < share
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def parameters_of(tasks: Any) -> Mapping[str, Any]:
    """What a task distribution knows of where its parameters are drawn from; nothing, where it is one of another kind."""
    return getattr(tasks, "parameters", {})


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
    require_split(split)
    if split == "extrapolation" and not any(parameter.extrapolates for parameter in parameters.values()):
        kinds = ", ".join(f"{name} {parameter}" for name, parameter in parameters.items())
        raise UsageError(f"these tasks have no extrapolation split: nothing lies beyond their parameters ({kinds})")
    total = number_of_tasks(parameters)
    if total is None or splits_of(parameters) == "iid":
        return {name: parameter.sample(count, split, generator) for name, parameter in parameters.items()}
    numbers, drawn = dealt_numbers(total, count, split, generator), {}
    for name, choice in parameters.items():
        assert isinstance(choice, Choice)
        drawn[name] = choice.table[torch.tensor([number % len(choice.values) for number in numbers])]
        numbers = [number // len(choice.values) for number in numbers]
    return drawn


def normalise_parameters(parameters: Mapping[str, Parameter], tasks: Tasks) -> Float[Tensor, "task size"]:
    """All parameters of each task in one row, each scaled to about [-1, 1]."""
    return torch.cat([parameter.normalise(tasks[name].cpu()) for name, parameter in parameters.items()], dim=-1)


def env_values(parameters: Mapping[str, Any], tasks: Tasks) -> list[dict[str, Any]]:
    """Tasks as an environment receives them, each a dict of its own: what was listed, and else numbers and lists of them."""
    columns = {}
    for name, drawn in tasks.items():
        choice = parameters.get(name)
        columns[name] = choice.env_values(drawn) if isinstance(choice, Choice) else drawn.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def in_words(parameters: Mapping[str, Any], tasks: Tasks, task: int, digits: int = 4) -> dict[str, str]:
    """One of some tasks for people to read: what was listed in its own words, and numbers with so many digits."""
    return {
        name: word_of(parameters.get(name), drawn[task]) or shown(rounded(drawn[task].tolist(), digits))
        for name, drawn in tasks.items()
    }


def word_of(parameter: Any, value: Shaped[Tensor, "..."]) -> str:
    """What a task's value of a parameter is called, where that is no number or rows of them; nothing where it is."""
    if isinstance(parameter, Rows):
        return parameter.names[int(value)]
    listed = isinstance(parameter, Choice) and parameter.by_place
    return worded(parameter.values[int(value)]) if listed else ""


def rounded(value: Any, digits: int) -> Any:
    """Numbers, and lists of them, with so many digits; whole ones as they are."""
    if isinstance(value, list):
        return [rounded(part, digits) for part in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def to_single(parameters: Mapping[str, Parameter], drawn: Tasks) -> Tasks:
    """Drawn parameters as dynamics reckon with them: numbers as float32."""
    return {
        name: value.float() if value.dtype == torch.float64 or isinstance(parameters[name], Choice) else value
        for name, value in drawn.items()
    }


def require_single(tasks: object, parameters: Mapping[str, Parameter]) -> None:
    """UsageError where float32, in which dynamics reckon, can't tell the values of a parameter apart."""
    for name, parameter in parameters.items():
        if isinstance(parameter, Interval) and distinct_points(*parameter.span, SINGLE) < FEWEST_SINGLE:
            raise UsageError(
                f"{tasks!r}: {name}={parameter!r} is so narrow so far from 0 that float32 can't tell its values apart;"
                " draw how far it is from its middle, or rescale it, and add the rest in the dynamics"
            )
        if isinstance(parameter, Choice):
            table = parameter.table.float()
            if parameter.by_place or not bool(table.isfinite().all()) or len(set(rows_of(table))) < len(table):
                raise UsageError(f"{tasks!r}: {name}={parameter!r}: dynamics in tensors need numbers that float32 tells apart")
