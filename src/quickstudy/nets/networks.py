"""Building blocks of networks, and how a skeleton gets its first weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

Weights = dict[str, Tensor]
Net = TypeVar("Net", bound=nn.Module)


class Recurrent(nn.Module):
    """A GRU (Cho et al. 2014) or LSTM (Hochreiter & Schmidhuber 1997) layer over sequences, its state passed and returned.

    `torch.nn.GRU` keeps references to its own weights, so weights passed as values would not reach it.
    """

    def __init__(self, kind: Literal["gru", "lstm"], inputs: int, hidden: int):
        super().__init__()
        gates = {"gru": 3, "lstm": 4}[kind]
        self.kind = kind
        self.state_size = {"gru": hidden, "lstm": 2 * hidden}[kind]
        self.from_input = nn.Parameter(torch.empty(gates, hidden, inputs))
        self.from_hidden = nn.Parameter(torch.empty(gates, hidden, hidden))
        self.input_bias = nn.Parameter(torch.empty(gates * hidden))
        self.hidden_bias = nn.Parameter(torch.empty(gates * hidden))

    def forward(
        self, inputs: Float[Tensor, "time batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "time batch hidden"], Float[Tensor, "batch state"]]:
        weights = [self.from_input.flatten(0, 1), self.from_hidden.flatten(0, 1), self.input_bias, self.hidden_bias]
        options = (weights, True, 1, 0.0, False, False, False)
        if self.kind == "gru":
            outputs, last = torch.gru(inputs, state[None], *options)
            return outputs, last[0]
        hidden, cell = (part[None].contiguous() for part in state.chunk(2, dim=-1))
        outputs, last, cell = torch.lstm(inputs, (hidden, cell), *options)
        return outputs, torch.cat([last[0], cell[0]], dim=-1)


def multilayer(
    inputs: int, hidden: int, layers: int, outputs: int, activation: Callable[[], nn.Module] = nn.Tanh
) -> nn.Sequential:
    """A feed-forward network of `layers` hidden layers."""
    sizes = [inputs] + [hidden] * layers
    parts: list[nn.Module] = []
    for before, after in pairwise(sizes):
        parts += [nn.Linear(before, after), activation()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], outputs))


def skeleton(build: Callable[[], Net]) -> Net:
    """A network without weights of its own: building it draws no random number and takes no memory."""
    with torch.device("meta"):
        return build()


def initial_weights(net: nn.Module, generator: Generator, gains: Mapping[str, float], device: str) -> Weights:
    """First weights for a skeleton: orthogonal matrices (Saxe et al. 2014) and zero biases.

    `gains` maps the beginnings of names to scales; others have 1. Drawn on the CPU, so that a seed means the same everywhere.
    """
    weights = {}
    for name, parameter in net.named_parameters():
        value = torch.zeros(parameter.shape)
        gain = next((gain for prefix, gain in gains.items() if name.startswith(prefix)), 1.0)
        for matrix in value.reshape(-1, *value.shape[-2:]) if value.dim() > 1 else ():
            nn.init.orthogonal_(matrix, gain, generator=generator)
        weights[name] = value.to(device).requires_grad_()
    return weights


@torch.no_grad()
def copy_into(weights: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Puts stored values into weights in place, so that an optimiser keeps hold of them; ValueError where a shape differs.

    Both may be nested: mappings of weights by name.
    """
    for name, weight in weights.items():
        if isinstance(weight, Mapping):
            copy_into(weight, stored[name])
        elif stored[name].shape != weight.shape:
            raise ValueError(f"{name} has shape {tuple(stored[name].shape)}, not {tuple(weight.shape)}")
        else:
            weight.copy_(stored[name])


@torch.no_grad()
def follow(target: Weights, weights: Weights, rate: float) -> None:
    """Moves target weights in place a share of the way to others (Polyak averaging: Lillicrap et al. 2016, algorithm 1)."""
    torch._foreach_lerp_(list(target.values()), [weights[name].detach() for name in target], rate)
