"""Gymnasium's spaces as tensors: what an environment shows and takes, and the plain form in which policies read and act."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float32, Shaped
from torch import Tensor

from quickstudy.errors import UsageError, shorten

Space = gymnasium.Space[Any]


def observed(space: Space) -> Space:
    """The space of observations as tensors have them; UsageError where there is no such form yet.

    A Discrete counts from 0, a Box is of float32, and what is made of several parts (Dict, Tuple, MultiDiscrete, MultiBinary)
    becomes one flat Box, by Gymnasium's own `flatten`.
    """
    require_no_image(space, "the observation")
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.Box):
        return float_box(space)
    if not space.is_np_flattenable:
        raise UsageError(
            f"observation space {space} has no fixed size, so it can't be a vector; use Box, Discrete, Dict or Tuple"
        )
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    return float_box(flat)


def taken(space: Space) -> Space:
    """The space of actions as tensors have them: Discrete and MultiDiscrete from 0, Box of float32; UsageError for others."""
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec.flatten())
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiDiscrete(np.full(int(np.prod(space.shape)), 2))
    if isinstance(space, spaces.Box) and space.shape and 0 not in space.shape:
        return float_box(space)
    raise UsageError(
        f"action space {space} is not supported: use Discrete, MultiDiscrete, MultiBinary, or Box with at least one dimension"
    )


def float_box(space: spaces.Box) -> spaces.Box:
    """The Box in float32; bounds beyond its range are none. UsageError where float32 can't tell its numbers apart."""
    with np.errstate(over="ignore", invalid="ignore"):
        width = np.asarray(space.high, np.float64) - np.asarray(space.low, np.float64)
        largest = np.maximum(np.abs(np.asarray(space.low, np.float64)), np.abs(np.asarray(space.high, np.float64)))
        if bool(((width > 0) & (width < FEWEST * 2.0**-23 * largest)).any()):
            raise UsageError(
                f"{space} is so narrow so far from 0 that float32 can't tell its numbers apart; shift it towards 0"
                " (gymnasium.wrappers.TransformObservation, TransformAction)"
            )
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32))


FEWEST = 64
"""Of fewer numbers than so many no range is made."""
UNBOUNDED = 2.0**62
"""A bound from here on stands for none: it is the largest number of some type."""


class Ranges(NamedTuple):
    """Where each entry of a Box lies, flattened, in float32; nothing in it is zero, infinite or NaN but the bounds."""

    low: Float32[Tensor, "entry"]
    high: Float32[Tensor, "entry"]
    """The bounds, infinite where there are none."""
    center: Float32[Tensor, "entry"]
    half: Float32[Tensor, "entry"]
    """Half of what lies between the bounds; 1 where one is missing or both are the same, the center that far inside."""

    @property
    def bounded(self) -> Bool[Tensor, "entry"]:
        """Which entries have both bounds."""
        return torch.isfinite(self.low) & torch.isfinite(self.high)


def ranges_of(space: spaces.Box, device: str | torch.device = "cpu") -> Ranges:
    """Each entry by its own bounds, whatever its neighbours have."""
    return _ranges(*(bound.astype(np.float64).tobytes() for bound in (space.low, space.high)), str(device))


@lru_cache(maxsize=64)
def _ranges(lows: bytes, highs: bytes, device: str) -> Ranges:
    """Asked at every step of every policy, so reckoned once for each Box."""
    low, high = (torch.tensor(np.frombuffer(bound), device=device) for bound in (lows, highs))
    low, high = low.where(low > -UNBOUNDED, -torch.inf), high.where(high < UNBOUNDED, torch.inf)
    half, below, above = (high - low) / 2, torch.isfinite(low), torch.isfinite(high)
    half = half.where(below & above & (half > 0), 1.0)
    inside = torch.where(below, low + half, torch.where(above, high - half, 0.0))
    center = torch.where(below & above, (low + high) / 2, inside)
    return Ranges(*(part.float() for part in (low, high, center, half)))


def require_no_image(space: Space, where: str) -> None:
    """Raises UsageError, which names the part, where a space holds an image."""
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            require_no_image(part, f"{where}['{name}']")
    elif isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            require_no_image(part, f"{where}[{number}]")
    elif isinstance(space, spaces.Box) and len(space.shape) > 2:
        raise UsageError(
            f"{where} is an image, Box{space.shape}, and there is no image encoder yet;"
            " wrap the environment so that it shows a vector (gymnasium.wrappers.TransformObservation)"
        )


def encode(space: Space, observation: Any) -> np.ndarray:
    """One observation as the environment gives it, as an element of `observed(space)`; ValueError where it doesn't fit.

    It is a copy: who gave the observation may write over it. A number too large for float32 is infinite.
    """
    if isinstance(space, spaces.Discrete):
        if not space.contains(observation):
            raise ValueError(f"the observation {observation!r} is not in {space}")
        return np.asarray(int(observation) - int(space.start))
    if not isinstance(space, spaces.Box):
        if not space.contains(observation):
            raise ValueError(f"the observation {shorten(observation)} is not in {space}")
        with np.errstate(over="ignore"):
            return np.array(spaces.flatten(space, observation), np.float32)
    array = np.asarray(observation)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"the observation {shorten(observation)} is of type {array.dtype}, not numbers")
    if array.shape != space.shape:
        raise ValueError(f"the observation has shape {array.shape}, its space says {space.shape}")
    with np.errstate(over="ignore"):
        return np.array(array, np.float32, order="C")


def encode_reward(reward: Any) -> float:
    """A reward as the environment gives it, as a number; infinite where no float holds it. ValueError where it is none."""
    if isinstance(reward, str | bytes):
        raise ValueError(f"the reward {shorten(reward)} is no number")
    try:
        return float(reward)
    except OverflowError:
        return math.inf if reward > 0 else -math.inf
    except (TypeError, ValueError) as error:
        raise ValueError(f"the reward {shorten(reward)} is no number") from error


def decode(space: Space, action: Shaped[np.ndarray, "*lead ..."]) -> Shaped[np.ndarray, "*lead ..."]:
    """Actions as tensors have them, over any leading axes, as the environment takes them; those of a Box are clipped to it."""
    shape = space.shape or ()
    if isinstance(space, spaces.Box):
        clipped = action.clip(space.low, space.high)
        return (clipped if np.issubdtype(space.dtype, np.floating) else clipped.round()).astype(space.dtype)
    if isinstance(space, spaces.Discrete):
        return action + space.start
    lead = action.shape[:-1]
    parts = action.reshape(*lead, *shape)
    start = space.start if isinstance(space, spaces.MultiDiscrete) else 0
    return (parts + start).astype(space.dtype)


def action_fault(space: Space, action: Tensor) -> str | None:
    """What is wrong with actions as tensors, in words; None where the environment can take them (a Box clips)."""
    if isinstance(space, spaces.Box):
        return None if bool(torch.isfinite(action).all()) else "it holds NaN or infinity"
    if action.is_floating_point():
        return f"it is of type {str(action.dtype).removeprefix('torch.')}, not whole numbers"
    if isinstance(space, spaces.MultiDiscrete):
        inside = bool(((action >= 0) & (action < torch.as_tensor(space.nvec, device=action.device))).all())
        return None if inside else f"it is not in {space}"
    assert isinstance(space, spaces.Discrete)
    low, high = (int(bound) for bound in action.aminmax())
    return None if low >= 0 and high < space.n else f"it is {low if low < 0 else high}, not in {space}"
