"""Figures in which people of a field count, beside returns: time in range, delay per vehicle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from quickstudy.arguments import shown
from quickstudy.errors import EnvironmentFault, UsageError

How = Literal["mean", "sum", "last"]
"""What an episode's figure is of what its steps say: their mean, their sum, or what the last one says."""
Figures = Mapping[str, How]
"""Each figure by its name, under which the info of every step tells it, with what becomes of an episode's steps."""


def figures_of(tasks: Any) -> Figures:
    """The figures of a task distribution; nothing, where it names none."""
    return getattr(tasks, "figures", {})


def require_figures(tasks: object, figures: Any) -> None:
    """UsageError where figures are no table of names and what becomes of an episode's steps."""
    if not isinstance(figures, Mapping) or not all(isinstance(name, str) for name in figures):
        raise UsageError(f"{tasks!r}: figures is {shown(figures)}, it must be a table such as {{'delay': 'mean'}}")
    for name, how in figures.items():
        if name == "success" or how not in get_args(How):
            raise UsageError(
                f"{tasks!r}: figures['{name}'] is {shown(how)}; a figure is 'mean', 'sum' or 'last' of what info says at"
                " each step, and success needs no name"
            )


def of_episode(
    figures: Figures, info: Mapping[str, Shaped[Tensor, "task lane time"]], valid: Bool[Tensor, "task lane time"]
) -> dict[str, Float[Tensor, "task"]]:
    """Each figure of an episode, lanes averaged; EnvironmentFault where a step didn't tell one."""
    return {name: combined(how, told(name, info), valid).mean(1) for name, how in figures.items()}


def told(name: str, info: Mapping[str, Shaped[Tensor, "*lead"]]) -> Shaped[Tensor, "*lead"]:
    """What steps say of a figure."""
    if name not in info:
        raise EnvironmentFault(f"the tasks name a figure '{name}', of which the info of their steps says nothing")
    return info[name]


def combined(
    how: How, values: Shaped[Tensor, "task lane time"], valid: Bool[Tensor, "task lane time"]
) -> Float[Tensor, "task lane"]:
    """An episode's figure in each lane."""
    steps = valid.sum(-1)
    if how == "last":
        return values.float().gather(-1, (steps - 1).clamp(min=0)[..., None]).squeeze(-1)
    total = torch.where(valid, values, 0).float().sum(-1)
    return total if how == "sum" else total / steps.clamp(min=1)
