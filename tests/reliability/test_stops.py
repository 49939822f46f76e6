"""Runs that are stopped, killed and resumed: whatever the moment, they end with the bits of one that nothing stopped."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Share
from small import TINY, as_options
from test_training import rows

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.runs.checkpoint import load_latest
from quickstudy.storage import sha256

every_algorithm = pytest.mark.parametrize("name", sorted(ALGORITHMS))
IN_A_HURRY = ("rl2", "recurrent-sac")
"""One that learns on-policy, and one with a replay."""


@pytest.fixture(scope="module")
def iterations(pytestconfig: pytest.Config) -> int:
    """Of a run: enough to be stopped twenty times, or twice."""
    return 120 if pytestconfig.getoption("--full") else 40


def command(name: str, run: Path, iterations: int) -> list[str]:
    """A short run of an algorithm with its least settings, saved often."""
    options = [f"--iterations={iterations}", "--threads=1", "--checkpoint-every=2", "--evaluate-every=0"]
    return [sys.executable, "-m", "quickstudy", "train", name, "bandit", "--run", str(run), *options, *as_options(TINY[name])]


def resuming(run: Path) -> list[str]:
    return [sys.executable, "-m", "quickstudy", "resume", str(run)]


def begin(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def saving(run: Path) -> bool:
    """Whether a checkpoint or a segment is half written at this moment, or was when its writer died."""
    return any((run / "checkpoints").glob(".*.tmp")) or any((run / "replay").glob(".*.tmp"))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Waits, with hardly a pause, until something holds; False where the process ended first."""
    deadline = time.monotonic() + 120
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.001)
    return True


def reaches(run: Path, target: int) -> Callable[[], bool]:
    return lambda: rows(run) >= target


def assert_same(one: Path, other: Path) -> None:
    """Two runs ended with the same bits: all their metrics, no row missing or doubled, and the whole last state."""
    assert sha256(one / "metrics.jsonl") == sha256(other / "metrics.jsonl")
    numbers = [json.loads(line)["iteration"] for line in (one / "metrics.jsonl").read_text().splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert not differing(qs.load(one).state_dict(), qs.load(other).state_dict())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, iterations: int) -> Any:
    """The run of an algorithm that nothing stopped, trained once."""
    folder, known = tmp_path_factory.mktemp("finished"), set()

    def run(name: str) -> Path:
        if name not in known:
            subprocess.run(command(name, folder / name, iterations), check=True, capture_output=True)
            known.add(name)
        return folder / name

    return run


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_A_HURRY else pytest.mark.slow) for name in sorted(ALGORITHMS)]
)
def test_stopped_at_any_checkpoint_a_run_resumes_to_the_same_bits(name: str, tmp_path: Path, share: Share):
    entry = ALGORITHMS[name]

    def learner() -> Any:
        return entry.make(qs.tasks.make("bandit"), entry.config(**TINY[name]), seed=1)

    options: dict[str, Any] = {"checkpoint_every": 1, "keep_checkpoints": 30, "threads": 1, "quiet": True, "evaluate_every": 0}
    whole, count = tmp_path / "whole", share.of(20, 6)
    qs.train(learner(), count, whole, **options)
    for iteration in share.some(range(count), 2):
        run = tmp_path / f"from-{iteration}"
        shutil.copytree(whole, run)
        for folder in (run / "checkpoints").iterdir():
            if int(folder.name) > iteration:
                shutil.rmtree(folder)
        (run / "latest.json").write_text(json.dumps({"checkpoint": f"{iteration:08d}"}))
        qs.resume(run, quiet=True)
        assert_same(run, whole)
        shutil.rmtree(run)
    share.says("stop at a checkpoint and resume", share.of(20, 2), "bit-equal, no row missing or doubled", name)


one_in_a_hurry = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "rl2" else pytest.mark.slow) for name in sorted(ALGORITHMS)]
)


@pytest.mark.slow
@one_in_a_hurry
def test_killed_at_random_moments_a_run_ends_with_the_same_bits(
    name: str, tmp_path: Path, finished: Any, iterations: int, share: Share
):
    """One kill in five is aimed inside a save: at a checkpoint or a segment that is being written."""
    run, chance, inside, kills = tmp_path / "killed", random.Random(name), 0, 0
    while kills < share.of(50, 1):
        left = iterations - rows(run)
        if left < 5:  # there must be something left to kill
            shutil.rmtree(run)
            left = iterations
        process = begin(resuming(run) if (run / "latest.json").exists() else command(name, run, iterations))
        moment = reaches(run, iterations - left + chance.choice([0, 1, 1, 2]))
        if not wait_for(partial(saving, run) if kills % 5 == 1 else moment, process):
            continue
        if kills % 5 != 1:
            time.sleep(chance.random() * 0.05)
        process.kill()
        process.wait()
        kills, inside = kills + 1, inside + saving(run)
        if (run / "latest.json").exists():
            assert not load_latest(run)[1]
        else:  # killed before there was anything to lose
            shutil.rmtree(run, ignore_errors=True)
    subprocess.run(resuming(run) if run.exists() else command(name, run, iterations), check=True, capture_output=True)
    assert_same(run, finished(name))
    share.says("kill -9 of the trainer", kills, "one final hash, 0 unreadable checkpoints", name, f"{inside} inside a save")


@pytest.mark.slow
@every_algorithm
def test_sigterm_at_random_moments_saves_and_leaves_with_0(
    name: str, tmp_path: Path, finished: Any, iterations: int, share: Share
):
    run, chance, slowest, stops = tmp_path / "stopped", random.Random(name), 0.0, 0
    arguments = command(name, run, iterations)
    while stops < share.of(20, 1) and rows(run) < iterations - 4:
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(reaches(run, rows(run) + chance.choice([1, 1, 2])), process)
        time.sleep(chance.random() * 0.02)
        began = time.monotonic()
        process.terminate()
        _, error = process.communicate(timeout=60)
        slowest, stops, arguments = max(slowest, time.monotonic() - began), stops + 1, resuming(run)
        assert process.returncode == 0 and b"Traceback" not in error
        assert b"resume with: quickstudy resume" in error or rows(run) == iterations
        assert load_latest(run)[0]["iteration"] == rows(run)
    subprocess.run(arguments, check=True, capture_output=True)
    assert_same(run, finished(name))
    assert slowest < 5
    share.says("SIGTERM", stops, "exit 0, same final hash", name, f"within {slowest:.1f} s")
