"""Runs on disk: configuration, metrics and checkpoints, each write atomic and each read verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quickstudy.arguments import checked
from quickstudy.printed import say
from quickstudy.protocol import Learner, TaskDistribution
from quickstudy.runs.folder import open_run


@checked
def load(run: str | Path, tasks: TaskDistribution | None = None, algorithm: Any = None) -> Learner:
    """The learner of a stored run, as last saved. Runs no code that the folder names.

    A run on tasks of one's own needs them again as `tasks`, one with a learner of one's own its class as `algorithm`.
    A damaged checkpoint is named on stderr and the one before used.
    """
    opened = open_run(Path(run), tasks, algorithm)
    warn_of(opened.complaints)
    return opened.learner


def warn_of(complaints: list[str]) -> None:
    """Says on stderr which checkpoints were passed over."""
    for complaint in complaints:
        say(f"warning: {complaint}; using the checkpoint before")
