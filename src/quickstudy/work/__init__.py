"""Where units of work run: here, in worker processes, in Ray actors or on ranks. The shards don't depend on the place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from quickstudy.errors import UsageError
from quickstudy.protocol import TaskDistribution, Work
from quickstudy.work.local import InProcess, LocalSite, keep_freed_memory, run_unit, threads
from quickstudy.work.processes import Processes
from quickstudy.work.ranks import Ranks, leads

__all__ = [
    "InProcess",
    "LocalSite",
    "Place",
    "Processes",
    "keep_freed_memory",
    "open_work",
    "require_place",
    "run_unit",
    "threads",
]


class Place(Work, Protocol):
    """Where units of work run, until it is closed."""

    @property
    def pids(self) -> Sequence[int]:
        """The workers' process ids on this machine."""
        ...

    @property
    def restarts(self) -> int:
        """How often a worker was ended and its work given to another."""
        ...

    def close(self) -> None: ...


def require_place(where: str, workers: int | str) -> None:
    """Raises UsageError where `workers` is neither a number of processes nor Ray."""
    if isinstance(workers, int) and workers < 0:
        raise UsageError(f"{where}: workers is {workers}, it must be at least 0")
    if isinstance(workers, str) and not re.fullmatch(r"ray(:[1-9]\d*)?|ray://[^/\s:]+:\d+", workers):
        raise UsageError(f"{where}: workers is '{workers}'; take a number of processes, ray, ray:4 or ray://HOST:10001")


def open_work(
    distribution: TaskDistribution, device: str = "cpu", workers: int | str = 0, *, deadline: float = 600.0, attempts: int = 3
) -> Place:
    """This process, so many workers, the actors of a Ray cluster, or the ranks that torchrun has started; to be closed."""
    require_place("work", workers)
    if leads():
        if workers:
            raise UsageError(
                f"torchrun's ranks do the work, so workers can't be {workers}; take --workers 0, or leave torchrun out"
            )
        return Ranks(distribution, device, deadline)
    if isinstance(workers, str):
        from quickstudy.work.ray_actors import RayActors

        return RayActors(distribution, device, workers, deadline, attempts)
    return Processes(distribution, device, workers, deadline, attempts) if workers else InProcess(distribution, device)
