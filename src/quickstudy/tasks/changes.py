"""A change in mid-episode: from a step on that the agent isn't told, a task's parameters have other values.

It is within each episode, at the same step and to the same values in all of a trial, so that every episode begins with the
world as it was. The state holds the steps of its episode, and the observation their share of the time limit: who is told the
task then knows what holds, and nobody else does.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.protocol import Tasks
from quickstudy.scene import GREY, ORANGE, Point, Text
from quickstudy.tasks.parameters import Parameter, Uniform

AFTER, STEP = "after_", "change_step"


def with_change(limit: int, parameters: Mapping[str, Parameter], **after: Parameter) -> dict[str, Parameter]:
    """These parameters, `after_<name>` for what takes the place of some, and `change_step`, the step from which that holds.

    The step lies in the middle half of an episode of at most `limit` steps, for extrapolation in the eighths before and behind.
    """
    later = {AFTER + name: parameter for name, parameter in after.items()}
    return {**parameters, **later, STEP: Uniform(limit / 4, 3 * limit / 4)}


def in_force(task: Tasks, elapsed: Float[Tensor, "*batch"] | None = None) -> Tasks:
    """What a task's parameters, each one number, are after so many steps of an episode; as they are where none are counted."""
    if elapsed is None:
        return task
    changed = elapsed >= task[STEP]
    return {name: torch.where(changed, task.get(AFTER + name, value), value) for name, value in task.items()}


def notice(task: Tasks, elapsed: Float[Tensor, ""], center: Point, height: float) -> Text:
    """What a viewer is told of the change of one task, after so many steps of an episode."""
    step, changed = f"step {float(task[STEP].ceil()):g}", bool(elapsed > task[STEP].ceil())
    return Text(center, f"changed at {step}" if changed else f"changes at {step}", height, ORANGE if changed else GREY)
