"""A run's metrics, thinned out: means of neighbours, wall time over all sessions, gaps that stay gaps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quickstudy.ops.statistics import interquartile_mean
from quickstudy.report.series import MOST_POINTS, MOST_STOPS, NUMBERS, series, short, validations


def run(folder: Path, metrics: list[dict[str, Any]], timing: list[dict[str, Any]] | None = None) -> Path:
    folder.mkdir()
    for name, rows in (("metrics.jsonl", metrics), ("timing.jsonl", timing or [])):
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def rows(count: int, luck: int = 0) -> list[dict[str, Any]]:
    values = np.random.default_rng(luck).normal(size=count).round(5).tolist()
    return [
        {"iteration": index, "time/total_timesteps": 100 * index, "train/loss": value} for index, value in enumerate(values, 1)
    ]


def test_few_rows_are_kept_as_they_are(tmp_path: Path):
    measured = rows(50)
    found = series([run(tmp_path / "run", measured)], [3])
    assert found["rows_per_point"] == 1 and found["metrics"] == ["train/loss"]
    [line] = found["seeds"]
    for name in ("iteration", "time/total_timesteps", "train/loss"):
        assert line[name] == [row[name] for row in measured]
    assert line["seed"] == 3 and "iqm" not in found


def test_each_point_of_many_rows_is_the_mean_of_neighbours(tmp_path: Path):
    measured = rows(4 * MOST_POINTS)
    found = series([run(tmp_path / "run", measured)], [0])
    values = np.array([row["train/loss"] for row in measured]).reshape(MOST_POINTS, 4)
    assert found["rows_per_point"] == 4
    assert found["seeds"][0]["train/loss"] == pytest.approx(values.mean(1), rel=1e-5)


def test_ten_seeds_of_many_metrics_stay_small(tmp_path: Path):
    names = [f"train/metric_{index}" for index in range(30)]
    measured = [row | dict.fromkeys(names, 1 / 3) for row in rows(1000)]
    found = series([run(tmp_path / f"seed-{seed}", measured) for seed in range(10)], list(range(10)))
    assert sum(len(column) for line in found["seeds"] for column in line.values() if isinstance(column, list)) <= NUMBERS
    assert len(json.dumps(found)) < 7e5


def test_gaps_and_numbers_that_are_none_stay_gaps(tmp_path: Path):
    measured = rows(6)
    measured[1]["train/loss"] = None
    measured[2]["train/loss"] = True
    measured[0]["train/large"] = 10**400
    del measured[3]["train/loss"]
    folder = run(tmp_path / "run", measured[:4] + measured[5:])
    [line] = series([folder], [0])["seeds"]
    assert "train/large" not in line
    assert line["train/loss"] == [measured[0]["train/loss"], None, None, None, None, measured[5]["train/loss"]]
    assert line["time/total_timesteps"][4] is None


def test_a_line_that_is_being_written_or_is_damaged_is_passed_over(tmp_path: Path):
    folder = run(tmp_path / "run", rows(3))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('[1, 2]\n"text"\n{"iteration": "4"}\n{"iteration": 0}\n{"iteration": 4, "train/lo')
    assert series([folder], [0])["seeds"][0]["iteration"] == [1, 2, 3]


def test_wall_time_goes_on_after_a_resume_and_what_was_done_again_counts_once(tmp_path: Path):
    sessions = [(1, 10.0), (2, 20.0), (3, 30.0), (3, 5.0), (4, 15.0)]
    timing = [{"iteration": iteration, "time/time_elapsed": seconds, "time/fps": seconds} for iteration, seconds in sessions]
    [line] = series([run(tmp_path / "run", rows(4), timing)], [0])["seeds"]
    assert line["time/time_elapsed"] == [10, 20, 35, 45]
    assert line["time/fps"] == [10, 20, 5, 15]


def test_the_middle_of_seeds_is_their_interquartile_mean_where_they_are(tmp_path: Path):
    measured = [rows(20 - 5 * seed, seed) for seed in range(3)]
    found = series([run(tmp_path / f"seed-{seed}", each) for seed, each in enumerate(measured)], [0, 1, 2])
    for index in range(20):
        there = np.array([each[index]["train/loss"] for each in measured if index < len(each)])
        assert found["iqm"]["train/loss"][index] == pytest.approx(interquartile_mean(there), rel=1e-5)


def test_nothing_trained_is_no_points(tmp_path: Path):
    folder = run(tmp_path / "run", [])
    assert series([folder], [0]) == {"rows": 0, "rows_per_point": 1, "metrics": [], "seeds": [{"seed": 0}]}
    assert validations([folder]) == []


def test_validation_is_thinned_out_to_the_first_and_last_and_some_between(tmp_path: Path):
    measured = rows(1000)
    for row in measured[9::10]:
        row |= {f"validation/episode_{episode}/return_mean": row["iteration"] * episode for episode in (1, 2)}
    stops = validations([run(tmp_path / "run", measured)])
    assert len(stops) == MOST_STOPS and stops[0]["iteration"] == 10 and stops[-1]["iteration"] == 1000
    assert all(stop["returns"] == [stop["iteration"], 2 * stop["iteration"]] for stop in stops)
    assert all(stop["steps"] == 100 * stop["iteration"] for stop in stops)


def test_validation_of_earlier_versions_is_an_interquartile_mean_and_never_mixed_with_a_mean(tmp_path: Path):
    def validated(folder: Path, **statistics: str) -> Path:
        measured = rows(4)
        for iteration, (_, statistic) in enumerate(sorted(statistics.items()), 1):
            measured[iteration] |= {f"validation/episode_{episode}/return_{statistic}": float(episode) for episode in (1, 2)}
        return run(folder, measured)

    older = validated(tmp_path / "older", a="iqm", b="iqm", c="mean")
    newer = validated(tmp_path / "newer", a="iqm", b="mean", c="mean")
    assert [(stop["iteration"], stop["statistic"]) for stop in validations([older])] == [(2, "iqm"), (3, "iqm"), (4, "mean")]
    assert [(stop["iteration"], stop["statistic"]) for stop in validations([older, newer])] == [(2, "iqm"), (4, "mean")]
    assert all(stop["returns"] == [1, 2] for stop in validations([older, newer]))


def test_a_run_that_was_resumed_by_a_later_version_has_one_line_of_a_metric(tmp_path: Path):
    measured = rows(6)
    for row, name in zip(measured, 3 * ["train/policy_gradient_loss"] + 3 * ["train/policy_loss"], strict=True):
        row[name] = row.pop("train/loss")
    found = series([run(tmp_path / "run", measured)], [0])
    assert found["metrics"] == ["train/policy_loss"]
    assert found["seeds"][0]["train/policy_loss"] == [row["train/loss"] for row in rows(6)]
    seeds = [run(tmp_path / "older", measured[:3]), run(tmp_path / "newer", rows(3, 1))]
    assert series(seeds, [0, 1])["metrics"] == ["train/loss", "train/policy_loss"]


def test_validation_of_seeds_is_the_mean_of_theirs(tmp_path: Path):
    folders = []
    for seed, value in enumerate([0.0, 0.0, 0.0, 0.0, 10.0]):
        measured = rows(1)
        measured[0]["validation/episode_1/return_mean"] = value
        folders.append(run(tmp_path / f"seed-{seed}", measured))
    assert [stop["returns"] for stop in validations(folders)] == [[2]]


def test_short_numbers_keep_six_digits():
    assert [short(value) for value in (1 / 3, 2.0, -1234567.0, float("nan"), float("inf"))] == [
        0.333333,
        2,
        -1234570,
        None,
        None,
    ]
