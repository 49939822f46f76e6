"""The command: what the page says of a run is what the evaluator says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.report.budgets import uneven
from quickstudy.report.references import references
from quickstudy.runs.seeds import open_runs

OPTIONS = {"num_tasks": 6, "episodes": 2, "split": "test", "seed": 1, "greedy": False}
FLAGS = ["--num-tasks", "6", "--episodes", "2", "--seed", "1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, two seeds of it, and a policy that is told the task."""
    folder = tmp_path_factory.mktemp("runs")
    small = ["grid-navigation", "--size", "3", "--iterations", "2", "--threads", "1", "--evaluate-every", "1"]
    small += ["--evaluate-tasks", "4", "--hidden-size", "8", "--learning-rate", "0.03"]  # so that what is remembered shows
    assert main(["train", "rl2", *small, "--trials", "8", "--run", str(folder / "one")]) == 0
    assert main(["train", "rl2", *small, "--trials", "8", "--seeds", "2", "--run", str(folder / "two")]) == 0
    assert main(["train", "task-informed", *small, "--n-envs", "8", "--run", str(folder / "told")]) == 0
    return folder


def shown(path: Path) -> Any:
    [text] = re.findall(r'id="contents">(.*?)</script>', path.read_text())
    return json.loads(text)


def test_a_run_beside_itself_unadapted_chance_and_who_is_told(runs: Path):
    assert main(["report", str(runs / "one"), *FLAGS, "--informed", str(runs / "told")]) == 0
    found = shown(runs / "one" / "report.html")
    learner, told = qs.load(runs / "one"), qs.load(runs / "told")
    agents = {
        "learner": learner,
        "unadapted": qs.Forgetful(learner),
        "random": qs.Random(learner.tasks),
        "informed": told,
        "optimal": qs.oracle("optimal", learner.tasks),  # the best search is made for four episodes, and here are two
    }
    assert [curve["who"] for curve in found["adaptation"]["curves"]] == list(agents)
    for curve in found["adaptation"]["curves"]:
        rows = qs.evaluate(agents[curve["who"]], **OPTIONS).rows  # pyright: ignore[reportArgumentType]
        for drawn, row in zip(curve["rows"], rows, strict=True):
            assert drawn == pytest.approx(row, rel=1e-5)
    ours, theirs = (sum_of_steps(runs / name) for name in ("one", "told"))
    assert found["adaptation"]["budgets"]["fewest"] == {"run": 1, "steps": theirs}
    assert found["adaptation"]["budgets"]["most"] == {"run": 0, "steps": ours} and ours > 1.1 * theirs
    measured = [json.loads(line) for line in (runs / "one" / "metrics.jsonl").read_text().splitlines()]
    assert [stop["iteration"] for stop in found["adaptation"]["validation"]] == [1, 2]
    for stop, row in zip(found["adaptation"]["validation"], measured, strict=True):
        assert stop["returns"] == pytest.approx([row[f"validation/episode_{k}/return_mean"] for k in range(1, 5)], rel=1e-5)
    assert found["facts"]["config"]["tasks"]["size"] == "3" and "format" not in found["facts"]["config"]
    assert found["facts"]["command"].startswith("quickstudy train rl2")


def sum_of_steps(run: Path) -> int:
    """The environment steps of a run's training."""
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["time/total_timesteps"]


def test_a_folder_of_seeds_is_pooled(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "deep" / "two.html"
    assert main(["report", str(runs / "two"), *FLAGS, "-o", str(path)]) == 0
    found = shown(path)
    capsys.readouterr()
    assert main(["evaluate", str(runs / "two"), *FLAGS, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["episodes"]
    for drawn, row in zip(found["adaptation"]["curves"][0]["rows"], rows, strict=True):
        assert drawn == pytest.approx(row, rel=1e-5)
    assert found["seeds"] == [0, 1] and len(found["series"]["seeds"]) == 2


def test_a_policy_that_does_not_adapt_is_not_shown_twice(runs: Path, tmp_path: Path):
    assert main(["report", str(runs / "told"), *FLAGS, "-o", str(tmp_path / "told.html")]) == 0
    found = shown(tmp_path / "told.html")["adaptation"]
    assert not found["adapts"] and [curve["who"] for curve in found["curves"]] == ["learner", "random", "optimal"]


@pytest.mark.parametrize(
    "family, options, episodes, expected",
    [
        ("grid-navigation", {"size": 3}, None, ["bayes-optimal", "optimal"]),
        ("grid-navigation", {"size": 3}, 4, ["bayes-optimal", "optimal"]),
        ("grid-navigation", {"size": 3}, 5, ["optimal"]),
        ("grid-navigation", {"size": 6}, None, ["optimal"]),
        ("bandit", {"arms": 2, "pulls": 4}, None, ["bayes-optimal", "optimal"]),
        ("bandit", {"arms": 5, "pulls": 100}, None, ["optimal"]),
        ("tabular-mdp", {}, None, ["optimal"]),
        ("cart-pole", {}, None, []),
    ],
)
def test_oracles_stand_beside_learners_where_they_are_cheap_and_right(family: str, options: Any, episodes: Any, expected: Any):
    tasks = qs.tasks.make(family, **options)
    assert [name for name, _ in references(tasks, episodes)] == expected
    assert [name for name, _ in references(qs.Informed(tasks), episodes)] == expected, (
        "who is told the task is told of them too"
    )


def test_budgets_are_told_where_they_differ_by_more_than_a_tenth(runs: Path, capsys: pytest.CaptureFixture[str]):
    one, told, two = (open_runs(runs / name, None) for name in ("one", "told", "two"))
    found = uneven({"a": one, "b": told, "c": two})
    assert found is not None and found.fewest == "b" and found.most in "ac" and found.times == pytest.approx(4)
    assert uneven({"a": one, "c": two}) is None
    assert uneven({"a": one, "b": [with_steps(one[0], 1.09)]}) is None
    assert uneven({"a": one, "b": [with_steps(one[0], 1.11)]}) == ("a", 960, "b", 1066)
    assert main(["compare", str(runs / "one"), str(runs / "told"), *FLAGS]) == 0
    said = capsys.readouterr().out
    assert f"budgets differ: {runs / 'told'} had 240 environment steps a seed, {runs / 'one'} 960, 4.0 times as many" in said
    assert len(said.split("\n\n")[1].splitlines()) == 3, "a heading, the columns, and each pair once"


def with_steps(run: Any, times: float) -> Any:
    """A run that has had so many times as many environment steps."""
    return run._replace(progress=run.progress._replace(timesteps=round(times * run.progress.timesteps)))


def test_what_cannot_be_told_is_said_in_a_line(runs: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(runs)]) == 2
    assert main(["report", str(runs / "one"), "--informed", str(runs / "two")]) == 2
    assert main(["report", str(runs / "one"), "--informd", "x"]) == 2
    assert main(["report", str(runs / "told"), "--informed", f"{runs / 'told'}/"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.endswith(" ...")]
    assert "are the same run" in lines[3]
    assert len(lines) == 4 and all(line.startswith("error: ") for line in lines)
    assert "is no run" in lines[0] and "takes a run of task-informed" in lines[1] and "did you mean '--informed'" in lines[2]


def test_tables_json_and_pages_tell_the_same_of_one_evaluation(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def printed(*arguments: str) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    two, one = str(runs / "two"), str(runs / "one")
    flags, pages = ["--num-tasks", "7", "--episodes", "1"], [tmp_path / "report.html", tmp_path / "compare.html"]
    told = json.loads(printed("evaluate", two, *flags, "--json"))
    [row] = told["episodes"]
    printed("report", two, *flags, "-o", str(pages[0]))
    [compared, _] = json.loads(printed("compare", two, one, *flags, "--json", "-o", str(pages[1])))["runs"]
    learner = shown(pages[0])["adaptation"]["curves"][0]
    [beside, _] = shown(pages[1])["runs"]
    for found in (compared, learner["rows"][0], beside, beside["rows"][0]):
        for name in ("mean", "mean_low", "mean_high", "iqm"):
            assert found[name] == pytest.approx(row[name], rel=1e-5)
    for found in (learner["rows"][0], beside["rows"][0]):
        for name in ("success", "success_low", "success_high"):
            assert found[name] == pytest.approx(row[name], rel=1e-5)
    assert {found["interval_over"] for found in (told, compared, learner, beside)} == {"seeds and tasks"}
    interval = f"[{row['mean_low']:.2f}, {row['mean_high']:.2f}]"
    for text in (printed("evaluate", two, *flags), printed("compare", two, one, *flags)):
        lines = [line for line in text.splitlines() if interval in line]
        assert lines and f" {row['mean']:.2f} " in lines[0], text


def test_a_comparison_is_what_its_tables_say(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = [str(runs / "two"), str(runs / "told")]
    path = tmp_path / "deep" / "compare.html"
    assert main(["compare", *names, *FLAGS, "--json", "-o", str(path)]) == 0
    said = capsys.readouterr()
    told, found = json.loads(said.out), shown(path)
    assert str(path) in said.err
    for row, run in zip(told["runs"], found["runs"], strict=True):
        same = ("run", "algorithm", "seeds", "lanes")
        assert [run[key] for key in same] == [row[key] for key in same]
        figures = ("mean", "mean_low", "mean_high", "iqm")
        assert [run[key] for key in figures] == pytest.approx([row[key] for key in figures], rel=1e-5)
        assert run["interval_over"] == row["interval_over"]
    # of each pair one way is shown
    [pair] = found["improvement"]
    [first] = [row for row in told["improvement"] if row["x"] == names[0]]
    assert pair == pytest.approx({"x": 0, "y": 1} | {key: first[key] for key in ("probability", "low", "high")}, rel=1e-5)
    taus = found["profile"]["taus"]
    assert [taus[0], taus[-1]] == pytest.approx([told["profile"][0]["tau"], told["profile"][-1]["tau"]], rel=1e-5)
    for place, run in enumerate(found["profile"]["runs"]):
        for end in (0, -1):
            assert run["share"][end] == pytest.approx(told["profile"][end]["runs"][place]["share"], abs=1e-4)
    files = [(runs / "two" / f"seed-{seed}" / "metrics.jsonl").read_text() for seed in (0, 1)]
    seeds = [[json.loads(line) for line in file.splitlines()] for file in files]
    middles = [sum(rows[step]["validation/episode_4/return_mean"] for rows in seeds) / 2 for step in (0, 1)]
    steps = [rows["time/total_timesteps"] for rows in seeds[0]]
    assert found["runs"][0]["validation"] == [pytest.approx([x, y], rel=1e-5) for x, y in zip(steps, middles, strict=True)]
    trained = [sum(rows[step]["rollout/ep_rew_mean"] for rows in seeds) / 2 for step in (0, 1)]
    assert found["runs"][0]["training"] == [pytest.approx([x, y], rel=1e-5) for x, y in zip(steps, trained, strict=True)]
