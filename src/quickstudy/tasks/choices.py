"""Parameters whose values are listed, and how finite families of tasks are dealt out to the splits."""

from __future__ import annotations

import copy
import hashlib
import pickle
import typing
from collections.abc import Iterable, Mapping, Set
from functools import cached_property, lru_cache
from numbers import Number, Real
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import shown
from quickstudy.errors import UsageError, did_you_mean
from quickstudy.protocol import Split

FAMILY = "family"
"""The parameter of tasks of several families that says of which one a task is."""
ROUNDS = 6
"""Of mixing, in the order in which tasks are dealt out."""


class Choice:
    """One of the given values, each as likely as any other: numbers, texts, tuples, anything that can be copied.

    An environment receives a copy of what was listed, of its own type. Tensors of tasks hold `table`: the values themselves
    where they are numbers, or rows of numbers of one length, that come back from a tensor exactly; else their places in the
    list. `entries` names the numbers of a value where it has several: `Choice((0, 2), (1, 2), entries=("row", "column"))`.
    Raises UsageError for fewer than two values, for one that is listed twice, and for NaN.
    """

    extrapolates = False

    def __init__(self, *values: Any, entries: tuple[str, ...] = ()):
        self.values = tuple(map(copied, values))
        if len(values) < 2:
            raise UsageError(f"{self!r}: give at least two different values to choose from")
        known = set()
        for value in self.values:
            if holds_nan(value):
                raise UsageError(f"{self!r}: {shown(value)} is no value: no number equals NaN, not even itself")
            if (content := content_of(value)) in known:
                raise UsageError(f"{self!r}: {shown(value)} is listed twice, and one task would be in two splits; list it once")
            known.add(content)
        table = table_of(self.values)
        self.by_place = table is None
        """Whether tensors hold the places of the values in the list."""
        self.table = torch.arange(len(values)) if table is None else table
        require_entries(self, entries, self.table[0].numel())
        self.entries = entries

    @cached_property
    def _places(self) -> dict[tuple[float, ...], int]:
        """The place of each row of the table."""
        return {row: place for place, row in enumerate(rows_of(self.table))}

    def sample(self, count: int, split: Split, generator: Generator) -> Shaped[Tensor, "count ..."]:
        require_split(split)
        return self.table[torch.randint(len(self.values), (count,), generator=generator)]

    def normalise(self, values: Shaped[Tensor, "count ..."]) -> Float[Tensor, "count size"]:
        """Numbers scaled to [-1, 1]; where tensors hold places, one column for each value, 1 for the chosen and -1 else."""
        if self.by_place:
            return torch.nn.functional.one_hot(values.long(), len(self.values)).float() * 2 - 1
        values = values if values.is_floating_point() else values.double()
        table = self.table.reshape(len(self.values), -1).to(values.dtype)
        low, high = table.amin(0), table.amax(0)
        return ((values.reshape(len(values), -1) - low) / (high - low).clamp(min=1e-12) * 2 - 1).float()

    def place_of(self, value: Shaped[Tensor, "..."]) -> int:
        """Which of the listed values a drawn one is: the nearest, since float32 rounds."""
        distance = self.table.reshape(len(self.values), -1).double() - value.reshape(1, -1).double().cpu()
        return int(distance.square().sum(-1).argmin())

    def env_values(self, drawn: Shaped[Tensor, "count ..."]) -> list[Any]:
        """What was listed, for each of some drawn values; numbers that weren't, as somebody may set them, as they are."""
        places = [self._places.get(row) for row in rows_of(drawn)]
        if self.by_place and None in places:
            raise UsageError(
                f"{self!r} has {len(self.values)} values, 0 to {len(self.values) - 1}, none numbered {drawn.tolist()}"
            )
        return [
            drawn[number].tolist() if place is None else copy.deepcopy(self.values[place])
            for number, place in enumerate(places)
        ]

    def __repr__(self) -> str:
        return f"Choice{shown(self.values)}"

    def __str__(self) -> str:
        return f"one of {', '.join(map(worded, self.values))}" if len(self.values) <= 4 else f"one of {len(self.values)} values"


def require_entries(parameter: object, entries: Any, count: int) -> None:
    """UsageError where the names of a value's numbers are not a text for each of them."""
    told = isinstance(entries, tuple) and all(isinstance(name, str) for name in entries)
    if not told or len(set(entries)) < len(entries):
        raise UsageError(f"{parameter!r}: entries is {shown(entries)}, it must be different texts, such as ('row', 'column')")
    if entries and len(entries) != count:
        raise UsageError(f"{parameter!r}: entries names {len(entries)} numbers, a value has {count}")


def worded(value: Any) -> str:
    """A listed value as people read it, in at most sixty characters."""
    return value if isinstance(value, str) and len(value) <= 60 and value.isprintable() else shown(value)


def copied(value: Any) -> Any:
    """A value of one's own; UsageError where that can't be."""
    try:
        return copy.deepcopy(value)
    except Exception as error:  # whatever it is that somebody's own object raises
        raise UsageError(
            f"Choice: {shown(value)} can't be copied ({error}); list a name for it, and build it where the name is put in"
        ) from error


def holds_nan(value: Any) -> bool:
    """Whether a value is NaN, or a collection that holds it."""
    if isinstance(value, tuple | list | Set | Mapping):
        return any(map(holds_nan, value.values() if isinstance(value, Mapping) else value))
    if isinstance(value, np.ndarray | Tensor):
        array = np.asarray(value)
        return array.dtype.kind in "fc" and bool(np.isnan(array).any())
    return isinstance(value, Number) and bool(value != value)


def content_of(value: Any) -> Any:
    """What two values have in common that are the same to an environment: themselves, or what pickle writes of them."""
    try:
        if type(value).__hash__ is not object.__hash__:
            hash(value)
            return value
    except TypeError:
        pass
    try:
        return pickle.dumps(value)
    except Exception:  # what can't be written is the same as itself alone
        return id(value)


def table_of(values: Iterable[Any]) -> Shaped[Tensor, "value ..."] | None:
    """Values as an int64 or float64 tensor that holds each exactly and apart; None where there is none."""
    if not all(isinstance(value, Real | tuple | list | np.ndarray | Tensor) for value in values):
        return None
    lists = [as_lists(value) for value in values]
    try:
        array = np.array(lists)
    except ValueError:  # rows of different lengths
        return None
    if array.dtype.kind not in "biuf" or array.size == 0 or (array.dtype.kind == "u" and array.max() >= 2**63):
        return None
    array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    exact = array.tolist() == lists and bool(np.isfinite(array).all())
    return torch.from_numpy(array) if exact and len(np.unique(array, axis=0)) == len(array) else None


def as_lists(value: Any) -> Any:
    """Rows of numbers, of whatever type, as lists of Python's."""
    if isinstance(value, tuple | list):
        return [as_lists(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic | Tensor) else value


def rows_of(values: Shaped[Tensor, "count ..."]) -> list[tuple[float, ...]]:
    """The numbers of each row."""
    return [tuple(row) for row in values.reshape(len(values), -1).tolist()]


def require_split(split: str) -> None:
    """UsageError, which offers the closest name, where there is no such split."""
    known = typing.get_args(Split)
    if split not in known:
        raise UsageError(f"there is no split {split!r}; {did_you_mean(str(split), known)}")


def dealt_numbers(total: int, count: int, split: Split, generator: Generator) -> list[int]:
    """Draws numbers of tasks of a split, where `total` tasks were dealt out: three fifths for training, a fifth for each other.

    The order in which they are dealt is the same in every run, and is reckoned for one number at a time.
    """
    first, last = {
        "train": (0, total * 3 // 5),
        "validation": (total * 3 // 5, total * 4 // 5),
        "test": (total * 4 // 5, total),
    }[split]
    return [task_at(first + number % (last - first), total) for number in large_numbers(total, count, generator)]


def large_numbers(total: int, count: int, generator: Generator) -> list[int]:
    """Random numbers with so many more bits than `total` that a remainder is as good as uniform."""
    words = -(-total.bit_length() // 32) + 2
    rows = torch.randint(2**32, (count, words), generator=generator).tolist()
    return [sum(word << 32 * place for place, word in enumerate(row)) for row in rows]


@lru_cache(maxsize=2**16)
def task_at(place: int, total: int) -> int:
    """Which of `total` numbered tasks lies at a place of the order in which they are dealt out.

    A permutation of range(total): a Feistel network over at most four times as many numbers, walked along until one is below
    `total` (Black & Rogaway 2002, "Ciphers with arbitrary finite domains", sec. 3 and 4).
    """
    half = (total.bit_length() + 1) // 2
    mask = 2**half - 1
    while True:
        left, right = place >> half, place & mask
        for turn in range(ROUNDS):
            digest = hashlib.shake_256(f"{total}/{turn}/{right}".encode()).digest(half // 8 + 1)
            left, right = right, left ^ int.from_bytes(digest, "little") & mask
        place = left << half | right
        if place < total:
            return place
