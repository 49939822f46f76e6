"""Observations and actions as an exported agent has them, by the rules that stand in its file; NumPy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quickstudy.errors import QuickstudyError, shorten

KINDS = "discrete", "box", "image", "multi-discrete", "multi-binary"
"""Kinds of spaces that a file may name."""
MOST = 2**24
"""Entries that a space has at most."""


@dataclass(frozen=True)
class Space:
    """An environment's own space: what of it one needs to read observations and to give actions."""

    kind: str
    shape: tuple[int, ...]
    dtype: str
    low: np.ndarray
    """Of a box its bounds, infinite where there are none; of others unused."""
    high: np.ndarray
    start: np.ndarray
    """The least number of each choice."""
    counts: np.ndarray
    """How many numbers each choice has."""

    def encode(self, observation: Any) -> np.ndarray:
        """One observation as the graph reads it: a number, float32 or, of an image, bytes; ValueError where it doesn't fit."""
        array = np.asarray(observation)
        if self.kind in ("box", "image"):
            return self._numbers(observation, array)
        fits = array.dtype.kind in "iu" and array.shape == self.shape
        if self.kind == "multi-binary":
            fits = array.dtype.kind in "iub" and array.shape == self.shape
        if not fits or bool(((array < self.start) | (array >= self.start + self.counts)).any()):
            raise ValueError(f"the observation {shorten(observation)} is not in {self}")
        if self.kind == "discrete":
            return np.asarray(array - self.start, np.int64)
        if self.kind == "multi-binary":
            return array.astype(np.float32).reshape(-1)
        places = (array - self.start).reshape(-1) + np.cumsum(self.counts.reshape(-1)) - self.counts.reshape(-1)
        vector = np.zeros(int(self.counts.sum()), np.float32)
        vector[places] = 1
        return vector

    def _numbers(self, observation: Any, array: np.ndarray) -> np.ndarray:
        if array.dtype.kind not in "fiub":
            raise ValueError(f"the observation {shorten(observation)} is of type {array.dtype}, not numbers")
        if array.shape != self.shape:
            raise ValueError(f"the observation has shape {array.shape}, its space says {self.shape}")
        if self.kind == "image":
            if array.size and not 0 <= array.min() <= array.max() <= 255:
                raise ValueError(f"the observation has numbers from {array.min()} to {array.max()}, no bytes")
            return np.array(array, np.uint8, order="C")
        with np.errstate(over="ignore"):
            array = np.array(array, np.float32, order="C")
        if not np.isfinite(array).all():
            raise ValueError(f"the observation {shorten(observation)} holds NaN or infinity in float32")
        return array

    def decode(self, action: np.ndarray) -> Any:
        """One action of the graph as the environment takes it; those of a box are clipped to it."""
        if self.kind == "discrete":
            return np.int64(action) + self.start.astype(np.int64)[()]
        if self.kind == "box":
            clipped = action.reshape(self.shape).clip(self.low, self.high)
            whole = np.issubdtype(np.dtype(self.dtype), np.integer)
            return (clipped.round() if whole else clipped).astype(self.dtype)
        return (action.reshape(self.shape) + self.start).astype(self.dtype)

    def __repr__(self) -> str:
        if self.kind in ("box", "image"):
            return f"Box{self.shape}"
        return f"{self.kind} with {shorten(self.counts.tolist())} from {shorten(self.start.tolist())}"


def space_of(rule: Mapping[str, Any]) -> Space:
    """The space that a rule of a file tells of; QuickstudyError, KeyError, TypeError or ValueError where it is no such rule."""
    kind, shape, dtype = rule["kind"], tuple(rule["shape"]), str(np.dtype(rule["dtype"]))
    if kind not in KINDS or np.dtype(dtype).kind not in "fiub":
        raise QuickstudyError(f"there is no space of kind {shorten(kind)} and type {dtype}")
    if not all(type(size) is int and 0 <= size <= MOST for size in shape) or math.prod(shape) > MOST:
        raise QuickstudyError(f"no space has the shape {shorten(shape)}")
    low, high = (whole_array(rule.get(name), shape, np.float64, end) for name, end in (("low", -np.inf), ("high", np.inf)))
    start, counts = (whole_array(rule.get(name, least), shape, np.int64, 0) for name, least in (("start", 0), ("counts", 1)))
    if bool((counts < 1).any()) or counts.sum(dtype=np.float64) > MOST:
        raise QuickstudyError("a choice has at least one number, and there is an end to them")
    return Space(kind, shape, dtype, low, high, start, counts)


def whole_array(told: Any, shape: tuple[int, ...], dtype: Any, missing: float) -> np.ndarray:
    """A number for all entries, or a flat list with one for each, in which null is a number that JSON has not."""
    values = told if isinstance(told, list) else [told] * math.prod(shape)
    return np.array([missing if value is None else value for value in values], dtype).reshape(shape)
