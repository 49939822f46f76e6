"""The command line as a user meets it: what it prints, and how it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quickstudy.cli import main

TINY = ["--trials", "16", "--hidden-size", "8", "--iterations", "2", "--evaluate-every", "0"]
OWN = """
import quickstudy as qs
tasks = qs.GymnasiumTasks("CartPole-v1", max_episode_steps=20, length=qs.Uniform(0.25, 1.0), force_mag=qs.Choice(-10.0, 10.0))
not_tasks = 3
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as leave:  # argparse and tyro leave by themselves
        return int(leave.code or 0)


def test_train_evaluate_and_again(capsys: pytest.CaptureFixture[str]):
    assert run("train", "rl2", "bandit", "--arms", "3", *TINY) == 0
    assert "quickstudy evaluate runs/rl2-bandit-seed0" in capsys.readouterr().err
    assert run("evaluate", "runs/rl2-bandit-seed0", "--num-tasks", "7", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["algorithm"], found["tasks"], found["num_tasks"], found["greedy"]) == ("rl2", "bandit", 7, False)
    assert run("evaluate", "runs/rl2-bandit-seed0", "--episodes", "3", "--greedy") == 0
    assert "most likely actions" in (out := capsys.readouterr().out) and "extrapolate" in out
    assert run("train", "rl2", "bandit", *TINY) == 0
    assert Path("runs/rl2-bandit-seed0-2").is_dir()
    assert run("resume", "runs/rl2-bandit-seed0") == 0
    assert "is finished" in capsys.readouterr().err


def test_options_win_over_the_file(capsys: pytest.CaptureFixture[str]):
    assert run("train", "rl2", "bandit", "--arms", "3", *TINY, "--run", "first") == 0
    assert run("train", "--config", "first/config.toml", "--arms", "4", "--seed", "5", "--run", "second") == 0
    second = Path("second/config.toml").read_text()
    assert "arms = 4" in second and "seed = 5" in second and "trials = 16" in second
    assert run("train", "multi-task", "bandit", "--config", "first/config.toml") == 2
    assert "is for rl2 on bandit" in capsys.readouterr().err


def test_tasks_of_ones_own_from_a_file(capsys: pytest.CaptureFixture[str]):
    Path("mine.py").write_text(OWN)
    assert run("train", "rl2", "mine.py:tasks", *TINY, "--run", "own") == 0
    assert "quickstudy evaluate own --tasks mine.py:tasks" in capsys.readouterr().err
    assert run("evaluate", "own") == 2
    assert "pass --tasks FILE.py:OBJECT" in capsys.readouterr().err
    assert run("resume", "own") == 2
    assert run("evaluate", "own", "--tasks", "mine.py:tasks", "--num-tasks", "3") == 0
    assert "GymnasiumTasks('CartPole-v1')" in capsys.readouterr().out
    assert run("resume", "own", "--tasks", "mine.py:tasks") == 0
    assert run("evaluate", "random", "mine.py:tasks", "--num-tasks", "3") == 0


def test_a_stored_configuration_of_ones_own_tasks_runs_again_when_they_are_named():
    Path("mine.py").write_text(OWN)
    assert run("train", "rl2", "mine.py:tasks", *TINY, "--run", "own") == 0
    assert run("train", "rl2", "mine.py:tasks", "--config", "own/config.toml", "--run", "again") == 0
    assert Path("own/config.toml").read_text() == Path("again/config.toml").read_text()


def test_a_stored_run_is_never_imported(capsys: pytest.CaptureFixture[str]):
    Path("mine.py").write_text(OWN + "\nfrom pathlib import Path\nPath('imported').touch()\n")
    assert run("train", "rl2", "mine.py:tasks", *TINY, "--run", "own") == 0
    Path("imported").unlink()
    assert run("evaluate", "own") == 2 and run("resume", "own") == 2
    assert run("train", "--config", "own/config.toml", "--run", "again") == 2
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("trian rl2 bandit", 2, "unknown command 'trian'; did you mean 'train'"),
        ("train rl3 bandit", 2, "unknown algorithm 'rl3'; did you mean 'rl2'"),
        ("train rl2 bandits", 2, "unknown tasks 'bandits'; did you mean 'bandit'"),
        ("train rl2", 2, "takes two names"),
        ("train rl2 bandit --trails 3", 2, "--trials"),
        ("train rl2 bandit --trials many", 2, "--trials"),
        ("train rl2 bandit --arms 1", 2, "arms is 1, it must be at least 2"),
        ("train rl2 bandit --device tpu", 2, "device 'tpu' can't be used here"),
        ("train rl2 bandit --config none.toml", 2, "none.toml: No such file"),
        ("train rl2 none.py:tasks", 2, "none.py: no such file"),
        ("train rl2 mine.py:task", 2, "mine.py has no 'task'; did you mean 'tasks'"),
        ("train rl2 mine.py:not_tasks", 2, "is a int, no task distribution"),
        ("train rl2 mine.py", 2, "say which object of mine.py: mine.py:tasks"),
        ("train rl2 broken.py:tasks", 2, "broken.py raised NameError"),
        ("train rl2 bandit --run mine.py/run", 2, "mine.py/run can't be made"),
        ("resume nowhere", 2, "nowhere is no run"),
        ("evaluate nowhere", 2, "nowhere is no run"),
        ("evaluate randm bandit", 2, "unknown baseline 'randm'; did you mean 'random'"),
        ("evaluate random bandit --splt test", 2, "--splt"),
        ("evaluate nowhere --episodes 0", 2, "--episodes"),
        ("list task", 2, "choose from"),
    ],
)
def test_a_mistake_gets_a_clear_message_and_no_traceback(
    arguments: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
):
    Path("mine.py").write_text(OWN)
    Path("broken.py").write_text("tasks = nothing")
    assert run(*arguments.split()) == status
    output = capsys.readouterr()
    assert message in output.err + output.out and "Traceback" not in output.err
    assert not Path("runs").exists()


def test_a_full_or_read_only_disk_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "runs/x/checkpoints")

    monkeypatch.setattr("quickstudy.runs.folder.save_checkpoint", full)
    assert run("train", "rl2", "bandit", *TINY) == 1
    assert "error: runs/rl2-bandit-seed0: No space left on device" in capsys.readouterr().err


def test_list_names_everything_with_bounds(capsys: pytest.CaptureFixture[str]):
    assert run("list") == 0
    text = capsys.readouterr().out
    assert "grid-navigation" in text and "length [0.25, 1]" in text and "task-informed" in text and "random" in text
    assert run("list", "tasks", "--json") == 0
    listing = json.loads(capsys.readouterr().out)
    assert listing["tasks"]["cart-pole"]["parameters"]["direction"] == "one of -1.0, 1.0" and "algorithms" not in listing


def test_doctor_and_help(capsys: pytest.CaptureFixture[str]):
    assert run("doctor") == 0
    text = capsys.readouterr().out
    assert "torch 2." in text and "devices: cpu" in text and "extra plot: matplotlib" in text
    for arguments in ([], ["--help"], ["train"], ["train", "--help"], ["--version"]):
        assert run(*arguments) == 0
    assert "quickstudy train rl2 grid-navigation --help" in capsys.readouterr().out
    assert run("train", "rl2", "grid-navigation", "--help") == 0
    text = capsys.readouterr().out
    assert "--learning-rate" in text and "Cells along each side" in text and "--checkpoint-every" in text
