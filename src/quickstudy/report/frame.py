"""What a run measured as it was trained, as a data frame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quickstudy.arguments import checked
from quickstudy.report.series import Clock, Row, rows_of
from quickstudy.runs.folder import stored_config
from quickstudy.runs.seeds import holds_seeds, read_seeds
from quickstudy.tables import as_frame


@checked
def frame(run: str | Path) -> Any:
    """The metrics of a run, or of a folder of seeds, as a pandas.DataFrame: a row for each seed and meta-iteration.

    Columns are `seed`, `iteration` and the metrics by their names of today, those of wall time included, whichever version
    wrote them. UsageError where the folder is no run, and where pandas is missing.
    """
    return as_frame(metrics_of(Path(run)))


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of a data frame of metrics, seed after seed."""
    if not holds_seeds(folder):
        return measured(folder, stored_config(folder).training.seed)
    return [row for each in read_seeds(folder) for row in measured(each.folder, each.config.training.seed)]


def measured(folder: Path, seed: int) -> list[dict[str, Any]]:
    """What each meta-iteration of one run measured; where some were done again after a resume, the last time counts."""
    timed = by_iteration(map(Clock(), rows_of(folder / "timing.jsonl")))
    found = by_iteration(rows_of(folder / "metrics.jsonl"))
    return [{"seed": seed, "iteration": iteration} | timed.get(iteration, {}) | row for iteration, row in sorted(found.items())]


def by_iteration(rows: Iterable[Row]) -> dict[int, Row]:
    """Rows by their meta-iteration, the last of each."""
    return {row["iteration"]: row for row in rows}
