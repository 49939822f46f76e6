"""Where tasks lie by their parameters, and how well an agent does on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from quickstudy.protocol import Tasks
from quickstudy.report.series import short
from quickstudy.scene import Aimed
from quickstudy.scores import Evaluation
from quickstudy.tasks.entries import as_rows, numbers_of
from quickstudy.tasks.parameters import Choice, LogUniform, Uniform, word_of

MOST_TASKS = 1000
MOST_AXES = 4
FAR = 1e4
"""Beyond every picture."""


def task_map(evaluations: list[Evaluation], parameters: Mapping[str, Any], dynamics: Any = None) -> dict[str, Any]:
    """Tasks with their parameters and returns by episode, of evaluations on different splits.

    A task's returns are means over the learners' seeds. Of more than `MOST_AXES` numbers the first ones are shown. `parameters`
    are what the distribution knows of where they are drawn from in training, `dynamics` what makes the tasks, where known.
    """
    names, _ = as_rows(evaluations[0].drawn, 0, parameters)
    bounds = {name: ends for key, value in evaluations[0].drawn.items() for name, ends in bounds_of(key, value, parameters)}
    words = words_of([evaluation.drawn for evaluation in evaluations], parameters)
    axes = names[:MOST_AXES]
    return {
        "axes": [{"name": name, "bounds": bounds[name]} | ({"words": words[name]} if name in words else {}) for name in axes],
        "plane": plane_of(dynamics),
        "left_out": len(names) - len(axes),
        "tasks": [task for evaluation in evaluations for task in tasks_of(evaluation, len(axes))],
    }


def bounds_of(name: str, values: Tensor, parameters: Mapping[str, Any]) -> list[tuple[str, list[Any] | None]]:
    """Between which bounds each number of a parameter lies in training; None where it has none, or none are known."""
    parameter = parameters.get(name)
    names = numbers_of(name, values, parameter)
    if isinstance(parameter, Uniform | LogUniform):
        return [(each, [short(parameter.low), short(parameter.high)]) for each in names]
    if isinstance(parameter, Choice):
        table = parameter.table.reshape(len(parameter.values), -1)
        ends = zip(table.amin(0).tolist(), table.amax(0).tolist(), strict=True)
        return [(each, [short(low), short(high)]) for each, (low, high) in zip(names, ends, strict=True)]
    return [(each, None) for each in names]


def words_of(drawn: Sequence[Tasks], parameters: Mapping[str, Any]) -> dict[str, dict[int, str]]:
    """What the places of values that are no numbers are called, by parameter: of those that are met in some tasks."""
    met: dict[str, dict[int, str]] = {}
    for tasks in drawn:
        for name, values in tasks.items():
            for place in values[:MOST_TASKS]:
                if word := word_of(parameters.get(name), place):
                    met.setdefault(name, {})[int(place)] = word
    return met


def plane_of(dynamics: Any) -> list[int]:
    """Of a task's first two numbers, which grows to the right and which upwards where its pictures show it."""
    if isinstance(dynamics, Aimed):
        left, right = (dynamics.task_at((x, FAR)) for x in (-FAR, FAR))
        moved = [bool(differs) for name in left for differs in (left[name] != right[name]).flatten()]
        if moved[:2] == [False, True]:
            return [1, 0]
    return [0, 1]


def tasks_of(evaluation: Evaluation, axes: int) -> list[dict[str, Any]]:
    """The tasks of one evaluation; those that are the same are one, with its mean returns."""
    count = evaluation.num_tasks
    returns = evaluation.returns.double().reshape(-1, count, evaluation.returns.shape[1]).mean(0)
    together: dict[tuple[float, ...], list[int]] = {}
    for index, place in enumerate(as_rows(evaluation.drawn, count)[1]):
        together.setdefault(tuple(place), []).append(index)
    return [
        {
            "split": evaluation.split,
            "at": [short(number) for number in place[:axes]],
            "met": len(indices),
            "returns": [short(value) for value in returns[indices].mean(0).tolist()],
        }
        for place, indices in list(together.items())[:MOST_TASKS]
    ]
