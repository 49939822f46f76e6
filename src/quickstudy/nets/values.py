"""Value targets on a scale that a network can learn: running mean and spread, with PopArt's correction of the last layer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quickstudy.ops.policy_gradient import masked_mean


class ValueScale(NamedTuple):
    """Exponential running moments of value targets; `weight` is how much of the average has been filled (Adam's correction)."""

    first: Float[Tensor, ""]
    second: Float[Tensor, ""]
    weight: Float[Tensor, ""]

    @property
    def mean(self) -> Tensor:
        return self.first / self.weight.clamp(min=1e-8)

    @property
    def std(self) -> Tensor:
        variance = self.second / self.weight.clamp(min=1e-8) - self.mean.square()
        return torch.where(self.weight > 0, variance.clamp(min=1e-4).sqrt(), 1.0)

    def normalise(self, value: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        return (value - self.mean) / self.std

    def restore(self, normalised: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        return normalised * self.std + self.mean


def unit_scale(device: str) -> ValueScale:
    """The scale before any target was seen: values as they are."""
    return ValueScale(*torch.zeros(3, device=device).unbind())


def follow_targets(scale: ValueScale, targets: Float[Tensor, "*axes"], valid: Bool[Tensor, "*axes"], rate: float) -> ValueScale:
    """The scale after one more batch of targets."""
    batch = ValueScale(masked_mean(targets, valid), masked_mean(targets.square(), valid), torch.ones_like(scale.weight))
    return ValueScale(*(old + rate * (new - old) for old, new in zip(scale, batch, strict=True)))


@torch.no_grad()
def preserve_values(weight: Float[Tensor, "1 hidden"], bias: Float[Tensor, "1"], old: ValueScale, new: ValueScale) -> None:
    """Changes a value head in place so that its restored outputs stay (PopArt: van Hasselt et al. 2016, proposition 1)."""
    bias.copy_((bias * old.std + old.mean - new.mean) / new.std)
    weight.mul_(old.std / new.std)
