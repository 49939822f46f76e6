"""The run that a student's settings name as its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from quickstudy.errors import QuickstudyError, UsageError
from quickstudy.protocol import Agent, Learner
from quickstudy.runs.folder import open_run, stored_config
from quickstudy.wrappers.normalised import Normalised


@runtime_checkable
class Student(Protocol):
    """A learner that may have a teacher: its settings name a run, nothing where there is none."""

    config: Any
    teacher: Any

    def learn_from(self, agent: Agent) -> None: ...


def open_teacher(learner: Learner) -> None:
    """Gives a student that is to be trained its teacher; UsageError where that is missing, changed or none for its tasks.

    Who is only evaluated needs none. A teacher on tasks of one's own was trained on the student's.
    """
    student = learner.learner if isinstance(learner, Normalised) else learner
    if not isinstance(student, Student) or student.teacher or not student.config.teacher:
        return
    if isinstance(learner, Normalised) and learner.normalisation.normalise_observation:
        raise UsageError("a teacher reads observations as they are: leave normalise_observation out")
    folder = Path(student.config.teacher)
    try:
        own = stored_config(folder).task_options is None
        student.learn_from(open_run(folder, learner.tasks if own else None, None, {"device": learner.device}).learner)
    except QuickstudyError as error:
        raise UsageError(f"teacher {folder}: {error}") from error
