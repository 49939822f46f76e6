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
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait

from quickstudy.errors import UsageError
from quickstudy.ops.tally import count, timed
from quickstudy.protocol import Result, Shard, Shared, Site, TaskDistribution
from quickstudy.work.errands import START_SECONDS, Outcome, run_errands, too_late
from quickstudy.work.nursery import end, started
from quickstudy.work.parcel import receive, seal, send, sent, unseal
from quickstudy.work.worker import ANSWER, READY, Job


class Worker:
    """One worker process, as its parent sees it."""

    def __init__(self, site: int):
        self.ready = False
        self.channel, self._nursery, self.pid = started(site)

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
        self._site = sent(lambda: seal((distribution, device)), distribution, "the tasks")
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
        self._version += 1
        began = time.monotonic()
        with timed("work"):
            parcel = sent(lambda: seal((function, shared), self._distribution), shared, "the learner's part")
            try:
                hand_out = partial(self._hand_out, shards, parcel, began)
                return run_errands(shards, self._attempts, hand_out, self._outcomes, self._drop)
            finally:
                os.close(parcel)

    def _hand_out(self, shards: Sequence[Shard], parcel: int, began: float, waiting: deque[int]) -> None:
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

    def _outcomes(self) -> list[Outcome]:
        """Waits for workers; what came of those that have answered, died or are late. Those that failed are ended."""
        first = min(errand.until for errand in self._busy.values())
        ready = wait([worker.channel for worker in self._busy], timeout=max(0.0, first - time.monotonic()))
        found = []
        for worker, errand in list(self._busy.items()):
            message, parcel = worker.hear() if worker.channel in ready else (None, -1)
            answer, what = None, ""
            if message == READY:
                errand.until = time.monotonic() + self._deadline
                continue
            if message == ANSWER:
                answer = unseal(parcel, self._distribution)
                os.close(parcel)
            elif message is None:
                if time.monotonic() <= errand.until:
                    continue
                what = too_late(self._deadline) if worker.ready else f"its worker did not start within {START_SECONDS:g} s"
            del self._busy[worker]
            if answer is not None and answer.error is None:
                self._idle.append(worker)
            else:
                self.restarts += 1
                ended = worker.end()
                what = what or f"its worker process died {ended}"
            found.append(Outcome(errand.index, answer, what))
        return found

    def _drop(self) -> None:
        for worker in self._busy:
            worker.end()
        self._busy.clear()

    def close(self) -> None:
        """Ends all workers."""
        self._drop()
        for worker in self._idle:
            worker.end()
        self._idle.clear()
        if self._site >= 0:
            os.close(self._site)
            self._site = -1
