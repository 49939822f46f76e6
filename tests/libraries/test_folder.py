"""Folders of runs as libraries, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from said import complaint

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.errors import UsageError

PULLS = ["--arms", "3", "--pulls", "4"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run each of two methods, and a folder of two seeds."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, run, more in (("rl2", "a", []), ("multi-task", "b", []), ("rl2", "c", ["--seeds", "2"])):
        few = ["--iterations", "1", "--evaluate-every", "0", *(["--trials", "8"] if name == "rl2" else [])]
        assert main(["train", name, "bandit", *PULLS, *few, *more, "--run", str(folder / run)]) == 0
    return folder


def test_a_folder_is_its_runs_in_the_order_of_their_names(shelf: Path):
    tasks = qs.tasks.make("bandit", arms=3, pulls=4)
    found = qs.library(shelf, tasks, qs.Weighing(weights="bayes"))
    assert [agent.name for agent in found.members] == ["rl2", "multi-task", "rl2", "rl2"]
    again = qs.Library(
        tasks, [qs.load(shelf / run) for run in ("a", "b", "c/seed-0", "c/seed-1")], qs.Weighing(weights="bayes")
    )
    assert torch.equal(*(qs.evaluate(agent, num_tasks=20).returns for agent in (found, again)))


@pytest.mark.parametrize("weights", ["exp4", "bayes", "greedy", "reuse"])
def test_the_command_line_evaluates_a_library(shelf: Path, weights: str, capsys: pytest.CaptureFixture[str]):
    words = ["evaluate", f"library:{shelf}", "bandit", *PULLS, "--weights", weights, "--num-tasks", "20", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["algorithm"] == f"library of 4, {weights}" and told["num_tasks"] == 20


def test_a_library_that_cannot_be_says_so_in_a_line(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for words, says in [
        ([f"library:{tmp_path}", "bandit"], "is no library: it holds no folder of a run"),
        ([f"library:{shelf}", "bandit"], "member 0, rl2, has action space Discrete(3), the tasks have Discrete(5)"),
        ([f"library:{shelf}", "bandit", *PULLS, "--weights", "bays"], "--weights"),
        ([f"library:{shelf}", "bandit", *PULLS, "--floor", "2"], "floor is 2, for exp4 it must be more than 0"),
    ]:
        assert main(["evaluate", *words]) != 0
        assert says in complaint(capsys.readouterr().err)


def test_a_run_on_tasks_of_ones_own_is_given_by_hand(tmp_path: Path):
    own = ["import quickstudy as qs", "from quickstudy.families.classic.bandit import Bandit", "class Own(Bandit): pass"]
    (tmp_path / "own.py").write_text("\n".join([*own, "tasks = qs.NativeTasks(Own())"]))
    few = ["--trials", "8", "--iterations", "1", "--evaluate-every", "0"]
    assert main(["train", "rl2", f"{tmp_path}/own.py:tasks", *few, "--run", str(tmp_path / "shelf" / "own")]) == 0
    with pytest.raises(UsageError, match=r"is a run on tasks of your own: load it with qs.load"):
        qs.library(tmp_path / "shelf", qs.tasks.make("bandit"))
