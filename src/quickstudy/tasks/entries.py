"""Tasks as rows of numbers, whatever axes their parameters have, and what each number is called."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Any

from torch import Tensor

from quickstudy.protocol import Tasks
from quickstudy.tasks.parameters import word_of


def as_rows(tasks: Tasks, count: int, parameters: Mapping[str, Any] | None = None) -> tuple[list[str], list[list[float | int]]]:
    """What the numbers of a task are called, and each of the first tasks as one row of them.

    `parameters` are what the distribution knows of where they are drawn from: they may name their entries. Whole numbers are
    whole; tasks without parameters have empty rows.
    """
    names = [name for key, value in tasks.items() for name in numbers_of(key, value, (parameters or {}).get(key))]
    columns = [value[:count, ..., None].flatten(1).tolist() for value in tasks.values()]
    return names, [[number for column in columns for number in column[index]] for index in range(count)]


def numbers_of(name: str, values: Tensor, parameter: Any = None) -> list[str]:
    """What the numbers of a parameter are called, one for each that a task has: by their entries' names, or counted.

    In a table of numbers each axis is counted: the second number of the third row is `3, 2`.
    """
    sizes = [size for size in values.shape[1:] if size > 1]
    if 0 in values.shape[1:]:
        return []
    if not sizes:
        return [name]
    entries = getattr(parameter, "entries", ())
    counted = (", ".join(str(place + 1) for place in places) for places in product(*map(range, sizes)))
    return [f"{name} {entry}" for entry in (entries if len(entries) == prod(sizes) else counted)]


def named_values(tasks: Tasks, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each task's numbers by what they are called; values that are no numbers in their own words."""
    count = len(next(iter(tasks.values()))) if tasks else 0
    names, rows = as_rows(tasks, count, parameters)
    found: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in rows]
    for name, values in tasks.items():
        if name in names:
            for row, value in zip(found, values, strict=True):
                row[name] = word_of(parameters.get(name), value) or row[name]
    return found
