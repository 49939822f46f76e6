"""One hash for each algorithm: wherever its work is done, and whoever is killed meanwhile, a run ends with the same bits."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from conftest import Share
from small import TINY, as_options
from test_stops import begin, resuming
from test_training import fingerprint, rows, wait_for

from quickstudy.algorithms import ALGORITHMS

pytestmark = pytest.mark.slow
ITERATIONS = 40
PLACES = ["0", "1", "2", "4", *(["ray:2"] if find_spec("ray") else [])]


def training(name: str, run: Path, workers: str) -> list[str]:
    which = [name, "bandit", "--run", str(run), f"--workers={workers}", f"--iterations={ITERATIONS}"]
    options = ["--threads=1", "--checkpoint-every=5", "--evaluate-every=10", "--evaluate-tasks=8", "--seed=1"]
    return [sys.executable, "-m", "quickstudy", "train", *which, *options, *as_options(TINY[name] | {"shards": 4})]


def workers_of(trainer: int, workers: str) -> Sequence[psutil.Process]:
    """The processes that do units of work: Ray's actors, or what the trainer's nursery has forked."""
    family = psutil.Process(trainer).children(recursive=True)
    if workers.startswith("ray"):
        return [each for each in family if any(part.startswith("ray::Actor") for part in each.cmdline())]
    return [each for each in family if each.ppid() != trainer]


def with_a_worker_killed(name: str, run: Path, workers: str) -> None:
    with begin(training(name, run, workers)) as trainer:
        wait_for(lambda: rows(run) >= 3, trainer)
        random.choice(workers_of(trainer.pid, workers)).kill()
        assert trainer.wait(180) == 0
    last = json.loads((run / "timing.jsonl").read_text().splitlines()[-1])
    assert last["time/worker_restarts"] >= 1, "nobody missed the worker that was killed"


def with_the_trainer_killed(name: str, run: Path, workers: str) -> None:
    with begin(training(name, run, workers)) as trainer:
        wait_for(lambda: rows(run) >= ITERATIONS // 2, trainer)
        trainer.kill()
    assert rows(run) < ITERATIONS
    subprocess.run(resuming(run), check=True, capture_output=True)


def ends(name: str, folder: Path, places: list[str]) -> dict[str, tuple[str, ...]]:
    """What the runs of an algorithm come to, by what was done with them."""
    found: dict[str, tuple[str, ...]] = {}
    for workers in places:
        subprocess.run(training(name, folder / workers, workers), check=True, capture_output=True)
        found[f"{workers} workers"] = fingerprint(folder / workers)
    for workers in set(places) & {"2", "ray:2"}:
        for what, done in (("a worker", with_a_worker_killed), ("the trainer", with_the_trainer_killed)):
            run = folder / f"{workers}, {what} killed"
            done(name, run, workers)
            found[run.name] = fingerprint(run)
    return found


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_wherever_work_is_done_and_whoever_is_killed_there_is_one_hash(name: str, tmp_path: Path, share: Share):
    places = PLACES if share.full else ["0", "2"]
    found = ends(name, tmp_path, places)
    assert len(set(found.values())) == 1, found
    hashed = hashlib.sha256("".join(found["0 workers"]).encode()).hexdigest()[:8]
    ways = f"{', '.join(places)} workers, and with one of two workers or their trainer killed"
    share.says("runs that end with one hash", len(found), f"the same bits with {ways}", name, hashed)
