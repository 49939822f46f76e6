"""The process of one worker: it does one unit of work after another until the run that started it is gone."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import socket
import sys
from functools import partial
from typing import NamedTuple

import torch

from quickstudy.protocol import Shard
from quickstudy.work.desk import Desk
from quickstudy.work.local import keep_freed_memory
from quickstudy.work.parcel import receive, seal, send, unseal

READY, ANSWER = b"r", b"a"
"""What a worker says: once, that it is there; then, that it has done its job. A byte each, so that none runs into the next."""


class Job(NamedTuple):
    """What comes with the parcel of function and shared values."""

    version: int
    """Shards of one version share one parcel, which is opened once."""
    shard: Shard


def main(channel: int, site: int) -> None:
    """Serves the process at the other end of `channel`; `site` says where to work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides how to stop
    faulthandler.enable()
    torch.set_num_threads(1)
    keep_freed_memory()
    serve(socket.socket(fileno=channel), site)


def serve(channel: socket.socket, site: int) -> None:
    """Answers each job, until the other end of the channel closes."""
    desk = Desk(partial(unseal, site))
    channel.sendall(READY)
    while True:
        # a job comes only after the answer to the one before
        message, parcel = receive(channel, 2**16)
        if not message:
            return
        job: Job = pickle.loads(message)
        answer = desk.answer(job.version, partial(unseal, parcel), job.shard, seal)
        os.close(parcel)
        sys.stdout.flush()
        send(channel, ANSWER, answer)
        os.close(answer)
