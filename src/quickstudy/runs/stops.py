"""How a training is stopped from outside: at a moment at which nothing is half done, and for good at the second try."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stops:
    """What SIGINT and SIGTERM do while a training runs; another thread than the main one gets no signals.

    The first raises KeyboardInterrupt, inside `held` once that is over; a second one ends the process at once.
    """

    def __init__(self) -> None:
        self._held = self._asked = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lets what is begun here be finished: libraries that write from threads of their own don't survive being cut short."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._asked:
            raise KeyboardInterrupt

    def hear(self, number: int, frame: Any) -> None:
        """Takes a signal."""
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        self._asked = True
        if not self._held:
            raise KeyboardInterrupt


@contextmanager
def stoppable() -> Iterator[Stops]:
    """Takes the signals, until it is left."""
    stops = Stops()
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return
    before = {number: signal.signal(number, stops.hear) for number in SIGNALS}
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed(stop: BaseException) -> Iterator[None]:
    """Lets a fault's last save be finished, though whoever notices the fault as well, as torchrun does, sends SIGTERM."""
    if isinstance(stop, KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
