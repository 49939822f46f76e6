"""Distributions over actions: static objects whose functions take the distribution's parameters as a tensor."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import gymnasium
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Generator, Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.ops.spaces import ranges_of

Parameters = Float[Tensor, "*lead size"]


@runtime_checkable
class Distribution(Protocol):
    """A family of distributions; `size` is the length of its parameter vector, which a network's last layer gives."""

    size: int

    def sample(self, parameters: Parameters, generator: Generator) -> Shaped[Tensor, "*lead ..."]: ...
    def mode(self, parameters: Parameters) -> Shaped[Tensor, "*lead ..."]: ...
    def log_prob(self, parameters: Parameters, action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead"]: ...
    def entropy(self, parameters: Parameters) -> Float[Tensor, "*lead"]: ...
    def kl(self, parameters: Parameters, other: Parameters) -> Float[Tensor, "*lead"]:
        """KL(parameters || other)."""
        ...

    def fisher(self, parameters: Parameters, direction: Parameters) -> Parameters:
        """The Fisher information at `parameters` times a direction: the Hessian of the KL, and so of a trust region."""
        ...


class Categorical:
    """One of `size` actions; the parameters are logits."""

    def __init__(self, size: int):
        self.size = size

    def sample(self, parameters: Parameters, generator: Generator) -> Shaped[Tensor, "*lead"]:
        # the first of independent exponential clocks with rates p rings with probability p
        clocks = torch.empty_like(parameters).exponential_(generator=generator)
        return (parameters.softmax(-1) / clocks).argmax(-1)

    def mode(self, parameters: Parameters) -> Shaped[Tensor, "*lead"]:
        return parameters.argmax(-1)

    def log_prob(self, parameters: Parameters, action: Shaped[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
        return parameters.log_softmax(-1).gather(-1, action[..., None])[..., 0]

    def entropy(self, parameters: Parameters) -> Float[Tensor, "*lead"]:
        log_probs = parameters.log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum(-1)

    def kl(self, parameters: Parameters, other: Parameters) -> Float[Tensor, "*lead"]:
        log_probs = parameters.log_softmax(-1)
        return (log_probs.exp() * (log_probs - other.log_softmax(-1))).sum(-1)

    def fisher(self, parameters: Parameters, direction: Parameters) -> Parameters:
        probs = parameters.softmax(-1)
        return probs * (direction - (probs * direction).sum(-1, keepdim=True))


class MultiCategorical:
    """Several independent choices, one of `sizes[i]` each; the parameters are the logits of all, one after another."""

    def __init__(self, sizes: list[int]):
        self.sizes = sizes
        self.size = sum(sizes)
        self.parts = [Categorical(size) for size in sizes]

    def _each(self, *parameters: Parameters) -> list[tuple[Any, ...]]:
        """Each choice with its own stretch of the parameters."""
        return list(zip(self.parts, *(one.split(self.sizes, -1) for one in parameters), strict=True))

    def sample(self, parameters: Parameters, generator: Generator) -> Shaped[Tensor, "*lead choice"]:
        return torch.stack([part.sample(own, generator) for part, own in self._each(parameters)], dim=-1)

    def mode(self, parameters: Parameters) -> Shaped[Tensor, "*lead choice"]:
        return torch.stack([part.mode(own) for part, own in self._each(parameters)], dim=-1)

    def log_prob(self, parameters: Parameters, action: Shaped[Tensor, "*lead choice"]) -> Float[Tensor, "*lead"]:
        pairs = zip(self._each(parameters), action.unbind(-1), strict=True)
        return torch.stack([part.log_prob(own, chosen) for (part, own), chosen in pairs]).sum(0)

    def entropy(self, parameters: Parameters) -> Float[Tensor, "*lead"]:
        return torch.stack([part.entropy(own) for part, own in self._each(parameters)]).sum(0)

    def kl(self, parameters: Parameters, other: Parameters) -> Float[Tensor, "*lead"]:
        return torch.stack([part.kl(own, its) for part, own, its in self._each(parameters, other)]).sum(0)

    def fisher(self, parameters: Parameters, direction: Parameters) -> Parameters:
        return torch.cat([part.fisher(own, along) for part, own, along in self._each(parameters, direction)], dim=-1)


class DiagonalGaussian:
    """Independent normals in a Box's own units; the parameters are mean and log standard deviation, in half-ranges.

    Each entry has its own range (`ops.spaces.ranges_of`). Samples may leave the Box: the environment clips them, and the
    log-probability is that of the sample itself.
    """

    def __init__(self, space: spaces.Box):
        _, _, self.center, self.scale = ranges_of(space)
        self.shape = space.shape
        self.size = 2 * self.center.numel()

    def _mean_std(self, parameters: Parameters) -> tuple[Tensor, Tensor]:
        mean, log_std = parameters.chunk(2, dim=-1)
        center, scale = self.center.to(parameters), self.scale.to(parameters)
        return center + scale * mean, scale * (log_std - 0.5).exp()

    def sample(self, parameters: Parameters, generator: Generator) -> Shaped[Tensor, "*lead ..."]:
        mean, std = self._mean_std(parameters)
        noise = torch.empty_like(mean).normal_(generator=generator)
        return (mean + std * noise).unflatten(-1, self.shape)

    def mode(self, parameters: Parameters) -> Shaped[Tensor, "*lead ..."]:
        return self._mean_std(parameters)[0].unflatten(-1, self.shape)

    def log_prob(self, parameters: Parameters, action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead"]:
        mean, std = self._mean_std(parameters)
        error = (action.flatten(parameters.dim() - 1) - mean) / std
        return (-0.5 * error.square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, parameters: Parameters) -> Float[Tensor, "*lead"]:
        _, std = self._mean_std(parameters)
        return (std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl(self, parameters: Parameters, other: Parameters) -> Float[Tensor, "*lead"]:
        mean, std = self._mean_std(parameters)
        other_mean, other_std = self._mean_std(other)
        spread = (std.square() + (mean - other_mean).square()) / (2 * other_std.square())
        return (other_std.log() - std.log() + spread - 0.5).sum(-1)

    def fisher(self, parameters: Parameters, direction: Parameters) -> Parameters:
        _, std = self._mean_std(parameters)
        along_mean, along_log_std = direction.chunk(2, dim=-1)
        scale = self.scale.to(parameters)
        return torch.cat([(scale / std).square() * along_mean, 2 * along_log_std], dim=-1)


class StateDependentGaussian:
    """Normals whose noise is a function of what the policy sees, held for a while (gSDE: Raffin et al. 2021, arXiv:2005.05719).

    An action is mean + sum_f parts_f z_f with z standard normal, (feature, entry). A single one is a DiagonalGaussian's of
    variance sum_f parts_f^2; who holds z explores alike in alike states. The parameters are the mean, then all parts, one
    feature after another, in half-ranges. After `steps` z is drawn anew, besides where an episode begins; 0: only there.
    """

    def __init__(self, space: spaces.Box, features: int, steps: int = 0):
        self.each = DiagonalGaussian(space)
        """Of a single action."""
        self.features, self.entries, self.steps = features, self.each.size // 2, steps
        self.size = self.entries * (1 + features)

    def _split(self, parameters: Parameters) -> tuple[Tensor, Float[Tensor, "*lead feature entry"]]:
        mean, parts = parameters.split([self.entries, self.size - self.entries], dim=-1)
        return mean, parts.unflatten(-1, (self.features, self.entries))

    def marginal(self, parameters: Parameters) -> Float[Tensor, "*lead two"]:
        """The parameters of a single action's distribution."""
        mean, parts = self._split(parameters)
        # a DiagonalGaussian's log standard deviation is half less than it says
        return torch.cat([mean, 0.5 * parts.square().sum(-2).log() + 0.5], dim=-1)

    def stirred(self, parameters: Parameters, noise: Float[Tensor, "*lead feature entry"]) -> Shaped[Tensor, "*lead ..."]:
        """The action under noise that is held."""
        mean, parts = self._split(parameters)
        moved = torch.cat([mean + (parts * noise).sum(-2), mean], dim=-1)
        return self.each.mode(moved)

    def sample(self, parameters: Parameters, generator: Generator) -> Shaped[Tensor, "*lead ..."]:
        return self.each.sample(self.marginal(parameters), generator)

    def mode(self, parameters: Parameters) -> Shaped[Tensor, "*lead ..."]:
        return self.each.mode(self.marginal(parameters))

    def log_prob(self, parameters: Parameters, action: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead"]:
        return self.each.log_prob(self.marginal(parameters), action)

    def entropy(self, parameters: Parameters) -> Float[Tensor, "*lead"]:
        return self.each.entropy(self.marginal(parameters))

    def kl(self, parameters: Parameters, other: Parameters) -> Float[Tensor, "*lead"]:
        return self.each.kl(self.marginal(parameters), self.marginal(other))

    def fisher(self, parameters: Parameters, direction: Parameters) -> Parameters:
        _, parts = self._split(parameters)
        along_mean, along_parts = self._split(direction)
        slope = parts / parts.square().sum(-2, keepdim=True)
        along = torch.cat([along_mean, (slope * along_parts).sum(-2)], dim=-1)
        of_mean, of_log_std = self.each.fisher(self.marginal(parameters), along).chunk(2, dim=-1)
        return torch.cat([of_mean, (slope * of_log_std[..., None, :]).flatten(-2)], dim=-1)


class NoisyLayer(nn.Module):
    """A policy's last layer that gives the parameters of a StateDependentGaussian, whose features are its inputs and a one.

    The one keeps noise where all inputs are zero, such as those of a memory at its beginning. No gradient goes through the
    features, as in the authors' code: what a state is like is not learnt for noise.
    """

    def __init__(self, inputs: int, entries: int):
        super().__init__()
        self.mean = nn.Linear(inputs, entries)
        self.log_scale = nn.Parameter(torch.empty((inputs + 1) * entries))

    def forward(self, inputs: Float[Tensor, "*lead feature"]) -> Float[Tensor, "*lead parameter"]:
        size = inputs.shape[-1]
        # with inputs of one half it begins with a DiagonalGaussian's variance, of which the one gives a tenth
        features = torch.cat([inputs.detach() * math.sqrt(3.6 / size), inputs.new_full((*inputs.shape[:-1], 1), 0.1**0.5)], -1)
        scales = (self.log_scale - 0.5).exp().unflatten(0, (size + 1, -1))
        return torch.cat([self.mean(inputs), (features[..., None] * scales).flatten(-2)], dim=-1)


def distribution_over(space: gymnasium.Space[Any]) -> Distribution:
    """The distribution that a policy over this action space uses; UsageError where there is none."""
    if isinstance(space, spaces.Discrete):
        return Categorical(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return MultiCategorical([int(size) for size in space.nvec.flatten()])
    if isinstance(space, spaces.Box) and space.shape:
        return DiagonalGaussian(space)
    raise UsageError(f"action space {space} is not supported: use Discrete, MultiDiscrete, or Box with at least one dimension")
