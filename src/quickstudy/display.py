"""What is shown of work that takes long: on a terminal a bar with the time left, elsewhere plain lines.

A command says with this what it is about before it imports PyTorch, which so isn't imported here.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, runtime_checkable

from rich.box import SQUARE
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from quickstudy.ops.tally import heard_by
from quickstudy.printed import printable, say

SECONDS_PER_LINE = 10.0
KEY_FIGURES = (
    *("rollout/ep_rew_mean", "adapt/*", "validation/*", "time/total_timesteps", "time/fps", "train/loss", "train/entropy"),
    *("train/approx_kl", "train/policy_loss", "train/critic_loss", "train/belief_loss", "train/temperature", "train/grad_norm"),
)
"""What is looked at most, the most important first; of returns by episode the first and the last."""
MOST_FIGURES = 8


@runtime_checkable
class Budget(Protocol):
    """When a training ends: see `Training` of `runs/config.py`."""

    @property
    def steps(self) -> int | None: ...
    @property
    def last(self) -> int | None: ...
    @property
    def budget(self) -> str: ...
    def share(self, iteration: int, timesteps: int) -> float: ...


class Display:
    """Follows a run's metrics; `with` opens and closes it."""

    def __init__(self, title: str, training: Budget, iteration: int, timesteps: int, quiet: bool):
        self._title, self._training, self._quiet = printable(title), training, quiet
        self._console = Console(file=sys.stderr)
        self._started, self._last_line = time.monotonic(), -math.inf
        self._share_at_start = training.share(iteration, timesteps)
        self._scores: Mapping[str, float] = {}
        self._live = None
        if self._console.is_terminal and not quiet:
            self._live = Live(self._bar(iteration, timesteps), console=self._console, refresh_per_second=4)

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        elif not self._quiet:
            say(f"{self._title}: {self._training.budget} ...")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Shows a finished meta-iteration."""
        timesteps = int(metrics["time/total_timesteps"])
        # validation is a matter of some meta-iterations; its last scores stay to be seen
        self._scores = {name: metrics[name] for name in metrics if name.startswith("validation/")} or self._scores
        if self._live:
            self._live.update(Group(self._bar(iteration, timesteps), boxed(key_figures({**self._scores, **metrics}))))
            return
        if self._quiet or (time.monotonic() - self._last_line <= SECONDS_PER_LINE and not self._is_over(iteration, timesteps)):
            return
        self._last_line = time.monotonic()
        last, steps = self._training.last, self._training.steps
        say(
            f"{self._title}  iteration {iteration}{f'/{last}' if last else ''}"
            f"  steps {timesteps:,}{f'/{steps:,}' if steps else ''}"
            f"  ep_rew_mean {metrics.get('rollout/ep_rew_mean', math.nan):.2f}  fps {metrics['time/fps']:,.0f}"
            f"  left {left_in_words(self._left(iteration, timesteps))}"
        )

    def _is_over(self, iteration: int, timesteps: int) -> bool:
        return self._training.share(iteration, timesteps) >= 1

    def _left(self, iteration: int, timesteps: int) -> float | None:
        """Seconds to the end of the budget at the pace so far; None before anything is done."""
        share = min(1.0, self._training.share(iteration, timesteps))
        done = share - self._share_at_start
        return (time.monotonic() - self._started) * (1 - share) / done if done > 0 else None

    def _bar(self, iteration: int, timesteps: int) -> Group:
        last, steps, share = self._training.last, self._training.steps, self._training.share(iteration, timesteps)
        far = f"{iteration}/{last}" if last and share == iteration / last else f"{timesteps:,}/{steps:,} steps"
        left = left_in_words(self._left(iteration, timesteps))
        return bar(self._title, min(1.0, share), far, time.monotonic() - self._started, left)


def left_in_words(seconds: float | None) -> str:
    """How long something still takes."""
    return "unknown" if seconds is None else duration(seconds)


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    minutes, second = divmod(math.ceil(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


def key_figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """The figures of a meta-iteration that are looked at most, in the order of their groups."""
    found: list[str] = []
    for name in KEY_FIGURES:
        if name.endswith("*"):
            episodes = [key for key in metrics if key.startswith(name[:-1])]
            found += dict.fromkeys([*episodes[:1], *episodes[-1:]])
        elif name in metrics:
            found.append(name)
    return {name: metrics[name] for name in sorted(found[:MOST_FIGURES])}


def boxed(metrics: Mapping[str, float]) -> Table:
    """Metrics as a box."""
    table = Table(box=SQUARE, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for name, value in metrics.items():
        whole = abs(value) >= 1000 or (float(value).is_integer() and abs(value) >= 10)
        table.add_row(name, f"{value:,.0f}" if whole else f"{value:.4g}")
    return table


@contextmanager
def following(what: str) -> Iterator[None]:
    """Says on stderr what a command is about, and how far it is: with bars on a terminal, with lines now and then elsewhere."""
    say(f"{what} ...")
    follower = Follower()
    try:
        with heard_by(follower):
            yield
    finally:
        follower.close()


class Follower:
    """Shows how far a piece of work is; what begins within it is part of it."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        self._last_line = time.monotonic()
        self._live: Live | None = None
        self._what = self._unit = ""
        self._done = self._total = 0.0

    def begins(self, what: str, total: int, unit: str) -> None:
        if self._done < self._total:
            return  # part of what is shown already
        self._what, self._total, self._unit, self._done = printable(what), float(total), unit, 0.0
        self._began = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(self._bar(), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def counts(self, figures: Mapping[str, float]) -> None:
        if self._unit not in figures or self._done >= self._total:
            return
        self._done += figures[self._unit]
        if self._live:
            self._live.update(self._bar())
            if self._done >= self._total:
                self.close()
        elif time.monotonic() - self._last_line > SECONDS_PER_LINE:
            self._last_line = time.monotonic()
            say(f"{self._what}: {self._done:,.0f} of {self._total:,.0f} {self._unit}")

    def close(self) -> None:
        """Takes the bar away."""
        if self._live:
            self._live.stop()
            self._live = None

    def _bar(self) -> Group:
        share, ran = min(1.0, self._done / self._total), time.monotonic() - self._began
        left = left_in_words(ran * (1 - share) / share if share else None)
        return bar(self._what, share, f"{self._done:,.0f}/{self._total:,.0f} {self._unit}", ran, left)


def bar(title: str, share: float, far: str, ran: float, left: str) -> Group:
    """A title, and below it a bar with how far something is, for how long it has run, and how long it still takes."""
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(ratio=1)
    for _ in range(3):
        line.add_column(no_wrap=True)
    line.add_row(ProgressBar(total=1.0, completed=share), far, duration(ran), f"left {left}")
    return Group(Text(title), line)
