"""Surrogate losses of policy-gradient methods, and the means they are made of."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(values: Float[Tensor, "*axes"], valid: Bool[Tensor, "*axes"]) -> Float[Tensor, ""]:
    """The mean over the valid entries: sum(valid x) / sum(valid)."""
    return (values * valid).sum() / valid.sum().clamp(min=1)


def root(values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """The square root, whose slope at 0 is taken to be 0: through the spread of what is all alike no gradient becomes NaN."""
    none = values == 0
    return values.masked_fill(none, 1.0).sqrt().masked_fill(none, 0.0)


def standardise(
    values: Float[Tensor, "*axes"], valid: Bool[Tensor, "*axes"], floor: float | Float[Tensor, ""] = 1e-8
) -> Float[Tensor, "*axes"]:
    """Values less their mean, over their standard deviation, both over the valid entries.

    (x - mean) / (std + floor).

    `floor` is added to the deviation: a spread much smaller than that is noise and stays small.
    """
    mean = masked_mean(values, valid)
    variance = masked_mean((values - mean).square(), valid)
    return (values - mean) / (root(variance) + floor)


def clipped_surrogate(
    log_prob: Float[Tensor, "*axes"],
    behaviour_log_prob: Float[Tensor, "*axes"],
    advantage: Float[Tensor, "*axes"],
    clip: float,
) -> Float[Tensor, "*axes"]:
    """PPO's loss at each step (Schulman et al. 2017, eq. 7), to be minimised.

    -min(r_t A_t, clip(r_t, 1 - clip, 1 + clip) A_t),  r_t = pi(a_t | s_t) / behaviour(a_t | s_t).

    The ratio's denominator is the log-probability that was recorded when the action was taken.
    """
    ratio = (log_prob - behaviour_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def sampled_kl(log_prob: Float[Tensor, "*axes"], behaviour_log_prob: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """An estimate of KL(behaviour || policy) from the behaviour's own actions, unbiased and never negative.

    r_t - 1 - log r_t,  r_t = pi(a_t | s_t) / behaviour(a_t | s_t).
    """
    difference = log_prob - behaviour_log_prob
    return difference.exp() - 1 - difference


def explained_variance(
    value: Float[Tensor, "*axes"], target: Float[Tensor, "*axes"], valid: Bool[Tensor, "*axes"]
) -> Float[Tensor, ""]:
    """1 - Var(target - value) / Var(target) over the valid entries: 1 for a perfect critic, 0 for a constant."""

    def variance(x: Tensor) -> Tensor:
        return masked_mean((x - masked_mean(x, valid)).square(), valid)

    return 1 - variance(target - value) / variance(target).clamp(min=1e-12)
