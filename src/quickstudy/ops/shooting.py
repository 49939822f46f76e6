"""Planning by shooting: noise for sequences of actions, how much each counts by its return, and what is fitted to them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def colouring(steps: int, exponent: float) -> Float[Tensor, "{steps} {steps}"]:
    """What makes coloured noise of white noise over so many steps: variance 1 at each, and a power of f^-exponent.

    At the frequency f, in cycles a step; at 0 as at the lowest one above it (iCEM: Pinneri et al. 2020, sec. 3.1). The end of
    a sequence is as near to its beginning as a neighbour is.
    """
    power = torch.fft.fftfreq(steps).abs().clamp(min=1 / steps) ** -exponent
    gain = (power / power.mean()).sqrt()
    return torch.fft.ifft(gain[:, None] * torch.fft.fft(torch.eye(steps), dim=0), dim=0).real


def best_of(returns: Float[Tensor, "*lead candidate"], count: int) -> Int[Tensor, "*lead best"]:
    """The places of the highest returns, by rank; what came to no number is the worst."""
    return returns.nan_to_num(nan=-torch.inf).topk(count, dim=-1).indices


def elite_weights(returns: Float[Tensor, "*lead candidate"], count: int) -> Float[Tensor, "*lead candidate"]:
    """The cross-entropy method's: the highest returns count alike, the others nothing (Rubinstein 1999)."""
    return torch.zeros_like(returns).scatter(-1, best_of(returns, count), 1 / count)


def path_weights(returns: Float[Tensor, "*lead candidate"], temperature: float) -> Float[Tensor, "*lead candidate"]:
    """MPPI's: w = softmax(R / (temperature std(R))) over the candidates (Williams et al. 2017, with R's deviation as unit)."""
    known = returns.nan_to_num(nan=-1e9).clamp(-1e9, 1e9)
    unit = (temperature * known.std(-1, correction=0, keepdim=True)).clamp(min=1e-9)
    return ((known - known.amax(-1, keepdim=True)) / unit).softmax(-1)


def fitted(
    weights: Float[Tensor, "*lead candidate"], plans: Float[Tensor, "*lead candidate time entry"]
) -> tuple[Float[Tensor, "*lead time entry"], Float[Tensor, "*lead time entry"]]:
    """Weighted mean and deviation of each entry: m = sum w x,  s^2 = sum w (x - m)^2."""
    mean = torch.einsum("...c,...cte->...te", weights, plans)
    variance = torch.einsum("...c,...cte->...te", weights, (plans - mean.unsqueeze(-3)).square())
    return mean, variance.sqrt()
