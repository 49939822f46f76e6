"""Returns and advantages of experience with time as the last axis.

A trial is one lifetime of several episodes. `by trial`, credit crosses the ends of its episodes and stops at its last
valid step; `by episode`, it stops at each end.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def discounted_sum(values: Float[Tensor, "*lead time"], discount: Float[Tensor, "*lead time"]) -> Float[Tensor, "*lead time"]:
    """G_t = values_t + discount_t G_{t+1}, with G = 0 after the last step."""
    total = torch.zeros_like(values[..., 0])
    sums = []
    for value, factor in zip(values.flip(-1).unbind(-1), discount.flip(-1).unbind(-1), strict=True):
        total = value + factor * total
        sums.append(total)
    return torch.stack(sums[::-1], dim=-1)


def following(values: Float[Tensor, "*lead time"]) -> Float[Tensor, "*lead time"]:
    """values_{t+1} at each t, and zero at the last step."""
    return torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], dim=-1)


def trial_advantages(
    reward: Float[Tensor, "*lead time"],
    value: Float[Tensor, "*lead time"],
    valid: Bool[Tensor, "*lead time"],
    discount: float,
    trace: float,
) -> Float[Tensor, "*lead time"]:
    """Generalised advantage estimates over the trial (Schulman et al. 2016, eq. 16), with credit across episode ends.

    A_t = delta_t + gamma lambda A_{t+1},  delta_t = r_t + gamma V_{t+1} - V_t,  with V = A = 0 after the last valid step.

    Valid steps come first in each lane; the trial ends with the last of them and has no value after it. An episode's
    time limit within the trial is neither an end nor a bootstrap: the next episode follows.
    """
    reward, value = reward * valid, value * valid
    delta = (reward + discount * following(value) - value) * valid
    return discounted_sum(delta, discount * trace * valid.to(delta))


def episode_advantages(
    reward: Float[Tensor, "*lead time"],
    value: Float[Tensor, "*lead time"],
    arrival_value: Float[Tensor, "*lead time"],
    terminated: Bool[Tensor, "*lead time"],
    truncated: Bool[Tensor, "*lead time"],
    valid: Bool[Tensor, "*lead time"],
    discount: float,
    trace: float,
) -> Float[Tensor, "*lead time"]:
    """Generalised advantage estimates that stop at each episode's end (Schulman et al. 2016, eq. 16; Pardo et al. 2018).

    A_t = delta_t + gamma lambda (1 - end_t) A_{t+1},  delta_t = r_t + gamma V'_t - V_t,  with V'_t the value of where t led:
    0 where terminated, arrival_value_t where truncated, else V_{t+1}.

    `arrival_value` is the value of the true successor; it is read where an episode was truncated, never where it terminated.
    """
    ended = terminated | truncated
    successor = torch.where(truncated, arrival_value, following(value)) * ~terminated
    delta = (reward + discount * successor - value) * valid
    return discounted_sum(delta, discount * trace * (valid & ~ended).to(delta))


def episode_index(ended: Bool[Tensor, "*lead time"]) -> Int[Tensor, "*lead time"]:
    """How many episodes of the trial had ended before each step: e_t = sum over s < t of ended_s, 0 during the first."""
    return ended.long().cumsum(-1) - ended.long()


def episode_returns(
    reward: Float[Tensor, "*lead time"],
    ended: Bool[Tensor, "*lead time"],
    valid: Bool[Tensor, "*lead time"],
    episodes: int,
) -> Float[Tensor, "*lead {episodes}"]:
    """The undiscounted return of each of the first `episodes` episodes; zero for one that never began.

    G_k = sum of r_t over the valid t in episode k, e_t = k.
    """
    index = episode_index(ended & valid).clamp(max=episodes - 1)
    sums = torch.zeros(*reward.shape[:-1], episodes, dtype=reward.dtype, device=reward.device)
    return sums.scatter_add(-1, index, reward * valid)
