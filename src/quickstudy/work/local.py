"""Units of work in this process, one after another, on one thread as everywhere."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence

import torch

from quickstudy.errors import EnvironmentFault, ending
from quickstudy.ops.tally import timed
from quickstudy.protocol import BatchEnv, Result, Shard, Shared, Site, TaskDistribution


class LocalSite:
    """Keeps the environments that units of work have built, by their numbers of tasks and lanes."""

    def __init__(self, distribution: TaskDistribution, device: str = "cpu"):
        self.distribution = distribution
        self.device = device
        self._envs: dict[tuple[int, int], BatchEnv] = {}

    def env(self, tasks: int, lanes: int) -> BatchEnv:
        if (tasks, lanes) not in self._envs:
            self._envs[tasks, lanes] = self.distribution.make(tasks, lanes, self.device)
        return self._envs[tasks, lanes]

    def close(self) -> None:
        for env in self._envs.values():
            env.close()
        self._envs.clear()


class InProcess:
    """Runs units of work in this process."""

    pids: Sequence[int] = ()
    restarts = 0

    def __init__(self, distribution: TaskDistribution, device: str = "cpu"):
        keep_freed_memory()
        self._site = LocalSite(distribution, device)

    def map(self, function: Callable[[Site, Shared, Shard], Result], shared: Shared, shards: Sequence[Shard]) -> list[Result]:
        # sums come out otherwise on two threads, and workers have one
        with timed("work"), threads(1):
            return [run_unit(function, self._site, shared, shard) for shard in shards]

    def close(self) -> None:
        self._site.close()


def run_unit(function: Callable[[Site, Shared, Shard], Result], site: Site, shared: Shared, shard: Shard) -> Result:
    """Runs one unit of work; a fault of its environments says which one it was."""
    try:
        return function(site, shared, shard)
    except EnvironmentFault as fault:
        raise type(fault)(f"{fault} ({counters_of(shard)})", fault.replay) from fault.__cause__
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        # who ends the process would end the run, or its worker, without a word
        raise EnvironmentFault(f"the code of the tasks or of the learner {ending(error)} ({counters_of(shard)})") from error


def counters_of(shard: Shard) -> str:
    """What tells a unit of work apart from all others of a run."""
    return f"seed {shard.seed}, iteration {shard.iteration}, {shard.split} tasks, shard {shard.number}"


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Matrix products use `count` threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Asks glibc to keep what is freed instead of handing it back: large temporaries then don't page-fault anew at each step.

    Worth 1.2 times the speed where tensors are some megabytes large; elsewhere than on glibc it does nothing.
    """
    trim_threshold, top_padding, map_threshold = -1, -2, -3
    with contextlib.suppress(AttributeError, OSError, TypeError):
        allocator = ctypes.CDLL(None)
        for option, size in ((trim_threshold, 2**31 - 1), (top_padding, 2**26), (map_threshold, 2**25)):
            allocator.mallopt(option, size)
