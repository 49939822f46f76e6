"""Units of work in worker processes. Whichever worker does one, and however often, it comes to the same bits.

A worker that dies, raises, or is past the deadline with a unit of work is ended, and another does that unit from the start: its
counters say all that it takes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from quickstudy.errors import EnvironmentFault, QuickstudyError, UsageError
from quickstudy.ops.tally import count, timed
from quickstudy.protocol import Result, Shard, Shared, Site, TaskDistribution
from quickstudy.work.local import counters_of
from quickstudy.work.nursery import end, nursery_of
from quickstudy.work.parcel import receive, seal, send, unseal
from quickstudy.work.worker import ANSWER, READY, Answer, Job

START_SECONDS = 300.0
"""How long a worker may take to start, which is to import PyTorch."""


class Worker:
    """One worker process, as its parent sees it."""

    def __init__(self, site: int):
        self.ready = False
        self.channel, channel = socket.socketpair()
        self._nursery = nursery_of(os.getpid())
        self.pid = self._nursery.fork(channel.fileno(), site)
        channel.close()

    def hear(self) -> tuple[bytes, int]:
        """READY, or ANSWER with its parcel, or nothing where it is dead."""
        message, parcel = receive(self.channel, 1)
        self.ready = self.ready or message == READY
        return message, parcel

    def end(self) -> str:
        """Ends the process, and those that it has started; says how it ended, which may have been before."""
        end(self.pid)
        code = self._nursery.wait(self.pid)
        self.channel.close()
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"


@dataclass
class Errand:
    """A unit of work in a worker's hands."""

    index: int
    until: float
    """When it must be done."""


class Processes:
    """Runs units of work in `workers` processes, which start when they are first needed.

    A unit of work that is not done `deadline` seconds after a worker got it counts as failed, as does one whose worker dies or
    that raises; after `attempts` failures of one unit, `map` raises what it raised, or EnvironmentFault. UsageError where the
    system can't hand memory from process to process.
    """

    def __init__(
        self, distribution: TaskDistribution, device: str = "cpu", workers: int = 2, deadline: float = 600.0, attempts: int = 3
    ):
        if not hasattr(socket, "send_fds"):
            raise UsageError("worker processes need a Unix system; take --workers 0")
        self._distribution, self._count, self._deadline, self._attempts = distribution, workers, deadline, attempts
        self._site = seal((distribution, device))
        self._idle: list[Worker] = []
        self._busy: dict[Worker, Errand] = {}
        self._version = 0
        self.restarts = 0
        """How often a worker was ended and its work given to another."""

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        return [worker.pid for worker in (*self._idle, *self._busy)]

    def map(self, function: Callable[[Site, Shared, Shard], Result], shared: Shared, shards: Sequence[Shard]) -> list[Result]:
        with timed("work"):
            return self._map(function, shared, shards)

    def _map(self, function: Callable[..., Result], shared: Any, shards: Sequence[Shard]) -> list[Result]:
        self._version += 1
        began = time.monotonic()
        parcel = seal((function, shared), self._distribution)
        waiting, results, failures = deque(range(len(shards))), dict[int, Any](), Counter[int]()
        try:
            while len(results) < len(shards):
                self._hand_out(waiting, shards, parcel, began)
                for worker, answer, what in self._answers():
                    index = self._busy.pop(worker).index
                    if answer is not None and answer.error is None:
                        self._idle.append(worker)
                        results[index] = answer.result
                        count(answer.figures)
                        continue
                    failures[index] += 1
                    self.restarts += 1
                    ended = worker.end()
                    what = what or f"its worker process died {ended}"
                    if failures[index] == self._attempts or (answer and isinstance(answer.error, UsageError)):
                        raise self._failure(shards[index], answer, what)
                    waiting.appendleft(index)
        except BaseException:
            # what they are at is wanted no more
            for worker in self._busy:
                worker.end()
            self._busy.clear()
            raise
        finally:
            os.close(parcel)
        return [results[index] for index in range(len(shards))]

    def _hand_out(self, waiting: deque[int], shards: Sequence[Shard], parcel: int, began: float) -> None:
        """Gives units of work to workers that have none."""
        while waiting and (self._idle or len(self._busy) < self._count):
            worker = self._idle.pop() if self._idle else Worker(self._site)
            index = waiting.popleft()
            count({"queue": time.monotonic() - began})
            until = time.monotonic() + (self._deadline if worker.ready else START_SECONDS)
            self._busy[worker] = Errand(index, until)
            # one that died while it had nothing to do is found by its closed channel
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                send(worker.channel, pickle.dumps(Job(self._version, shards[index])), parcel)

    def _answers(self) -> list[tuple[Worker, Answer | None, str]]:
        """Waits for workers; of each that has an answer, died or is late, the answer, or what is wrong: "" where it died."""
        first = min(errand.until for errand in self._busy.values())
        ready = wait([worker.channel for worker in self._busy], timeout=max(0.0, first - time.monotonic()))
        found = []
        for worker, errand in self._busy.items():
            message, parcel = worker.hear() if worker.channel in ready else (None, -1)
            if message == READY:
                errand.until = time.monotonic() + self._deadline
            elif message == ANSWER:
                found.append((worker, unseal(parcel, self._distribution), ""))
                os.close(parcel)
            elif message is not None:
                found.append((worker, None, ""))
            elif time.monotonic() > errand.until:
                what = f"no answer within {self._deadline:g} s; if it needs longer, raise --deadline"
                found.append((worker, None, what if worker.ready else f"its worker did not start within {START_SECONDS:g} s"))
        return found

    def _failure(self, shard: Shard, answer: Answer | None, what: str) -> Exception:
        """What to raise for a unit of work that failed too often."""
        if answer is None or answer.error is None:
            return EnvironmentFault(f"{counters_of(shard)}: {what} ({self._attempts} attempts)")
        if not isinstance(answer.error, QuickstudyError):
            answer.error.add_note(f"in a worker process, {counters_of(shard)}:\n{answer.trace}")
        return answer.error

    def close(self) -> None:
        """Ends all workers."""
        for worker in (*self._idle, *self._busy):
            worker.end()
        self._idle.clear()
        self._busy.clear()
        if self._site >= 0:
            os.close(self._site)
            self._site = -1
