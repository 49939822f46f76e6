"""Observations, actions and percepts as vectors that a function approximator reads."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from quickstudy.errors import UsageError
from quickstudy.ops.spaces import ranges_of, require_no_image
from quickstudy.protocol import Percept, has_past


def vector_size(space: gymnasium.Space[Any]) -> int:
    """The length of the vector that `as_vector` makes of an element of `space`.

    UsageError for other than Discrete, MultiDiscrete and Box: `ops.spaces.observed` brings any other space to one of these.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    require_no_image(space, "an observation")
    if isinstance(space, spaces.Box):
        return max(1, torch.Size(space.shape).numel())
    raise UsageError(f"space {space} is not supported: use Discrete, MultiDiscrete or Box; see ops.spaces.observed")


def as_vector(space: gymnasium.Space[Any], value: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead size"]:
    """One-hot for Discrete and for each part of MultiDiscrete, flattened for Box."""
    if isinstance(space, spaces.Discrete):
        return functional.one_hot(value, int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        parts = zip(value.unbind(-1), space.nvec.tolist(), strict=True)
        return torch.cat([functional.one_hot(part, size) for part, size in parts], dim=-1).float()
    axes = len(space.shape or ())
    return (value.flatten(value.dim() - axes) if axes else value[..., None]).float()


def unit_vector(space: gymnasium.Space[Any], value: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead size"]:
    """As `as_vector`, with the bounded entries of a Box scaled to [-1, 1]: (x - center) / half."""
    vector = as_vector(space, value)
    if not isinstance(space, spaces.Box):
        return vector
    ranges = ranges_of(space, value.device)
    return (vector - ranges.center) / ranges.half


def percept_size(observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> int:
    """The length of the vector that `percept_vector` makes."""
    return vector_size(observation_space) + vector_size(action_space) + 2


def percept_vector(
    percept: Percept, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]
) -> Float[Tensor, "*lead size"]:
    """Observation, previous action, previous reward, and whether an episode has just ended (RL2: Duan et al. 2016, sec. 2.2).

    At the first step of a trial there is no previous action: its part is zero, which no one-hot action is.
    """
    action = unit_vector(action_space, percept.action) * has_past(percept)[..., None]
    ended = percept.terminated | percept.truncated
    return torch.cat(
        [as_vector(observation_space, percept.observation), action, percept.reward[..., None], ended[..., None].float()], dim=-1
    )
