"""Runs: what they keep, and that one killed and resumed ends with the bits of one never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from probes import HiddenButton
from small import TINY

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.protocol import Metrics, Work
from quickstudy.runs.checkpoint import load_latest
from quickstudy.runs.config import Training, config_of
from quickstudy.runs.seeds import create_seeds
from quickstudy.storage import sha256
from quickstudy.training import train_seeds

OPTIONS = ["--iterations", "40", "--trials", "16", "--hidden-size", "16", "--n-epochs", "1", "--threads", "1"]
OPTIONS += ["--max-episode-steps", "4", "--checkpoint-every", "3", "--evaluate-every", "5", "--evaluate-tasks", "8"]


def command(run: Path) -> list[str]:
    return [sys.executable, "-m", "quickstudy", "train", "rl2", "grid-navigation", "--run", str(run), *OPTIONS]


def fingerprint(run: Path) -> tuple[str, str, str]:
    """The bits that a run ends with: its last state and all its metrics."""
    last = run / "checkpoints" / json.loads((run / "latest.json").read_text())["checkpoint"]
    return sha256(last / "state.safetensors"), sha256(last / "state.json"), sha256(run / "metrics.jsonl")


def wait_for(condition: Any, process: subprocess.Popen[bytes], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, "the run ended or hung before it was stopped"
        time.sleep(0.002)


def rows(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of RL2 that nothing stopped."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    subprocess.run(command(run), check=True, capture_output=True)
    return run


def test_a_run_keeps_everything(finished: Path):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "checkpoints",
        "command.txt",
        "config.toml",
        "latest.json",
        "lock",
        "metrics.jsonl",
        "system.json",
        "tensorboard",
        "timing.jsonl",
    }
    metrics = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in metrics] == list(range(1, 41))
    assert {"rollout/ep_rew_mean", "train/approx_kl", "time/total_timesteps", "adapt/episode_4/return_mean"} <= metrics[
        0
    ].keys()
    assert [row["iteration"] for row in metrics if "validation/episode_1/return_mean" in row] == list(range(5, 41, 5))
    timing = [json.loads(line) for line in (finished / "timing.jsonl").read_text().splitlines()]
    assert {"time/fps", "time/memory_mb", "time/time_elapsed"} <= timing[0].keys()
    assert "train rl2 grid-navigation" in (finished / "command.txt").read_text()


def test_tensorboard_can_read_it(finished: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(finished / "tensorboard")).Reload()
    points = board.Scalars("rollout/ep_rew_mean")
    assert len(points) == 40 and points[0].step == 16 * 16


@pytest.mark.slow
def test_the_stored_configuration_is_enough_to_run_again(finished: Path, tmp_path: Path):
    again = [
        sys.executable,
        "-m",
        "quickstudy",
        "train",
        "--config",
        str(finished / "config.toml"),
        "--run",
        str(tmp_path / "again"),
    ]
    subprocess.run(again, check=True, capture_output=True)
    assert fingerprint(finished) == fingerprint(tmp_path / "again")


def test_after_ctrl_c_a_run_saves_says_how_to_go_on_and_leaves_with_0(finished: Path, tmp_path: Path):
    run = tmp_path / "stopped"
    process = subprocess.Popen(command(run), stderr=subprocess.PIPE)
    wait_for(lambda: rows(run) >= 7, process)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 0 and time.monotonic() - began < 5
    assert f"resume with: quickstudy resume {run}" in error.decode()
    saved = load_latest(run)[0]["iteration"]
    assert saved >= 7 and saved == rows(run)
    assert subprocess.run([sys.executable, "-m", "quickstudy", "resume", str(run)], capture_output=True).returncode == 0
    assert fingerprint(run) == fingerprint(finished)


class StopsAfter:
    """A learner that is interrupted, as by Ctrl-C, when it has done so many meta-iterations and begins the next."""

    def __init__(self, learner: Any, iterations: int):
        self.learner, self.iterations = learner, iterations

    def __getattr__(self, key: str) -> Any:
        return getattr(self.learner, key)

    def train_step(self, work: Work) -> Metrics:
        if self.learner.iteration == self.iterations:
            raise KeyboardInterrupt
        return self.learner.train_step(work)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_algorithm_resumes_bit_for_bit(name: str, tmp_path: Path):
    def learner() -> Any:
        entry = ALGORITHMS[name]
        return entry.make(qs.tasks.make("bandit"), entry.config(**TINY[name]), seed=1)

    options: dict[str, Any] = {"checkpoint_every": 3, "threads": 1, "quiet": True, "evaluate_every": 2, "evaluate_tasks": 4}
    qs.train(learner(), 8, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        qs.train(StopsAfter(learner(), 4), 8, tmp_path / "stopped", **options)  # type: ignore[arg-type]
    qs.resume(tmp_path / "stopped", quiet=True)
    assert fingerprint(tmp_path / "whole") == fingerprint(tmp_path / "stopped")
    states = [qs.load(tmp_path / run).state_dict() for run in ("whole", "stopped")]
    assert not differing(*states)  # what lies in segments of a replay included
    assert torch.equal(
        qs.evaluate(qs.load(tmp_path / "whole"), num_tasks=9).returns,
        qs.evaluate(qs.load(tmp_path / "stopped"), num_tasks=9).returns,
    )


def test_a_stopped_folder_of_seeds_ends_as_runs_by_themselves_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    options: dict[str, Any] = {"checkpoint_every": 3, "threads": 1, "evaluate_every": 0}
    train_step, folder = qs.RL2.train_step, tmp_path / "seeds"

    def learner(seed: int) -> qs.RL2:
        return qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(trials=16, hidden_size=8), seed=seed)

    def interrupted(self: qs.RL2, work: Work) -> Metrics:
        if self.seed == 4 and self.iteration == 2:
            raise KeyboardInterrupt
        return train_step(self, work)

    create_seeds(folder, config_of(learner(3), Training(iterations=4, seed=3, **options)), [3, 4, 5], "quickstudy train ...")
    monkeypatch.setattr(qs.RL2, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_seeds(folder, quiet=True)
    stopped = f"stopped after meta-iteration 2 of {folder}/seed-4, saved; resume with: quickstudy resume {folder}\n"
    assert stopped in capsys.readouterr().err and not (folder / "seed-5").exists()
    monkeypatch.setattr(qs.RL2, "train_step", train_step)
    (folder / "seed-5").mkdir()
    (folder / "seed-5" / "command.txt").write_text("all that a kill has left of it")
    train_seeds(folder, quiet=True)
    for seed in (3, 4, 5):
        qs.train(learner(seed), 4, tmp_path / f"seed-{seed}", quiet=True, **options)
        assert fingerprint(folder / f"seed-{seed}") == fingerprint(tmp_path / f"seed-{seed}")
    train_seeds(folder, quiet=True)
    assert "is finished: its 3 seeds have done their 4 meta-iterations" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named_and_resuming_from_the_one_before_ends_the_same(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    import shutil

    run = tmp_path / "damaged"
    shutil.copytree(finished, run)
    path = run / "checkpoints" / "00000040" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    qs.resume(run, quiet=True)
    assert "00000040/state.safetensors has" in capsys.readouterr().err
    assert fingerprint(run) == fingerprint(finished)


def test_tasks_of_ones_own_must_be_given_again(tmp_path: Path):
    tasks = qs.NativeTasks(HiddenButton())
    learner = qs.RL2(tasks, qs.RL2.Config(trials=16, hidden_size=8))
    qs.train(learner, 2, tmp_path / "own", quiet=True, evaluate_every=0)
    with pytest.raises(qs.UsageError, match=r"pass --tasks FILE\.py:OBJECT"):
        qs.load(tmp_path / "own")
    restored = qs.load(tmp_path / "own", tasks)
    assert torch.equal(qs.evaluate(learner, num_tasks=9).returns, qs.evaluate(restored, num_tasks=9).returns)


def test_tasks_that_do_not_fit_the_stored_learner_are_refused(tmp_path: Path):
    learner = qs.RL2(qs.NativeTasks(HiddenButton()), qs.RL2.Config(trials=16, hidden_size=8))
    qs.train(learner, 1, tmp_path / "own", quiet=True)
    with pytest.raises(qs.QuickstudyError, match="doesn't hold the state of rl2 on these tasks"):
        qs.load(tmp_path / "own", qs.tasks.make("cart-pole"))


def test_an_environment_fault_stops_the_run_and_keeps_what_was_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    class Cursed(HiddenButton):
        rewards = 0

        def reward(self, state: Any, action: Any, arrival: Any, task: Any, noise: Any) -> torch.Tensor:
            Cursed.rewards += 1
            value = super().reward(state, action, arrival, task, noise)
            return value / 0 if Cursed.rewards > 10 else value

    learner = qs.RL2(qs.NativeTasks(Cursed()), qs.RL2.Config(trials=16, hidden_size=8))
    with pytest.raises(qs.EnvironmentFault, match=r"task \d+, lane 0, step 1 .*reward that is NaN or infinite"):
        qs.train(learner, 9, tmp_path / "cursed", quiet=True, evaluate_every=0)
    assert load_latest(tmp_path / "cursed")[0]["iteration"] == 3 == rows(tmp_path / "cursed")
    assert "resume with" in capsys.readouterr().err


def test_an_existing_folder_is_never_overwritten(tmp_path: Path):
    (tmp_path / "run").mkdir()
    with pytest.raises(qs.UsageError, match="exists already; go on with it: quickstudy resume"):
        qs.train(qs.RL2(qs.tasks.make("bandit")), 1, tmp_path / "run")
    assert not os.listdir(tmp_path / "run")


def test_a_checkpoint_without_its_metrics_is_refused(finished: Path, tmp_path: Path):
    import shutil

    run = tmp_path / "cut"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "checkpoints" / "00000040")
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(qs.QuickstudyError, match=r"metrics\.jsonl is missing, or shorter"):
        qs.resume(run, quiet=True)
