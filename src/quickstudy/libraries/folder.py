"""A folder of runs as a library."""

from __future__ import annotations

from pathlib import Path

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.libraries.library import Library, Weighing
from quickstudy.libraries.shelf import runs_in
from quickstudy.protocol import TaskDistribution
from quickstudy.runs import warn_of
from quickstudy.runs.folder import stored_config
from quickstudy.runs.seeds import open_runs


@checked
def library(folder: str | Path, tasks: TaskDistribution, weighing: Weighing | None = None, *, device: str = "cpu") -> Library:
    """The runs in a folder, in the order of their names, as one agent for some tasks; of a folder of seeds every run.

    UsageError where there is none, or one on tasks or with a learner of one's own, which is loaded with `qs.load` and given to
    `qs.Library`.
    """
    members = []
    for run in runs_in(Path(folder)):
        config = stored_config(run)
        if config.task_options is None or config.own_algorithm:
            own = "on tasks" if config.task_options is None else "with a learner"
            raise UsageError(
                f"{run} is a run {own} of your own: load it with qs.load, and give it to qs.Library with the others"
            )
        for opened in open_runs(run, None, None, {"device": device}):
            warn_of(opened.complaints)
            members.append(opened.learner)
    return Library(tasks, members, weighing)
