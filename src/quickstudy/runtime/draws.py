"""Actions drawn from the parameters of a policy's distribution, with NumPy's generators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quickstudy.errors import QuickstudyError, shorten

KINDS = "categorical", "multi-categorical", "gaussian", "squashed-gaussian", "squashed-point"
"""Kinds of distributions that a file may name."""


@dataclass(frozen=True)
class Draws:
    """How actions are drawn; `docs/export.md` has the formulas."""

    kind: str
    shape: tuple[int, ...]
    """Of an action."""
    sizes: tuple[int, ...]
    """Categorical: how many numbers each choice has."""
    center: np.ndarray
    """Others: the middle and half the range of each entry of the action."""
    scale: np.ndarray
    log_std: tuple[float, float]
    """Squashed Gaussian: between which logarithms of standard deviations are cut off."""
    exploration: float
    """Squashed point: the deviation of its noise, on [-1, 1]."""

    @property
    def size(self) -> int:
        """How many parameters there are."""
        if "categorical" in self.kind:
            return sum(self.sizes)
        return len(self.center) * (1 if self.kind == "squashed-point" else 2)

    def sample(self, parameters: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """An action, drawn: int64 for choices, float32 otherwise, of the shape that the graph's greedy action has."""
        if "categorical" in self.kind:
            ends = np.cumsum(self.sizes)[:-1]
            # the largest of the logits with Gumbel noise is each with its probability
            chosen = [(part + generator.gumbel(size=part.shape)).argmax() for part in np.split(parameters, ends)]
            return np.array(chosen, np.int64).reshape(self.shape)
        if self.kind == "squashed-point":
            unit = np.clip(np.tanh(parameters) + self.exploration * generator.standard_normal(len(parameters)), -1, 1)
        else:
            mean, log_std = np.split(parameters, 2)
            gaussian = self.kind == "gaussian"
            std = np.exp(log_std - 0.5 if gaussian else np.clip(log_std, *self.log_std))
            unit = mean + std * generator.standard_normal(len(mean))
            unit = unit if gaussian else np.tanh(unit)
        return (self.center + self.scale * unit).astype(np.float32).reshape(self.shape)


def draws_of(rule: Mapping[str, Any]) -> Draws:
    """The distribution that a rule of a file tells of; QuickstudyError, KeyError, TypeError or ValueError where it is none."""
    kind = rule["kind"]
    if kind not in KINDS:
        raise QuickstudyError(f"there is no distribution of kind {shorten(kind)}")
    center, scale = (np.array(rule.get(name, []), np.float32) for name in ("center", "scale"))
    low, high = rule.get("log_std", (0.0, 0.0))
    shape, sizes = (tuple(int(size) for size in rule.get(name, ())) for name in ("shape", "sizes"))
    entries = len(sizes) if "categorical" in kind else len(center)
    if entries < 1 or center.shape != scale.shape or center.ndim != 1 or np.prod(shape) != entries or min(sizes, default=1) < 1:
        raise QuickstudyError(f"the distribution has {entries} entries, an action's shape is {shape}")
    return Draws(kind, shape, sizes, center, scale, (float(low), float(high)), float(rule.get("exploration", 0.0)))
