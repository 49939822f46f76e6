"""States: nested dictionaries of tensors, plain values and ledgers, as files hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from quickstudy.protocol import State

Table = dict[str, Tensor]
"""Columns by name, one row each along the first axis."""


class Segment(NamedTuple):
    """A file with some rows of a ledger."""

    name: str
    bytes: int
    sha256: str


@runtime_checkable
class Ledger(Protocol):
    """A leaf of a state to which rows are added and whose rows never change, such as a replay.

    A checkpoint writes the rows that no file holds yet as one more file, a segment, and lists those that it needs.
    """

    @property
    def home(self) -> Path | None:
        """The folder of its segments, where it has any."""
        ...

    def tables(self) -> Iterable[tuple[Segment | None, Table]]:
        """All its rows, in one table or several, each with the segment that holds it."""
        ...

    def segments(self, home: Path) -> list[Segment]:
        """The segments in a folder that hold part of it."""
        ...

    def unwritten(self, home: Path) -> Table:
        """The rows that none of those holds; empty where there are none."""
        ...

    def wrote(self, home: Path, segment: Segment, table: Table) -> None:
        """Those rows lie in a segment now."""
        ...


def leaves(state: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The tensors, ledgers and plain values of a state, each with the names that lead to it."""
    for name, value in state.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def plain_values(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state without its tensors and ledgers."""
    return {
        name: plain_values(value) if isinstance(value, Mapping) else value
        for name, value in state.items()
        if not isinstance(value, Tensor | Ledger)
    }


def insert(state: dict[str, Any], path: list[str], value: Any) -> None:
    """Puts a value where the names lead."""
    for name in path[:-1]:
        state = state.setdefault(name, {})
    state[path[-1]] = value


def copy_state(state: State) -> dict[str, Any]:
    """A copy that what comes after can't change; a ledger is a copy already."""
    return {
        name: copy_state(v) if isinstance(v, Mapping) else v.detach().clone() if isinstance(v, Tensor) else v
        for name, v in state.items()
    }
