"""Who is training a run: a mark in its folder that a killed trainer leaves behind, so that a watcher can tell."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

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


def mark_of(folder: Path) -> dict[str, Any] | None:
    """A trainer's mark: process number, when that began, and host; None where there is none, or what is there is no mark."""
    try:
        mark = read_json(folder / MARK, SMALL)
        host, began, pid = str(mark["host"]), float(mark["began"]), int(mark["pid"])
        datetime.fromtimestamp(began)
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return None
    return {"pid": pid, "began": began, "host": host}


def trainer_of(folder: Path) -> Literal["alive", "dead", "elsewhere", "none"]:
    """Whether the process that trains a run is alive, died without a word, or belongs to another machine; or there is none."""
    mark = mark_of(folder)
    if mark is None:
        return "none"
    try:
        if mark["host"] != platform.node():
            return "elsewhere"
        process = psutil.Process(mark["pid"])
        # another process may have got the number since
        same = abs(process.create_time() - mark["began"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
        return "alive" if same else "dead"
    except psutil.NoSuchProcess:
        return "dead"
    except (OSError, ValueError, OverflowError, psutil.Error):
        return "none"
