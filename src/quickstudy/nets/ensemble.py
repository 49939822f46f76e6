"""An ensemble: feed-forward networks side by side, each with weights of its own, and the Gaussian that they may tell."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from quickstudy.nets.networks import ACTIVATIONS
from quickstudy.nets.options import Sizes

LOG_VARIANCE = -6.0, 1.0
"""Between these a log-variance stays, smoothly: where nothing was learnt it could be anything (Chua et al. 2018, app. A.1)."""


class Ensemble(nn.Module):
    """So many networks of the same sizes; in each layer all their products are one batched product."""

    def __init__(self, members: int, inputs: int, outputs: int, sizes: Sizes):
        super().__init__()
        widths = [inputs, *[sizes.hidden_size] * sizes.hidden_layers, outputs]
        self.weights = nn.ParameterList(torch.empty(members, after, before) for before, after in pairwise(widths))
        # flat, since first weights are drawn for what has more than one axis
        self.biases = nn.ParameterList(torch.empty(members * after) for after in widths[1:])
        self.activation = ACTIVATIONS[sizes.activation]()

    def forward(self, inputs: Float[Tensor, "member row feature"]) -> Float[Tensor, "member row output"]:
        values, last = inputs, len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = torch.baddbmm(bias.view(len(weight), 1, -1), values, weight.mT)
            values = values if layer == last else self.activation(values)
        return values


def bounded_log_variance(raw: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A log-variance between its bounds: raw in the middle, and flat where it would leave them."""
    least, most = LOG_VARIANCE
    return least + functional.softplus(most - functional.softplus(most - raw) - least)


def gaussian_error(
    mean: Float[Tensor, "*shape"], log_variance: Float[Tensor, "*shape"], value: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Minus the log-density of a value: (log var + (x - mean)^2 / var + log 2 pi) / 2."""
    return 0.5 * (log_variance + (value - mean).square() * (-log_variance).exp() + math.log(2 * math.pi))
