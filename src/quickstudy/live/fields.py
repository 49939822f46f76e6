"""What can be set of a task: its parameters as bounded numbers, to which a page has sliders and lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from quickstudy.errors import UsageError
from quickstudy.protocol import Tasks
from quickstudy.report.series import short
from quickstudy.tasks.entries import numbers_of
from quickstudy.tasks.parameters import Choice, LogUniform, Normal, Uniform, word_of
from quickstudy.tasks.rows import Rows

MOST_FIELDS = 12
"""Nobody would move more sliders than so many."""
SPREADS = 3.0
"""Standard deviations to either side of a mean that can be set."""


class Field(NamedTuple):
    """One number of a task between two bounds, or the number of one of its options."""

    name: str
    low: float
    high: float
    logarithmic: bool
    options: list[str] | None


def fields_of(parameters: Mapping[str, Any], task: Tasks) -> list[Field]:
    """The fields of a family, for `task`, one of its tasks (1, ...); none where there are too many or some has no bounds."""
    found: list[Field] = []
    for name, values in task.items():
        parameter = parameters.get(name)
        if isinstance(parameter, Rows):
            found.append(Field(name, 0, len(parameter.names) - 1, False, list(parameter.names)))
        elif isinstance(parameter, Choice):
            rows = parameter.table.reshape(len(parameter.values), -1).tolist()
            options = [
                word_of(parameter, parameter.table[place]) or entries_in_words(parameter, row) for place, row in enumerate(rows)
            ]
            found.append(Field(name, 0, len(options) - 1, False, options))
        elif isinstance(parameter, Uniform | LogUniform | Normal):
            low, high = bounds(parameter)
            logarithmic = isinstance(parameter, LogUniform)
            found += [Field(each, low, high, logarithmic, None) for each in numbers_of(name, values, parameter)]
        else:
            return []
    return found if len(found) <= MOST_FIELDS else []


def entries_in_words(parameter: Choice, row: list[float]) -> str:
    """The numbers of an option, each with its name where they have some."""
    names = parameter.entries or ("",) * len(row)
    return ", ".join(f"{name} {short(number)}".strip() for name, number in zip(names, row, strict=True))


def bounds(parameter: Uniform | LogUniform | Normal) -> tuple[float, float]:
    """Between what a number can be set."""
    if isinstance(parameter, Normal):
        return parameter.mean - SPREADS * parameter.std, parameter.mean + SPREADS * parameter.std
    return parameter.low, parameter.high


def task_of(fields: list[Field], parameters: Mapping[str, Any], like: Tasks, given: Mapping[str, float]) -> Tasks:
    """The task (1, ...) that numbers describe, shaped like `like`; UsageError where one is missing or out of bounds."""
    if given.keys() != {field.name for field in fields}:
        raise UsageError(f"a task of this family is {', '.join(field.name for field in fields) or 'drawn'}, nothing else")
    values = []
    for field in fields:
        value = given[field.name]
        # a slider's text has fewer digits than a bound
        slack = 0.0 if field.options else 1e-6 * (field.high - field.low)
        if not field.low - slack <= value <= field.high + slack or (field.options and value % 1):
            raise UsageError(f"{field.name} = {value:g} is not between {field.low:g} and {field.high:g}")
        values.append(min(max(value, field.low), field.high))
    task, left = {}, iter(values)
    for name, example in like.items():
        parameter = parameters[name]
        if isinstance(parameter, Choice):
            task[name] = parameter.table[int(next(left))].reshape(example.shape).to(example.dtype, copy=True)
        else:
            numbers = [next(left) for _ in range(example.numel())]
            task[name] = torch.tensor(numbers, dtype=example.dtype).reshape(example.shape)
    return task


def values_of(fields: list[Field], parameters: Mapping[str, Any], task: Tasks) -> dict[str, float]:
    """The fields' numbers of a task (1, ...)."""
    numbers: list[float] = []
    for name, values in task.items():
        parameter = parameters.get(name)
        numbers += [float(parameter.place_of(values))] if isinstance(parameter, Choice) else values.flatten().tolist()
    return dict(zip((field.name for field in fields), numbers, strict=True)) if fields else {}


def plain_fields(fields: list[Field]) -> list[dict[str, Any]]:
    """Fields as plain values."""
    return [field._asdict() | {"low": short(field.low, 9), "high": short(field.high, 9)} for field in fields]
