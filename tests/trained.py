"""Learners that several tests look at, trained once in each process."""

from __future__ import annotations

from functools import cache

from probes import HiddenButton
from small import SMALL

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.protocol import Learner
from quickstudy.work import InProcess


@cache
def on_buttons(name: str) -> tuple[float, Learner]:
    """What a learner's trials return on hidden buttons before it is trained, and the learner then; not to be changed."""
    entry = ALGORITHMS[name]
    learner = entry.make(qs.NativeTasks(HiddenButton()), entry.config(**SMALL[name]))
    before, work = trial_return(learner), InProcess(learner.tasks)
    for _ in range(40):
        learner.train_step(work)
    return before, learner


def trial_return(learner: Learner, greedy: bool = False) -> float:
    """The mean return of a trial on tests."""
    return float(qs.evaluate(learner, num_tasks=1600, greedy=greedy).returns.sum(1).mean())
