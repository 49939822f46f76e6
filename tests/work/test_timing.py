"""Where a run's time went, on one process or several, and that asking changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_training import fingerprint

import quickstudy as qs
from quickstudy.cli.options import read_fields
from quickstudy.ops.tally import count, counted, timed
from quickstudy.profiling import phases

OPTIONS: dict[str, Any] = {"threads": 1, "quiet": True, "evaluate_every": 2, "evaluate_tasks": 6}


def small() -> Any:
    return qs.MAML(qs.tasks.make("bandit"), qs.MAML.Config(meta_batch_size=4, lanes=3, shards=2, hidden_size=8))


def least() -> Any:
    """Of which a profile has little to tell: writing it takes the time."""
    config = qs.MultiTask.Config(n_envs=2, n_epochs=1, minibatches=1, hidden_size=4)
    return qs.MultiTask(qs.tasks.make("bandit", arms=2, pulls=2), config)


def timing(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "timing.jsonl").read_text().splitlines()]


def test_the_phases_of_a_meta_iteration_by_hand():
    found = phases(100.0, 10.0, {"work": 4.0, "adapt": 1.0, "queue": 3.0})
    assert found == {
        "time/fps": 10.0,
        "time/queue_seconds": 3.0,
        "time/collect_seconds": 4.0,
        "time/adapt_seconds": 1.0,
        "time/update_seconds": 6.0,
        "time/collect_fps": 25.0,
        "time/adapt_fps": 100.0,
        "time/update_fps": pytest.approx(100 / 6),
    }
    assert "time/collect_fps" not in phases(100.0, 10.0, {}), "nothing was collected, so there is no rate"


def test_a_tally_begins_anew_when_it_is_read():
    counted()
    count({"steps": 3.0})
    count({"steps": 4.0})
    with timed("work"):
        pass
    found = counted()
    assert found["steps"] == 7 and 0 <= found["work"] < 1
    assert counted() == {}


@pytest.mark.parametrize("workers", [0, 2])
def test_time_is_told_by_phase_wherever_work_is_done(workers: int, tmp_path: Path):
    qs.train(small(), 2, tmp_path / "run", workers=workers, **OPTIONS)
    first, second = timing(tmp_path / "run")
    assert 0 < first["time/adapt_seconds"] and 0 < first["time/update_seconds"]
    assert first["time/worker_restarts"] == 0 < first["time/memory_mb"]
    assert (first["time/workers_memory_mb"] > 0) == (workers > 0) == (first["time/queue_seconds"] > 0)
    # 6 tasks x 3 lanes x 1 episode of 10 pulls
    assert second["time/evaluation_fps"] * second["time/evaluation_seconds"] == pytest.approx(180)
    assert "time/evaluation_fps" not in first


def test_a_profile_is_a_trace_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    qs.train(least(), 4, tmp_path / "plain", **OPTIONS)
    capsys.readouterr()
    qs.train(least(), 4, tmp_path / "profiled", profile=2, **OPTIONS)
    printed = capsys.readouterr().err
    [trace] = (tmp_path / "profiled" / "profile").iterdir()
    assert trace.name == "2-3.pt.trace.json" and str(trace) in printed
    assert any("aten::" in event["name"] for event in json.loads(trace.read_text())["traceEvents"])
    rows = [line for line in printed.splitlines() if "%" in line]
    assert len(rows) == 11 and "Self CPU %" in rows[0]
    assert fingerprint(tmp_path / "profiled") == fingerprint(tmp_path / "plain")


def test_an_option_whose_name_is_taken_begins_with_its_part():
    @dataclass(frozen=True)
    class Tasks:
        workers: int = 0

    @dataclass(frozen=True)
    class Training:
        workers: int = 0
        seed: int = 0

    parts = {"tasks": Tasks(), "training": Training()}
    found = read_fields("train", parts, ["--workers", "2", "--training-workers", "3", "--seed", "4"])()
    assert found == {"tasks": Tasks(2), "training": Training(3, 4)}
