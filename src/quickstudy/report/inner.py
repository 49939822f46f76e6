"""What gradient steps do: how far tasks agree on where to go, and what a step does to the loss that it descends."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, vmap

from quickstudy.algorithms.gradient.maml import MAML
from quickstudy.nets.networks import Weights
from quickstudy.parts.gradient import Samples, inner_loss, samples_of
from quickstudy.report.series import short
from quickstudy.report.trials import Lived

MOST_TASKS = 40


def inner_steps(lived: Lived) -> dict[str, Any] | None:
    """For pairs of tasks the cosine of their first gradients and how far they lie apart; each task's losses. None but for MAML.

    Losses are those of the task's own episodes, before and after the step that was made on them: (step, task).
    """
    agent = lived.agent
    if not isinstance(agent, MAML):
        return None
    stages = [samples_of(agent.inner, experience) for experience in lived.episodes]
    cosines = alike(gradients(agent, lived.policies[0], stages[0])[:MOST_TASKS]).cpu()
    places = agent.tasks.normalise({name: value.cpu() for name, value in lived.tasks.items()})[:MOST_TASKS]
    one, other = torch.triu_indices(len(cosines), len(cosines), offset=1)
    apart = (places[one] - places[other]).norm(dim=-1)
    steps = zip(stages, lived.policies, lived.policies[1:], strict=False)
    return {
        "pairs": [[short(x, 3), short(y, 3)] for x, y in zip(apart.tolist(), cosines[one, other].tolist(), strict=True)],
        "losses": [[losses(agent, policy, samples) for policy in (before, after)] for samples, before, after in steps],
    }


def gradients(agent: MAML, policy: Any, samples: Samples) -> Float[Tensor, "task weight"]:
    """The gradient of each task's inner loss where the policy's weights are."""
    found = vmap(grad(loss_of(agent)), in_dims=(policy.axis, 0))(policy.start.weights, samples)
    return torch.cat([gradient.flatten(1) for gradient in found.values()], dim=1)


def losses(agent: MAML, policy: Any, samples: Samples) -> list[Any]:
    """The inner loss of each task with the policy's weights."""
    found = vmap(loss_of(agent), in_dims=(policy.axis, 0))(policy.start.weights, samples)
    return [short(loss, 4) for loss in found[:MOST_TASKS].tolist()]


def loss_of(agent: MAML) -> Any:
    """The inner loss as a function of weights and of one task's samples."""

    def loss(weights: Weights, own: Samples) -> Float[Tensor, ""]:
        return inner_loss(agent.inner, weights, own)

    return loss


def alike(vectors: Float[Tensor, "task weight"]) -> Float[Tensor, "task task"]:
    """The cosine between each two vectors; 0 with one that is zero."""
    unit = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return unit @ unit.T
