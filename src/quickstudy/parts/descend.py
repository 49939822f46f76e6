"""One step of an optimiser along a loss, refused where its gradient is not finite."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Adam

from quickstudy.errors import NotFinite
from quickstudy.protocol import Learner


def descend(
    learner: Learner,
    loss: Tensor,
    optimiser: Adam,
    *groups: Iterable[Tensor],
    max_norm: float | None,
    lower: str = "learning-rate",
) -> list[Tensor]:
    """Moves weights down a loss; the norm of the gradient of each group, which is scaled down to `max_norm` where there is one.

    Raises NotFinite, before anything moves, where a norm is not finite; `lower` is the option that would help.
    """
    optimiser.zero_grad()
    loss.backward()
    norms = [norm_of(list(group), max_norm) for group in groups]
    require_finite(learner, norms, lower)
    optimiser.step()
    return norms


def norm_of(weights: list[Tensor], max_norm: float | None) -> Tensor:
    """The norm of the gradient of some weights, scaled down in place to `max_norm`."""
    if max_norm is None:
        return get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    return clip_grad_norm_(weights, max_norm)


def require_finite(learner: Learner, values: Iterable[Tensor], lower: str) -> None:
    """Raises NotFinite where something on which a learner's next weights depend is NaN or infinite."""
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise NotFinite(f"{learner.name}: the gradient is not finite in iteration {learner.iteration}; lower --{lower}")
