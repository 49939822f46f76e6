"""What soft actor-critics have in common: twin critics, what they aim at, the losses of policy and temperature.

Haarnoja et al. 2018 (arXiv:1812.05905). What depends on the kind of actions is in `nets/soft.py`; what a place is, and over
what errors are averaged, is each method's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.arguments import shown
from quickstudy.errors import UsageError
from quickstudy.nets.networks import Weights, encoder, head, last_layer, require_values, skeleton, tried
from quickstudy.nets.options import Network
from quickstudy.nets.reader import read
from quickstudy.nets.soft import SoftActions

SMALL = 0.01
"""Scale of the first weights of last layers that begin near zero."""
Nets = TypeVar("Nets")


def policy_net(inputs: int, outputs: int, network: Network) -> nn.Sequential:
    """An encoder, if wanted, and a head behind it."""
    first, size = encoder(inputs, network)
    layers = head(size, outputs, network)
    return layers if network.encoder == "none" else nn.Sequential(first, *layers)


def policy_end(network: Network) -> dict[str, float]:
    """The gain of the last layer of `policy_net`: small, so that at first all actions are alike."""
    return {f"{last_layer(network) + (network.encoder == 'layer')}.": SMALL}


class Twin(nn.Module):
    """Two critics of one input, behind an encoder that they share where one is wanted.

    Reads tensors (*lead, feature), one behind the other, and gives (2, *lead, value). Weights are named by `first` and
    `second`, or, as `listed` says, by the places of a list.
    """

    def __init__(self, build: Callable[[], nn.Module], listed: str = "", encoder: nn.Module | None = None):
        super().__init__()
        self.encoder = encoder or nn.Identity()
        critics = [build(), build()]
        parts = {listed: nn.ModuleList(critics)} if listed else dict(zip(("first", "second"), critics, strict=True))
        for name, part in parts.items():
            self.add_module(name, part)
        self.paths = [f"{listed}.{number}" for number in range(2)] if listed else list(parts)

    def forward(self, *inputs: Float[Tensor, "*lead _"]) -> Float[Tensor, "critic *lead value"]:
        read = self.encoder(torch.cat(inputs, dim=-1))
        return torch.stack([self.get_submodule(path)(read) for path in self.paths])


def twin_net(inputs: int, values: int, network: Network, listed: str = "") -> Twin:
    """An encoder, if wanted, and two heads behind it."""
    first, size = encoder(inputs, network)
    return Twin(lambda: head(size, values, network), listed, first)


def twin_end(network: Network, listed: str) -> dict[str, float]:
    """The gains of the last layers of a listed twin: small, so that at first no action seems better than another."""
    return {f"{listed}.{number}.{last_layer(network)}.": SMALL for number in range(2)}


class ActorCritic(NamedTuple):
    """Skeletons of a policy and of critics, and the actions that they are for."""

    policy: nn.Module
    """What it reads, (*lead, feature) -> parameters of the actions, (*lead, size)."""
    critics: nn.Module
    """What they read before the action, the action's vector and what they read behind it -> (critic, *lead, value)."""
    actions: SoftActions


class Heads(NamedTuple):
    """What gradients move."""

    policy: Weights
    critics: Weights
    log_temperature: Float[Tensor, ""]


class Brain(NamedTuple):
    """All that learning goes on with: what is learnt, and the critics that aims are made of."""

    learned: Heads
    target: Weights


class Place(NamedTuple):
    """A state as the networks read it."""

    acting: Shaped[Tensor, "*lead entry"]
    """What the policy reads."""
    judged: Shaped[Tensor, "*lead judged"]
    """What critics read before the action."""
    beside: Float[Tensor, "*lead beside"] | None = None
    """And behind it."""


class Outcome(NamedTuple):
    """What a step led to."""

    reward: Float[Tensor, "*lead"]
    terminated: Bool[Tensor, "*lead"]
    arrival: Place


def seen_by(net: ActorCritic, critics: Weights, place: Place) -> Place:
    """The same place with what the critics read of it, so that they needn't read it again; a vector stays as it is."""
    return place._replace(judged=read(net.critics, critics, place.judged))


def built(what: str, kind: type[Nets], build: Callable[[], object]) -> Nets:
    """Skeletons of a learner's networks, a NamedTuple of that kind, whoever builds them; UsageError where they are none."""
    nets = skeleton(build)
    if not isinstance(nets, kind):
        raise UsageError(f"{what}: net must build a {kind.__name__}({', '.join(kind._fields)}), not {shown(nets)}")  # pyright: ignore[reportAttributeAccessIssue]
    for each in nets:  # pyright: ignore[reportGeneralTypeIssues]
        require_values(what, each)
    return nets


def tried_heads(what: str, net: ActorCritic, policy: Weights, critics: Weights, place: Place) -> None:
    """Raises UsageError where networks of one's own don't give what policy and twin critics give."""
    count, actions = len(place.acting), net.actions
    tried(what, net.policy, policy, (place.acting,), (count, actions.size), part="policy")
    read = place.judged, place.judged.new_zeros(count, actions.action_size)
    behind = () if place.beside is None else (place.beside,)
    tried(what, net.critics, critics, (*read, *behind), (2, count, actions.values), part="critics")


def first_temperature(temperature: float, device: str) -> Float[Tensor, ""]:
    """The logarithm of a temperature, to be learnt."""
    return torch.tensor(temperature, device=device).log().requires_grad_()


def judged(net: ActorCritic, critics: Weights, place: Place, action: Float[Tensor, "*lead action"]) -> Tensor:
    """What critics say of an action that is given as they read it, (critic, *lead, value)."""
    behind = () if place.beside is None else (place.beside,)
    return functional_call(net.critics, critics, (place.judged, action, *behind))


def values_of(net: ActorCritic, critics: Weights, place: Place, action: Shaped[Tensor, "*lead ..."]) -> Tensor:
    """What critics say of the action that was taken, (critic, *lead)."""
    return net.actions.taken(judged(net, critics, place, net.actions.action_vector(action)), action)


def soft_value(
    net: ActorCritic, learned: Heads, critics: Weights, place: Place, noise: Float[Tensor, "*lead noise"]
) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"]]:
    """The policy's soft value under these critics, V = E[min Q - temperature log pi], and its entropy."""
    parameters = functional_call(net.policy, learned.policy, (place.acting,))
    temperature = learned.log_temperature.detach().exp()
    return net.actions.soft_value(parameters, lambda action: judged(net, critics, place, action), temperature, noise)


@torch.no_grad()
def aims_of(net: ActorCritic, brain: Brain, gamma: float, outcome: Outcome, noise: Tensor) -> Float[Tensor, "*lead"]:
    """What critics approach, r + gamma V(arrival) under the target critics; nothing follows a termination (eq. 5 and 6)."""
    value, _ = soft_value(net, brain.learned, brain.target, outcome.arrival, noise)
    return outcome.reward + gamma * ~outcome.terminated * value


def climb(
    net: ActorCritic, learned: Heads, place: Place, noise: Tensor, target_entropy: float | None
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The losses of policy and temperature, each with a gradient in its own weights alone; and their parts.

    The policy climbs V (eq. 7); the temperature falls while the entropy is above its target (eq. 18), or stays without one.
    """
    # the critics judge, and aren't moved by it
    fixed = {name: weight.detach() for name, weight in learned.critics.items()}
    value, entropy = soft_value(net, learned, fixed, place._replace(judged=place.judged.detach()), noise)
    loss = -value.mean()
    parts = {
        "train/policy_loss": loss,
        "train/entropy": entropy.mean(),
        "train/temperature": learned.log_temperature.detach().exp(),
    }
    if target_entropy is not None:
        loss = loss + learned.log_temperature * (entropy.detach().mean() - target_entropy)
    return loss, parts
