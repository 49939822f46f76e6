"""The contract of a task distribution, clause by clause, tried out on random walks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from quickstudy.arguments import shown
from quickstudy.check import arrays, copies, drawing, living
from quickstudy.check.report import Report, judged
from quickstudy.check.walk import Trial, global_seeds
from quickstudy.errors import UsageError
from quickstudy.protocol import TaskDistribution

CLAUSES: dict[str, Callable[[Trial], str]] = {
    "spaces": drawing.spaces,
    "sampling": drawing.sampling,
    "splits": drawing.splits,
    "steps": living.steps,
    "values": living.values,
    "determinism": living.determinism,
    "global randomness": living.global_randomness,
    "reset": living.reset,
    "parameters": living.parameters,
    "hidden task": drawing.hidden_task,
    "time limit": living.time_limit,
    "ends": living.ends,
    "arrays": arrays.kept,
    "batch": copies.batch,
    "workers": copies.workers,
}
"""Each check by name: it says what it saw, or raises Broken or Unjudged."""


def check_tasks(tasks: TaskDistribution, *, seed: int = 0, called: str = "FILE.py:OBJECT") -> Report:
    """Runs a task distribution through its contract; changes neither it nor any global random state.

    `called` is the name under which the command line knows it, for what to type next.
    """
    if isinstance(tasks, str | type) or not 0 <= seed < 2**32:
        raise UsageError(
            f"check_tasks: tasks is {shown(tasks)} and seed {seed!r}; it takes a task distribution, such as"
            " quickstudy.tasks.make('bandit'), and a seed from 0 to 4294967295"
        )
    trial = Trial(tasks, seed, called)
    with global_seeds(seed):
        findings = judged({name: partial(clause, trial) for name, clause in CLAUSES.items()})
    return Report(f"{tasks!r}, seed {seed}", findings)
