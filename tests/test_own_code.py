"""What a user's own files do is told in one line, whichever command meets it; and they are called as they were typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from said import complaint

from quickstudy.cli import TRACEBACK, main

OWN = """
import gymnasium
import quickstudy as qs


class Made(qs.RL2):
    def __init__(self, *given, **named):
        raise KeyError("made")


class Adapts(qs.RL2):
    def adapt(self, *given, **named):
        raise KeyError("adapted")


class Wordless(Exception):
    def __str__(self):
        raise ValueError


class Tank(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(2)
    level, says = 1.0, "long " * 500

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        if self.says is None:
            raise Wordless
        if self.level < 0:
            raise RuntimeError(self.says)
        return 0, self.level, False, False, {}


def tank(low, high, says=None):
    def build():
        made = Tank()
        made.says = says
        return made

    return qs.GymnasiumTasks(build, max_episode_steps=3, level=qs.Uniform(low, high))


good, other = tank(1.0, 2.0, "-"), tank(1.0, 3.0, "-")
long, wordless = tank(-2.0, -1.0, "long " * 500), tank(-2.0, -1.0)
"""
SMALL = "--iterations 1 --trials 4 --hidden-size 4 --evaluate-every 0 --run".split()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(OWN)
    Path("leaves.py").write_text("import sys\n\nsys.exit(0)\n")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        (
            ["train", "mine.py:Made", "bandit"],
            1,
            "mine.py, line 8, raised KeyError: 'made'; its traceback: QUICKSTUDY_TRACEBACK=1",
        ),
        (["train", "rl2", "leaves.py:x"], 2, "leaves.py, line 3, called sys.exit(0) when it was imported"),
        (["train", "rl2", "mine.py:long", *SMALL, "run"], 1, "raised RuntimeError: long long"),
        (["train", "rl2", "mine.py:wordless", *SMALL, "run"], 1, "step 0 of the trial: step raised Wordless"),
    ],
)
def test_it_is_told_in_one_line(command: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]):
    assert main(command) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and says in lines[0] and len(lines[0]) < 700


@pytest.mark.usefixtures("own")
def test_a_run_of_ones_own_is_called_as_it_is_typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    assert main(["train", "mine.py:Adapts", "mine.py:good", *SMALL, "it's"]) == 0
    Path("moved").mkdir()
    shutil.move("mine.py", "moved/mine.py")
    again = ["--tasks", "moved/mine.py:good", "--algorithm", "moved/mine.py:Adapts"]
    capsys.readouterr()
    assert main(["evaluate", "it's", *again, "--num-tasks", "1"]) == 1
    assert "moved/mine.py, line 13, raised KeyError: 'adapted'" in complaint(capsys.readouterr().err)
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(KeyError):
        main(["evaluate", "it's", *again, "--num-tasks", "1"])
    monkeypatch.delenv(TRACEBACK)
    assert main(["resume", "it's", *again]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"next: quickstudy evaluate 'it'\"'\"'s' {' '.join(again)}"
    assert main(["train", "rl2", "bandit", "--run", "it's"]) == 2
    assert "resume 'it'\"'\"'s' --tasks mine.py:good --algorithm mine.py:Adapts, or" in capsys.readouterr().err
    assert main(["resume", "it's", "--tasks", "moved/mine.py:other", *again[2:]]) == 0
    assert "was trained on mine.py:good; moved/mine.py:other must be the same tasks" in capsys.readouterr().err


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("flags", [["--tasks", "mine.py:good"], ["--algorithm", "mine.py:Adapts"]])
@pytest.mark.parametrize("command", ["evaluate", "resume", "report"])
def test_a_run_that_knows_its_own_takes_none(
    command: str, flags: list[str], small_run: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([command, str(small_run), *flags]) == 2
    assert f"which it builds by itself: leave {flags[0]} out" in complaint(capsys.readouterr().err)
