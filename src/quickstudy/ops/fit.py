"""Whether a stored state may take the place of a learner's own: all of it is looked at before any of it is used.

The state of a learner as it was built is the pattern: the same names, tensors of the same shapes and dtypes, counters, finite
numbers. What an optimiser, a replay or a running mean holds is not told by that alone: each has a pattern of its own, a check.
What grows in training begins empty: an empty dictionary, or an axis of length zero, tells nothing of what may be there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from quickstudy.errors import shorten
from quickstudy.ops.state import Ledger

Check = Callable[[str, Any], None]
"""A pattern of its own: raises ValueError, which names the place, where a stored value doesn't fit."""
MAX_COUNT = 2**53
"""Of steps, bytes, meta-iterations: up to here floats count as well, and TensorBoard too."""
LARGEST = {int: MAX_COUNT, float: math.inf}


def require_fit(where: str, stored: Any, pattern: Any) -> None:
    """Raises ValueError, in one line, where something stored is not what the pattern has in its place."""
    if callable(pattern):
        pattern(where, stored)
    elif isinstance(pattern, Mapping):
        require_table(where, stored, pattern)
    elif isinstance(pattern, Tensor):
        require_tensor(where, stored, pattern)
    elif isinstance(pattern, Ledger):
        if not isinstance(stored, Ledger):
            raise misfit(where, stored, "a replay")
    elif type(pattern) in (int, float):
        if type(stored) not in (int, float) or (math.isfinite(pattern) and not abs(stored) < LARGEST[type(stored)]):
            raise misfit(where, stored, "a finite number")
    elif pattern is not None and type(stored) is not (list if isinstance(pattern, tuple) else type(pattern)):
        raise misfit(where, stored, f"a value of type {type(pattern).__name__}")


def require_table(where: str, stored: Any, pattern: Mapping[Any, Any]) -> None:
    """Raises ValueError where something is no table, has other names than the pattern, or what doesn't fit under one."""
    if not isinstance(stored, Mapping):
        raise misfit(where, stored, "a table of names")
    patterns = {str(name): each for name, each in pattern.items()}
    for name in sorted(patterns.keys() - stored.keys()):
        raise ValueError(f"{within(where, name)} is missing")
    for name in sorted(stored.keys() - patterns.keys()) if patterns else ():
        raise ValueError(f"{where or 'it'} has {shorten(name)}, which doesn't belong there")
    for name, each in patterns.items():
        require_fit(within(where, name), stored[name], each)


def require_tensor(where: str, stored: Any, pattern: Tensor) -> None:
    """Raises ValueError where something is no tensor of a shape and a dtype, or holds what isn't finite."""
    wanted = f"a tensor of {pattern.dtype} with shape {tuple(pattern.shape)}"
    if not isinstance(stored, Tensor):
        raise misfit(where, stored, wanted)
    alike = len(stored.shape) == len(pattern.shape) and all(
        own in (0, size) for own, size in zip(pattern.shape, stored.shape, strict=True)
    )
    if not alike or stored.dtype != pattern.dtype:
        raise ValueError(f"{where} is a tensor of {stored.dtype} with shape {tuple(stored.shape)}, it must be {wanted}")
    if is_finite(pattern) and not is_finite(stored):
        raise ValueError(f"{where} holds NaN or infinity")


def is_finite(values: Tensor) -> bool:
    """Whether all of some numbers are; those that are no floats always."""
    return not (values.is_floating_point() or values.is_complex()) or bool(torch.isfinite(values).all())


def require_range(where: str, values: Tensor, least: float, most: float = math.inf) -> None:
    """Raises ValueError where one of some numbers lies outside a range."""
    if values.numel() and not (values.min() >= least and values.max() <= most):
        bound = f"at least {least:g}" + (f" and at most {most:g}" if most < math.inf else "")
        raise ValueError(f"{where} has entries from {float(values.min()):g} to {float(values.max()):g}, all must be {bound}")


def counted(where: str, stored: Any) -> None:
    """The pattern of what is counted: a whole number from 0 on."""
    if type(stored) is not int or not 0 <= stored < MAX_COUNT:
        raise misfit(where, stored, f"a whole number from 0 to {MAX_COUNT - 1}")


COUNTED: Check = counted


def misfit(where: str, stored: Any, wanted: str) -> ValueError:
    """What is wrong with a stored value."""
    found = f"a tensor with shape {tuple(stored.shape)}" if isinstance(stored, Tensor) else shorten(stored)
    return ValueError(f"{where or 'it'} is {found}, it must be {wanted}")


def within(where: str, name: Any) -> str:
    """The place of a name in a table."""
    return f"{where}/{name}" if where else str(name)
