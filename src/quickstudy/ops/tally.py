"""What this process has counted and timed since it was last asked: figures for people, on which nothing depends."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_COUNTED: dict[str, float] = defaultdict(float)


def count(figures: Mapping[str, float]) -> None:
    """Adds figures of this process or of a worker to what was counted under their names."""
    for name, figure in figures.items():
        _COUNTED[name] += figure


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
