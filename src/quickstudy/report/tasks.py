"""Where tasks lie by their parameters, and how well an agent does on each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from quickstudy.evaluation import Evaluation
from quickstudy.report.series import short
from quickstudy.tasks.parameters import Choice, LogUniform, Uniform

MOST_TASKS = 1000
MOST_AXES = 4


def task_map(evaluations: list[Evaluation], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Tasks with their parameters and returns by episode, of evaluations on different splits.

    A task's returns are means over the learners' seeds. Of more than `MOST_AXES` numbers the first ones are shown. `parameters`
    are what the distribution knows of where they are drawn from in training.
    """
    names = [name for key, value in evaluations[0].drawn.items() for name in numbers_of(key, value)]
    bounds = {name: ends for key, value in evaluations[0].drawn.items() for name, ends in bounds_of(key, value, parameters)}
    axes = names[:MOST_AXES]
    return {
        "axes": [{"name": name, "bounds": bounds[name]} for name in axes],
        "left_out": len(names) - len(axes),
        "tasks": [task for evaluation in evaluations for task in tasks_of(evaluation, len(axes))],
    }


def numbers_of(name: str, values: Tensor) -> list[str]:
    """What the numbers of a parameter are called, one for each that a task has."""
    size = values[0].numel()
    return [name] if size == 1 else [f"{name} {index + 1}" for index in range(size)]


def bounds_of(name: str, values: Tensor, parameters: Mapping[str, Any]) -> list[tuple[str, list[Any] | None]]:
    """Between which bounds each number of a parameter lies in training; None where it has none, or none are known."""
    names, parameter = numbers_of(name, values), parameters.get(name)
    if isinstance(parameter, Uniform | LogUniform):
        return [(each, [short(parameter.low), short(parameter.high)]) for each in names]
    if isinstance(parameter, Choice):
        table = parameter.table.reshape(len(parameter.values), -1)
        ends = zip(table.amin(0).tolist(), table.amax(0).tolist(), strict=True)
        return [(each, [short(low), short(high)]) for each, (low, high) in zip(names, ends, strict=True)]
    return [(each, None) for each in names]


def tasks_of(evaluation: Evaluation, axes: int) -> list[dict[str, Any]]:
    """The tasks of one evaluation; those that are the same are one, with its mean returns."""
    count = evaluation.num_tasks
    returns = evaluation.returns.double().reshape(-1, count, evaluation.returns.shape[1]).mean(0)
    together: dict[tuple[float, ...], list[int]] = {}
    for index in range(count):
        place = [number for value in evaluation.drawn.values() for number in value[index].flatten().tolist()]
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
