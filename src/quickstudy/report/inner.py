"""What gradient steps do: how far tasks agree on where to go, and what a step does to the loss that it descends."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.insight import Descends, Descent, descent_by
from quickstudy.report.series import short
from quickstudy.report.trials import Lived

MOST_TASKS = 40


def inner_steps(lived: Lived) -> dict[str, Any] | None:
    """For pairs of tasks the cosine of their first gradients and how far they lie apart; each task's losses.

    Losses are those of the task's own episodes, before and after the step that was made on them: (step, task). None for an
    agent that doesn't tell what it goes down.
    """
    agent, policies = lived.agent, lived.policies
    if not isinstance(agent, Descends):
        return None
    before = [descent_by(agent, policy, experience) for policy, experience in zip(policies, lived.episodes, strict=False)]
    after = [descent_by(agent, policy, experience) for policy, experience in zip(policies[1:], lived.episodes, strict=True)]
    cosines = alike(before[0].gradient[:MOST_TASKS]).cpu()
    places = agent.tasks.normalise({name: value.cpu() for name, value in lived.tasks.items()})[:MOST_TASKS]
    one, other = torch.triu_indices(len(cosines), len(cosines), offset=1)
    apart = (places[one] - places[other]).norm(dim=-1)
    return {
        "pairs": [[short(x, 3), short(y, 3)] for x, y in zip(apart.tolist(), cosines[one, other].tolist(), strict=True)],
        "losses": [[losses(descent) for descent in step] for step in zip(before, after, strict=True)],
    }


def losses(descent: Descent) -> list[Any]:
    """The loss of each task."""
    return [short(loss, 4) for loss in descent.loss[:MOST_TASKS].tolist()]


def alike(vectors: Float[Tensor, "task weight"]) -> Float[Tensor, "task task"]:
    """The cosine between each two vectors; 0 with one that is zero."""
    unit = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return unit @ unit.T
