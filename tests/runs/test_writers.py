"""Metrics reach TensorBoard, W&B and MLflow, each the same figures as the run's own files, and go on where a run is resumed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.runs.writers import RECORDS, record_of

RETURN = "rollout/ep_rew_mean"


def trained(run: Path, log: str) -> None:
    """A run that was stopped after two of its four meta-iterations, and resumed."""
    learner = qs.RL2(qs.tasks.make("bandit", arms=2, pulls=4), qs.RL2.Config(trials=4, hidden_size=8))
    step, stops = learner.train_step, [KeyboardInterrupt]

    def interrupted(work: Any) -> Any:
        if learner.iteration == 2 and stops:
            raise stops.pop()
        return step(work)

    learner.train_step = interrupted
    with pytest.raises(KeyboardInterrupt):
        qs.train(learner, iterations=4, run=run, quiet=True, threads=1, evaluate_every=0, log=log)
    qs.resume(run, quiet=True)


def measured(run: Path) -> list[tuple[int, float]]:
    """Environment steps and the return, as the run's own file has them."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["time/total_timesteps"], row[RETURN]) for row in rows]


def on_the_board(run: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [(point.step, point.value) for point in EventAccumulator(str(run / "tensorboard")).Reload().Scalars(RETURN)]


def assert_measured(found: list[tuple[int, float]], run: Path) -> None:
    assert len(measured(run)) == 4
    assert [step for step, _ in found] == [step for step, _ in measured(run)]
    assert [value for _, value in found] == pytest.approx([value for _, value in measured(run)], rel=1e-6)


def test_mlflow_has_the_figures_of_a_run_and_of_its_resumption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow isn't installed: pip install 'quickstudy[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    with pytest.raises(qs.UsageError, match=r"MLflow can't be used .*; name a server: MLFLOW_TRACKING_URI="):
        trained(tmp_path / "run", "mlflow")
    assert not (tmp_path / "run").exists()
    # the small package has no other store that needs no server
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    trained(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient()
    [experiment] = [each for each in client.search_experiments() if each.name == "quickstudy"]
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "run" and run.info.status == "FINISHED"
    assert run.data.params["algorithm.name"] == "rl2" and run.data.params["tasks.arms"] == "2"
    history = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, RETURN)]
    for found in (history, on_the_board(tmp_path / "run")):
        assert_measured(found, tmp_path / "run")
    assert "time/fps" in run.data.metrics


def test_wandb_has_the_figures_of_a_run_and_of_its_resumption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb", reason="wandb isn't installed: pip install 'quickstudy[wandb]'")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_SILENT", "true"), ("WANDB_CONFIG_DIR", str(tmp_path / "config"))):
        monkeypatch.setenv(name, value)
    run = tmp_path / "run"
    trained(run, "wandb")
    name = record_of(run, "wandb")
    logs = list((run / "wandb").glob(f"offline-run-*/run-{name}.wandb"))
    assert name and len(logs) == 2
    whole = b"".join(log.read_bytes() for log in logs)
    # W&B's own log: a name, the length of a number, the number
    for figure, values in zip((b"time/total_timesteps", RETURN.encode()), zip(*measured(run), strict=True), strict=True):
        found = re.findall(figure + rb"\x82\x01.([\d.e+-]+)", whole, re.DOTALL)
        assert sorted(set(map(float, found))) == pytest.approx(sorted(set(values)))
    assert b"time/fps" in whole
    assert_measured(on_the_board(run), run)


@pytest.mark.parametrize("log", ["wandb", "mlflow"])
def test_an_absent_package_is_said_before_anything_is_made(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, log, None)
    assert main(["train", "rl2", "bandit", "--run", str(tmp_path / "run"), "--log", log]) == 2
    assert f"install it: pip install 'quickstudy[{log}]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_record_that_is_no_name_is_none(tmp_path: Path):
    assert record_of(tmp_path, "wandb") is None
    for written, expected in (('{"wandb": "a1"}', "a1"), ('{"wandb": "../a"}', None), ('{"mlflow": "a1"}', None)):
        (tmp_path / RECORDS).write_text(written)
        assert record_of(tmp_path, "wandb") == expected
