"""The best score on validation tasks, the checkpoint that is kept for it, and how long training waits for a better one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from test_training import fingerprint, rows

import quickstudy as qs
from quickstudy import training
from quickstudy.check.learner import differing
from quickstudy.cli import main
from quickstudy.live.follow import Follower
from quickstudy.protocol import Learner, Metrics
from quickstudy.runs.checkpoint import kept_iterations, load_checkpoint, save_checkpoint
from quickstudy.runs.config import Training, config_of, read_config
from quickstudy.runs.progress import Progress, score_of
from quickstudy.runs.seeds import create_seeds
from quickstudy.training import train_seeds

SCORES = [1.0, 3.0, 2.0, 3.0, math.nan, 2.5, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0]
"""On validation tasks, evaluation by evaluation: the best of the first six is the second."""
EVERY = 2
OPTIONS: dict[str, Any] = {"evaluate_every": EVERY, "evaluate_tasks": 4, "checkpoint_every": 3, "quiet": True}


def learner(seed: int = 1) -> qs.RL2:
    config = qs.RL2.Config(trials=4, hidden_size=4, n_epochs=1, minibatches=1)
    return qs.RL2(qs.tasks.make("bandit", pulls=2), config, seed=seed)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations on validation tasks that come to those scores."""

    lived = training.validation

    def validation(learner: Learner, work: Any, num_tasks: int) -> Metrics:
        lived(learner, work, num_tasks)
        score = SCORES[min(learner.iteration // EVERY, len(SCORES)) - 1]
        return {"validation/episode_1/return_mean": score - 1, "validation/episode_2/return_mean": score + 1}

    monkeypatch.setattr("quickstudy.training.validation", validation)


def test_what_is_as_good_or_no_number_is_no_better():
    progress = Progress(0, {}, 0, 0)
    for iteration, score in enumerate(SCORES[:6], 1):
        progress = progress.judged(iteration, {"validation/episode_1/return_mean": score, "time/fps": 99.0})
    assert (progress.best_score, progress.best_iteration, progress.since_best) == (3.0, 2, 4)
    assert Progress(0, {}, 0, 0).judged(1, {"validation/episode_1/return_mean": -7.0}).best_score == -7
    assert (
        score_of({"validation/episode_1/return_mean": 1.0, "validation/episode_2/return_mean": 4.0, "train/loss": 9.0}) == 2.5
    )


@pytest.mark.usefixtures("told")
def test_patience_ends_a_training_and_its_best_checkpoint_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    qs.train(learner(), 40, run, **{**OPTIONS, "quiet": False}, patience=4, keep_best=True, keep_checkpoints=2)
    assert rows(run) == 12 and kept_iterations(run) == [4, 9, 12]
    [line] = [line for line in capsys.readouterr().err.splitlines() if "it ends with" in line]
    assert (
        "meta-iteration 12 of 40" in line and "4 evaluations in a row brought no better score, 3 after meta-iteration 4" in line
    )
    assert qs.load(run).iteration == 12 and qs.load(run, iteration="best").iteration == 4
    alone = learner()
    qs.train(alone, 4, **OPTIONS)
    assert not differing(qs.load(run, iteration="best").state_dict(), alone.state_dict())
    assert qs.resume(run) == {} and "is finished: 4 evaluations in a row" in capsys.readouterr().err
    assert Follower(run)._state()["state"] == "stopped"  # pyright: ignore[reportPrivateUsage]
    follower = Follower(run)
    follower.look()
    assert follower.figures()["trainer"]["state"] == "finished"


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("stopped", [1, 4, 5, 9, 11])
def test_a_stopped_run_waits_as_long_as_one_that_wasnt(stopped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, run = tmp_path / "whole", tmp_path / "run"
    options: dict[str, Any] = {**OPTIONS, "patience": 4, "keep_best": True}
    qs.train(learner(), 40, whole, **options)
    step = qs.RL2.train_step

    def interrupted(self: qs.RL2, work: Any) -> Metrics:
        if self.iteration == stopped:
            raise KeyboardInterrupt
        return step(self, work)

    monkeypatch.setattr(qs.RL2, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        qs.train(learner(), 40, run, **options)
    monkeypatch.setattr(qs.RL2, "train_step", step)
    qs.resume(run, quiet=True)
    assert fingerprint(run) == fingerprint(whole)


@pytest.mark.usefixtures("told")
def test_with_more_patience_it_goes_on_to_the_bits_of_one_that_had_it_from_the_start(tmp_path: Path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    qs.train(learner(), 40, whole, **OPTIONS, patience=5)
    assert rows(whole) == 24
    qs.train(learner(), 40, run, **OPTIONS, patience=2)
    assert rows(run) == 8
    assert qs.resume(run, iterations=50) == {}
    qs.resume(run, iterations=40, patience=5, quiet=True)
    assert fingerprint(run) == fingerprint(whole) and read_config(run / "config.toml") == read_config(whole / "config.toml")
    with pytest.raises(qs.UsageError, match="has gone on after 4 evaluations without a better score, so it can't end after 3"):
        qs.resume(run, patience=3)
    qs.resume(run, patience=0, iterations=27, quiet=True)
    assert rows(run) == 27


@pytest.mark.usefixtures("told")
def test_each_of_several_seeds_has_its_own_patience(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "seeds"
    options: dict[str, Any] = {**OPTIONS, "patience": 2, "keep_best": True}
    del options["quiet"]
    create_seeds(folder, config_of(learner(), Training(iterations=30, seed=1, **options)), [1, 2], "quickstudy train ...")
    train_seeds(folder, quiet=True)
    train_seeds(folder, quiet=True)
    assert "have done their 30 meta-iterations, or waited for a better score" in capsys.readouterr().err
    assert [rows(folder / f"seed-{seed}") for seed in (1, 2)] == [8, 8]
    assert main(["evaluate", str(folder), "--checkpoint", "best", "--num-tasks", "2"]) == 0
    train_seeds(folder, patience=4, quiet=True)
    assert [rows(folder / f"seed-{seed}") for seed in (1, 2)] == [12, 12]


def test_workers_change_nothing(tmp_path: Path):
    runs = [tmp_path / "here", tmp_path / "there"]
    options: dict[str, Any] = {**OPTIONS, "patience": 2, "keep_best": True}
    for run, workers in zip(runs, (0, 1), strict=True):
        qs.train(learner(), 12, run, **options, workers=workers)
    assert fingerprint(runs[0]) == fingerprint(runs[1])


def test_evaluate_names_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    qs.train(learner(), 5, run, **OPTIONS, keep_best=True)
    best = qs.load(run, iteration="best").iteration
    assert best in (2, 4)
    found = []
    for word in ("best", str(best)):
        capsys.readouterr()
        assert main(["evaluate", str(run), "--num-tasks", "3", "--checkpoint", word]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    assert main(["evaluate", str(run), "--checkpoint", "77"]) != 0
    assert "keeps no checkpoint of meta-iteration 77" in capsys.readouterr().err
    assert main(["evaluate", "random", "bandit", "--checkpoint", "best"]) != 0
    assert "--checkpoint best is for a run" in capsys.readouterr().err


def test_without_evaluations_there_is_no_best(tmp_path: Path):
    asked: list[dict[str, Any]] = [{"keep_best": True}, {"patience": 1}]
    never: list[dict[str, Any]] = [{"evaluate_every": 0}, {"iterations": 9, "evaluate_every": 10}]
    for option in asked:
        for options in never:
            with pytest.raises(qs.UsageError, match="goes by evaluations on validation tasks, of which there are none"):
                Training(**option, **options)
    with pytest.raises(qs.UsageError, match="keep_best is asked for, which needs a folder"):
        qs.train(learner(), 4, **OPTIONS, keep_best=True)
    qs.train(learner(), 1, tmp_path / "run", **OPTIONS)
    with pytest.raises(qs.UsageError, match="has no best checkpoint: no evaluation"):
        qs.load(tmp_path / "run", iteration="best")


def test_a_checkpoint_of_before_knows_no_best(tmp_path: Path):
    run = tmp_path / "run"
    qs.train(learner(), 3, run, quiet=True, evaluate_every=0)
    state = load_checkpoint(run / "checkpoints" / "00000003")
    before = {name: state[name] for name in ("iteration", "learner", "timesteps", "metrics_bytes")}
    save_checkpoint(run / "checkpoints", 3, before, read_config(run / "config.toml").recorded)
    assert qs.load(run).iteration == 3
    qs.resume(run, iterations=5, quiet=True)
    assert rows(run) == 5
