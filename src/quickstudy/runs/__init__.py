"""Runs on disk: configuration, metrics and checkpoints, each write atomic and each read verified."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from quickstudy.arguments import checked
from quickstudy.printed import say
from quickstudy.protocol import Learner, TaskDistribution
from quickstudy.runs.config import flags
from quickstudy.runs.folder import open_run


@checked
def load(
    run: str | Path,
    tasks: TaskDistribution | None = None,
    algorithm: Any = None,
    *,
    device: str = "cpu",
    iteration: int | Literal["best"] | None = None,
) -> Learner:
    """The learner of a stored run, as last saved, or as it was saved after `iteration`. Runs no code that the folder names.

    "best" is the iteration after which the score on validation tasks was best, whose checkpoint `train(..., keep_best=True)`
    keeps.

    A run on tasks of one's own needs them again as `tasks`, one with a learner of one's own its class as `algorithm`.
    A damaged checkpoint is named on stderr and the one before used. `device` is where it is to live, wherever it was trained.
    """
    opened = open_run(Path(run), tasks, algorithm, {"device": device}, iteration)
    elsewhere = opened.config.trained_with.get("device", device)
    if elsewhere != device:
        say(f"it was trained on {elsewhere}; for that here too: quickstudy.load({str(run)!r}, device={elsewhere!r})")
    warn_of(opened.complaints)
    return opened.learner


def warn_of(complaints: list[str]) -> None:
    """Says on stderr which checkpoints were passed over."""
    for complaint in complaints:
        say(f"warning: {complaint}; using the checkpoint before")


def warn_of_machine(options: Mapping[str, Any], command: str) -> None:
    """Says on stderr with which options a stored run was trained that aren't taken from its file, and how to give them."""
    if options:
        say(f"it was trained with{flags(options)}; for that here too: {command}{flags(options)}")
