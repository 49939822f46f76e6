"""Whatever ends a training is named, leaves with a status that says so, and loses no complete meta-iteration."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from test_training import rows

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.protocol import Metrics, Work
from quickstudy.runs.checkpoint import load_latest


class Abrupt(BaseException):
    """What no handler of exceptions catches."""


ENDS = {
    "exit": SystemExit(0),
    "error": ValueError("two\nlines"),
    "memory": MemoryError(),
    "generator": GeneratorExit("left"),
    "base": Abrupt("base"),
    "ctrl-c": KeyboardInterrupt(),
}
SMALL = ["--trials", "8", "--hidden-size", "8", "--n-epochs", "1", "--evaluate-every", "0", "--iterations", "9"]
LEARNER = """
import quickstudy as qs
class Own(qs.RL2):
    name = "own"
    def train_step(self, work):
        if self.iteration == 2:
            {ending}
        return super().train_step(work)
"""
WORLD = """
import gymnasium, numpy as np, quickstudy as qs
class World(gymnasium.Env):
    observation_space, action_space, gain = gymnasium.spaces.Box(-1, 1, (1,)), gymnasium.spaces.Discrete(2), 0.0
    steps = 0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {{}}
    def step(self, action):
        World.steps += 1
        if World.steps > 100:
            {ending}
        return np.zeros(1, np.float32), 0.0, True, False, {{}}
tasks = qs.GymnasiumTasks(World, max_episode_steps=3, gain=qs.Uniform(0.0, 1.0))
"""


@pytest.mark.parametrize("how", ENDS)
def test_in_python_what_ended_it_is_raised_as_it_was(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    class Ending(qs.RL2):
        def train_step(self, work: Work) -> Metrics:
            if self.iteration == 2:
                raise ENDS[how]
            return super().train_step(work)

    learner, run = Ending(qs.tasks.make("bandit"), qs.RL2.Config(trials=8, hidden_size=8)), tmp_path / "run"
    with pytest.raises(type(ENDS[how])) as ended:
        qs.train(learner, 9, run, quiet=True, evaluate_every=0)
    assert ended.value is ENDS[how]
    assert load_latest(run)[0]["iteration"] == 2 == rows(run) and not (run / "trainer.json").exists()
    assert "stopped after meta-iteration 2, saved; resume with: quickstudy resume" in capsys.readouterr().err
    assert (run / "error.txt").exists() == (how != "ctrl-c")


@pytest.mark.parametrize(
    ("ending", "status", "says"),
    [
        ("import sys; sys.exit()", 1, "error: SystemExit; its traceback is in run/error.txt"),
        ("raise ValueError('two\\nlines')", 1, "error: ValueError: two lines; its traceback is in run/error.txt"),
        ("raise BaseException", 1, "error: BaseException; its traceback is in run/error.txt"),
        ("open('/nowhere/at/all')", 1, "error: /nowhere/at/all: No such file or directory"),
        ("raise KeyboardInterrupt", 0, ""),
    ],
)
def test_a_learners_end_is_one_line(
    ending: str, status: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(LEARNER.format(ending=ending.replace("\n", "\\n")))
    assert main(["train", "mine.py:Own", "bandit", *SMALL, "--run", "run"]) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if "  iteration " not in line]
    assert [line for line in lines if not line.endswith(" ...")] == [
        "stopped after meta-iteration 2, saved; resume with: quickstudy resume run --algorithm mine.py:Own",
        *([says] if says else []),
    ]
    assert rows(Path("run")) == 2
    if "error.txt" in says:
        assert "mine.py" in Path("run/error.txt").read_text()


@pytest.mark.parametrize("ending", ["import sys; sys.exit()", "raise GeneratorExit", "raise MemoryError"])
def test_an_environments_end_names_task_lane_and_step(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(WORLD.format(ending=ending))
    assert main(["train", "rl2", "mine.py:tasks", *SMALL, "--run", "run"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    how = "called sys.exit()" if "exit" in ending else f"raised {ending.split()[-1]}"
    assert error.startswith("error: task ") and "lane 0, step " in error and f"step {how}" in error
    assert load_latest(Path("run"))[0]["iteration"] == rows(Path("run")) > 0


def test_a_run_that_vanishes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    step = qs.RL2.train_step

    def vanishing(self: qs.RL2, work: Any) -> Metrics:
        if self.iteration == 2:
            shutil.rmtree("run")
        return step(self, work)

    monkeypatch.setattr(qs.RL2, "train_step", vanishing)
    assert main(["train", "rl2", "bandit", *SMALL, "--run", "run"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "  iteration " not in line]
    assert [line for line in lines if not line.endswith(" ...")] == [
        "error: run was moved or removed while it was trained: what was done since can't be saved"
    ]
    assert not Path("run").exists()
