"""Runs that were stored by a version with this format are loaded, evaluated and resumed, for as long as it is read.

For a new format: raise FORMAT in `runs/config.py`; `python tests/runs/test_stored.py` then stores a run of each algorithm,
and the figures that it comes to, in `tests/stored/format-N`. The folders of formats that are no longer read go.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # where this file is run as a script

from small import SMALL, TINY
from test_training import StopsAfter

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.names import BEFORE, metrics_now
from quickstudy.runs.config import FORMAT

STORED = Path(__file__).parent.parent / "stored"
RUNS = sorted(path.parent for path in STORED.glob("format-*/*/config.toml"))


def figures(run: Path) -> dict[str, Any]:
    """What a stored run comes to: its scores as it is, and the metrics of the meta-iterations that were left."""
    scores = qs.evaluate(qs.load(run), num_tasks=64).returns.mean(0).tolist()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(run, copy)
        qs.resume(copy, quiet=True)
        rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    return {"scores": scores, "rows": rows}


@pytest.mark.parametrize(
    "run",
    # today's are stored for the days to come
    [pytest.param(run, marks=pytest.mark.slow if run.parent.name == f"format-{FORMAT}" else ()) for run in RUNS],
    ids=lambda run: f"{run.parent.name}/{run.name}",
)
def test_a_stored_run_is_evaluated_and_goes_on_as_it_did(run: Path):
    """Another processor rounds otherwise, and now and then an action comes out otherwise: a few thousandths are let pass."""
    then, now = json.loads((run.parent / f"{run.name}.json").read_text()), figures(run)
    assert now["scores"] == pytest.approx(then["scores"], rel=1e-2)
    assert [row["iteration"] for row in now["rows"]] == [1, 2, 3, 4]
    for row, stored in zip(map(metrics_now, now["rows"]), map(metrics_now, then["rows"]), strict=True):
        assert {name: row[name] for name in stored} == pytest.approx(stored, rel=5e-3, abs=1e-3)


@pytest.mark.parametrize("file", sorted((STORED / "sessions").iterdir()), ids=lambda file: file.stem)
def test_a_session_of_version_0_1_goes_on(file: Path):
    """Its trial had two episodes, and waits for the action of a third."""
    entry = ALGORITHMS[file.stem]
    settings = entry.config(**TINY[file.stem] | {"hidden_size": 8} | BEFORE.get(file.stem, {}))
    session = qs.Session.restore(file, entry.make(qs.tasks.make("bandit", pulls=3), settings, seed=1))
    for step in range(3):
        session.act(0)
        session.feedback(1.0, truncated=step == 2, observation=0)


def test_every_algorithm_has_a_stored_run():
    assert {run.name for run in RUNS if run.parent.name == f"format-{FORMAT}"} == set(ALGORITHMS)


def store(name: str, folder: Path) -> None:
    """Trains a run of four meta-iterations, stops it after two, and stores it with its figures."""
    entry, run = ALGORITHMS[name], folder / name
    learner: Any = StopsAfter(entry.make(qs.tasks.make("bandit"), entry.config(**SMALL[name] | {"hidden_size": 8}), seed=1), 2)
    with pytest.raises(KeyboardInterrupt):
        qs.train(learner, 4, run, checkpoint_every=2, evaluate_every=0, threads=1, quiet=True)
    # what no run needs to go on, or tells of one machine
    for left in (run / "checkpoints" / "00000000", run / "tensorboard"):
        shutil.rmtree(left)
    for left in (run / "system.json", run / "timing.jsonl"):
        left.unlink()
    (folder / f"{name}.json").write_text(json.dumps(figures(run), indent=1) + "\n")


if __name__ == "__main__":
    for name in sorted(ALGORITHMS):
        store(name, STORED / f"format-{FORMAT}")
