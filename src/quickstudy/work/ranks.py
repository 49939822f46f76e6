"""Units of work over the ranks that torchrun has started: rank 0 runs the command, the others do their share of its shards."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from quickstudy.errors import QuickstudyError
from quickstudy.ops.tally import count, timed
from quickstudy.protocol import Result, Shard, Shared, Site, TaskDistribution
from quickstudy.work.desk import Answer, Desk, failed
from quickstudy.work.errands import raised_by, too_late
from quickstudy.work.local import LocalSite, keep_freed_memory, run_unit, threads
from quickstudy.work.parcel import pack, unpack

EVER = timedelta(days=365)
"""Between two meta-iterations the other ranks wait for as long as it takes."""
NO_NEWS = np.zeros(0, np.uint8)


def led(command: Callable[[], int]) -> int:
    """Runs a command on rank 0, while the other ranks serve it until it has left; returns the exit status."""
    dist.init_process_group("gloo", timeout=EVER)
    try:
        if dist.get_rank() == 0:
            return command()
        serve()
        return 0
    finally:
        dist.destroy_process_group()


def leads() -> bool:
    """Whether this process has other ranks to give work to."""
    return dist.is_available() and dist.is_initialized()


class Ranks:
    """Runs units of work on all ranks: each does every n-th shard, and rank 0 has the results, in the order of the shards.

    A rank counts as failed where, after rank 0 is done, it takes `deadline` seconds more for each of its shards. Ranks are not
    replaced: the run stops, and can go on from where it was saved.
    """

    pids: Sequence[int] = ()
    restarts = 0

    def __init__(self, distribution: TaskDistribution, device: str = "cpu", deadline: float = 600.0):
        keep_freed_memory()
        self._site, self._deadline, self._store = LocalSite(distribution, device), deadline, board()
        self._news, self._version = pack((distribution, device)), 0

    def map(self, function: Callable[[Site, Shared, Shard], Result], shared: Shared, shards: Sequence[Shard]) -> list[Result]:
        self._version += 1
        with timed("work"), threads(1):
            try:
                for parcel in (self._news, pack((function, shared), self._site.distribution), pack(list(shards))):
                    spread(parcel)
                self._news = NO_NEWS
                answers = dict[int, Answer]()
                for number, shard in share(shards, 0):
                    answers[number] = attempt(function, self._site, shared, shard)
                for rank in range(1, dist.get_world_size()):
                    self._wait_for(rank, self._deadline * len(share(shards, rank)))
                    for number, _ in share(shards, rank):
                        answers[number] = unpack(received(rank), self._site.distribution)
                        count(answers[number].figures)
            except RuntimeError as error:
                raise QuickstudyError(f"a rank that torchrun started is gone ({str(error).splitlines()[0]})") from error
        for number, shard in enumerate(shards):
            if answers[number].error is not None:
                raise raised_by(answers[number], shard)
        return [answers[number].result for number in range(len(shards))]

    def _wait_for(self, rank: int, seconds: float) -> None:
        """Waits until a rank is done, in steps between which a signal is heard."""
        until, pause = time.monotonic() + seconds, 2e-4
        while not self._store.check([done(self._version, rank)]):
            if time.monotonic() > until:
                raise QuickstudyError(f"rank {rank}: {too_late(seconds)}")
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        self._store.delete_key(done(self._version, rank))

    def close(self) -> None:
        """Closes the environments of this rank; the others close theirs when they hear of others, or leave."""
        self._site.close()


def serve() -> None:
    """Does this rank's share of what rank 0 gives out, until rank 0 has left."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # rank 0 decides how to stop
    torch.set_num_threads(1)
    keep_freed_memory()
    rank, store, desk, version = dist.get_rank(), board(), None, 0
    # what a broken connection raises: there is nobody left to serve
    with contextlib.suppress(RuntimeError):
        while True:
            news, order, shards = spread(), spread(), unpack(spread())
            if news.size:
                if desk is not None:
                    desk.close()
                desk, version = Desk(partial(unpack, news)), 0
            assert desk is not None
            version += 1
            parcels = [desk.answer(version, partial(unpack, order), shard, pack) for _, shard in share(shards, rank)]
            store.set(done(version, rank), "")
            for parcel in parcels:
                dist.send(torch.tensor([parcel.size]), 0)
                dist.send(torch.from_numpy(parcel), 0)


def attempt(function: Callable[[Site, Shared, Shard], Result], site: Site, shared: Shared, shard: Shard) -> Answer:
    """Does a unit of work here; what it raises waits until the other ranks are done."""
    try:
        return Answer(run_unit(function, site, shared, shard))
    except Exception as error:
        return failed(error)


def share(shards: Sequence[Shard], rank: int) -> list[tuple[int, Shard]]:
    """A rank's shards, numbered."""
    return list(enumerate(shards))[rank :: dist.get_world_size()]


def spread(parcel: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """What rank 0 says, heard by all."""
    size = torch.tensor([0 if parcel is None else parcel.size])
    dist.broadcast(size, 0)
    whole = torch.empty(int(size), dtype=torch.uint8) if parcel is None else torch.from_numpy(parcel)
    dist.broadcast(whole, 0)
    return whole.numpy()


def received(rank: int) -> NDArray[np.uint8]:
    """A parcel that a rank sends to this one."""
    size = torch.zeros(1, dtype=torch.int64)
    dist.recv(size, rank)
    whole = torch.empty(int(size), dtype=torch.uint8)
    dist.recv(whole, rank)
    return whole.numpy()


def board() -> dist.TCPStore:
    """Where ranks say that they are done: torchrun's own store, in which one can look without waiting."""
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)


def done(version: int, rank: int) -> str:
    """What a rank says when it has done its share."""
    return f"quickstudy/{version}/{rank}"
