"""Networks side by side are each by itself, and the Gaussian that they tell is one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch.func import functional_call
from torch.nn import functional

from quickstudy.nets.ensemble import LOG_VARIANCE, Ensemble, bounded_log_variance, gaussian_error
from quickstudy.nets.networks import initial_weights, skeleton
from quickstudy.protocol import counter


@dataclass(frozen=True)
class Small:
    hidden_size: int = 5
    hidden_layers: int = 2
    activation: Literal["tanh", "relu", "elu", "gelu", "silu"] = "tanh"


def test_each_member_reads_its_own_rows_with_its_own_weights():
    net = skeleton(lambda: Ensemble(3, 4, 2, Small()))
    weights = initial_weights(net, counter(0, 0, "weights"), {}, "cpu")
    weights = {
        name: weight + 0.1 * torch.arange(weight.numel()).view_as(weight) / weight.numel() for name, weight in weights.items()
    }
    inputs = torch.randn(3, 7, 4, generator=counter(0, 0, "inputs"))
    outputs = functional_call(net, weights, (inputs,))
    for member in range(3):
        value = inputs[member]
        for layer in range(3):
            bias = weights[f"biases.{layer}"].view(3, -1)[member]
            value = functional.linear(value, weights[f"weights.{layer}"][member], bias)
            value = value.tanh() if layer < 2 else value
        torch.testing.assert_close(outputs[member], value)


def test_the_error_at_the_true_noise_is_the_entropy_of_that_noise():
    """E[-log N(x; m, s^2)] = log(s sqrt(2 pi e)) where x is of N(m, s^2), and more for any other mean or variance."""
    deviation = torch.tensor(0.3)
    value = 1.5 + deviation * torch.randn(400_000, generator=counter(0, 0, "noise"))

    def error(mean: float, std: float) -> float:
        told = torch.full_like(value, mean), torch.full_like(value, 2 * math.log(std))
        return float(gaussian_error(*told, value).mean())

    entropy = math.log(0.3 * math.sqrt(2 * math.pi * math.e))
    assert abs(error(1.5, 0.3) - entropy) < 0.01
    assert min(error(1.5, 0.25), error(1.5, 0.36), error(1.45, 0.3)) > entropy + 0.01


def test_a_log_variance_stays_between_its_bounds_and_is_itself_in_the_middle():
    least, most = LOG_VARIANCE
    raw = torch.tensor([-1000.0, (least + most) / 2, 1000.0])
    found = bounded_log_variance(raw)
    assert abs(float(found[1] - raw[1])) < 0.1
    torch.testing.assert_close(found[[0, 2]], torch.tensor([least, most]), rtol=0, atol=2e-3)
