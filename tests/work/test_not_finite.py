"""A meta-iteration in which a number is not finite: stopped at, skipped, or answered by going back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small import TINY, normalisation, taken
from test_training import fingerprint

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.errors import NotFiniteFault
from quickstudy.ops.state import copy_state
from quickstudy.protocol import Learner, Metrics, Work
from quickstudy.runs.checkpoint import load_latest
from quickstudy.work import InProcess

OPTIONS: dict[str, Any] = {"threads": 1, "quiet": True, "evaluate_every": 0, "checkpoint_every": 2}


def small(name: str = "rl2") -> Learner:
    entry = ALGORITHMS[name]
    tasks = taken(name, qs.tasks.make("cart-pole", max_episode_steps=8, episodes_per_trial=2))
    return entry.make(tasks, entry.config(**TINY[name]), seed=5)


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """RL2 finds no finite gradient in its fourth meta-iteration, after it has changed its weights."""
    train_step = qs.RL2.train_step

    def step(self: qs.RL2, work: Work) -> Metrics:
        metrics = train_step(self, work)
        if self.iteration == 4:
            raise qs.NotFinite("rl2: the gradient is not finite in iteration 3; lower --learning-rate")
        return metrics

    monkeypatch.setattr(qs.RL2, "train_step", step)


def without_the_fourth(back: int) -> Any:
    """The state after six meta-iterations, the fourth passed over with the state after meta-iteration `back`."""
    learner, work, kept = small(), InProcess(small().tasks), {}
    for iteration in (0, 1, 2, 4, 5):
        if iteration == 4:
            learner.load_state_dict(kept[back])
            learner.iteration = 4
        learner.train_step(work)
        kept[learner.iteration] = copy_state(learner.state_dict())
    return learner.state_dict()


def test_stop_keeps_the_state_before(spoilt: None, tmp_path: Path):
    with pytest.raises(qs.NotFinite, match="not finite in iteration 3"):
        qs.train(small(), 6, tmp_path / "run", **OPTIONS)
    assert load_latest(tmp_path / "run")[0]["iteration"] == 3


@pytest.mark.parametrize(("how", "back"), [("skip", 3), ("rollback", 2)])
def test_going_on_is_going_on_from_that_state_with_the_next_counters(how: str, back: int, tmp_path: Path, request: Any):
    expected = without_the_fourth(back)
    request.getfixturevalue("spoilt")
    learner, run = small(), tmp_path / "run"
    qs.train(learner, 6, run, not_finite=how, **OPTIONS)
    assert not differing(learner.state_dict(), expected)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[3]["train/not_finite"] == 1 and rows[3]["train/state_of_iteration"] == back
    assert rows[3]["time/total_timesteps"] == rows[2]["time/total_timesteps"]


@pytest.mark.parametrize("how", ["skip", "rollback"])
@pytest.mark.parametrize("stop", [3, 4])
def test_it_is_the_same_in_a_run_that_was_stopped_before_or_after(
    how: str, stop: int, spoilt: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    qs.train(small(), 6, tmp_path / "whole", not_finite=how, **OPTIONS)
    step = qs.RL2.train_step

    def interrupted(self: qs.RL2, work: Work) -> Metrics:
        if self.iteration == stop:
            raise KeyboardInterrupt
        return step(self, work)

    monkeypatch.setattr(qs.RL2, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        qs.train(small(), 6, tmp_path / "stopped", not_finite=how, **OPTIONS)
    monkeypatch.setattr(qs.RL2, "train_step", step)
    qs.resume(tmp_path / "stopped", quiet=True)
    assert fingerprint(tmp_path / "stopped") == fingerprint(tmp_path / "whole")


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_algorithm_can_go_back_to_a_state_that_it_had(name: str, normalised: bool):
    learner = small(name)
    if normalised:
        learner = qs.Normalised(learner, normalisation(name))
    work = InProcess(learner.tasks)
    learner.train_step(work)
    before = copy_state(learner.state_dict())
    first = learner.train_step(work)
    after = copy_state(learner.state_dict())
    learner.load_state_dict(copy_state(before))
    assert learner.train_step(work) == first
    assert not differing(after, learner.state_dict())
    learner.iteration = 7
    assert learner.iteration == 7
    learner.load_state_dict(learner.state_dict())
    assert learner.iteration == 7, "the state doesn't hold the counter"


def test_an_environment_that_returns_nan_is_such_a_case():
    assert issubclass(NotFiniteFault, qs.NotFinite) and issubclass(NotFiniteFault, qs.EnvironmentFault)


def test_rollback_needs_checkpoints():
    with pytest.raises(qs.UsageError, match="rollback, which needs a folder"):
        qs.train(small(), 1, not_finite="rollback", **OPTIONS)
