"""What a soft actor-critic needs of an action space: a policy's actions, and their soft value under a critic.

For Box the policy is a Gaussian squashed by tanh, and the value is estimated with one action, which the gradient flows
through (Haarnoja et al. 2018, arXiv:1812.05905); for Discrete the critic values all actions at once, and the value is the exact
expectation (Christodoulou 2019, arXiv:1910.07207). Either way

    V = E_a[min Q(a) - alpha log pi(a)],

of which the critics' targets, the policy's loss (minus V) and the temperature's are made. TD3 is the same with a single action
in place of a distribution, and no entropy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import gymnasium
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.errors import UsageError
from quickstudy.nets.distributions import Categorical
from quickstudy.ops.features import unit_vector
from quickstudy.ops.spaces import ranges_of

Parameters = Float[Tensor, "*lead size"]
Critics = Callable[[Float[Tensor, "*lead action"]], Float[Tensor, "critic *lead value"]]
"""Several critics' values, given an action as `action_vector` makes it: one value each, or one for every discrete action."""
LOG_STD = (-5.0, 2.0)


@runtime_checkable
class SoftActions(Protocol):
    """The actions of a space as a soft actor-critic takes them."""

    size: int
    """The length of the policy's parameter vector."""
    action_size: int
    """The length of the action that a critic reads; 0 where it values all actions at once."""
    values: int
    """How many values a critic gives."""
    target_entropy: float
    """The entropy that the temperature is tuned for."""

    def sample(self, parameters: Parameters, generator: Generator) -> Shaped[Tensor, "*lead ..."]: ...
    def mode(self, parameters: Parameters) -> Shaped[Tensor, "*lead ..."]: ...
    def log_prob(self, parameters: Parameters, action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead"]:
        """Of an action, in the space's own units."""
        ...

    def action_vector(self, action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead action"]:
        """An action as a critic reads it."""
        ...

    def taken(self, values: Float[Tensor, "critic *lead value"], action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "..."]:
        """What the critics say of the action that was taken, (critic, *lead)."""
        ...

    def noise(self, lead: tuple[int, ...], generator: Generator) -> Float[Tensor, "*lead noise"]:
        """What `soft_value` draws an action with."""
        ...

    def soft_value(
        self, parameters: Parameters, critics: Critics, temperature: Tensor, noise: Tensor
    ) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"]]:
        """The soft value under the least of the critics, and the policy's entropy; differentiable in the parameters."""
        ...


class SquashedGaussian:
    """Independent normals squashed by tanh onto a bounded Box; the parameters are means and log standard deviations.

    Entropies are those on [-1, 1], as in the paper, so that the temperature doesn't depend on the units of the space.
    """

    values = 1

    def __init__(self, space: spaces.Box):
        _, _, self.center, self.scale = ranges_of(space)
        self.space, self.shape = space, space.shape
        self.action_size = self.center.numel()
        self.size = 2 * self.action_size
        self.target_entropy = -float(self.action_size)

    def _mean_std(self, parameters: Parameters) -> tuple[Tensor, Tensor]:
        mean, log_std = parameters.chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD).exp()

    def _in_units(self, unit: Tensor) -> Tensor:
        return (self.center.to(unit) + self.scale.to(unit) * unit).unflatten(-1, self.shape)

    def sample(self, parameters: Parameters, generator: Generator) -> Shaped[Tensor, "*lead ..."]:
        mean, std = self._mean_std(parameters)
        return self._in_units((mean + std * torch.empty_like(mean).normal_(generator=generator)).tanh())

    def mode(self, parameters: Parameters) -> Shaped[Tensor, "*lead ..."]:
        return self._in_units(self._mean_std(parameters)[0].tanh())

    def log_prob(self, parameters: Parameters, action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead"]:
        mean, std = self._mean_std(parameters)
        unit = self.action_vector(action).clamp(-1 + 1e-6, 1 - 1e-6)
        return (_log_density(unit.atanh(), mean, std) - self.scale.to(unit).log()).sum(-1)

    def action_vector(self, action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead action"]:
        return unit_vector(self.space, action)

    def taken(self, values: Float[Tensor, "critic *lead value"], action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "..."]:
        return values[..., 0]

    def noise(self, lead: tuple[int, ...], generator: Generator) -> Float[Tensor, "*lead noise"]:
        return torch.empty(*lead, self.action_size, device=generator.device).normal_(generator=generator)

    def soft_value(
        self, parameters: Parameters, critics: Critics, temperature: Tensor, noise: Tensor
    ) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"]]:
        mean, std = self._mean_std(parameters)
        squeezed = mean + std * noise
        log_prob = _log_density(squeezed, mean, std).sum(-1)
        least = critics(squeezed.tanh()).amin(0)[..., 0]
        return least - temperature * log_prob, -log_prob


def _log_density(squeezed: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log density of tanh(squeezed) on [-1, 1] by coordinate; log(1 - tanh^2) in a form that doesn't round to log 0."""
    normal = -0.5 * ((squeezed - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
    return normal - 2 * (math.log(2) - squeezed - torch.nn.functional.softplus(-2 * squeezed))


class SoftCategorical:
    """One of several actions, each valued by the critics; the parameters are logits."""

    action_size = 0

    def __init__(self, space: spaces.Discrete, entropy_share: float = 0.3):
        self.size = self.values = int(space.n)
        self._categorical = Categorical(self.size)
        self.target_entropy = entropy_share * math.log(self.size)

    def sample(self, parameters: Parameters, generator: Generator) -> Shaped[Tensor, "*lead"]:
        return self._categorical.sample(parameters, generator)

    def mode(self, parameters: Parameters) -> Shaped[Tensor, "*lead"]:
        return self._categorical.mode(parameters)

    def log_prob(self, parameters: Parameters, action: Shaped[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
        return self._categorical.log_prob(parameters, action)

    def action_vector(self, action: Shaped[Tensor, "*lead"]) -> Float[Tensor, "*lead 0"]:
        return torch.zeros(*action.shape, 0, device=action.device)

    def taken(self, values: Float[Tensor, "critic *lead value"], action: Shaped[Tensor, "*lead"]) -> Float[Tensor, "..."]:
        return values.gather(-1, action.expand(values.shape[:-1])[..., None])[..., 0]

    def noise(self, lead: tuple[int, ...], generator: Generator) -> Float[Tensor, "*lead 0"]:
        return torch.zeros(*lead, 0, device=generator.device)

    def soft_value(
        self, parameters: Parameters, critics: Critics, temperature: Tensor, noise: Tensor
    ) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"]]:
        log_probs = parameters.log_softmax(-1)
        probs = log_probs.exp()
        least = critics(noise).amin(0)
        return (probs * (least - temperature * log_probs)).sum(-1), -(probs * log_probs).sum(-1)


class SquashedPoint:
    """One action, squashed by tanh onto a bounded Box: what TD3 learns (Fujimoto et al. 2018, arXiv:1802.09477).

    There is no entropy. `sample` explores with noise of `exploration`; the value is that of an action nearby, moved by the
    noise handed in: of `noise`, for targets that are smooth in the action, or of zeros, for the action itself.
    """

    values = 1
    target_entropy = 0.0
    smoothing, limit = 0.2, 0.5
    """The deviation of the targets' noise, and where it is cut off, on [-1, 1]."""

    def __init__(self, space: spaces.Box, exploration: float):
        _, _, self.center, self.scale = ranges_of(space)
        self.space, self.shape, self.exploration = space, space.shape, exploration
        self.size = self.action_size = self.center.numel()

    def _in_units(self, unit: Tensor) -> Tensor:
        return (self.center.to(unit) + self.scale.to(unit) * unit).unflatten(-1, self.shape)

    def sample(self, parameters: Parameters, generator: Generator) -> Shaped[Tensor, "*lead ..."]:
        noise = self.exploration * torch.empty_like(parameters).normal_(generator=generator)
        return self._in_units((parameters.tanh() + noise).clamp(-1, 1))

    def mode(self, parameters: Parameters) -> Shaped[Tensor, "*lead ..."]:
        return self._in_units(parameters.tanh())

    def log_prob(self, parameters: Parameters, action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead"]:
        """Of the exploring action before it is cut off at the bounds."""
        deviation = self.exploration * self.scale.to(parameters)
        error = (self.action_vector(action) - parameters.tanh()) / self.exploration
        return (-0.5 * error.square() - deviation.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def action_vector(self, action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead action"]:
        return unit_vector(self.space, action)

    def taken(self, values: Float[Tensor, "critic *lead value"], action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "..."]:
        return values[..., 0]

    def noise(self, lead: tuple[int, ...], generator: Generator) -> Float[Tensor, "*lead noise"]:
        drawn = torch.empty(*lead, self.action_size, device=generator.device).normal_(generator=generator)
        return (self.smoothing * drawn).clamp(-self.limit, self.limit)

    def soft_value(
        self, parameters: Parameters, critics: Critics, temperature: Tensor, noise: Tensor
    ) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"]]:
        value = critics((parameters.tanh() + noise).clamp(-1, 1)).amin(0)[..., 0]
        return value, torch.zeros_like(value)


def soft_actions(space: gymnasium.Space[Any], entropy_share: float = 0.3) -> SoftActions:
    """The actions of a space; UsageError where it is neither Discrete nor a bounded Box.

    `entropy_share` is the part of the highest entropy that the temperature aims at where actions are discrete.
    """
    if isinstance(space, spaces.Discrete):
        return SoftCategorical(space, entropy_share)
    if isinstance(space, spaces.Box) and space.shape and bool(ranges_of(space).bounded.all()):
        return SquashedGaussian(space)
    raise UsageError(f"action space {space}: a soft actor-critic takes Discrete, or Box with bounds; rl2 and maml take others")


def point_actions(space: gymnasium.Space[Any], exploration: float) -> SquashedPoint:
    """The actions of a space as TD3 takes them; UsageError where it is no bounded Box."""
    if isinstance(space, spaces.Box) and space.shape and bool(ranges_of(space).bounded.all()):
        return SquashedPoint(space, exploration)
    raise UsageError(f"action space {space}: td3 takes Box with bounds; set method to sac")


def aimed_entropy(actions: SoftActions, share: float) -> float:
    """What is left of the entropy aimed at; one that is negative, as densities have it, stays."""
    return actions.target_entropy * (share if actions.target_entropy > 0 else 1.0)
