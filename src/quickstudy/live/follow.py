"""A run that is being trained, read as it grows: each look reads what has been written since the one before."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from quickstudy.looks import looks_of
from quickstudy.report.contents import facts
from quickstudy.report.series import (
    FEWEST_POINTS,
    MOST_POINTS,
    NUMBERS,
    SECONDS,
    STEPS,
    VALIDATION,
    Buckets,
    Clock,
    Row,
    Thinning,
    drawn_lines,
    figures,
    map_rows,
    stops,
    validated,
)
from quickstudy.runs.folder import stored_config
from quickstudy.runs.progress import out_of_patience, since_best
from quickstudy.runs.seeds import SeedRun, holds_seeds, read_seeds
from quickstudy.runs.trainer import trainer_of
from quickstudy.storage import opened, read_lines

USUAL_METRICS = 40
"""How many metrics a run is taken to have when points are shared out; a few more or less change only the page's size."""
TAIL = 256


class Grown:
    """A file of rows, read on from where the last reading ended."""

    def __init__(self, path: Path):
        self._path = path
        self._place, self._tail = 0, b""

    @property
    def replaced(self) -> bool:
        """Whether what was read last is there no more: a resumed run cuts off what its checkpoint doesn't know of."""
        if not self._tail:
            return False
        try:
            with opened(self._path) as file:
                file.seek(self._place - len(self._tail))
                return file.read(len(self._tail)) != self._tail
        except FileNotFoundError:
            return True

    def lines(self) -> Iterator[bytes]:
        """The lines that are whole by now and weren't read yet."""
        with contextlib.suppress(FileNotFoundError):
            for line in read_lines(self._path, self._place):
                if not line.endswith(b"\n"):
                    return
                self._place += len(line)
                self._tail = line[-TAIL:]
                yield line


class Line:
    """What is known so far of one run: its metrics and its timing, thinned out, and its validation scores."""

    def __init__(self, folder: Path, thinning: Thinning):
        self.folder = folder
        self._begin(thinning)

    def _begin(self, thinning: Thinning) -> None:
        self._metrics, self._timing = Grown(self.folder / "metrics.jsonl"), Grown(self.folder / "timing.jsonl")
        self._clock = Clock()
        self._means = Buckets(thinning), Buckets(thinning)
        self.last = self.steps = 0
        self._pace: deque[tuple[int, float]] = deque(maxlen=20)
        self.validation: dict[int, Row] = {}

    def read(self, room: Callable[[int], None]) -> bool:
        """Reads on, or again from the beginning; calls `room` with each row's meta-iteration. Whether anything was new."""
        again = self._metrics.replaced or self._timing.replaced
        if again:
            self._begin(self._means[0].thinning)
        found = False
        for row in map_rows(self._metrics.lines()):
            found = True
            self.last = row["iteration"]
            self.steps = int(figures(row).get(STEPS, 0))
            room(self.last)
            self._means[0].add(row)
            if validated(row):
                self.validation[self.last] = {
                    name: value for name, value in figures(row).items() if name == STEPS or name.startswith(VALIDATION)
                }
        for row in map_rows(self._timing.lines()):
            found = True
            room(row["iteration"])
            row = self._clock(row)
            self._means[1].add(row)
            if self._pace and row["iteration"] <= self._pace[-1][0]:
                self._pace.clear()
            self._pace.append((row["iteration"], figures(row).get(SECONDS, 0.0)))
        return again or found

    @property
    def pace(self) -> float | None:
        """Seconds of a meta-iteration, of late; None where too few are done."""
        (first, then), (last, now) = (self._pace[0], self._pace[-1]) if self._pace else ((0, 0.0), (0, 0.0))
        return (now - then) / (last - first) if last > first else None

    def widen(self) -> None:
        """Twice as many meta-iterations a point."""
        for buckets in self._means:
            buckets.widen()

    @property
    def means(self) -> dict[str, Any]:
        """Each metric's means, (point,)."""
        return self._means[1].means | self._means[0].means


class Follower:
    """A run, or a folder of seeds, as it stands at each look."""

    def __init__(self, folder: Path):
        self.folder, self.config = folder, stored_config(folder)
        self._runs = read_seeds(folder) if holds_seeds(folder) else [SeedRun(folder, self.config)]
        points = NUMBERS // (USUAL_METRICS * (len(self._runs) + (len(self._runs) > 1)))
        self._thinning = Thinning(max(FEWEST_POINTS, min(MOST_POINTS, points)), 1)
        self._lines = [Line(run.folder, self._thinning) for run in self._runs]
        self.looks = 0
        """Grows whenever a look finds something new."""
        self._trainer = self._state()

    def look(self) -> None:
        """Reads what has been written since the last look."""
        news = [line.read(self._room) for line in self._lines]
        trainer = self._state()
        if any(news) or trainer != self._trainer:
            self._trainer = trainer
            self.looks += 1

    def _room(self, iteration: int) -> None:
        while iteration > self._thinning.points * self._thinning.rows:
            self._thinning = Thinning(self._thinning.points, 2 * self._thinning.rows)
            for line in self._lines:
                line.widen()

    def _state(self) -> dict[str, str]:
        """How the training stands, and the command that goes on with it."""
        lines, training = self._lines, self.config.training
        # seeds that are trained one after the other are one training
        found = [trainer_of(folder) for folder in {self.folder, *(line.folder for line in lines)}]
        known = [state for state in ("alive", "elsewhere", "dead") if state in found]
        finished = all(
            training.share(line.last, line.steps) >= 1 or out_of_patience(training, since_best(training, line.validation))
            for line in lines
        )
        state = known[0] if known else "finished" if finished else "stopped"
        command = {"finished": "report", "dead": "resume", "stopped": "resume"}.get(state)
        return {
            "state": state,
            "command": self.config.command(command, self.folder) if command else "",
        }

    @property
    def _left(self) -> float | None:
        """Seconds that the training may still take, at the pace of late; None where that can't be told."""
        paces = [line.pace for line in self._lines if line.pace is not None]
        if self._trainer["state"] != "alive" or not paces:
            return None
        return paces[-1] * sum(self._iterations_left(line) for line in self._lines)

    def _iterations_left(self, line: Line) -> float:
        """How many meta-iterations a run still takes, those that steps bound as long as those so far were on average."""
        last, steps = self.config.training.last, self.config.training.steps
        bounds = [last - line.last] if last else []
        if steps and line.last:
            bounds.append((steps - line.steps) / (line.steps / line.last) if line.steps else 0)
        return max(0.0, min(bounds, default=0.0))

    def figures(self) -> dict[str, Any]:
        """All that changes on the page, as plain values."""
        last = max(line.last for line in self._lines)
        points = -(-last // self._thinning.rows)
        means = [{name: column[:points] for name, column in line.means.items()} for line in self._lines]
        scored: dict[int, list[Row]] = {}
        for line in self._lines:
            for iteration, row in line.validation.items():
                scored.setdefault(iteration, []).append(row)
        return {
            "looks": self.looks,
            "trainer": self._trainer,
            "left": self._left,
            "done": min(line.last for line in self._lines),
            "lived": min(line.steps for line in self._lines),
            "series": drawn_lines(means, [run.config.training.seed for run in self._runs], last, self._thinning.rows),
            "validation": stops(scored, len(self._lines)),
        }

    @property
    def about(self) -> dict[str, Any]:
        """What the page says of the run besides."""
        return {
            "title": f"{self.config.algorithm} on {self.config.tasks}",
            "run": self.folder.name,
            "seeds": [run.config.training.seed for run in self._runs],
            "iterations": self.config.training.last,
            "most_steps": self.config.training.steps,
            "styles": {"learner": looks_of([self.config.algorithm])[0].told},
            "facts": facts(self.folder, self._runs[0].folder),
        }
