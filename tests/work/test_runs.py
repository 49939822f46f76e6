"""Runs with workers end with the bits of runs without, whatever happened to the workers."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from probes import HiddenButton
from small import TINY, normalisation, taken
from test_training import StopsAfter, fingerprint
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.ops.state import copy_state
from quickstudy.protocol import Learner
from quickstudy.runs.checkpoint import load_latest
from quickstudy.work import open_work

OPTIONS: dict[str, Any] = {"threads": 1, "quiet": True, "evaluate_every": 3, "evaluate_tasks": 4, "checkpoint_every": 2}


def small(name: str, tasks: Any = None) -> Learner:
    entry = ALGORITHMS[name]
    tasks = tasks or taken(name, qs.tasks.make("cart-pole", max_episode_steps=8, episodes_per_trial=2))
    return entry.make(tasks, entry.config(**TINY[name] | {"shards": 2}), seed=5)


@pytest.fixture(scope="module")
def places() -> Iterator[dict[tuple[str, int], Any]]:
    """Where units of work are done, by the kind of tasks and the number of workers: used by all algorithms in turn."""
    opened: dict[tuple[str, int], Any] = {}
    yield opened
    for work in opened.values():
        work.close()


@pytest.mark.parametrize(
    ("name", "normalised"),
    [
        # merging what shards saw is the normalisers' own
        pytest.param(name, normalised, marks=pytest.mark.slow if normalised and name not in ("rl2", "recurrent-sac") else ())
        for name in sorted(ALGORITHMS)
        for normalised in (False, True)
    ],
)
def test_any_number_of_workers_gives_the_same_bits(name: str, normalised: bool, places: dict[tuple[str, int], Any]):
    ends = []
    for workers in (0, 1, 2, 4):
        learner = small(name)
        if normalised:
            learner = qs.Normalised(learner, normalisation(name))
        key = repr(learner.tasks), workers
        if key not in places:
            places[key] = open_work(learner.tasks, workers=workers)
        metrics = [learner.train_step(places[key]) for _ in range(2)]
        ends.append((metrics, copy_state(learner.state_dict())))
    for metrics, state in ends[1:]:
        assert metrics == ends[0][0] and not differing(state, ends[0][1])


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_whose_workers_are_killed_again_and_again_ends_with_the_same_bits(kills: int, tmp_path: Path):
    marks, parent = tmp_path / "marks", os.getpid()
    marks.mkdir()

    @dataclass(frozen=True, kw_only=True)
    class Fatal(HiddenButton):
        """Hidden buttons whose seventh reward in the life of a worker kills it, so many times in all."""

        def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Any, noise: Tensor) -> Tensor:
            given.append(1)
            if os.getpid() != parent and len(given) % 7 == 0 and len(os.listdir(marks)) < kills:
                (marks / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().reward(state, action, arrival, task, noise)

    given: list[int] = []
    qs.train(small("rl2", qs.NativeTasks(HiddenButton())), 2 * kills, tmp_path / "whole", **OPTIONS)
    qs.train(small("rl2", qs.NativeTasks(Fatal())), 2 * kills, tmp_path / "killed", workers=2, **OPTIONS)
    assert len(os.listdir(marks)) == kills
    assert fingerprint(tmp_path / "killed") == fingerprint(tmp_path / "whole")


def test_what_no_worker_survives_stops_the_run_and_says_how_to_see_it(tmp_path: Path):
    @dataclass(frozen=True, kw_only=True)
    class Deadly(HiddenButton):
        parent: int

        def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Any, noise: Tensor) -> Tensor:
            if os.getpid() != self.parent:
                os.kill(os.getpid(), signal.SIGSEGV)
            return super().reward(state, action, arrival, task, noise)

    learner, run = small("rl2", qs.NativeTasks(Deadly(parent=os.getpid()))), tmp_path / "run"
    with pytest.raises(qs.EnvironmentFault) as caught:
        qs.train(learner, 3, run, workers=2, attempts=2, **OPTIONS)
    says = str(caught.value)
    assert "seed 5, iteration 0, train tasks, shard" in says and "died by SIGSEGV (2 attempts)" in says
    assert re.search(rf"see it in one process: quickstudy resume {run} .*--workers 0", says)
    assert load_latest(run)[0]["iteration"] == 0


def test_a_run_goes_on_with_another_number_of_workers(tmp_path: Path):
    bandit = qs.tasks.make("bandit")
    qs.train(small("rl2", bandit), 5, tmp_path / "whole", **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        qs.train(StopsAfter(small("rl2", bandit), 2), 5, tmp_path / "stopped", workers=2, **OPTIONS)  # type: ignore[arg-type]
    qs.resume(tmp_path / "stopped", quiet=True, workers=1)
    assert fingerprint(tmp_path / "stopped") == fingerprint(tmp_path / "whole")
    assert "workers = 2" in (tmp_path / "stopped" / "config.toml").read_text()
