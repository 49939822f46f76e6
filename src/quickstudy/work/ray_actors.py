"""Units of work in the actors of a Ray cluster, one that starts here or one that is there already.

Actors join as the cluster has room for them, and leave with their nodes: what one doesn't finish another does.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.errors import QuickstudyError, UsageError
from quickstudy.ops.tally import count, timed
from quickstudy.protocol import Result, Shard, Shared, Site, TaskDistribution
from quickstudy.work.desk import Desk
from quickstudy.work.errands import START_SECONDS, Outcome, run_errands, too_late
from quickstudy.work.local import keep_freed_memory
from quickstudy.work.parcel import pack, sent, unpack

LOOPBACK = "127.0.0.1"
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # no cluster of several machines, so that it binds to 127.0.0.1
    "RAY_worker_niceness": "0",  # by default actors come after all else that the machine does, which the run waits for
}
"""What Ray reads from the environment when it is imported; what the user has set there holds."""


class Actor:
    """Does units of work, in a process of the cluster."""

    def __init__(self, site: NDArray[np.uint8], path: list[str]):
        # a cluster on this machine finds what the run itself finds
        sys.path += [folder for folder in path if folder not in sys.path]
        torch.set_num_threads(1)
        keep_freed_memory()
        self._desk = Desk(partial(unpack, site))

    def versions(self) -> dict[str, str]:
        """Says that it is there, and with what."""
        return versions()

    def answer(self, number: int, order: list[Any], shard: Shard) -> NDArray[np.uint8]:
        """Does one unit of work; the reference in `order` is looked up for the first one of its version only."""
        ray = import_module("ray")

        def opened(known: TaskDistribution) -> Any:
            return unpack(ray.get(order[0]), known)

        return self._desk.answer(number, opened, shard, pack)


def versions() -> dict[str, str]:
    """What has to be the same everywhere for the same bits."""
    return {name: version(name) for name in ("quickstudy", "torch")}


class Errand(NamedTuple):
    """A unit of work in an actor's hands."""

    actor: Any
    number: int
    until: float
    """When it must be done."""


class RayActors:
    """Runs units of work in Ray actors: `ray`, one a processor of this machine; `ray:4`; or `ray://host:10001`.

    A cluster that starts here listens on 127.0.0.1 alone, asks for a random token, has no dashboard and sends no usage
    statistics; it ends with `close`. Where Ray runs in this process already, its cluster is used as it is. Deadline, attempts
    and errors are those of `Processes`. UsageError where Ray is missing or the cluster lets nobody in.
    """

    pids: Sequence[int] = ()

    def __init__(
        self,
        distribution: TaskDistribution,
        device: str = "cpu",
        workers: str = "ray",
        deadline: float = 600.0,
        attempts: int = 3,
    ):
        if device != "cpu":
            raise UsageError(f"Ray actors work on the CPU and this learner on {device}; take --device cpu, or --workers 0")
        self._distribution, self._deadline, self._attempts = distribution, deadline, attempts
        self._ray, self._folder = join(workers)
        self._most = wanted(workers)
        self._class = self._ray.remote(num_cpus=1, max_restarts=0)(Actor)
        self._site = self._ray.put(sent(lambda: pack((distribution, device)), distribution, "the tasks"))
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._busy: dict[Any, Errand] = {}
        self._version, self._failed_starts = 0, 0
        self.restarts = 0
        """How often an actor was ended and its work given to another."""

    def map(self, function: Callable[[Site, Shared, Shard], Result], shared: Shared, shards: Sequence[Shard]) -> list[Result]:
        self._version += 1
        began = time.monotonic()
        with timed("work"):
            order = [self._ray.put(sent(lambda: pack((function, shared), self._distribution), shared, "the learner's part"))]
            actors = self._most or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
            hand_out = partial(self._hand_out, shards, order, actors, began)
            return run_errands(shards, self._attempts, hand_out, self._outcomes, self._drop)

    def _hand_out(self, shards: Sequence[Shard], order: list[Any], actors: int, began: float, waiting: deque[int]) -> None:
        """Gives units of work to actors that have none; starts as many as there is work for."""
        while waiting and self._idle:
            actor, index = self._idle.pop(), waiting.popleft()
            count({"queue": time.monotonic() - began})
            reference = actor.answer.remote(self._version, order, shards[index])
            self._busy[reference] = Errand(actor, index, time.monotonic() + self._deadline)
        for _ in range(min(actors - len(self._busy), len(waiting)) - len(self._starting)):
            actor = self._class.remote(self._site, sys.path)
            self._starting[actor.versions.remote()] = actor

    def _outcomes(self) -> list[Outcome]:
        """Waits for actors; what came of those that have answered, died or are late. Those that failed are ended."""
        first = min([errand.until for errand in self._busy.values()], default=time.monotonic() + START_SECONDS)
        references = [*self._busy, *self._starting]
        ready, _ = self._ray.wait(references, timeout=max(0.0, first - time.monotonic()))
        if not ready and not self._busy:
            raise QuickstudyError(f"the Ray cluster had no room for an actor within {START_SECONDS:g} s; see: ray status")
        for reference in ready:
            if reference in self._starting:
                self._greet(reference)
        found = [self._hear(reference) for reference in ready if reference in self._busy]
        late = [reference for reference, errand in self._busy.items() if time.monotonic() > errand.until]
        for reference in late:
            errand = self._busy.pop(reference)
            self._ray.kill(errand.actor)
            found.append(Outcome(errand.number, None, too_late(self._deadline)))
        self.restarts += sum(answer is None or answer.error is not None for _, answer, _ in found)
        return found

    def _greet(self, reference: Any) -> None:
        """Takes in an actor that has started; QuickstudyError where none can, or where its bits would be others."""
        actor = self._starting.pop(reference)
        try:
            theirs = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            self._failed_starts += 1
            if self._failed_starts == self._attempts:
                last = str(error).strip().splitlines()[-1]
                raise QuickstudyError(f"no Ray actor could start ({last}); install the same quickstudy on its nodes") from error
            return
        if theirs != versions():
            raise QuickstudyError(
                f"the Ray cluster has {told(theirs)}, here is {told(versions())}; install the same on its nodes"
            )
        self._failed_starts = 0
        self._idle.append(actor)

    def _hear(self, reference: Any) -> Outcome:
        """What came of an errand that has ended."""
        errand = self._busy.pop(reference)
        try:
            answer = unpack(self._ray.get(reference), self._distribution)
        except self._ray.exceptions.RayActorError:
            return Outcome(errand.number, None, "its Ray actor died")
        if answer.error is None:
            self._idle.append(errand.actor)
        else:
            self._ray.kill(errand.actor)
        return Outcome(errand.number, answer)

    def _drop(self) -> None:
        for errand in self._busy.values():
            self._ray.kill(errand.actor)
        self._busy.clear()

    def close(self) -> None:
        """Ends all actors, and the cluster that was started for them."""
        self._drop()
        for actor in (*self._idle, *self._starting.values()):
            self._ray.kill(actor)
        self._idle.clear()
        self._starting.clear()
        if self._folder is not None:
            self._ray.shutdown()
            self._folder.cleanup()
            self._folder = None


def wanted(workers: str) -> int | None:
    """How many actors are asked for, where a number is."""
    return int(workers[4:]) if workers.startswith("ray:") and not workers.startswith("ray://") else None


def told(found: dict[str, str]) -> str:
    """Versions in words."""
    return " with ".join(f"{name} {number}" for name, number in found.items())


def join(workers: str) -> tuple[Any, tempfile.TemporaryDirectory[str] | None]:
    """Ray, in touch with a cluster; and, where that was started for this, the folder of its sockets and logs."""
    late = "ray" in sys.modules and not os.environ.keys() >= SETTINGS.keys()
    try:
        if not late:
            for name, value in SETTINGS.items():
                os.environ.setdefault(name, value)
        ray = import_module("ray")
    except ImportError as error:
        raise UsageError("--workers ray needs Ray; install it: pip install 'quickstudy[ray]'") from error
    if ray.is_initialized():
        return ray, None
    if late:
        raise UsageError(
            "Ray was imported before it could be kept on this machine; call ray.init() yourself, or don't import it"
        )
    address = workers if workers.startswith("ray://") else os.environ.get("RAY_ADDRESS")
    if address:
        return reached(ray, address), None
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folder = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
    try:
        ray.init(
            "local",
            num_cpus=wanted(workers),
            include_dashboard=False,
            _node_ip_address=LOOPBACK,
            _temp_dir=folder.name,
            logging_level=logging.WARNING,
        )
    except BaseException:
        ray.shutdown()
        folder.cleanup()
        raise
    return ray, folder


def reached(ray: Any, address: str) -> Any:
    """Ray, in touch with a cluster that is there already."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of it raises as well
            ray.init(address, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        why = str(error).strip().splitlines()[-1]
        raise UsageError(
            f"the Ray cluster at {address} can't be reached ({why}); its token goes into RAY_AUTH_TOKEN"
        ) from error
    return ray
