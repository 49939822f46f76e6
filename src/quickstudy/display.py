"""What a training run shows: on a terminal a boxed table and a bar with the time left, elsewhere plain lines."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.box import SQUARE
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn, track
from rich.table import Table

from quickstudy.protocol import Metrics

Thing = TypeVar("Thing")
SECONDS_PER_LINE = 10.0


class Display:
    """Follows a run's metrics; `with` opens and closes it."""

    def __init__(self, title: str, done: int, total: int, quiet: bool):
        self._title, self._total, self._quiet = title, total, quiet
        self._console = Console(file=sys.stderr)
        self._started, self._done_at_start, self._last_line = time.monotonic(), done, 0.0
        self._live = None
        if self._console.is_terminal and not quiet:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=self._console)
            self._bar = self._progress.add_task(title, total=total, completed=done)
            self._live = Live(self._progress, console=self._console, refresh_per_second=4)

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, iteration: int, metrics: Metrics) -> None:
        """Shows a finished meta-iteration."""
        if self._live:
            self._progress.update(self._bar, completed=iteration)
            self._live.update(Group(self._progress, boxed(metrics)))
        elif not self._quiet and (time.monotonic() - self._last_line > SECONDS_PER_LINE or iteration == self._total):
            self._last_line = time.monotonic()
            per_iteration = (time.monotonic() - self._started) / max(1, iteration - self._done_at_start)
            left = per_iteration * (self._total - iteration)
            self._console.print(
                f"{self._title}  iteration {iteration}/{self._total}  steps {metrics['time/total_timesteps']:,.0f}"
                f"  ep_rew_mean {metrics.get('rollout/ep_rew_mean', math.nan):.2f}  fps {metrics['time/fps']:,.0f}"
                f"  left {left:.0f} s",
                highlight=False,
                soft_wrap=True,
            )


def boxed(metrics: Metrics) -> Table:
    """Metrics as a box, grouped by what comes before the slash."""
    table = Table(box=SQUARE, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    group = ""
    for name, value in sorted((name, value) for name, value in metrics.items() if "/" in name):
        head, _, tail = name.partition("/")
        if head != group:
            group = head
            table.add_row(f"[bold]{head}/[/]", "")
        table.add_row(f"   {tail}", f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 10 else f"{value:.4g}")
    return table


def tracked(things: Iterable[Thing], title: str, total: int) -> Iterator[Thing]:
    """Goes through things with a bar on a terminal, and silently elsewhere."""
    console = Console(file=sys.stderr)
    yield from track(things, title, total, console=console, disable=not console.is_terminal, transient=True)
