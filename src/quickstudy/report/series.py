"""A run's metrics over training time, thinned out until a page can hold them: each point is the mean of neighbouring rows."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.names import metrics_now
from quickstudy.ops.fit import MAX_COUNT
from quickstudy.ops.statistics import interquartile_mean
from quickstudy.storage import read_lines

NUMBERS = 60_000
"""How many numbers the series of all seeds together may have: half a megabyte of text."""
MOST_POINTS = 400
FEWEST_POINTS = 40
MOST_STOPS = 60
"""Places of the slider over validation."""
VALIDATION = "validation/episode_"
STATISTICS = ("mean", "iqm")
"""Of returns over validation tasks: the mean, and in runs of earlier versions the interquartile mean."""
STEPS, SECONDS = "time/total_timesteps", "time/time_elapsed"
AXES = ("iteration", STEPS, SECONDS)

MOST_NAMES = 1000
"""Of metrics: what a file has beyond is not a run's."""
LARGEST = sys.float_info.max
"""Whole numbers may be larger, and are no figures then."""

Row = dict[str, Any]


class Thinning(NamedTuple):
    """How meta-iterations are put together."""

    points: int
    rows: int
    """Meta-iterations that a point stands for."""


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a file of metrics in turn; a line that isn't whole, as where a trainer is writing, is passed over."""
    with contextlib.suppress(FileNotFoundError):
        yield from map_rows(read_lines(path))


def map_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Lines as rows, those passed over that are none; metrics of earlier versions have their names of today."""
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and type(row.get("iteration")) is int and 0 < row["iteration"] < MAX_COUNT:
            yield metrics_now(row)


def figures(row: Row) -> dict[str, float]:
    """The finite numbers of a row, of as many names as any run has."""
    numbers = {name: float(value) for name, value in row.items() if type(value) in (int, float) and abs(value) <= LARGEST}
    return numbers if len(numbers) <= MOST_NAMES else dict(islice(numbers.items(), MOST_NAMES))


class Clock:
    """Adds to rows of `timing.jsonl` the seconds of all sessions before: each resumed session counts from nothing."""

    def __init__(self) -> None:
        self._before, self._latest = 0.0, 0.0

    def __call__(self, row: Row) -> Row:
        elapsed = figures(row).get(SECONDS)
        if elapsed is None:
            return row
        if elapsed < self._latest:
            self._before += self._latest
        self._latest = elapsed
        return row | {SECONDS: self._before + elapsed}


class Buckets:
    """Means of one file's rows over `thinning.rows` meta-iterations each."""

    def __init__(self, thinning: Thinning):
        self.thinning = thinning
        self._sums: dict[str, list[float]] = {}
        self._counts: dict[str, list[float]] = {}
        self._latest = 0

    def add(self, row: Row) -> None:
        """Adds a row; where meta-iterations were done again after a resume, the last time counts."""
        points, place = self.thinning.points, (row["iteration"] - 1) // self.thinning.rows
        if row["iteration"] <= self._latest:
            for column in (*self._sums.values(), *self._counts.values()):
                column[place:] = [0.0] * len(column[place:])
        self._latest = row["iteration"]
        if place < points:
            for name, value in figures(row).items():
                if name not in self._sums:
                    if len(self._sums) == MOST_NAMES:
                        continue
                    self._sums[name], self._counts[name] = [0.0] * points, [0.0] * points
                self._sums[name][place] += value
                self._counts[name][place] += 1

    def widen(self) -> None:
        """Makes room for twice as many meta-iterations: each point stands for twice as many as before."""
        points, rows = self.thinning
        self.thinning = Thinning(points, 2 * rows)
        for column in (*self._sums.values(), *self._counts.values()):
            pairs = [sum(column[place : place + 2]) for place in range(0, points, 2)]
            column[:] = pairs + [0.0] * (points - len(pairs))

    @property
    def means(self) -> dict[str, NDArray[np.floating]]:
        """Each metric's means, (point,); NaN where no row has it."""
        found = {}
        for name, sums in self._sums.items():
            total, count = np.array(sums), np.array(self._counts[name])
            found[name] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return found


def series(folders: Sequence[Path], seeds: Sequence[int]) -> dict[str, Any]:
    """The metrics of runs of one configuration as plain values: `metrics` names what is drawn, `seeds` holds a line each.

    With two seeds or more `iqm` is their interquartile mean, meta-iteration by meta-iteration.
    """
    last, names = 0, set()
    for folder in folders:
        for row in rows_of(folder / "metrics.jsonl"):
            last = max(last, row["iteration"])
            names |= row.keys()
    drawn = max(1, len(names)) * (len(folders) + (len(folders) > 1))
    points = max(FEWEST_POINTS, min(MOST_POINTS, NUMBERS // drawn))
    rows = max(1, math.ceil(last / points))
    thinning = Thinning(math.ceil(last / rows), rows)
    return drawn_lines([line_of(folder, thinning) for folder in folders], seeds, last, rows)


def drawn_lines(lines: Sequence[dict[str, NDArray[np.floating]]], seeds: Sequence[int], last: int, rows: int) -> dict[str, Any]:
    """Means of each run, (point,) a metric, as plain values: `last` meta-iterations, `rows` of them a point."""
    shown = sorted({name for line in lines for name in line if "/" in name and not name.startswith(VALIDATION)})
    metrics = [name for name in shown if name not in AXES]
    found: dict[str, Any] = {"rows": last, "rows_per_point": rows, "metrics": metrics}
    found["seeds"] = [plain(line, [*AXES, *metrics]) | {"seed": seed} for line, seed in zip(lines, seeds, strict=True)]
    if len(lines) > 1 and last:
        together = {name: [line[name] for line in lines if name in line] for name in [*AXES, *metrics]}
        middles = {name: middle(columns) for name, columns in together.items() if columns}
        found["iqm"] = plain(middles, list(middles))
    return found


def line_of(folder: Path, thinning: Thinning) -> dict[str, NDArray[np.floating]]:
    """One run's means, those of its wall time included."""
    metrics, timing, clock = Buckets(thinning), Buckets(thinning), Clock()
    for row in rows_of(folder / "metrics.jsonl"):
        metrics.add(row)
    for row in rows_of(folder / "timing.jsonl"):
        timing.add(clock(row))
    return timing.means | metrics.means


def middle(lines: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    """The interquartile mean of seeds, point by point, over those that have one there."""
    found = [values[np.isfinite(values)] for values in np.stack(lines, axis=1)]
    return np.array([float(interquartile_mean(values)) if len(values) else np.nan for values in found])


def plain(line: dict[str, NDArray[np.floating]], names: Sequence[str]) -> dict[str, Any]:
    """Columns as lists of numbers, None for a gap."""
    return {name: [short(value, 9 if name in AXES else 6) for value in line[name].tolist()] for name in names if name in line}


def short(value: float, digits: int = 6) -> float | int | None:
    """A number as few characters; whole ones of type int as they are, None where it is not finite."""
    if isinstance(value, int):
        return int(value)
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def validations(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return by episode on validation tasks as training went on: at most `MOST_STOPS` meta-iterations, the last one among them.

    Each is the mean over tasks and seeds; `statistic` says where an earlier version told interquartile means over tasks.
    """
    met: dict[int, list[Row]] = {}
    for folder in folders:
        for row in rows_of(folder / "metrics.jsonl"):
            if validated(row):
                met.setdefault(row["iteration"], []).append(figures(row))
    return stops(met, len(folders))


def stops(met: dict[int, list[Row]], runs: int) -> list[dict[str, Any]]:
    """The meta-iterations after which all runs were evaluated alike, thinned out, from the rows of each."""
    complete = sorted(iteration for iteration, rows in met.items() if len(rows) == runs and statistic_of(rows))
    kept = sorted({complete[round(place)] for place in np.linspace(0, len(complete) - 1, MOST_STOPS)}) if complete else []
    return [
        {
            "iteration": iteration,
            "steps": short(float(np.mean([row.get(STEPS, math.nan) for row in met[iteration]])), 9),
            "statistic": statistic_of(met[iteration]),
            "returns": by_episode(met[iteration], f"return_{statistic_of(met[iteration])}"),
        }
        for iteration in kept
    ]


def validated(row: Row) -> bool:
    """Whether a row tells of an evaluation on validation tasks."""
    return statistic_of([row]) is not None


def statistic_of(rows: list[Row]) -> str | None:
    """Which statistic of returns on validation tasks all of the rows have; None where they share none."""
    shared = [each for each in STATISTICS if all(f"{VALIDATION}1/return_{each}" in row for row in rows)]
    return shared[0] if shared else None


def by_episode(rows: list[Row], name: str) -> list[float | int | None]:
    """A metric of validation, episode after episode, as the mean over rows; None where one of them lacks it."""
    scores = []
    while any((metric := f"{VALIDATION}{len(scores) + 1}/{name}") in row for row in rows):
        scores.append(short(float(np.mean([row.get(metric, math.nan) for row in rows]))))
    return scores
