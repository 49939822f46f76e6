"""Where units of work run: in this process, or in worker processes. The shards and their order don't depend on the place."""

from __future__ import annotations

from quickstudy.protocol import TaskDistribution
from quickstudy.work.local import InProcess, LocalSite, keep_freed_memory, run_unit, threads
from quickstudy.work.processes import Processes

__all__ = ["InProcess", "LocalSite", "Processes", "keep_freed_memory", "open_work", "run_unit", "threads"]


def open_work(
    distribution: TaskDistribution, device: str = "cpu", workers: int = 0, *, deadline: float = 600.0, attempts: int = 3
) -> InProcess | Processes:
    """This process, or so many worker processes; to be closed."""
    return Processes(distribution, device, workers, deadline, attempts) if workers else InProcess(distribution, device)
