"""Workers that are killed, and environments that break in them: no bit is changed, no meta-iteration that was done is lost."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from conftest import Share
from probes import HiddenButton
from small import SMALL
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.protocol import Metrics, Work
from quickstudy.runs.checkpoint import load_latest
from quickstudy.storage import sha256
from quickstudy.work.nursery import NURSERIES

OPTIONS: dict[str, Any] = {"threads": 1, "quiet": True, "evaluate_every": 0, "checkpoint_every": 1}


def learner_of(name: str, tasks: Any) -> Any:
    return ALGORITHMS[name].make(tasks, ALGORITHMS[name].config(**SMALL[name] | {"shards": 2}), seed=5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_a_run_whose_workers_are_killed_ends_with_the_same_bits(name: str, tmp_path: Path, share: Share):
    marks, parent, kills, iterations = tmp_path / "marks", os.getpid(), share.of(20, 3), share.of(40, 10)
    marks.mkdir()

    @dataclass(frozen=True, kw_only=True)
    class Fatal(HiddenButton):
        """Hidden buttons whose third reward in the life of a worker kills it, so many times in all."""

        def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Any, noise: Tensor) -> Tensor:
            given.append(1)
            if os.getpid() != parent and len(given) == 3 and len(os.listdir(marks)) < kills:
                (marks / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().reward(state, action, arrival, task, noise)

    given: list[int] = []
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    qs.train(learner_of(name, qs.NativeTasks(HiddenButton())), iterations, whole, **OPTIONS)
    qs.train(learner_of(name, qs.NativeTasks(Fatal())), iterations, killed, workers=2, attempts=kills + 1, **OPTIONS)
    assert kills <= len(os.listdir(marks)) <= kills + 1, "two may die at once"
    assert sha256(whole / "metrics.jsonl") == sha256(killed / "metrics.jsonl")
    assert not differing(load_latest(whole)[0], load_latest(killed)[0])
    share.says("kill -9 of a worker that collects", len(os.listdir(marks)), "same final hash", name)


RETURNS = {
    "returns NaN": np.full(1, np.nan, np.float32),
    "returns infinity": np.full(1, np.inf, np.float32),
    "returns a wrong shape": np.zeros(2, np.float32),
    "returns a wrong type": np.array(["far"]),
    "leaves its space": 3,
}


class Cursed(gymnasium.Env[Any, Any]):
    """Breaks at its third step, once `when` is there."""

    action_space = gymnasium.spaces.Discrete(2)
    number = 0.0

    def __init__(self, how: str, when: Path):
        self.how, self.when = how, when
        whole = gymnasium.spaces.Discrete(3)
        self.observation_space = whole if how == "leaves its space" else gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return np.zeros_like(self.observation_space.sample()), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        now = self.steps == 3 and self.when.exists()
        if now and self.how == "raises":
            raise ZeroDivisionError("the wheel came off")
        if now and self.how == "leaves":
            sys.exit(3)
        if now and self.how == "breaks off":
            raise GeneratorExit("enough")
        if now and self.how == "hangs":
            time.sleep(1000)
        if now and self.how == "segfaults":
            ctypes.string_at(0)
        right = np.zeros_like(self.observation_space.sample())
        return RETURNS.get(self.how, right) if now else right, 0.0, False, False, {}


PLACED = r"task 0 \(number=\d\.0\), lane 0, step 2"
WHERE = r"seed 5, iteration 2, train tasks, shard \d"
SAYS = {
    "raises": rf"{PLACED}.*ZeroDivisionError: the wheel came off.*{WHERE}",
    "leaves": rf"{PLACED}.*: step called sys.exit\(3\).*{WHERE}",
    "breaks off": rf"{PLACED}.*: step raised GeneratorExit: enough.*{WHERE}",
    "returns NaN": rf"{PLACED}.*observation \[nan\]: NaN or infinite.*{WHERE}",
    "returns infinity": rf"{PLACED}.*observation \[inf\]: NaN or infinite.*{WHERE}",
    "returns a wrong shape": rf"{PLACED}.*has shape \(2,\), its space says \(1,\).*{WHERE}",
    "returns a wrong type": rf"{PLACED}.*is of type <U3, not numbers.*{WHERE}",
    "leaves its space": rf"{PLACED}.*the observation 3 is not in Discrete\(3\).*{WHERE}",
    "hangs": rf"{WHERE}: no answer within 20 s",
    "segfaults": rf"{WHERE}: its worker process died by SIGSEGV",
}
IN_A_HURRY = ("raises", "leaves", "returns NaN", "segfaults")


@pytest.mark.parametrize("workers", (0, 1))
@pytest.mark.parametrize("when", ("in a step", "in a reset", "in dynamics"))
def test_whoever_leaves_is_named_wherever_the_work_is_done(workers: int, when: str):
    class Leaving(Cursed):
        def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
            return super().reset(**options) if when == "in a step" else sys.exit("enough of this")

    @dataclass(frozen=True, kw_only=True)
    class Left(HiddenButton):
        def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Any, noise: Tensor) -> Tensor:
            sys.exit()

    tasks: Any = qs.NativeTasks(Left())
    if when != "in dynamics":
        tasks = qs.GymnasiumTasks(lambda: Leaving("leaves", Path("/")), number=qs.Choice(2.0, 3.0), max_episode_steps=5)
    says = {
        "in a step": r"task 0 \(number=\d\.0\), lane 0, step 2 of the trial: step called sys\.exit\(3\)",
        "in a reset": r"task 0 \(number=\d\.0\), lane 0, step 0 of the trial: reset called sys\.exit\('enough of this'\)",
        "in dynamics": r"the code of the tasks or of the learner called sys\.exit\(\) \(seed 5, iteration 0",
    }
    with pytest.raises(qs.EnvironmentFault, match=says[when]):
        qs.train(learner_of("rl2", tasks), 1, workers=workers, **OPTIONS)


def kill_the_nursery() -> None:
    """kill -9 of the process that starts workers."""
    os.kill(NURSERIES[os.getpid()]._process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_where_the_nursery_is_killed_no_bit_is_changed(tmp_path: Path, share: Share):
    """Before, in the middle of, and between trainings; in the middle a worker is killed as well, so that another is needed."""

    def trained(workers: int, folder: str, killed: bool = False) -> Any:
        learner = learner_of("rl2", qs.NativeTasks(HiddenButton()))
        step = type(learner).train_step

        def killing(work: Work) -> Metrics:
            if killed and learner.iteration == 1:
                kill_the_nursery()
                os.kill(work.pids[0], signal.SIGKILL)  # type: ignore[attr-defined]
            return step(learner, work)

        learner.train_step = killing
        qs.train(learner, 3, tmp_path / folder, workers=workers, **OPTIONS)
        return sha256(tmp_path / folder / "metrics.jsonl")

    whole, count = trained(0, "whole"), share.of(10, 1)
    assert trained(2, "first") == whole
    for number in range(count):
        kill_the_nursery()
        assert trained(2, f"between-{number}") == whole
        assert trained(2, f"amid-{number}", killed=True) == whole
    share.says("kill -9 of the process that starts workers", 2 * count, "same final hash")


@dataclass(frozen=True, kw_only=True)
class Locked(HiddenButton):
    """Buttons that hold what can't leave the process."""

    lock: Any = None


def test_what_cannot_be_sent_is_named(capsys: pytest.CaptureFixture[str]):
    lock = threading.Lock()
    locked = qs.NativeTasks(Locked(lock=lock))
    enclosed = qs.GymnasiumTasks(lambda: Cursed("", Path(str(lock))), number=qs.Choice(2.0, 3.0), max_episode_steps=5)
    for tasks, place in ((locked, r"the tasks\.dynamics\.lock"), (enclosed, r"the tasks\._env, its lock")):
        with pytest.raises(
            qs.UsageError, match=rf"{place} \(a lock\) can't be sent to workers: .*; .* take --workers 0"
        ) as caught:
            qs.train(learner_of("rl2", tasks), 1, workers=2, **OPTIONS)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", [pytest.param(how, marks=() if how in IN_A_HURRY else pytest.mark.slow) for how in SAYS])
def test_an_environment_that_breaks_in_a_worker_is_named_and_the_run_saved(
    how: str, tmp_path: Path, share: Share, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run, when, train_step = tmp_path / "run", tmp_path / "now", qs.RL2.train_step

    def step(self: qs.RL2, work: Work) -> Metrics:
        if self.iteration == 2:
            when.touch()
        return train_step(self, work)

    monkeypatch.setattr(qs.RL2, "train_step", step)
    tasks = qs.GymnasiumTasks(lambda: Cursed(how, when), number=qs.Choice(2.0, 3.0), max_episode_steps=5)
    learner = qs.RL2(tasks, qs.RL2.Config(trials=8, hidden_size=8, shards=2), seed=5)
    with pytest.raises(qs.EnvironmentFault, match=SAYS[how]) as caught:
        qs.train(learner, 4, run, workers=2, attempts=2, deadline=20, **OPTIONS)
    assert "\n" not in str(caught.value)
    assert load_latest(run)[0]["iteration"] == 2
    assert f"saved; resume with: quickstudy resume {run}" in capsys.readouterr().err
    share.says(f"an environment that {how} in a worker", 1, "named in one line, run saved")
