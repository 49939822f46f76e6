"""A run's folder: what was run, what it measured, and where it can go on."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from quickstudy.errors import EnvironmentFault, QuickstudyError, UsageError
from quickstudy.ops.fit import require_fit
from quickstudy.protocol import Learner, Metrics, State, TaskDistribution
from quickstudy.runs.checkpoint import (
    ANY,
    kept_checkpoint,
    load_checkpoint,
    load_latest,
    prune,
    room_for,
    save_checkpoint,
)
from quickstudy.runs.config import RunConfig, read_config
from quickstudy.runs.progress import BEFORE, PATTERN, Progress, is_over
from quickstudy.runs.writers import open_writers
from quickstudy.storage import appended, flush_to_disk, opened, remove_leftovers, require_folder, to_json, write_atomically

NOTHING: Mapping[str, Any] = {}
END = b"}\n"
"""With what each row ends."""
SEEDS = "seeds.json"
"""The file that tells a folder of seeds from a run: see `runs/seeds.py`."""


class Opened(NamedTuple):
    """A stored run as it was last saved."""

    config: RunConfig
    learner: Learner
    progress: Progress
    complaints: list[str]
    """Which checkpoints are damaged and were passed over."""

    @property
    def finished(self) -> bool:
        """Whether its budget is used up, or its patience."""
        return is_over(self.config.training, self.progress)


class Run:
    """An open run folder. `metrics.jsonl` is deterministic and cut back on resuming; `timing.jsonl` tells of this machine."""

    def __init__(self, folder: Path, config: RunConfig, progress: Progress):
        refuse_links(folder)
        remove_leftovers(folder)
        self.folder, self.config = folder, config
        self._saved: int | None = None
        with contextlib.ExitStack() as files:
            self._timing = files.enter_context(appended(folder / "timing.jsonl"))
            self._metrics = files.enter_context(open_at(folder / "metrics.jsonl", progress.metrics_bytes))
            self._writers = open_writers(folder, config.training.log, config.write(), progress.timesteps)
            files.pop_all()

    def log(self, row: Metrics, timesteps: int) -> int:
        """Appends a meta-iteration's metrics, environment steps as TensorBoard's x-axis; returns the size of metrics.jsonl."""
        self.require_folder()
        self._append(self._metrics, row, timesteps)
        return self._metrics.tell()

    def amend(self, scores: Metrics, timesteps: int) -> None:
        """Adds scores to the last row, of a run at its end: no checkpoint counts them, so that a longer run cuts them off."""
        self.require_folder()
        self._metrics.seek(-len(END), os.SEEK_END)
        self._metrics.truncate()
        self._metrics.write(f", {to_json(scores)[1:]}\n".encode())
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        self._show(scores, timesteps)

    def require_folder(self) -> None:
        """Raises QuickstudyError where the folder was moved or removed, which an open file doesn't feel."""
        try:
            there = os.path.samestat((self.folder / "metrics.jsonl").stat(), os.fstat(self._metrics.fileno()))
        except OSError:
            there = False
        if not there:
            raise QuickstudyError(
                f"{self.folder} was moved or removed while it was trained: what was done since can't be saved"
            )

    def log_timing(self, timing: Metrics, timesteps: int) -> None:
        """Appends what a meta-iteration took on this machine, its save included."""
        self._append(self._timing, timing, timesteps)

    def _append(self, file: Any, row: Metrics, timesteps: int) -> None:
        file.write(f"{to_json(row)}\n".encode())
        file.flush()  # whoever watches sees it at once
        self._show({name: value for name, value in row.items() if "/" in name}, timesteps)

    def _show(self, row: Metrics, timesteps: int) -> None:
        for writer in self._writers:
            writer.write(row, timesteps)

    def save(self, progress: Progress) -> Metrics:
        """Writes a checkpoint that knows how much of `metrics.jsonl` belongs to it; returns its time and size."""
        if progress.iteration == self._saved:
            return {}
        self.require_folder()
        began = time.monotonic()
        try:
            for file in (self._metrics, self._timing):
                file.flush()
                os.fsync(file.fileno())
            for writer in self._writers:
                writer.flush()
            saved = save_checkpoint(self.folder / "checkpoints", progress.iteration, progress._asdict(), self.config.recorded)
        except OSError as error:
            # writing into an open file tells no name
            raise OSError(error.errno, error.strerror, str(self.folder)) from error
        self._saved = progress.iteration
        training = self.config.training
        prune(self.folder / "checkpoints", training.keep_checkpoints, progress.best_iteration if training.keep_best else 0)
        sizes = {"time/save_mb": saved.bytes / 2**20, "time/save_replay_mb": saved.replay_bytes / 2**20}
        return {"time/save_seconds": time.monotonic() - began, **sizes}

    def saved(self, iteration: int) -> Progress:
        """What the checkpoint of a meta-iteration holds; DamagedCheckpoint where it can't be read."""
        return Progress(**BEFORE | load_checkpoint(self.folder / "checkpoints" / f"{iteration:08d}"))

    def keep_fault(self, fault: EnvironmentFault, again: str) -> str:
        """Keeps what it takes to live a fault again; returns the command that does, `again` where there is no record."""
        if fault.replay is None:
            return f"; see it in one process: {again}" if again else ""
        write_atomically(self.folder / "fault.json", to_json(fault.replay) + "\n")
        return f"; live it again: quickstudy check {self.config.tasks} --replay {self.folder / 'fault.json'}"

    def keep_traceback(self, error: BaseException) -> Path:
        """Keeps where an error was raised that is nobody's message to the user; returns the file."""
        path = self.folder / "error.txt"
        write_atomically(path, "".join(traceback.format_exception(error)))
        return path

    def close(self) -> None:
        """Closes the files; what a full disk kept from being written is not part of any checkpoint."""
        for file in (self._metrics, self._timing, *self._writers):
            with contextlib.suppress(OSError):
                file.close()


def refuse_links(folder: Path) -> None:
    """Raises Refused where writing to a run would write elsewhere, as somebody else's run might make one do."""
    for name in ("tensorboard", "checkpoints", "replay", "wandb", "profile"):
        require_folder(folder / name)


def open_at(path: Path, size: int) -> Any:
    """Opens a file of rows to append after its first `size` bytes; what came later is cut off, scores of a former end too."""
    file, whole = appended(path), max(0, size - len(END))
    if file.seek(0, os.SEEK_END) < whole:
        file.close()
        raise QuickstudyError(
            f"{path} is missing, or shorter than the {size} bytes that the checkpoint knows of: put it back, or train anew"
        )
    file.truncate(whole)
    if size:
        # of a row to which scores were added the end lies behind them
        file.write(END)
        file.flush()
    file.seek(0, os.SEEK_END)
    return file


def amended(folder: Path, progress: Progress) -> bool:
    """Whether the last row of a run has scores of its end, which were measured after its last save."""
    with opened(folder / "metrics.jsonl") as file:
        if file.seek(0, os.SEEK_END) <= progress.metrics_bytes:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def create_run(folder: Path, config: RunConfig, command: str, start: Progress) -> Run:
    """Fills the new folder of a run, with a checkpoint of the start."""
    write_atomically(folder / "command.txt", command + "\n")
    write_atomically(folder / "system.json", to_json(system()) + "\n")
    write_atomically(folder / "config.toml", config.write())
    flush_to_disk(folder)
    run = Run(folder, config, start)
    try:
        run.save(start)
    except BaseException:
        run.close()
        raise
    return run


def make_folder(folder: Path) -> None:
    """Makes the folder of what is to be trained; UsageError where it exists already, or can't be made."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(
            f"{folder} exists already; go on with it: {going_on_with(folder)}, or name another with --run"
        ) from error
    except OSError as error:
        raise UsageError(f"{folder} can't be made: {error.strerror}; name another with --run") from error


def free_folder(folder: Path) -> Path:
    """The folder, or the first of `folder-2`, `folder-3` ... that doesn't exist."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def stored_config(folder: Path) -> RunConfig:
    """The configuration of a run, or of a folder of seeds; UsageError where the folder is neither."""
    if not os.path.lexists(folder / "config.toml"):
        raise UsageError(f"{folder} is no run: it has no config.toml")
    return read_config(folder / "config.toml")


def going_on_with(folder: Path) -> str:
    """The command that does, as far as can be told of a folder that may hold no run."""
    try:
        return stored_config(folder).command("resume", folder)
    except QuickstudyError:
        return f"quickstudy resume {shlex.quote(str(folder))}"


def refuse_seeds(folder: Path) -> None:
    """Raises UsageError for a folder of seeds, which names its runs."""
    if (folder / SEEDS).exists():
        runs = sorted(folder.glob("seed-*"), key=lambda run: (len(run.name), run.name))
        names = ", ".join(map(str, runs)) or f"none has begun yet, {going_on_with(folder)}"
        raise UsageError(f"{folder} holds a run for each of several seeds; name one of them: {names}")


def open_run(
    folder: Path,
    tasks: TaskDistribution | None,
    own_algorithm: Any = None,
    given: Mapping[str, Any] = NOTHING,
    iteration: int | Literal["best"] | None = None,
) -> Opened:
    """Reads a stored run and builds its learner; UsageError where the folder is no run.

    `given` is what was said of this machine (`MACHINE` of `runs/config.py`), of which `device` is where the learner lives.
    `iteration` is the meta-iteration of the checkpoint that is read, or "best", by validation; without, the newest whole one.
    """
    refuse_seeds(folder)
    config = stored_config(folder)
    config = replace(config, training=replace(config.training, **given)).told(tasks, own_algorithm)
    learner = config.build_learner(tasks, own_algorithm)
    fresh = learner.state_dict()
    room = ANY if config.own_algorithm else room_for(fresh)
    state, complaints = {}, []
    if not isinstance(iteration, int):
        state, complaints = load_latest(folder, room, config.require_same)
    if iteration is not None:
        number = best_iteration(folder, state) if iteration == "best" else iteration
        state = load_checkpoint(kept_checkpoint(folder, number), room, config.require_same)
    state = BEFORE | state
    try:
        # shipped learners look at their own states, and know what may differ
        learnt = fresh if config.own_algorithm else {}
        require_fit("", state, PATTERN | {"learner": learnt})
        progress = Progress(**state)
        learner.load_state_dict(progress.learner)
        if learner.iteration != progress.iteration:
            raise ValueError(f"it counts {learner.iteration} meta-iterations and {progress.iteration}")
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise QuickstudyError(
            f"{folder}: its checkpoint doesn't hold the state of {config.algorithm} on these tasks ({error})"
        ) from error
    return Opened(config, learner, progress, complaints)


def best_iteration(folder: Path, state: State) -> int:
    """After which meta-iteration a run's score on validation tasks was best; UsageError where it has not been evaluated."""
    found = state.get("best_iteration")
    if type(found) is not int or found < 1:
        raise UsageError(
            f"{folder} has no best checkpoint: no evaluation on validation tasks, by evaluate_every, is counted in it"
        )
    return found


def system() -> dict[str, Any]:
    """What a run's figures depend on besides its configuration."""
    packages = ("quickstudy", "torch", "numpy", "gymnasium")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "packages": {name: version(name) for name in packages},
    }
