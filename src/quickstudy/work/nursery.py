"""Where worker processes come from: one process that has imported all they need and forks them, in milliseconds each.

It is started when the first worker is, and has neither threads nor environments. Its parent's death it sees at once, whatever
its workers are at, and ends them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
from importlib import import_module
from struct import Struct
from threading import Lock
from typing import NoReturn

from quickstudy.errors import QuickstudyError
from quickstudy.work.worker import main

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Workers share the processor: each has one thread for its arithmetic."""
ATTEMPTS = 3
QUESTION = Struct("qqq")
"""Its number, the worker to wait for (0: fork one), and how many bytes follow: where a worker is to be."""
REPLY = Struct("qq")
"""The number of the question, and the answer."""


class Nursery:
    """The process that forks workers, as its parent sees it."""

    def __init__(self) -> None:
        self._lock, self._asked = Lock(), 0
        self._channel, channel = socket.socketpair()
        modules = [name for name in sys.modules if name.startswith("quickstudy.") and not name.endswith("__main__")]
        # the main module of the parent is not imported: what it defines is sent by value
        script = (
            f"import sys; sys.path[:] = {sys.path!r}; from quickstudy.work.nursery import raise_workers;"
            f" raise_workers({channel.fileno()}, {modules!r})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", script],
            pass_fds=[channel.fileno()],
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        channel.close()
        atexit.register(self.close)

    @property
    def gone(self) -> bool:
        """Whether the process has ended, as by kill -9."""
        return self._process.poll() is not None

    def fork(self, channel: int, site: int) -> int:
        """Starts a worker that serves these descriptors; returns its process id. OSError or EOFError where that was the end."""
        return self._ask(0, pickle.dumps((sys.path, os.getcwd())), [channel, site])

    def wait(self, worker: int) -> int:
        """Waits for a worker that ends; returns its exit code, or -N where signal N ended it."""
        try:
            return self._ask(worker, b"", [])
        except (OSError, EOFError):
            return -signal.SIGKILL

    def _ask(self, worker: int, place: bytes, descriptors: list[int]) -> int:
        with self._lock:
            self._asked += 1
            socket.send_fds(self._channel, [QUESTION.pack(self._asked, worker, len(place)), place], descriptors)
            while True:
                reply = self._channel.recv(REPLY.size, socket.MSG_WAITALL)
                if len(reply) < REPLY.size:
                    raise EOFError
                # Ctrl-C may have kept an earlier question from hearing its answer
                number, answer = REPLY.unpack(reply)
                if number == self._asked:
                    return answer

    def close(self) -> None:
        """Lets the process go."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        atexit.unregister(self.close)


NURSERIES: dict[int, Nursery] = {}
"""The nursery of a process, by its id: a forked one has its own."""


def started(site: int) -> tuple[socket.socket, Nursery, int]:
    """A worker in a new process: the channel to it, the nursery that it is of, its process id.

    A nursery that was killed is replaced: its workers live on, but whoever needs another would get none.
    """
    for _ in range(ATTEMPTS):
        nursery = NURSERIES.get(os.getpid())
        if nursery is None or nursery.gone:
            if nursery is not None:
                nursery.close()
            nursery = NURSERIES[os.getpid()] = Nursery()
        # another channel for each attempt: a worker that was forked just before the nursery's end finds its own closed
        here, there = socket.socketpair()
        try:
            return here, nursery, nursery.fork(there.fileno(), site)
        except (OSError, EOFError):
            here.close()
            nursery.close()
        finally:
            there.close()
    raise QuickstudyError(f"the process that starts workers has died {ATTEMPTS} times; take --workers 0")


def live(descriptors: list[int]) -> NoReturn:
    """The life of a worker, in a process that was just forked."""
    # each leaves where its frames still hold the channel: once that closes, the parent takes it for dead and kills it
    try:
        main(*descriptors)
        os._exit(0)
    except SystemExit as leave:
        os._exit(leave.code if isinstance(leave.code, int) else 1)
    finally:
        os._exit(1)


def raise_workers(descriptor: int, modules: list[str]) -> None:
    """The life of a nursery, to the end of its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in modules:
        import_module(module)
    channel, workers = socket.socket(fileno=descriptor), set[int]()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        serve(channel, workers)
    for worker in workers:
        end(worker)
        os.waitpid(worker, 0)


def serve(channel: socket.socket, workers: set[int]) -> None:
    """Answers a parent while it lives; `workers` are those that it has not waited for."""
    while True:
        message, descriptors, *_ = socket.recv_fds(channel, QUESTION.size, 2)
        if not message:
            return
        number, worker, size = QUESTION.unpack(message)
        if worker:
            code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
            workers.remove(worker)
            channel.send(REPLY.pack(number, code))
            continue
        path, folder = pickle.loads(channel.recv(size, socket.MSG_WAITALL))
        worker = os.fork()
        if worker == 0:
            channel.close()
            os.setsid()
            sys.path[:] = path
            os.chdir(folder)
            live(descriptors)
        workers.add(worker)
        for each in descriptors:
            os.close(each)
        channel.send(REPLY.pack(number, worker))


def end(worker: int) -> None:
    """Kills a worker and what it has started; its group is there a moment after itself."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(worker, signal.SIGKILL)
