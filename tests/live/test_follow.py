"""A run read as it grows is the run read at once, whatever was written, cut off or written again between two looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from quickstudy.live.follow import Follower, Grown
from quickstudy.report.series import MOST_POINTS, Buckets, Thinning, series, validations
from quickstudy.runs.trainer import MARK, leave_mark, remove_mark, trainer_of
from quickstudy.storage import read_json, to_json


def row(iteration: int) -> dict[str, Any]:
    value = float(np.sin(iteration))
    found = {"iteration": iteration, "time/total_timesteps": 100 * iteration, "train/loss": value}
    if iteration % 5 == 0:
        found |= {f"validation/episode_{episode}/return_mean": value * episode for episode in (1, 2)}
    return found


def append(run: Path, first: int, last: int) -> None:
    with (run / "metrics.jsonl").open("a") as metrics, (run / "timing.jsonl").open("a") as timing:
        for iteration in range(first, last + 1):
            metrics.write(json.dumps(row(iteration)) + "\n")
            timing.write(json.dumps({"iteration": iteration, "time/time_elapsed": 0.5 * iteration, "time/fps": 7.0}) + "\n")


def cut(run: Path, last: int) -> None:
    """What resuming does to the metrics."""
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:last]))


@pytest.fixture
def run(tmp_path: Path, small_run: Path) -> Path:
    """A run of 2000 meta-iterations of which none is done."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text(
        (small_run / "config.toml").read_text().replace("iterations = 1\n", "iterations = 2000\n")
    )
    return folder


def assert_same(run: Path, follower: Follower) -> None:
    follower.look()
    shown, whole = follower.figures(), series([run], [0])
    assert shown["series"] == whole
    assert shown["validation"] == validations([run])


def test_looks_add_up_to_the_whole(run: Path):
    follower = Follower(run)
    assert_same(run, follower)
    append(run, 1, 1)
    assert_same(run, follower)
    append(run, 2, 90)
    assert_same(run, follower)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row(91))[:20])
        file.flush()
        assert_same(run, follower)
        file.write(json.dumps(row(91))[20:] + "\n")
    assert_same(run, follower)
    looks = follower.looks
    follower.look()
    assert follower.looks == looks


def test_what_a_resumed_run_cuts_off_is_forgotten(run: Path):
    follower = Follower(run)
    append(run, 1, 40)
    follower.look()
    cut(run, 20)
    assert_same(run, follower)
    append(run, 21, 33)
    follower.look()
    cut(run, 30)
    append(run, 31, 60)
    assert_same(run, follower)
    for name in ("metrics.jsonl", "timing.jsonl"):
        (run / name).unlink()
    assert_same(run, follower)


def test_metrics_of_an_earlier_version_go_on_under_their_names_of_today(run: Path):
    follower = Follower(run)
    append(run, 1, 5)
    path = run / "metrics.jsonl"
    path.write_text(path.read_text().replace("train/loss", "train/kl"))
    assert_same(run, follower)
    append(run, 6, 9)
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rows[:5] + [row.replace("train/loss", "train/belief_kl") for row in rows[5:]]))
    assert_same(run, follower)
    found = follower.figures()["series"]
    assert found["metrics"] == ["time/fps", "train/belief_kl"]
    assert None not in found["seeds"][0]["train/belief_kl"] and len(found["seeds"][0]["train/belief_kl"]) == 9


def test_a_long_run_stays_a_few_points_each_the_mean_of_neighbours(run: Path):
    follower = Follower(run)
    for first in range(1, 1500, 300):
        append(run, first, first + 299)
        follower.look()
    found = follower.figures()["series"]
    assert found["rows_per_point"] == 4 and found["rows"] == 1500
    values = np.sin(np.arange(1, 1501)).reshape(-1, 4).mean(1)
    assert len(values) <= MOST_POINTS
    assert found["seeds"][0]["train/loss"] == pytest.approx(values, rel=1e-5)


def test_a_look_reads_only_what_is_new(run: Path):
    append(run, 1, 50)
    file = Grown(run / "metrics.jsonl")
    assert len(list(file.lines())) == 50
    append(run, 51, 53)
    assert [json.loads(line)["iteration"] for line in file.lines()] == [51, 52, 53]
    assert not list(file.lines()) and not file.replaced


@pytest.mark.parametrize("points", (4, 5))
def test_wider_buckets_are_those_that_were_wide_from_the_beginning(points: int):
    narrow, wide = Buckets(Thinning(points, 1)), Buckets(Thinning(points, 2))
    for buckets in (narrow, wide):
        for iteration in range(1, points + 1):
            buckets.add(row(iteration))
    narrow.widen()
    for name, column in wide.means.items():
        assert np.array_equal(narrow.means[name], column, equal_nan=True)


def test_the_pace_of_late_tells_how_long_it_takes(run: Path):
    follower = Follower(run)
    append(run, 1, 30)
    follower.look()
    assert follower.figures()["left"] is None
    leave_mark(run)
    follower.look()
    assert follower.figures()["left"] == pytest.approx(0.5 * (2000 - 30))
    cut(run, 10)
    append(run, 11, 13)
    follower.look()
    assert follower.figures()["left"] == pytest.approx(0.5 * (2000 - 13))


def test_who_trains_is_known_by_a_mark(tmp_path: Path):
    assert trainer_of(tmp_path) == "none"
    leave_mark(tmp_path)
    assert trainer_of(tmp_path) == "alive"
    mark = read_json(tmp_path / MARK)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / MARK).write_text(to_json(mark | {"pid": other.pid, "began": psutil.Process(other.pid).create_time()}))
        assert trainer_of(tmp_path) == "alive"
        other.kill()
        # not waited for yet: it is a zombie
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert trainer_of(tmp_path) == "dead"
    assert trainer_of(tmp_path) == "dead"
    # another process has got the number
    (tmp_path / MARK).write_text(to_json(mark | {"began": mark["began"] - 60}))
    assert trainer_of(tmp_path) == "dead"
    (tmp_path / MARK).write_text(to_json(mark | {"host": "elsewhere"}))
    assert trainer_of(tmp_path) == "elsewhere"
    for damaged in ("", "[]", "{}", '{"host": 1}', to_json(mark | {"pid": "1"}), to_json(mark | {"pid": 10**30})):
        (tmp_path / MARK).write_text(damaged)
        assert trainer_of(tmp_path) != "alive"
    remove_mark(tmp_path)
    remove_mark(tmp_path)
    assert trainer_of(tmp_path) == "none"


def test_a_run_that_is_done_says_so_and_a_stopped_one_how_to_go_on(run: Path, small_run: Path):
    assert Follower(run).figures()["trainer"] == {"state": "stopped", "command": f"quickstudy resume {run}"}
    follower = Follower(small_run)
    follower.look()
    assert follower.figures()["trainer"] == {"state": "finished", "command": f"quickstudy report {small_run}"}
    assert not (small_run / MARK).exists()
