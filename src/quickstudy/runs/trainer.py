"""Who is training a run: a mark in its folder that a killed trainer leaves behind, so that a watcher can tell."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

import psutil

from quickstudy.storage import SMALL, read_json, to_json, write_atomically

MARK = "trainer.json"


def leave_mark(folder: Path) -> None:
    """Says in a run's folder that this process trains it."""
    own = {"pid": os.getpid(), "began": psutil.Process().create_time(), "host": platform.node()}
    write_atomically(folder / MARK, to_json(own) + "\n")


def remove_mark(folder: Path) -> None:
    """Says that nobody trains it any more: it is finished, or was stopped and saved."""
    (folder / MARK).unlink(missing_ok=True)


def trainer_of(folder: Path) -> Literal["alive", "dead", "elsewhere", "none"]:
    """Whether the process that trains a run is alive, died without a word, or belongs to another machine; or there is none."""
    try:
        mark = read_json(folder / MARK, SMALL)
        if mark["host"] != platform.node():
            return "elsewhere"
        process = psutil.Process(mark["pid"])
        # another process may have got the number since
        same = abs(process.create_time() - mark["began"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
        return "alive" if same else "dead"
    except psutil.NoSuchProcess:
        return "dead"
    except (OSError, ValueError, LookupError, TypeError, OverflowError, psutil.Error):
        return "none"
