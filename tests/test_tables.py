"""Rows for other programs: what stands in them is what was measured, and nothing in a name breaks a line."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import shutil
from pathlib import Path

import pytest

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.report.frame import metrics_of
from quickstudy.tables import as_csv, as_frame

STORED = Path(__file__).parent / "stored"


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_is_a_line_whatever_it_holds():
    rows = [{"a": "x\ny\x1b[2J", "b": 0.1}, {"b": None, "c": 'say "no", then'}, {}]
    text = as_csv(rows)
    assert text.count("\n") == 4 and "\x1b" not in text
    assert read(text) == [
        {"a": "x\\ny\\x1b[2J", "b": "0.1", "c": ""},
        {"a": "", "b": "", "c": 'say "no", then'},
        {"a": "", "b": "", "c": ""},
    ]


def test_a_row_of_an_evaluation_is_a_task_and_an_episode():
    tasks = qs.tasks.make("grid-navigation", size=3)
    found = qs.evaluate(qs.Random(tasks), num_tasks=4, episodes=2)
    rows = found.records
    assert [(row["task"], row["episode"], row["seen"]) for row in rows] == [(t, e, e - 1) for t in (1, 2, 3, 4) for e in (1, 2)]
    for row in rows:
        index = row["task"] - 1
        assert [row["goal row"], row["goal column"]] == found.drawn["goal"][index].tolist()
        assert row["return"] == pytest.approx(float(found.returns[index, row["episode"] - 1])) and len(str(row["return"])) < 12
        assert found.success is not None and row["success"] == float(found.success[index, row["episode"] - 1])
        assert (row["algorithm"], row["tasks"], row["split"]) == ("random", "grid-navigation", "test")


def test_values_that_are_no_numbers_stand_in_their_own_words():
    tasks = qs.GymnasiumTasks(
        "CartPole-v1",
        max_episode_steps=3,
        episodes_per_trial=1,
        track=qs.Choice("oval", "eight"),
        configure=lambda env, task: None,
    )
    assert {row["track"] for row in qs.evaluate(qs.Random(tasks), num_tasks=20).records} == {"oval", "eight"}


def test_evaluate_and_compare_write_what_they_print(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_run, "one")
    shutil.copytree(small_run, "other")
    assert main(["evaluate", "one", "--num-tasks", "5", "--csv", "deep/rows.csv", "--json"]) == 0
    told = capsys.readouterr()
    rows = read(Path("deep/rows.csv").read_text())
    assert "deep/rows.csv  5 rows" in told.err and [row["seed"] for row in rows] == ["0"] * 5
    mean = sum(float(row["return"]) for row in rows) / 5
    assert json.loads(told.out)["episodes"][0]["mean"] == pytest.approx(mean, rel=1e-6)
    assert main(["compare", "one", "other", "--num-tasks", "5", "--csv", "-"]) == 0
    both = read(capsys.readouterr().out)
    assert [row.pop("run") for row in both] == ["one"] * 5 + ["other"] * 5 and both == [*rows, *rows]
    assert main(["compare", "one", "other", "--figure", "curves.tif"]) == 2
    assert "a figure is a .pdf, .svg or .png; name it curves.pdf" in capsys.readouterr().err


@pytest.mark.parametrize("format", ("format-2", "format-3"))
def test_metrics_of_any_version_have_the_names_of_today_and_a_row_each(format: str):
    folder = STORED / format / "varibad"
    rows = metrics_of(folder)
    written = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [row["iteration"] for row in written]
    assert list(rows[0])[:2] == ["seed", "iteration"] and {"train/policy_loss", "rollout/ep_rew_mean"} <= rows[0].keys()
    assert "train/policy_gradient_loss" not in rows[0]


def test_who_has_no_pandas_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch, small_run: Path):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(qs.UsageError, match=r"pip install 'quickstudy\[frame\]', or write a file with --csv"):
        qs.frame(small_run)
    with pytest.raises(qs.UsageError, match="is no run"):
        qs.frame("nowhere")


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas isn't installed")
def test_a_data_frame_has_the_same_rows(small_run: Path):
    found = qs.evaluate(qs.load(small_run), num_tasks=3)
    frame = found.to_frame()
    assert frame.to_dict("records") == [dict(row) for row in found.records]
    metrics = qs.frame(small_run)
    assert list(metrics.columns[:2]) == ["seed", "iteration"] and len(metrics) == 1
    assert list(as_frame([]).columns) == []
