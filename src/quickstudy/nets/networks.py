"""Building blocks of networks, and how a skeleton gets its first weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from quickstudy.arguments import shown
from quickstudy.errors import UsageError
from quickstudy.nets.gru import gru
from quickstudy.nets.options import Cell, Network
from quickstudy.ops.tree import Tree, tree_map

Weights = dict[str, Tensor]
Net = TypeVar("Net")
Build = Callable[[int, int], nn.Module]
"""What builds a network of one's own, given the number of its inputs and of its outputs."""
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU}


class Layer(nn.Module):
    """A hidden layer in one piece: linear, normalised where that is wanted, and its activation."""

    def __init__(self, inputs: int, network: Network):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(network.hidden_size, inputs))
        self.bias = nn.Parameter(torch.empty(network.hidden_size))
        self.norm = nn.LayerNorm(network.hidden_size) if network.layer_norm else nn.Identity()
        self.activation = ACTIVATIONS[network.activation]()

    def forward(self, inputs: Float[Tensor, "*lead feature"]) -> Float[Tensor, "*lead hidden"]:
        return self.activation(self.norm(functional.linear(inputs, self.weight, self.bias)))


def encoder(inputs: int, network: Network) -> tuple[nn.Module, int]:
    """What reads inputs first, and how many numbers it gives."""
    return (nn.Identity(), inputs) if network.encoder == "none" else (Layer(inputs, network), network.hidden_size)


def head(inputs: int, outputs: int, network: Network) -> nn.Sequential:
    """Hidden layers and a linear last one, which `last_layer` names."""
    options = ACTIVATIONS[network.activation], network.layer_norm
    return multilayer(inputs, network.hidden_size, network.hidden_layers, outputs, *options)


def last_layer(network: Network) -> int:
    """The place of a head's last layer."""
    return network.hidden_layers * (3 if network.layer_norm else 2)


class ActorCritic(nn.Module):
    """A head each for policy and value, behind an encoder that they share where there is one."""

    def __init__(self, network: Network, inputs: int, outputs: int):
        super().__init__()
        self.encoder, size = encoder(inputs, network)
        self.policy, self.value = head(size, outputs, network), head(size, 1, network)

    def forward(
        self, inputs: Float[Tensor, "*lead feature"]
    ) -> tuple[Float[Tensor, "*lead parameter"], Float[Tensor, "*lead"]]:
        hidden = self.encoder(inputs)
        return self.policy(hidden), self.value(hidden)[..., 0]


class Recurrent(nn.Module):
    """A layer over sequences, its state passed and returned: a GRU (Cho et al. 2014), an LSTM (Hochreiter & Schmidhuber 1997),
    or a GRU whose gates are normalised (Ba et al. 2016, arXiv:1607.06450, supplement).

    `torch.nn.GRU` keeps references to its own weights, so weights passed as values would not reach it.
    """

    def __init__(self, kind: Cell, inputs: int, hidden: int):
        super().__init__()
        gates = {"gru": 3, "lstm": 4, "gru-norm": 3}[kind]
        self.kind = kind
        self.state_size = 2 * hidden if kind == "lstm" else hidden
        self.from_input = nn.Parameter(torch.empty(gates, hidden, inputs))
        self.from_hidden = nn.Parameter(torch.empty(gates, hidden, hidden))
        self.input_bias = nn.Parameter(torch.empty(gates * hidden))
        self.hidden_bias = nn.Parameter(torch.empty(gates * hidden))
        if kind == "gru-norm":
            self.input_gain, self.hidden_gain = (nn.Parameter(torch.empty(gates * hidden)) for _ in range(2))

    def forward(
        self, inputs: Float[Tensor, "time batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "time batch hidden"], Float[Tensor, "batch state"]]:
        time, batch, _ = inputs.shape
        # a step by itself, in acting, is one call of torch's
        if self.kind == "gru" and inputs.device.type == "cpu" and (time > 1 or torch.is_grad_enabled()):
            weights = self.from_input, self.from_hidden, self.input_bias, self.hidden_bias
            held = gru(inputs.flatten(0, 1), state, *weights, [batch] * time).view(time, batch, -1)
            return held, held[-1]
        weights = [self.from_input.flatten(0, 1), self.from_hidden.flatten(0, 1), self.input_bias, self.hidden_bias]
        if self.kind == "gru-norm":
            outputs, read = [], normed(inputs @ weights[0].T, self.input_gain, self.input_bias)
            for now in read.unbind(0):
                state = gru_step(now, normed(state @ weights[1].T, self.hidden_gain, self.hidden_bias), state)
                outputs.append(state)
            return torch.stack(outputs), state
        options = (weights, True, 1, 0.0, False, False, False)
        if self.kind == "gru":
            outputs, last = torch.gru(inputs, state[None], *options)
            return outputs, last[0]
        hidden, cell = (part[None].contiguous() for part in state.chunk(2, dim=-1))
        outputs, last, cell = torch.lstm(inputs, (hidden, cell), *options)
        return outputs, torch.cat([last[0], cell[0]], dim=-1)


def normed(
    gates: Float[Tensor, "*lead gate"], gain: Float[Tensor, "gate"], bias: Float[Tensor, "gate"]
) -> Float[Tensor, "*lead gate"]:
    """Each of a GRU's three gates with mean 0 and deviation 1 over its units, times 1 + gain, plus bias."""
    parts = gates.unflatten(-1, (3, -1))
    return functional.layer_norm(parts, parts.shape[-1:]).flatten(-2) * (1 + gain) + bias


def gru_step(
    read: Float[Tensor, "*lead gate"], recalled: Float[Tensor, "*lead gate"], state: Float[Tensor, "*lead hidden"]
) -> Float[Tensor, "*lead hidden"]:
    """h' = n + z (h - n), n = tanh(x_n + r h_n), r and z the sigmoids of x_r + h_r and x_z + h_z, from what the gates read."""
    reset, keep, new = read.chunk(3, dim=-1)
    old_reset, old_keep, old_new = recalled.chunk(3, dim=-1)
    candidate = (new + (reset + old_reset).sigmoid() * old_new).tanh()
    return candidate + (keep + old_keep).sigmoid() * (state - candidate)


def multilayer(
    inputs: int,
    hidden: int,
    layers: int,
    outputs: int,
    activation: Callable[[], nn.Module] = nn.Tanh,
    layer_norm: bool = False,
) -> nn.Sequential:
    """A feed-forward network of `layers` hidden layers."""
    sizes = [inputs] + [hidden] * layers
    parts: list[nn.Module] = []
    for before, after in pairwise(sizes):
        parts += [nn.Linear(before, after), *([nn.LayerNorm(after)] if layer_norm else []), activation()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], outputs))


def skeleton(build: Callable[[], Net]) -> Net:
    """A network, or several, without weights of their own: building it draws no random number and takes no memory."""
    with torch.device("meta"):
        return build()


def built(what: str, build: Build, inputs: int, outputs: int, *parts: str) -> nn.Module:
    """The skeleton of a learner's network, whoever builds it, with the modules that the learner needs by name."""
    net = skeleton(lambda: build(inputs, outputs))
    require_values(what, net)
    missing = [part for part in parts if not isinstance(getattr(net, part, None), nn.Module)]
    if missing:
        raise UsageError(f"{what}: a net needs modules called {', '.join(parts)}; this one has no {', '.join(missing)}")
    return net


def require_values(what: str, net: object) -> None:
    """Raises UsageError where something is no network that weights make all of, passed as values."""
    if not isinstance(net, nn.Module):
        raise UsageError(f"{what}: net must build a torch.nn.Module, not {shown(net)}")
    if buffers := [name for name, _ in net.named_buffers()]:
        raise UsageError(f"{what}: a net has parameters and no buffers; this one has {', '.join(buffers)}")
    if chance := [name for name, module in net.named_modules() if type(module).__name__.endswith("Dropout")]:
        raise UsageError(f"{what}: a net has no chance of its own, which no seed would set; this one has {', '.join(chance)}")


def tried(
    what: str, net: Any, weights: Weights, inputs: tuple[Any, ...], *wanted: tuple[int, ...], part: str = "the net"
) -> None:
    """Raises UsageError where a network's forward fails on inputs, or gives tensors of other shapes than these."""
    read = ", ".join(str(tuple(each.shape)) for each in inputs if isinstance(each, Tensor))
    try:
        with torch.no_grad():
            found = functional_call(net, weights, inputs)
    except Exception as error:
        said = str(error).split("\n")[0]
        raise UsageError(f"{what}: {part}'s forward, given {read}, raised {type(error).__name__}: {said}") from error
    parts = found if isinstance(found, tuple) else (found,)
    given = [tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__ for each in parts]
    if given != list(wanted):
        words = (", ".join(map(str, shapes)) for shapes in (given, wanted))
        raise UsageError("{}: {}'s forward, given {}, gives {}, not {}".format(what, part, read, *words))


def last_linear(net: nn.Module, part: str) -> str:
    """The name of the linear layer, with a bias, that comes last in a part of a network, or is that part; "" is all of it.

    Raises UsageError where there is none.
    """
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear) and module.bias is not None]
    within = [name for name in linear if not part or f"{name}.".startswith(f"{part}.")]
    if not within:
        what = f"the module {part} of a net" if part else "a net whose head adapts"
        raise UsageError(f"{what} must hold a linear layer with a bias, the last of which gives its output")
    return within[-1]


UNIT_SPREAD, GATE_SPREAD = 1.2, 1.5
"""Deviation of an encoder's units to begin with, where active inputs are about 1; gain of a memory's gates behind them."""


def spread_gains(hidden: int, active: float, memory: str, encoder: str = "") -> dict[str, float]:
    """Gains for `initial_weights` with which the units of an encoder, and a memory's gates behind it, spread from the start.

    Of gain 1, an orthogonal matrix of H rows makes of `active` inputs units that deviate by sqrt(active / H), gates by less.
    Where nothing stands before the memory, its gates spread as an encoder's units would.
    """
    first = UNIT_SPREAD * math.sqrt(hidden / active)
    return {f"{encoder}.": first, f"{memory}.from_input": GATE_SPREAD} if encoder else {f"{memory}.from_input": first}


def initial_weights(net: nn.Module, generator: Generator, gains: Mapping[str, float], device: str) -> Weights:
    """First weights for a skeleton: orthogonal matrices (Saxe et al. 2014), zero biases, ones where a norm scales.

    `gains` maps the beginnings of names to scales; others have 1. Drawn on the CPU, so that a seed means the same everywhere.
    """
    weights = {}
    scales = {f"{name}.weight" for name, module in net.named_modules() if isinstance(module, nn.LayerNorm)}
    for name, parameter in net.named_parameters():
        value = torch.ones(parameter.shape) if name in scales else torch.zeros(parameter.shape)
        gain = next((gain for prefix, gain in gains.items() if name.startswith(prefix)), 1.0)
        for matrix in value.reshape(-1, *value.shape[-2:]) if value.dim() > 1 else ():
            nn.init.orthogonal_(matrix, gain, generator=generator)
        weights[name] = value.to(device).requires_grad_()
    return weights


def bound(net: Net, weights: Weights) -> Net:
    """A copy of a skeleton that holds these very weights; `functional_call` fits them in anew at each call."""
    held = {id(parameter): weights[name] for name, parameter in cast(nn.Module, net).named_parameters()}
    return copy.deepcopy(net, held)


def copied(weights: Tree) -> Tree:
    """Weights of their own, in whatever tree they stand, that learning doesn't move."""
    return tree_map(lambda weight: weight.detach().clone(), weights)


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
