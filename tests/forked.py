"""A call in a forked child that is watched: how it ended, what it said, how long it took and how much memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

LIMIT = 5.0
"""Seconds of its own that a call may take."""
PATIENCE = 6
"""How many times as long it may take by the clock, on a machine that does other things as well."""
MOST_MEGABYTES = 700
"""By how much a call may grow: with what Python and PyTorch take themselves it stays below a gigabyte."""


class Ended(NamedTuple):
    """How a call ended."""

    status: int | None
    """None where a signal ended it."""
    said: str
    seconds: float
    """Of the processor."""
    megabytes: float
    """By which it grew at most."""

    @property
    def errors(self) -> list[str]:
        """The lines that tell of errors."""
        return [line for line in self.said.splitlines() if line.startswith("error: ")]


def forked(call: Callable[[], Any]) -> Ended:
    """Runs a call in a child, whose status is what it returns, or 99 with a traceback where it raises."""
    with tempfile.TemporaryFile() as output:
        before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        child = os.fork()
        if not child:
            os._exit(_lived(call, output.fileno()))
        deadline, used = time.monotonic() + LIMIT * PATIENCE, None
        while True:
            pid, status, used = os.wait4(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        output.seek(0)
        said = output.read().decode(errors="replace")
    exited = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    return Ended(exited, said, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10 - before)


def _lived(call: Callable[[], Any], output: int) -> int:
    """The child's life: its status."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False, buffering=1) for number in (1, 2))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    # a runaway dies here instead of taking the machine along
    resource.setrlimit(resource.RLIMIT_AS, (size + 3 * 2**30, size + 3 * 2**30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))
    resource.setrlimit(resource.RLIMIT_CPU, (int(LIMIT), int(LIMIT) + 1))
    try:
        return int(call() or 0)
    except BaseException:
        traceback.print_exc()
        return 99
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def fault_of(ended: Ended) -> str:
    """What is wrong with how a call ended; nothing where it was done, or refused in one line."""
    if ended.status is None:
        return f"ended by a signal after {ended.seconds:.1f} s of its own"
    if "Traceback" in ended.said or ended.status not in (0, 1, 2, 130):
        return f"status {ended.status}: {ended.said[-1500:]}"
    if ended.status and len(ended.errors) != 1:
        return f"status {ended.status} with {len(ended.errors)} lines of error: {ended.said[-1500:]}"
    if ended.megabytes > MOST_MEGABYTES:
        return f"{ended.megabytes:.0f} MB"
    return ""
