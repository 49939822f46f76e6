"""The report in a notebook: the page in a frame of its own, below the cell that asked for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from quickstudy.arguments import checked
from quickstudy.protocol import TaskDistribution
from quickstudy.report.contents import contents
from quickstudy.report.page import page
from quickstudy.runs import warn_of
from quickstudy.runs.seeds import open_runs
from quickstudy.storage import write_atomically


@dataclass(frozen=True)
class Report:
    """A run's pictures. A notebook shows them where this is the last thing in a cell."""

    run: str
    html: str = field(repr=False)
    """The page as it is sent by mail."""
    height: int = 900
    """Pixels of the frame."""

    def _repr_html_(self) -> str:
        # in a sandbox the page's scripts draw, and can reach nothing of the notebook
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" width="100%" height="{self.height}"'
            f' style="border: 0" title="{escape(self.run)}"></iframe>'
        )

    def save(self, path: str | Path) -> None:
        """Writes the page as one HTML file."""
        write_atomically(Path(path), self.html)


@checked
def show(
    run: str | Path, tasks: TaskDistribution | None = None, algorithm: Any = None, *, height: int = 900, **options: Any
) -> Report:
    """The report of a stored run, or of a folder of seeds, for a notebook: the page that `quickstudy report` writes.

    `tasks` and `algorithm` are those of `load`, `options` those of `evaluate` (num_tasks, episodes, split, seed, greedy).
    UsageError where the folder is no run.
    """
    runs = open_runs(Path(run), tasks, algorithm)
    for each in runs:
        warn_of(each.complaints)
    return Report(str(run), page(contents(Path(run), runs, options=options)), height)
