"""Spaces and distributions as rules of a file, each tried against what it stands for before it is written."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from quickstudy.errors import UsageError
from quickstudy.nets import soft
from quickstudy.nets.distributions import Categorical, DiagonalGaussian, MultiCategorical
from quickstudy.ops.senses import is_read
from quickstudy.protocol import TaskDistribution
from quickstudy.runtime.spaces import Space, space_of

TRIED = 32
"""Observations and actions with which a rule is tried."""
Rule = dict[str, Any]


def observation_rule(tasks: TaskDistribution) -> Rule:
    """How observations are encoded; UsageError where no rule of the runtime does what these tasks do."""
    if is_read(tasks.observation_space):
        raise UsageError(f"observations are {tasks.observation_space}: images, sounds and texts aren't exported yet")
    for space in own_spaces(tasks, "observation_space"):
        rule = rule_of(space)
        if rule and encodes(space_of(rule), space, tasks):
            return rule
    raise UsageError(f"{tasks!r} encodes observations by code of its own, which no file may hold")


def action_rule(tasks: TaskDistribution) -> Rule:
    """How actions are decoded; UsageError where no rule of the runtime does what these tasks do."""
    for space in own_spaces(tasks, "action_space"):
        rule = rule_of(space)
        if rule and decodes(space_of(rule), tasks):
            return rule
    raise UsageError(f"{tasks!r} decodes actions by code of its own, which no file may hold")


def own_spaces(tasks: Any, name: str) -> list[gymnasium.Space[Any]]:
    """The spaces in which an environment's own observations or actions may be: of the tasks, and of tasks within them."""
    found = []
    while tasks is not None:
        found += [space for space in (getattr(tasks, f"env_{name}", None), getattr(tasks, name, None)) if space is not None]
        tasks = getattr(tasks, "tasks", None)
    return found


def rule_of(space: gymnasium.Space[Any]) -> Rule | None:
    """A space as a rule; None where there is no such rule."""
    told: Rule = {"shape": list(space.shape or ()), "dtype": str(np.dtype(space.dtype)) if space.dtype is not None else "int64"}
    match space:
        case spaces.Discrete():
            return {"kind": "discrete", **told, "start": int(space.start), "counts": int(space.n)}
        case spaces.MultiDiscrete():
            start, counts = (listed(np.asarray(values)) for values in (space.start, space.nvec))
            return {"kind": "multi-discrete", **told, "start": start, "counts": counts}
        case spaces.MultiBinary():
            return {"kind": "multi-binary", **told, "start": 0, "counts": 2}
        case spaces.Box():
            return {"kind": "box", **told, "low": listed(space.low), "high": listed(space.high)}
    return None


def listed(values: np.ndarray) -> Any:
    """One number where all are the same, a flat list otherwise; null for what is infinite, which JSON doesn't have."""
    flat = [None if not np.isfinite(value) else value for value in values.reshape(-1).tolist()]
    return flat[0] if flat and all(value == flat[0] for value in flat) else flat


def encodes(rule: Space, space: gymnasium.Space[Any], tasks: TaskDistribution) -> bool:
    """Whether a rule makes of a space's own elements what the tasks make of them."""
    space = copy.deepcopy(space)
    space.seed(0)
    try:
        for _ in range(TRIED):
            element = space.sample()
            ours, theirs = rule.encode(element), tasks.encode(element).cpu().numpy()
            if ours.dtype != theirs.dtype or not np.array_equal(ours, theirs):
                return False
    except (ValueError, TypeError, IndexError):
        return False
    return True


def decodes(rule: Space, tasks: TaskDistribution) -> bool:
    """Whether a rule makes of actions what the tasks make of them."""
    space = copy.deepcopy(tasks.action_space)
    space.seed(0)
    try:
        for _ in range(TRIED):
            action = np.asarray(space.sample())
            if isinstance(space, spaces.Box):
                action = (2 * action).astype(np.float32)  # beyond the bounds too, where there are any
            ours, theirs = rule.decode(action), np.asarray(tasks.decode(torch.as_tensor(action)))
            if np.asarray(ours).dtype != theirs.dtype or not np.array_equal(ours, theirs):
                return False
    except (ValueError, TypeError, IndexError):
        return False
    return True


def distribution_rule(distribution: Any, action_space: gymnasium.Space[Any]) -> Rule:
    """How actions are drawn from parameters; UsageError where no rule of the runtime draws so."""
    shape = list(action_space.shape or ())
    if isinstance(distribution, Categorical | soft.SoftCategorical):
        return {"kind": "categorical", "shape": shape, "sizes": [distribution.size]}
    if isinstance(distribution, MultiCategorical):
        return {"kind": "multi-categorical", "shape": shape, "sizes": distribution.sizes}
    if not isinstance(distribution, DiagonalGaussian | soft.SquashedGaussian | soft.SquashedPoint):
        raise UsageError(f"actions are drawn by {type(distribution).__name__}, which the runtime doesn't know")
    told = {"shape": shape, "center": distribution.center.tolist(), "scale": distribution.scale.tolist()}
    match distribution:
        case DiagonalGaussian():
            return {"kind": "gaussian", **told}
        case soft.SquashedGaussian():
            return {"kind": "squashed-gaussian", **told, "log_std": list(soft.LOG_STD)}
        case soft.SquashedPoint():
            return {"kind": "squashed-point", **told, "exploration": distribution.exploration}
