"""What this process has counted and timed since it was last asked: figures for people, on which nothing depends."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar, runtime_checkable

Thing = TypeVar("Thing")
_COUNTED: dict[str, float] = defaultdict(float)
_LISTENERS: list[Listener] = []


@runtime_checkable
class Listener(Protocol):
    """Hears how far a piece of work is."""

    def begins(self, what: str, total: int, unit: str) -> None:
        """A piece of work begins, which is done when `total` are counted under the name `unit`."""
        ...

    def counts(self, figures: Mapping[str, float]) -> None:
        """So much was counted."""
        ...


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Lets somebody listen to what is counted."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def begins(what: str, total: int, unit: str) -> None:
    """Says that a piece of work begins, which is done when `total` are counted under the name `unit`."""
    for listener in _LISTENERS:
        listener.begins(what, total, unit)


def tracked(things: Iterable[Thing], what: str, total: int) -> Iterator[Thing]:
    """Goes through things, each a part of a piece of work."""
    begins(what, total, "parts")
    for thing in things:
        yield thing
        count({"parts": 1.0})


def count(figures: Mapping[str, float]) -> None:
    """Adds figures of this process or of a worker to what was counted under their names."""
    for name, figure in figures.items():
        _COUNTED[name] += figure
    for listener in _LISTENERS:
        listener.counts(figures)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Counts the seconds that are spent inside."""
    began = time.perf_counter()
    try:
        yield
    finally:
        count({name: time.perf_counter() - began})


def counted() -> dict[str, float]:
    """What was counted; the count begins anew."""
    figures = dict(_COUNTED)
    _COUNTED.clear()
    return figures
