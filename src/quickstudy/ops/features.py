"""Observations, actions and percepts as what a function approximator reads: vectors, or rows that a reader reads first."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from quickstudy.errors import UsageError
from quickstudy.ops.senses import as_row, is_read, sense_of
from quickstudy.ops.spaces import ranges_of
from quickstudy.protocol import Percept, has_past


def vector_size(space: gymnasium.Space[Any]) -> int:
    """The length of the vector that `as_vector` makes of an element of `space`.

    UsageError for what no vector is made of: spaces that aren't in tensor form (`ops.spaces.observed`), and images, sounds and
    texts, which a reader reads.
    """
    sense = sense_of(space)
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, spaces.Box) and sense == "vector":
        return max(1, torch.Size(space.shape).numel())
    raise UsageError(f"{space} is no vector but {sense}: show features instead (qs.Encoded), or let a reader read it")


def active_entries(space: gymnasium.Space[Any]) -> int:
    """How many entries of the vectors that `as_vector` makes aren't zero: one of each one-hot part, all of a Box."""
    if isinstance(space, spaces.Discrete):
        return 1
    return int(space.nvec.size) if isinstance(space, spaces.MultiDiscrete) else vector_size(space)


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


def inputs_of(
    space: gymnasium.Space[Any], observation: Shaped[Tensor, "*lead ..."], *numbers: Float[Tensor, "*lead _"]
) -> Shaped[Tensor, "*lead entry"]:
    """What a network reads: an observation and numbers behind it, as a vector, or as a row of bytes for a reader."""
    if is_read(space):
        return as_row(space, (observation,), *numbers)
    return torch.cat([as_vector(space, observation), *numbers], dim=-1) if numbers else as_vector(space, observation)


PERCEIVED = 2
"""Numbers of a percept beside observation and action: the reward, and whether an episode has just ended."""


def percept_vector(
    percept: Percept,
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    *behind: Float[Tensor, "*lead _"],
) -> Shaped[Tensor, "*lead entry"]:
    """Observation, previous action, previous reward, and whether an episode has just ended (RL2: Duan et al. 2016, sec. 2.2).

    At the first step of a trial there is no previous action: its part is zero, which no one-hot action is. More numbers may
    stand behind. A row of bytes where a reader reads the observation.
    """
    return inputs_of(observation_space, percept.observation, *percept_numbers(percept, action_space), *behind)


def percept_numbers(percept: Percept, action_space: gymnasium.Space[Any]) -> list[Float[Tensor, "*lead _"]]:
    """All of a percept but what is seen."""
    action = unit_vector(action_space, percept.action) * has_past(percept)[..., None]
    ended = percept.terminated | percept.truncated
    return [action, percept.reward[..., None], ended[..., None].float()]
