"""Gymnasium's spaces as tensors: what an environment shows and takes, and the plain form in which policies read and act."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float32, Shaped
from torch import Tensor

from quickstudy.errors import UsageError, shorten
from quickstudy.ops.senses import LONGEST_TEXT, Senses, Words, is_read, sense_of

Space = gymnasium.Space[Any]


def observed(space: Space, vocabulary: Sequence[str] = (), words: int = LONGEST_TEXT) -> Space:
    """The space of observations as tensors have them; UsageError where there is no such form.

    A Discrete counts from 0, a Box is of float32, or, where it is an image of bytes, of uint8. A text becomes the numbers of
    its words (`Words`), whose `vocabulary` may be told, and how many `words` there are at most. What is made of several parts
    (Dict, Tuple) becomes one row of bytes where a part of it is an image, a sound or a text (`Senses`), and one flat Box
    otherwise, by Gymnasium's own `flatten`, as MultiDiscrete and MultiBinary do.
    """
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, Words | Senses):
        return space
    if is_text(space):
        most = getattr(space, "max_length", None)
        return Words(words if most is None else max(1, min(words, (most + 1) // 2)), vocabulary)
    if isinstance(space, spaces.Box):
        return image_box(space) if sense_of(space) == "image" else float_box(space)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = {name: seen_part(part, name, vocabulary, words) for name, part in leaves_of(space).items()}
        if any(is_read(part) for part in parts.values()):
            return Senses(parts)
    if not is_flattened(space):
        raise UsageError(
            f"observation space {space} has no fixed size, so it can't be a vector; use Box, Discrete, Text, Dict or Tuple"
        )
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    return float_box(flat)


def is_flattened(space: Space) -> bool:
    """Whether Gymnasium makes a vector of a space's elements; a space of one's own needn't say."""
    try:
        return space.is_np_flattenable
    except NotImplementedError:
        return False


def is_text(space: Space) -> bool:
    """Whether elements of a space are texts: Gymnasium's Text, and spaces of one's own whose dtype is str."""
    return isinstance(space, spaces.Text) or (space.dtype is not None and np.dtype(space.dtype).kind == "U")


def seen_part(space: Space, name: str, vocabulary: Sequence[str], words: int) -> Space:
    """A part of several, in its tensor form; numbers stay numbers."""
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec.flatten())
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiDiscrete(np.full(int(np.prod(space.shape)), 2))
    try:
        return observed(space, vocabulary, words)
    except UsageError as error:
        raise UsageError(f"the observation's '{name}': {error}") from error


def leaves_of(space: Space, name: str = "") -> dict[str, Space]:
    """The spaces within Dict and Tuple, by the way to each: keys and places, with strokes between."""
    if isinstance(space, spaces.Dict):
        inner = dict(space.spaces)
    elif isinstance(space, spaces.Tuple):
        inner = {str(number): part for number, part in enumerate(space.spaces)}
    else:
        return {name: space}
    return {
        way: leaf for key, part in inner.items() for way, leaf in leaves_of(part, f"{name}/{key}" if name else str(key)).items()
    }


def values_of(space: Space, observation: Any, name: str = "") -> dict[str, Any]:
    """What an observation holds at each of `leaves_of`."""
    if isinstance(space, spaces.Dict):
        inner = [(str(key), part, observation[key]) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        inner = [(str(number), part, observation[number]) for number, part in enumerate(space.spaces)]
    else:
        return {name: observation}
    return {
        way: value
        for key, part, held in inner
        for way, value in values_of(part, held, f"{name}/{key}" if name else key).items()
    }


def image_box(space: spaces.Box) -> spaces.Box:
    """An image as tensors have it: bytes where its numbers are whole and fit into them, float32 otherwise."""
    whole = np.issubdtype(space.dtype, np.integer)
    if whole and bool((space.low >= 0).all() and (space.high <= 255).all()):
        return spaces.Box(space.low.astype(np.uint8), space.high.astype(np.uint8), dtype=np.uint8)
    return float_box(space)


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


def encode(space: Space, observation: Any, shown: Space | None = None) -> np.ndarray:
    """One observation as the environment gives it, as an element of `observed(space)`; ValueError where it doesn't fit.

    `shown` is that space, where it is at hand, as it must be where it knows a vocabulary. The result is a copy: who gave the
    observation may write over it. A number too large for float32 is infinite.
    """
    if isinstance(space, spaces.Discrete):
        if not space.contains(observation):
            raise ValueError(f"the observation {observation!r} is not in {space}")
        return np.asarray(int(observation) - int(space.start))
    if isinstance(space, Senses):
        return space.encode(observation)
    if isinstance(space, Words) and isinstance(observation, str):
        return space.encode(observation)
    if not isinstance(space, spaces.Box):
        shown = observed(space) if shown is None else shown
        if isinstance(shown, Words):
            if not isinstance(observation, str):
                raise ValueError(f"the observation {shorten(observation)} is no text")
            return shown.encode(observation)
        if isinstance(shown, Senses):
            return shown.encode(parts_as_shown(space, observation, shown))
        if not space.contains(observation):
            raise ValueError(misfit(space, observation))
        with np.errstate(over="ignore"):
            return np.array(spaces.flatten(space, observation), np.float32)
    array = np.asarray(observation)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"the observation {shorten(observation)} is of type {array.dtype}, not numbers")
    if array.shape != space.shape:
        raise ValueError(f"the observation has shape {array.shape}, its space says {space.shape}")
    if array.dtype.kind != "f" and sense_of(space) == "image" and (shown or image_box(space)).dtype == np.uint8:
        if array.size and not 0 <= array.min() <= array.max() <= 255:
            raise ValueError(f"the observation has numbers from {array.min()} to {array.max()}, no bytes")
        return np.array(array, np.uint8, order="C")
    with np.errstate(over="ignore"):
        return np.array(array, np.int16 if isinstance(space, Words) else np.float32, order="C")


def misfit(space: Space, observation: Any) -> str:
    """What is wrong with an observation that isn't in its space: the first part that isn't in its own, where parts are told."""
    try:
        values = values_of(space, observation)
    except (KeyError, IndexError, TypeError):
        values = {}
    for name, value in values.items():
        leaf = leaves_of(space)[name]
        if name and not leaf.contains(value):
            return f"the observation's '{name}' is {shorten(value)}, not in {leaf}"
    return f"the observation {shorten(observation)} is not in {space}"


def parts_as_shown(space: Space, observation: Any, shown: Senses) -> dict[str, Any]:
    """The parts of an observation of Dict or Tuple, as a row takes them; ValueError, which names the part that doesn't fit."""
    try:
        values = values_of(space, observation)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"the observation {shorten(observation)} is not in {space}") from error
    found = {}
    for name, leaf in leaves_of(space).items():
        try:
            if isinstance(leaf, spaces.MultiDiscrete | spaces.MultiBinary):
                if not leaf.contains(values[name]):
                    raise ValueError(f"the observation {shorten(values[name])} is not in {leaf}")
                start = leaf.start if isinstance(leaf, spaces.MultiDiscrete) else 0
                found[name] = (values[name] - start).flatten()
            else:
                found[name] = encode(leaf, values[name], shown.parts[name])
        except ValueError as error:
            raise ValueError(f"'{name}': {error}") from error
    return found


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
