"""When training ends: meta-iterations, environment steps, whichever is first; and runs that go on beyond their end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small import TINY
from test_training import fingerprint, rows

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.protocol import Metrics, Work
from quickstudy.runs.config import Training, config_of, read_config
from quickstudy.runs.folder import Run
from quickstudy.runs.seeds import create_seeds
from quickstudy.training import train_seeds

QUIET: dict[str, Any] = {"quiet": True, "evaluate_every": 0}
"""On-policy, by gradient, with a replay, with a belief; the others are left to the slow suite."""


def learner(name: str = "rl2", **options: Any) -> Any:
    entry = ALGORITHMS[name]
    return entry.make(qs.tasks.make("bandit"), entry.config(**TINY[name] | options), seed=1)


def last_row(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize(
    ("budget", "ends", "words"),
    [
        ({}, (200, 1), "200 meta-iterations"),
        ({"iterations": 7}, (7, 1), "7 meta-iterations"),
        ({"steps": 1000}, (1, 1000), "1,000 environment steps"),
        ({"iterations": 7, "steps": 1000}, (7, 5), "7 meta-iterations or 1,000 environment steps"),
        ({"iterations": 7, "steps": 1000}, (3, 1003), "7 meta-iterations or 1,000 environment steps"),
    ],
)
def test_a_budget_is_used_up_by_whichever_is_first(budget: dict[str, Any], ends: tuple[int, int], words: str):
    training, (iteration, timesteps) = Training(**budget), ends
    assert training.share(iteration, timesteps) >= 1 > training.share(0, 0)
    assert training.share(iteration - 1, 4) < 1 and training.budget == words


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "rl2" else pytest.mark.slow) for n in sorted(ALGORITHMS)])
def test_steps_end_with_the_meta_iteration_in_which_they_are_reached(name: str, tmp_path: Path):
    first = qs.train(learner(name), 1, **QUIET)
    steps = int(2.5 * first["time/total_timesteps"])
    row = qs.train(learner(name), run=tmp_path / "run", steps=steps, **QUIET)
    assert row["time/total_timesteps"] >= steps > row["time/total_timesteps"] - row["rollout/timesteps"]
    assert "iterations" not in (text := (tmp_path / "run" / "config.toml").read_text()) or f"steps = {steps}" in text
    assert read_config(tmp_path / "run" / "config.toml").training.last is None
    assert qs.resume(tmp_path / "run", quiet=True) == {}


def test_steps_alone_never_end_a_training_that_takes_none():
    class Idle(qs.RL2):
        def train_step(self, work: Work) -> Metrics:
            return super().train_step(work) | {"rollout/timesteps": 0.0}

    with pytest.raises(qs.UsageError, match="takes no environment steps, so that a budget of them never ends; give iterations"):
        qs.train(Idle(qs.tasks.make("bandit"), qs.RL2.Config(**TINY["rl2"])), steps=10, **QUIET)


@pytest.mark.parametrize(
    ("name", "evaluate_every"),
    [
        pytest.param(name, every, marks=() if name == "rl2" else pytest.mark.slow)
        for name in sorted(ALGORITHMS)
        for every in (0, 2, 3)
    ],
)
def test_a_finished_run_goes_on_to_the_bits_of_a_longer_one(name: str, evaluate_every: int, tmp_path: Path):
    """The end is evaluated besides and saved besides where its turn it isn't, which a longer run doesn't do there."""
    options = {"checkpoint_every": 2, "quiet": True, "evaluate_every": evaluate_every, "evaluate_tasks": 4}
    whole, run = tmp_path / "whole", tmp_path / "run"
    qs.train(learner(name), 5, whole, **options)
    assert ("validation/episode_1/return_mean" in last_row(whole)) == bool(evaluate_every)
    qs.train(learner(name), 3, run, **options)
    assert ("validation/episode_1/return_mean" in last_row(run)) == bool(evaluate_every)
    qs.resume(run, quiet=True, iterations=5)
    assert fingerprint(run) == fingerprint(whole)
    assert (run / "config.toml").read_text() == (whole / "config.toml").read_text()
    assert not differing(qs.load(run).state_dict(), qs.load(whole).state_dict())


def test_by_steps_a_run_goes_on_as_well_and_never_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    whole, run = tmp_path / "whole", tmp_path / "run"
    steps = int(qs.train(learner(), 2, run, **QUIET)["time/total_timesteps"])
    qs.train(learner(), run=whole, steps=2 * steps, **QUIET)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for budget in list[dict[str, Any]]([{"iterations": 1}, {"steps": steps - 1}]):
        with pytest.raises(qs.UsageError, match=r"has done \d+ .* already, so it can't end after \d+; name more"):
            qs.resume(run, **budget)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    qs.resume(run, steps=2 * steps, quiet=True)
    assert fingerprint(run) == fingerprint(whole) and read_config(run / "config.toml") == read_config(whole / "config.toml")
    assert qs.resume(run, quiet=True) == {}
    assert f"is finished: it has done its {2 * steps:,} environment steps" in capsys.readouterr().err


def test_an_end_that_was_not_evaluated_is_when_it_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    options = {"quiet": True, "evaluate_every": 2, "evaluate_tasks": 4}
    whole, run, amend = tmp_path / "whole", tmp_path / "run", Run.amend

    def killed(self: Run, scores: Metrics, timesteps: int) -> None:
        amend(self, scores, timesteps)
        with (self.folder / "metrics.jsonl").open("r+b") as file:
            file.truncate(file.seek(0, 2) - 9)
        raise KeyboardInterrupt

    qs.train(learner(), 3, whole, **options)
    monkeypatch.setattr(Run, "amend", killed)
    with pytest.raises(KeyboardInterrupt):
        qs.train(learner(), 3, run, **options)
    monkeypatch.setattr(Run, "amend", amend)
    assert qs.resume(run, quiet=True).keys() >= {"validation/episode_1/return_mean"}
    assert fingerprint(run) == fingerprint(whole)


def test_a_budget_that_schedules_were_not_made_for_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    qs.train(learner(anneal_iterations=2), 2, tmp_path / "run", **QUIET)
    qs.resume(tmp_path / "run", iterations=3, quiet=True)
    [line] = [line for line in capsys.readouterr().err.splitlines() if "schedules" in line]
    assert "the budget is 3 meta-iterations now" in line and "fall over the first 2 meta-iterations and stay at 1 %" in line
    qs.train(learner(), 1, tmp_path / "level", **QUIET)
    qs.resume(tmp_path / "level", iterations=2, quiet=True)
    assert "schedules" not in capsys.readouterr().err


def test_a_folder_of_seeds_goes_on_as_well(tmp_path: Path):
    folder, training = tmp_path / "seeds", Training(iterations=2, seed=1, evaluate_every=0)
    create_seeds(folder, config_of(learner(), training), [1, 2], "quickstudy train ...")
    train_seeds(folder, quiet=True)
    with pytest.raises(qs.UsageError, match=r"seed-1 has done 2 meta-iterations already"):
        train_seeds(folder, iterations=1)
    train_seeds(folder, iterations=3, quiet=True)
    qs.train(learner(), 3, tmp_path / "alone", **QUIET)
    assert fingerprint(folder / "seed-1") == fingerprint(tmp_path / "alone")
    assert rows(folder / "seed-2") == 3
    assert [read_config(path / "config.toml").training.last for path in (folder, folder / "seed-1", folder / "seed-2")] == [
        3
    ] * 3
