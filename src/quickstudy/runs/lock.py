"""One trainer a run: a lock in its folder, held while a process writes there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from quickstudy.errors import QuickstudyError
from quickstudy.printed import say
from quickstudy.runs.trainer import leave_mark, mark_of, remove_mark
from quickstudy.storage import descriptor_of

LOCK = "lock"
"""An empty file; who has it, says the trainer's mark beside it."""
_held: set[int] = set()


@contextlib.contextmanager
def sole_trainer(folder: Path) -> Iterator[None]:
    """Makes this process the only one that writes to the folder of a run, or of seeds, until it is left.

    QuickstudyError, which says who else trains it, where another does; nothing is changed then. The system takes the lock back
    when the process ends, however it does. A file system that knows no locks draws a warning.
    """
    descriptor = descriptor_of(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise QuickstudyError(
            f"{folder} is being trained by {trainer_in_words(folder)}; wait until it is done, or stop it"
        ) from error
    except OSError as error:
        say(f"warning: {folder / LOCK} can't be locked ({error.strerror}): see to it yourself that nobody else trains this run")
    _held.add(descriptor)
    try:
        leave_mark(folder)
        yield
    finally:
        with contextlib.suppress(OSError):
            remove_mark(folder)
        _held.discard(descriptor)
        os.close(descriptor)


def trainer_in_words(folder: Path) -> str:
    """Who trains a run, by its mark."""
    mark = mark_of(folder)
    if mark is None:
        return "another process"
    since = datetime.fromtimestamp(mark["began"]).strftime("%Y-%m-%d %H:%M:%S")
    return f"process {mark['pid']} on {mark['host']} since {since}"


def let_go() -> None:
    """A forked process holds no lock: left behind by its parent, it would keep the run from everybody."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=let_go)
