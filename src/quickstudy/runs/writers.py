"""Where a run's metrics go besides its own files: TensorBoard always, W&B or MLflow where they are asked for.

The files are the source of truth. A resumed run goes on in the same record of W&B or MLflow, and what it does again is written
there again.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import time
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from quickstudy.errors import UsageError
from quickstudy.printed import say
from quickstudy.protocol import Metrics
from quickstudy.storage import SMALL, read_json, to_json, write_atomically

STEPS = "time/total_timesteps"
PROJECT = "quickstudy"
"""What W&B's project and MLflow's experiment are called."""
RECORDS = "records.json"
"""The file that keeps what a run is called in W&B and MLflow."""
PACKAGES = {"wandb": "W&B", "mlflow": "MLflow"}


@runtime_checkable
class Writer(Protocol):
    """Takes a meta-iteration's metrics, in one call or in several."""

    def write(self, row: Metrics, timesteps: int) -> None:
        """Writes named numbers, environment steps as their x-axis."""
        ...

    def flush(self) -> None: ...
    def close(self) -> None: ...


def open_writers(folder: Path, log: str, config: str, timesteps: int) -> list[Writer]:
    """The writers of a run that has taken so many environment steps; `log` is that of `Training`, `config` the run's TOML."""
    others = {"tensorboard": [], "wandb": [WandB], "mlflow": [MLflow]}[log]
    return [TensorBoard(folder, timesteps), *(other(folder, tomllib.loads(config)) for other in others)]


def require_package(log: str) -> Any:
    """The package that a writer needs, nothing for TensorBoard; UsageError with the install command where it is missing."""
    if log not in PACKAGES:
        return None
    try:
        return import_module(log)
    except ImportError as error:
        raise UsageError(f"--log {log} needs {PACKAGES[log]}; install it: pip install 'quickstudy[{log}]'") from error


def record_of(folder: Path, log: str) -> str | None:
    """What a run was called there in an earlier session; None where there was none."""
    try:
        found = read_json(folder / RECORDS, SMALL)[log]
    except FileNotFoundError:
        return None
    except (LookupError, TypeError):
        found = None
    return found if isinstance(found, str) and re.fullmatch(r"\w{1,64}", found, re.ASCII) else None


def keep_record(folder: Path, log: str, name: str) -> None:
    """Keeps what a run is called there."""
    write_atomically(folder / RECORDS, to_json({log: name}) + "\n")


def require_writer(log: str) -> None:
    """Raises UsageError where a writer's package is missing, or the store of MLflow can't be used."""
    package = require_package(log)
    if log != "mlflow":
        return
    try:
        package.MlflowClient().search_experiments(max_results=1)
    except (package.exceptions.MlflowException, ImportError) as error:
        cause = str(error).splitlines()[0]
        raise UsageError(f"MLflow can't be used ({cause}); name a server: MLFLOW_TRACKING_URI=http://... quickstudy") from error


class TensorBoard:
    """Event files in `tensorboard/`, a row at once: SummaryWriter's thread tells of a folder that is gone by a traceback."""

    def __init__(self, folder: Path, timesteps: int):
        # it takes a third of a second to import, which nothing else here needs; type checkers don't see what it makes then
        protocol, records = "tensorboard.compat.proto", import_module("tensorboard.summary.writer.record_writer")
        event, self._summary = (import_module(f"{protocol}.{name}_pb2") for name in ("event", "summary"))
        self._event = event.Event
        folder = folder / "tensorboard"
        folder.mkdir(exist_ok=True)
        # a name that nobody can guess, opened only where there is nothing of that name
        file = folder / f"events.out.tfevents.{int(time.time())}.{platform.node()}.{os.getpid()}.{secrets.token_hex(8)}"
        self._records = records.RecordWriter(file.open("xb"))
        self._add(file_version="brain.Event:2")
        if timesteps:
            # what an earlier session wrote from here on is shown no longer
            self._add(step=timesteps + 1, session_log=event.SessionLog(status=event.SessionLog.START))
        self.flush()

    def _add(self, **said: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **said).SerializeToString())

    def write(self, row: Metrics, timesteps: int) -> None:
        values = [self._summary.Summary.Value(tag=name, simple_value=value) for name, value in row.items()]
        self._add(step=timesteps, summary=self._summary.Summary(value=values))
        self.flush()

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._records.close()


class WandB:
    """A run of Weights & Biases, of the project that WANDB_PROJECT says; WANDB_MODE=offline keeps it in `wandb/`."""

    def __init__(self, folder: Path, config: dict[str, Any]):
        wandb = require_package("wandb")
        project, known = os.environ.get("WANDB_PROJECT", PROJECT), record_of(folder, "wandb")
        self._run = wandb.init(project=project, dir=folder, id=known, resume="allow", name=folder.name, config=config)
        self._run.define_metric("*", step_metric=STEPS)
        keep_record(folder, "wandb", self._run.id)

    def write(self, row: Metrics, timesteps: int) -> None:
        self._run.log({**row, STEPS: timesteps})

    def flush(self) -> None:
        """It sends what it has by itself."""

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, in the store that MLFLOW_TRACKING_URI says, of the experiment that MLFLOW_EXPERIMENT_NAME says."""

    def __init__(self, folder: Path, config: dict[str, Any]):
        mlflow = require_package("mlflow")
        self._entities, self._client = mlflow.entities, mlflow.MlflowClient()
        found = record_of(folder, "mlflow")
        self._run = self._again(found) if found else self._begin(folder, config)
        keep_record(folder, "mlflow", self._run)
        self._fails = mlflow.exceptions.MlflowException

    def _begin(self, folder: Path, config: dict[str, Any]) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        run = self._client.create_run(number, run_name=folder.name).info.run_id
        options = [(f"{section}.{key}", str(value)) for section, table in config.items() for key, value in table.items()]
        self._client.log_batch(run, params=[self._entities.Param(key, value) for key, value in options])
        return run

    def _again(self, run: str) -> str:
        self._client.update_run(run, status="RUNNING")
        return run

    def write(self, row: Metrics, timesteps: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(name, value, now, timesteps) for name, value in row.items()]
        try:
            self._client.log_batch(self._run, metrics=metrics)
        except self._fails as error:
            # a training of days need not end because a server did
            say(f"warning: MLflow takes no metrics ({error}); metrics.jsonl has them")

    def flush(self) -> None:
        """Each call has written all that it was given."""

    def close(self) -> None:
        self._client.set_terminated(self._run)
