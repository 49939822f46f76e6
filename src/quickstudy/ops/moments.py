"""Running means and variances, merged exactly from batches (Chan, Golub & LeVeque 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.ops.fit import Check, require_fit, require_range, within

ROUNDING = 2.0**-23


class Moments(NamedTuple):
    """How many values there were, their mean, and the sum of their squared distances from it, in float64."""

    number: Float[Tensor, ""]
    mean: Float[Tensor, "*shape"]
    spread: Float[Tensor, "*shape"]

    @property
    def std(self) -> Float[Tensor, "*shape"]:
        """The standard deviation, 1 where nothing was seen, or nothing varies by more than float32 rounds the mean."""
        deviation = (self.spread / self.number.clamp(min=1)).sqrt()
        return torch.where(deviation > ROUNDING * self.mean.abs(), deviation, 1.0)

    def normalise(self, values: Float[Tensor, "*lead"], limit: float = 10.0) -> Float[Tensor, "*lead"]:
        """Values with mean 0 and standard deviation 1, cut off at `limit`."""
        return ((values.double() - self.mean) / self.std).clamp(-limit, limit).to(values)


def no_moments(shape: Sequence[int], device: str = "cpu") -> Moments:
    """The moments of nothing."""
    zeros = torch.zeros(shape, dtype=torch.float64, device=device)
    return Moments(torch.zeros((), dtype=torch.float64, device=device), zeros, zeros.clone())


def moments_of(values: Float[Tensor, "value *shape"]) -> Moments:
    """The moments of some values; those of nothing where there are none."""
    if not len(values):
        return no_moments(values.shape[1:], str(values.device))
    values = values.double()
    mean = values.mean(0)
    return Moments(torch.tensor(len(values), dtype=torch.float64, device=values.device), mean, (values - mean).square().sum(0))


def moments_fit(moments: Moments) -> Check:
    """The pattern of running moments, as names and tensors: their shapes, and nothing below zero where nothing can be."""

    def check(where: str, stored: Any) -> None:
        require_fit(where, stored, moments._asdict())
        for name in ("number", "spread"):
            require_range(within(where, name), stored[name], 0)

    return check


def merged(one: Moments, other: Moments) -> Moments:
    """The moments of both.

    n = n1 + n2,  mean = mean1 + d n2 / n,  spread = spread1 + spread2 + d^2 n1 n2 / n,  d = mean2 - mean1.
    """
    number = one.number + other.number
    share = other.number / number.clamp(min=1)
    apart = other.mean - one.mean
    return Moments(number, one.mean + apart * share, one.spread + other.spread + apart.square() * one.number * share)
