"""A recurrent actor-critic on whole trials: its network, its first weights, and the policy that acts from its memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.nets.distributions import Distribution
from quickstudy.nets.networks import (
    Build,
    Recurrent,
    Weights,
    bound,
    built,
    encoder,
    head,
    initial_weights,
    last_linear,
    spread_gains,
    tried,
)
from quickstudy.nets.options import Cell, Network
from quickstudy.nets.reader import Inputs, behind
from quickstudy.parts.clock import first_memory, timed_percept
from quickstudy.parts.noise import drawn, first_noise, noisy
from quickstudy.protocol import Act, Memory, Percept, TaskDistribution


class Remembering(Network, Protocol):
    """A configuration of a recurrent network."""

    @property
    def memory(self) -> Cell: ...
    @property
    def initialisation(self) -> Literal["spread", "orthogonal"]: ...


class Net(nn.Module):
    """Encoder, memory, and a head each for policy and value; the value may read an encoder and a memory of its own."""

    def __init__(self, config: Remembering, inputs: int, outputs: int, separate: bool):
        super().__init__()
        self.separate = separate
        self.encoder, size = encoder(inputs, config)
        self.memory = Recurrent(config.memory, size, config.hidden_size)
        if self.separate:
            self.value_encoder, _ = encoder(inputs, config)
            self.value_memory = Recurrent(config.memory, size, config.hidden_size)
        self.state_size = self.memory.state_size * (2 if self.separate else 1)
        heads = [head(config.hidden_size, size, config) for size in (outputs, 1)]
        # a head of one layer is that layer: so it is called in stored runs
        self.policy, self.value = heads if config.hidden_layers else [layers[0] for layers in heads]

    def forward(
        self, inputs: Float[Tensor, "time batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "time batch parameter"], Float[Tensor, "time batch"], Float[Tensor, "batch state"]]:
        if not self.separate:
            hidden, state = self.memory(self.encoder(inputs), state)
            return self.policy(hidden), self.value(hidden)[..., 0], state
        acting, judging = state.chunk(2, dim=-1)
        hidden, acting = self.memory(self.encoder(inputs), acting)
        judged, judging = self.value_memory(self.value_encoder(inputs), judging)
        return self.policy(hidden), self.value(judged)[..., 0], torch.cat([acting, judging], dim=-1)


@dataclass(frozen=True)
class RecurrentPolicy:
    """Acts from a memory of the trial so far; `start` is the memory it resumes from, None at a trial's beginning."""

    net: Any
    weights: Weights
    tasks: TaskDistribution
    distribution: Distribution
    keep_states: bool = False
    """Record the memory after each step, which values at time limits need."""
    keep_parameters: bool = False
    """Record the parameters of the distribution, which who mixes policies needs."""
    start: Memory | None = None

    @cached_property
    def acting(self) -> Any:
        """The network with its weights."""
        return bound(self.net, self.weights)

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        device = next(iter(self.weights.values())).device
        noise = first_noise(self.distribution, tasks, lanes, device)
        return first_memory(tasks, lanes, self.net.state_size, device) | noise

    def act(
        self, percept: Percept, memory: Memory, generator: Generator | None, *beside: Float[Tensor, "task lane _"]
    ) -> tuple[Act, Memory]:
        """`beside` is what the network reads besides the percept."""
        lead = percept.first.shape
        episode = memory["episode"] + percept.first
        inputs = timed_percept(self.tasks, percept, memory["step"], episode, *beside)
        parameters, value, state = self.acting(inputs.flatten(0, 1)[None], memory["state"].flatten(0, 1))
        parameters, state = parameters[0].unflatten(0, lead), state.unflatten(0, lead)
        action, noise = drawn(self.distribution, parameters, percept.first, memory, generator)
        notes = {"value": value[0].unflatten(0, lead)} | ({"state": state} if self.keep_states else {})
        notes |= {"parameters": parameters} if self.keep_parameters else {}
        memory = {"state": state, "step": memory["step"] + 1, "episode": episode} | noise
        return Act(action, self.distribution.log_prob(parameters, action), notes), memory


def time_major(values: Shaped[Tensor, "task lane time ..."]) -> Shaped[Tensor, "time trial ..."]:
    """Tasks and lanes as one axis of trials, behind time."""
    return values.flatten(0, 1).transpose(0, 1).contiguous()


class Begun(NamedTuple):
    """A network and its first weights."""

    net: Any
    weights: Weights
    judging: list[str]
    """The weights that the value alone reads."""


def begun(
    what: str,
    config: Remembering,
    inputs: Inputs,
    active: float,
    distribution: Distribution,
    separate: bool,
    generator: Generator,
    device: str,
    own: Build | None,
) -> Begun:
    """A `Net`, or a network of one's own, for a policy that draws so; about `active` of its inputs aren't zero at once."""
    outputs = distribution.size
    build = own or (lambda inputs, outputs: noisy(Net(config, inputs, outputs, separate), distribution))
    net: Any = behind(inputs.reader, built(what, build, inputs.size, outputs, "policy", "value"))
    size = getattr(net, "state_size", None)
    if not isinstance(size, int) or size < 1:
        raise UsageError(f"{what}: a net needs `state_size`, the length of its memory's state; this one's is {size}")
    gains = {last_linear(net, "policy"): 0.01}
    if own is None and config.initialisation == "spread":
        for side in ("", "value_"):
            before = "" if config.encoder == "none" else f"{side}encoder"
            gains |= spread_gains(config.hidden_size, active, f"{side}memory", before)
    weights = initial_weights(net, generator, gains, device)
    if own:
        told = torch.zeros(2, 3, inputs.size, device=device), torch.zeros(3, size, device=device)
        tried(what, net, weights, told, (2, 3, outputs), (2, 3), (3, size))
    return Begun(net, weights, [name for name in weights if own is None and separate and name.startswith("value")])


def apart(weights: Weights, judging: list[str]) -> list[list[Tensor]]:
    """The weights of the policy, and those that the value alone reads where there are any: gradients are scaled apart."""
    groups = [weight for name, weight in weights.items() if name not in judging], [weights[name] for name in judging]
    return [group for group in groups if group]
