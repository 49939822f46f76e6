"""`quickstudy transfer` as a user meets it."""

from __future__ import annotations

import json
import shutil
from html import unescape
from pathlib import Path

import pytest
from said import complaint

from quickstudy.cli import main

SHORT = ["--max-episode-steps", "5"]
FEW = ["--budget", "20", "--num-tasks", "2", "--seeds", "2", "--lanes", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two seeds, a run by gradient, and one that can't be fine-tuned."""
    folder = tmp_path_factory.mktemp("runs")
    for name, run, more in (
        ("multi-task", "seeds", ["--n-envs", "8", "--seeds", "2"]),
        ("maml", "maml", ["--meta-batch-size", "2", "--lanes", "2"]),
        ("varibad", "varibad", ["--trials", "4", "--belief-updates", "1"]),
    ):
        few = ["--iterations", "1", "--evaluate-every", "0", *more]
        assert main(["train", name, "point-navigation", *SHORT, *few, "--run", str(folder / run)]) == 0
    return folder


def test_a_table_of_all_ways(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [str(runs / "seeds"), str(runs / "varibad"), "point-navigation", *SHORT, "--layout", "half-circle"]
    figure = tmp_path / "curves.png"
    page = tmp_path / "new" / "transfer.html"
    assert main(["transfer", *words, *FEW, "--figure", str(figure), "--page", str(page)]) == 0
    said = capsys.readouterr()
    for way in ("from-scratch", f"fine-tune {runs / 'seeds'}", f"adapt {runs / 'seeds'}", f"adapt {runs / 'varibad'}"):
        assert way in said.out
    assert "not fine-tuned: varibad can't be fine-tuned by PPO" in said.out and " 40 " in said.out  # 8 lanes of 5 steps
    assert figure.read_bytes().startswith(b"\x89PNG")
    shown = unescape(page.read_text())
    assert "<svg" in shown and "default-src 'none'" in shown and "<script" not in shown
    assert all(line.split("  ")[-1].strip() in shown for line in said.out.splitlines())


def test_several_runs_are_ranked_and_json_has_all_of_it(runs: Path, capsys: pytest.CaptureFixture[str]):
    words = [str(runs / "seeds"), str(runs / "maml"), "point-navigation", *SHORT, *FEW, "--reset-deviation", "--json"]
    assert main(["transfer", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told["relatedness"]) == [f"fine-tune {runs / 'maml'}", f"fine-tune {runs / 'seeds'}"]
    assert [arm["kind"] for arm in told["arms"]] == ["from-scratch", "fine-tune", "fine-tune", "adapt", "adapt"]
    assert told["steps"] == [10, 20] and told["arms"][1]["trained_steps"] == 40


def test_tasks_one_after_another(runs: Path, capsys: pytest.CaptureFixture[str]):
    words = [str(runs / "maml"), "point-navigation", *SHORT, *FEW, "--sequence"]
    assert main(["transfer", *words]) == 0
    assert "2 test tasks one after another, 2 seeds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{runs}/maml"], "transfer takes runs and then tasks"),
        (["{runs}/maml", "{runs}/seeds"], "name the tasks that are to be learnt last"),
        (["random", "point-navigation"], "is a name and no run"),
        (["{runs}/maml", "{runs}/maml", "point-navigation"], "are the same run"),
        (["{runs}/maml", "point-navigtion"], "did you mean 'point-navigation'"),
        (["{runs}/maml", "point-navigation", "--budget", "9"], "a budget of 9 environment steps pays no update"),
        (["{runs}/maml", "point-navigation", "--bugdet", "9"], "did you mean '--budget'"),
        (["{runs}/maml", "point-navigation", "--freeze", "head"], "maml has no layer 'head' to freeze"),
        (["{runs}/varibad", "cart-pole"], "varibad can't be fine-tuned by PPO"),
        (["{runs}/maml", "minigrid"], "across spaces both must be vectors"),
        (["{runs}/maml", "point-navigation", "--sequence", "--threshold", "1"], "has no --figure, --page or --threshold"),
        (["{runs}/maml", "point-navigation", "--figure", "curves.gif"], "a figure is a .pdf, .svg or .png"),
    ],
)
def test_a_mistake_is_said_in_a_line(words: list[str], says: str, runs: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["transfer", *(word.format(runs=runs) for word in words)]) == 2
    assert says in complaint(capsys.readouterr().err)


def test_a_damaged_run_is_said_in_a_line(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(runs / "maml", tmp_path / "damaged")
    for state in (tmp_path / "damaged" / "checkpoints").glob("*/state.safetensors"):
        state.write_bytes(b"nothing")
    assert main(["transfer", str(tmp_path / "damaged"), "point-navigation", *SHORT, *FEW]) != 0
    assert "damaged" in complaint(capsys.readouterr().err)
