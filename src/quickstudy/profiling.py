"""Where a run's time and memory go: seconds of each meta-iteration, and PyTorch's profiler over some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from torch.profiler import ProfilerActivity, profile, schedule

from quickstudy.printed import say
from quickstudy.protocol import Metrics
from quickstudy.storage import in_place_of, remove_leftovers, require_folder

DEAREST = 10
"""How many operations are printed."""


@contextmanager
def profiled(iterations: int, done: int, folder: Path | None) -> Iterator[Callable[[], None]]:
    """Profiles so many meta-iterations, after one to warm up; gives what is to be called at the end of each. 0: profiles none.

    `done` is how many came before. The dearest operations are printed on stderr, by the time that they themselves take. With a
    folder, a trace is written there, which chrome://tracing, Perfetto and TensorBoard's profiler plugin read. Worker processes
    are not seen.
    """
    if not iterations:
        yield lambda: None
        return

    def show(profiler: profile) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        table = profiler.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=DEAREST)
        for line in table.splitlines():
            say(line)
        if folder is not None:
            require_folder(folder)
            folder.mkdir(exist_ok=True)
            remove_leftovers(folder)
            path = folder / f"{done + 2}-{done + profiler.step_num}.pt.trace.json"
            with in_place_of(path) as temporary:
                profiler.export_chrome_trace(str(temporary))
            say(f"trace: {path}")

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    plan = schedule(wait=0, warmup=1, active=iterations, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=show) as profiler:
        yield profiler.step


def phases(steps: float, whole: float, figures: Metrics) -> Metrics:
    """Seconds and environment steps a second of a meta-iteration, by what it does.

    Collecting is all the time for which units of work are waited for, and the update is the rest. The seconds of adapting,
    which lie within those of collecting, and of waiting for a free worker are summed over the units of work.
    """
    collecting = figures.get("work", 0.0)
    seconds = {"collect": collecting, "adapt": figures.get("adapt", 0.0), "update": whole - collecting}
    timing = {f"time/{name}_seconds": spent for name, spent in seconds.items()}
    timing |= {f"time/{name}_fps": steps / spent for name, spent in seconds.items() if spent > 0}
    return {"time/fps": steps / whole, "time/queue_seconds": figures.get("queue", 0.0), **timing}


def memory_of(process: int) -> float:
    """The resident memory of a process in MiB; 0 where it is gone."""
    try:
        return psutil.Process(process).memory_info().rss / 2**20
    except psutil.NoSuchProcess:
        return 0.0
