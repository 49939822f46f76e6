"""The process of one worker: it does one unit of work after another until the run that started it is gone."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch

from quickstudy.errors import QuickstudyError
from quickstudy.ops.tally import counted
from quickstudy.protocol import Shard
from quickstudy.work.local import LocalSite, keep_freed_memory, run_unit
from quickstudy.work.parcel import receive, seal, send, unseal

READY, ANSWER = b"r", b"a"
"""What a worker says: once, that it is there; then, that it has done its job. A byte each, so that none runs into the next."""


class Job(NamedTuple):
    """What comes with the parcel of function and shared values."""

    version: int
    """Shards of one version share one parcel, which is opened once."""
    shard: Shard


class Answer(NamedTuple):
    """What a unit of work came to: its result, or what it raised and where."""

    result: Any
    figures: Mapping[str, float] = {}
    """What the worker counted and timed meanwhile."""
    error: Exception | None = None
    trace: str = ""


def main(channel: int, site: int) -> None:
    """Serves the process at the other end of `channel`; `site` says where to work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides how to stop
    faulthandler.enable()
    torch.set_num_threads(1)
    keep_freed_memory()
    serve(socket.socket(fileno=channel), site)


def serve(channel: socket.socket, site: int) -> None:
    """Answers each job, until the other end of the channel closes."""
    place, version, order = None, None, cast(Any, None)
    channel.sendall(READY)
    while True:
        # a job comes only after the answer to the one before
        message, parcel = receive(channel, 2**16)
        if not message:
            return
        job: Job = pickle.loads(message)
        try:
            if place is None:
                place = LocalSite(*unseal(site))
            if job.version != version:
                order, version = unseal(parcel, place.distribution), job.version
            function, shared = order
            counted()
            answer = seal(Answer(run_unit(function, place, shared, job.shard), counted()), place.distribution)
        except Exception as error:
            answer = sealed_error(error)
        os.close(parcel)
        sys.stdout.flush()
        send(channel, ANSWER, answer)
        os.close(answer)


def sealed_error(error: Exception) -> int:
    """What was raised as a parcel; in words, where it can't be sent."""
    trace = traceback.format_exc()
    try:
        parcel = seal(Answer(None, {}, error, trace))
        unseal(parcel)
    except Exception:
        return seal(Answer(None, {}, QuickstudyError(f"{type(error).__name__}: {error}"), trace))
    return parcel
