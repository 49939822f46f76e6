"""One trainer a run: whoever comes second is told who trains it, and changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Share
from test_training import fingerprint

import quickstudy as qs
from quickstudy.runs.config import Training, config_of
from quickstudy.runs.lock import LOCK, sole_trainer
from quickstudy.runs.seeds import create_seeds
from quickstudy.training import train_seeds

OPTIONS: dict[str, Any] = {"checkpoint_every": 1, "evaluate_every": 0, "quiet": True}
RACE = """
import os, sys, time
from pathlib import Path
import quickstudy as qs
from quickstudy.training import train_seeds

def learner():
    return qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(trials=4, hidden_size=4), seed=1)

def train(run):
    qs.train(learner(), 12, run, checkpoint_every=1, evaluate_every=0, quiet=True)

def both(start, run):
    ready, go = os.pipe()
    racers = []
    for _ in range(2):
        racer = os.fork()
        if racer == 0:
            os.close(go)
            os.read(ready, 1)  # until the other end is closed
            try:
                start(run)
                os._exit(0)
            except qs.QuickstudyError as error:
                print(error, flush=True)
                os._exit(1)
            finally:
                os._exit(7)
        racers.append(racer)
    os.close(ready)
    time.sleep(0.02)
    os.close(go)
    return sorted(os.waitstatus_to_exitcode(os.waitpid(racer, 0)[1]) for racer in racers)

for kind, run in zip(sys.argv[1::2], sys.argv[2::2]):
    resume = lambda run: qs.resume(run, quiet=True)
    start = {"train": train, "resume": resume, "seeds": lambda run: train_seeds(Path(run), quiet=True)}
    print(both(start[kind], run), flush=True)
"""
"""Two forked processes that begin at one moment: to import PyTorch takes each another while."""


def learner() -> qs.RL2:
    return qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(trials=4, hidden_size=4), seed=1)


def stopped(run: Path) -> None:
    qs.train(learner(), 2, run, **OPTIONS)
    config = run / "config.toml"
    config.write_text(config.read_text().replace("iterations = 2", "iterations = 12"))


@pytest.mark.slow
def test_of_two_that_begin_at_one_moment_one_trains(tmp_path: Path, share: Share):
    count, whole, arguments = share.of(50, 1), tmp_path / "whole", []
    qs.train(learner(), 12, whole, **OPTIONS)
    for number in range(count):
        kind, run = ("resume", "train", "seeds")[number % 3], tmp_path / f"run-{number}"
        if kind == "resume":
            stopped(run)
        elif kind == "seeds":
            training = Training(iterations=12, seed=1, checkpoint_every=1, evaluate_every=0)
            create_seeds(run, config_of(learner(), training), [1], "quickstudy train ...")
        arguments += [kind, str(run)]
    race = subprocess.run([sys.executable, "-c", RACE, *arguments], capture_output=True, text=True, check=True)
    said = race.stdout.splitlines()
    assert said.count("[0, 1]") == count, race.stdout + race.stderr
    refusals = [line for line in said if line != "[0, 1]"]
    assert len(refusals) == count and all("is being trained by" in line or "exists already" in line for line in refusals)
    for kind, run in zip(arguments[::2], map(Path, arguments[1::2]), strict=True):
        run = run / "seed-1" if kind == "seeds" else run
        numbers = [json.loads(line)["iteration"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert numbers == list(range(1, 13)) and fingerprint(run) == fingerprint(whole)
    share.says("two trainers of one run at the same moment", count, "one trains, no row missing or doubled, one final hash")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_second_changes_nothing_and_says_who_is_first(tmp_path: Path):
    stopped(tmp_path / "run")
    training = Training(iterations=1, seed=1, evaluate_every=0)
    create_seeds(tmp_path / "seeds", config_of(learner(), training), [1], "quickstudy train ...")
    for folder, go_on in ((tmp_path / "run", qs.resume), (tmp_path / "seeds", train_seeds)):
        with sole_trainer(folder):
            before = everything(tmp_path)
            for budget in list[dict[str, Any]]([{}, {"iterations": 99}]):
                with pytest.raises(
                    qs.QuickstudyError, match=rf"{folder} is being trained by process {os.getpid()} on .* since"
                ):
                    go_on(folder, **budget)
            assert everything(tmp_path) == before
        go_on(folder, quiet=True)


def test_a_seed_that_is_trained_by_itself_is_left_alone(tmp_path: Path):
    training = Training(iterations=1, seed=1, evaluate_every=0)
    create_seeds(tmp_path / "seeds", config_of(learner(), training), [1], "quickstudy train ...")
    train_seeds(tmp_path / "seeds", quiet=True)
    with sole_trainer(tmp_path / "seeds" / "seed-1"), pytest.raises(qs.QuickstudyError, match="seed-1 is being trained by"):
        train_seeds(tmp_path / "seeds", iterations=2)


def test_a_killed_trainer_and_what_it_has_forked_hold_nothing(tmp_path: Path):
    """An environment may have processes of its own, which outlive a trainer that is killed with -9."""
    script = (
        "import os, signal, sys; from pathlib import Path; from quickstudy.runs.lock import sole_trainer\n"
        "with sole_trainer(Path(sys.argv[1])):\n"
        "    child = os.fork()\n    if child: print(child, flush=True)\n    signal.pause()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        orphan = int(trainer.stdout.readline())
        with pytest.raises(qs.QuickstudyError, match=f"is being trained by process {trainer.pid} on "), sole_trainer(tmp_path):
            pass
        trainer.kill()
        trainer.wait()
        try:
            os.kill(orphan, 0)
            with sole_trainer(tmp_path):
                pass
        finally:
            os.kill(orphan, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_file_is_not_locked(kind: str, tmp_path: Path):
    victim, lock = tmp_path / "victim", tmp_path / LOCK
    victim.write_text("kept")
    {"link": lambda: lock.symlink_to(victim), "fifo": lambda: os.mkfifo(lock), "folder": lock.mkdir}[kind]()
    with pytest.raises(qs.QuickstudyError, match="lock is "), sole_trainer(tmp_path):
        pass
    assert victim.read_text() == "kept"


def test_a_file_system_without_locks_draws_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refused(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    with sole_trainer(tmp_path):
        pass
    assert "can't be locked (No locks available)" in capsys.readouterr().err
