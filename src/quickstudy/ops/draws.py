"""Random numbers of other distributions from uniform ones, by inverse distribution functions: a fixed number of draws each.

Dynamics are handed a fixed number of uniform numbers a step, so that no lane's noise depends on another's. `share` is uniform
on [0, 1), of any shape.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

TINY = 2.0**-25
"""Half of the least positive number that a uniform draw in float32 gives: what stands in for zero."""


def normal(share: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
    """Standard normal; at most 5.5 from zero."""
    return torch.special.ndtri(share.clamp(TINY, 1 - 2 * TINY))


def bernoulli(share: Float[Tensor, "*lead"], chance: Float[Tensor, "*lead"] | float) -> Bool[Tensor, "*lead"]:
    """True with a chance."""
    return share < chance


def poisson(share: Float[Tensor, "*lead"], rate: Float[Tensor, "*lead"], most: int) -> Int64[Tensor, "*lead"]:
    """Poisson with a mean, cut at `most`: how many numbers k below it have a chance of at most k that is not above `share`."""
    events = torch.arange(most, device=share.device, dtype=share.dtype)
    mean = rate.clamp(min=1e-30)[..., None]
    chances = (events * mean.log() - mean - torch.lgamma(events + 1)).exp()
    return (share[..., None] >= chances.cumsum(-1)).sum(-1)


def category(share: Float[Tensor, "*lead"], weights: Float[Tensor, "*lead entry"]) -> Int64[Tensor, "*lead"]:
    """The number of an entry, drawn with chances in proportion to its weight."""
    below = weights.cumsum(-1)
    return (share[..., None] * below[..., -1:] >= below).sum(-1).clamp(max=weights.shape[-1] - 1)


def permutation(share: Float[Tensor, "*lead entry"]) -> Int64[Tensor, "*lead entry"]:
    """Numbers from 0 in a random order."""
    return share.argsort(-1)
