"""States: nested dictionaries of tensors and plain values, as files hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from quickstudy.protocol import State


def leaves(state: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The tensors and plain values of a state, each with the names that lead to it."""
    for name, value in state.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def plain_values(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state without its tensors."""
    return {
        name: plain_values(value) if isinstance(value, Mapping) else value
        for name, value in state.items()
        if not isinstance(value, Tensor)
    }


def insert(state: dict[str, Any], path: list[str], value: Any) -> None:
    """Puts a value where the names lead."""
    for name in path[:-1]:
        state = state.setdefault(name, {})
    state[path[-1]] = value


def copy_state(state: State) -> dict[str, Any]:
    """A copy that what comes after can't change."""
    return {
        name: copy_state(v) if isinstance(v, Mapping) else v.detach().clone() if isinstance(v, Tensor) else v
        for name, v in state.items()
    }
