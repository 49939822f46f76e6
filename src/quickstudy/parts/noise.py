"""How a policy's actions are drawn: anew at each step, or under noise that it holds in its memory for a while."""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from gymnasium import Space, spaces
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor, nn

from quickstudy.errors import UsageError, require_at_least
from quickstudy.nets.distributions import Distribution, NoisyLayer, StateDependentGaussian, distribution_over
from quickstudy.nets.networks import last_linear
from quickstudy.nets.options import Network
from quickstudy.ops.tree import where_lane
from quickstudy.protocol import Memory

Net = TypeVar("Net", bound=nn.Module)


@runtime_checkable
class Noise(Network, Protocol):
    """A configuration that says how actions are drawn, of a network with these options."""

    @property
    def noise(self) -> Literal["independent", "state-dependent"]: ...
    @property
    def noise_steps(self) -> int: ...


def require_noise(what: str, config: Noise) -> None:
    """Raises UsageError where there can be no such noise."""
    require_at_least(0, what, config, "noise_steps")
    if config.noise_steps and config.noise == "independent":
        raise UsageError(f"{what}: noise_steps is {config.noise_steps}, but independent noise is drawn anew at each step")
    features = config.hidden_layers or config.encoder == "layer" or hasattr(config, "memory")
    if config.noise == "state-dependent" and not features:
        raise UsageError(f"{what}: state-dependent noise is a function of features; hidden_layers must be at least 1")


def policy_distribution(what: str, space: Space[Any], config: Noise, own_net: bool) -> Distribution:
    """What a policy over an action space draws from; UsageError where it can't be drawn so."""
    if config.noise == "independent":
        return distribution_over(space)
    if not isinstance(space, spaces.Box) or not space.shape:
        raise UsageError(f"{what}: noise is state-dependent, which continuous actions alone can be; actions are {space}")
    if own_net:
        raise UsageError(f"{what}: noise is state-dependent, of which a net of your own gives no features")
    return StateDependentGaussian(space, config.hidden_size + 1, config.noise_steps)


def noisy(net: Net, distribution: Distribution) -> Net:
    """The network; the last layer of its policy gives what the noise is made of, where it is state-dependent."""
    if isinstance(distribution, StateDependentGaussian):
        before, _, name = last_linear(net, "policy").rpartition(".")
        last = net.get_submodule(before).get_submodule(name)
        assert isinstance(last, nn.Linear)
        setattr(net.get_submodule(before), name, NoisyLayer(last.in_features, distribution.entries))
    return net


def first_noise(distribution: Distribution, tasks: int, lanes: int, device: torch.device) -> Memory:
    """What is held of noise when a trial begins: none that was drawn."""
    if not isinstance(distribution, StateDependentGaussian):
        return {}
    noise = torch.zeros(tasks, lanes, distribution.features, distribution.entries, device=device)
    return {"noise": noise, "noise_age": torch.zeros(tasks, lanes, device=device)}


def drawn(
    distribution: Distribution,
    parameters: Float[Tensor, "task lane parameter"],
    first: Bool[Tensor, "task lane"],
    memory: Memory,
    generator: Generator | None,
) -> tuple[Shaped[Tensor, "task lane ..."], Memory]:
    """Actions, the mode without a generator, and what is held of noise after them."""
    if not isinstance(distribution, StateDependentGaussian):
        return (distribution.mode(parameters) if generator is None else distribution.sample(parameters, generator)), {}
    noise, age = memory["noise"], memory["noise_age"]
    if generator is None:
        return distribution.mode(parameters), {"noise": noise, "noise_age": age}
    anew = first | (age == 0) | ((age >= distribution.steps) & (distribution.steps > 0))
    if bool(anew.any()):
        noise = where_lane(anew, torch.empty_like(noise).normal_(generator=generator), noise)
    return distribution.stirred(parameters, noise), {"noise": noise, "noise_age": age * ~anew + 1}
