"""Value targets on a scale that a network can learn: running mean and spread, with PopArt's correction of the last layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor, nn

from quickstudy.nets.networks import Weights, last_linear
from quickstudy.ops.fit import require_fit, require_range, within
from quickstudy.ops.policy_gradient import masked_mean

LEAST_STD = 1e-2
"""Value targets that spread less are not blown up further."""


class ValueScale(NamedTuple):
    """Exponential running moments of value targets, about their mean and in float64: returns may dwarf their spread."""

    mean: Float64[Tensor, ""]
    variance: Float64[Tensor, ""]
    weight: Float64[Tensor, ""]
    """How much of the average has been filled (Adam's correction); zero before the first targets."""

    @property
    def std(self) -> Float64[Tensor, ""]:
        return torch.where(self.weight > 0, self.variance.sqrt().clamp(min=LEAST_STD), 1.0)

    def normalise(self, value: Float[Tensor, "*axes"]) -> Float32[Tensor, "*axes"]:
        return ((value.double() - self.mean) / self.std).float()

    def restore(self, normalised: Float[Tensor, "*axes"]) -> Float64[Tensor, "*axes"]:
        return normalised.double() * self.std + self.mean


def unit_scale(device: str) -> ValueScale:
    """The scale before any target was seen: values as they are."""
    return ValueScale(*torch.zeros(3, dtype=torch.float64, device=device).unbind())


def scale_fits(where: str, stored: Any) -> None:
    """The pattern of a scale in a checkpoint, of this version or of 0.1; ValueError where it is neither."""
    names = ("first", "second", "weight") if isinstance(stored, Mapping) and "first" in stored else ValueScale._fields
    require_fit(where, stored, {name: None for name in names})
    for name in names:
        like = torch.zeros((), dtype=torch.float32 if getattr(stored[name], "dtype", None) == torch.float32 else torch.float64)
        require_fit(within(where, name), stored[name], like)
    for name in {"second", "variance"} & stored.keys():
        require_range(within(where, name), stored[name], 0)
    require_range(within(where, "weight"), stored["weight"], 0, 1 + 1e-6)


def stored_scale(state: Mapping[str, Tensor], device: str) -> ValueScale:
    """A scale from a checkpoint; those of version 0.1 held uncentred moments, not yet divided by the weight."""
    held = {name: value.to(device).double() for name, value in state.items()}
    if "first" in held:
        filled = held["weight"].clamp(min=1e-8)
        mean = held["first"] / filled
        return ValueScale(mean, (held["second"] / filled - mean.square()).clamp(min=0), held["weight"])
    return ValueScale(**held)


def follow_targets(scale: ValueScale, targets: Float[Tensor, "*axes"], valid: Bool[Tensor, "*axes"], rate: float) -> ValueScale:
    """The scale after one more batch of targets; the first one sets it.

        share = rate / weight'    mean' = mean + share (m - mean)
        variance' = (1 - share) (variance + share (m - mean)^2) + share v

    with m and v the batch's mean and variance: what averages of first and second moments come to (Chan, Golub & LeVeque 1979).
    """
    targets = targets.double()
    mean = masked_mean(targets, valid)
    variance = masked_mean((targets - mean).square(), valid)
    weight = scale.weight + rate * (1 - scale.weight)
    share, apart = rate / weight, mean - scale.mean
    spread = (1 - share) * (scale.variance + share * apart.square()) + share * variance
    return ValueScale(scale.mean + share * apart, spread, weight)


def value_head(net: nn.Module, weights: Weights) -> tuple[Float[Tensor, "1 hidden"], Float[Tensor, "1"]]:
    """Weight and bias of the layer that gives the values: the last linear one of a network's module `value`."""
    last = last_linear(net, "value")
    return weights[f"{last}.weight"], weights[f"{last}.bias"]


@torch.no_grad()
def preserve_values(
    weight: Float[Tensor, "value hidden"], bias: Float[Tensor, "value"], old: ValueScale, new: ValueScale
) -> None:
    """Changes a value head in place so that its restored outputs stay (PopArt: van Hasselt et al. 2016, proposition 1).

    Before the first targets the head has learnt nothing: kept in its place, it would begin as far off as the targets are large.
    """
    if old.weight > 0:
        bias.copy_((bias.double() * old.std + old.mean - new.mean) / new.std)
        weight.mul_(old.std / new.std)
