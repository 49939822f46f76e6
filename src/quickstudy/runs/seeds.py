"""A folder of seeds: one configuration trained from several seeds, each in a run of its own, `seed-0/`, `seed-1/` ...

`config.toml` holds the configuration, with the first seed, and `seeds.json` the seeds; both are there before any run begins.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from quickstudy.errors import UsageError, shorten
from quickstudy.ops.fit import MAX_COUNT
from quickstudy.protocol import TaskDistribution
from quickstudy.runs.config import RunConfig
from quickstudy.runs.folder import NOTHING, SEEDS, Opened, make_folder, open_run, stored_config
from quickstudy.storage import (
    flush_to_disk,
    read_json,
    remove_leftovers,
    require_folder,
    temporary_name,
    to_json,
    write_atomically,
)

MAX_SEEDS_BYTES = 2**20


@dataclass(frozen=True)
class SeedRun:
    """One of the runs of a folder of seeds, begun or not."""

    folder: Path
    config: RunConfig

    @property
    def begun(self) -> bool:
        """Whether it was ever saved: one that was killed while its folder was made can't go on, and has nothing to lose."""
        metrics = self.folder / "metrics.jsonl"
        return os.path.lexists(self.folder / "latest.json") or (os.path.lexists(metrics) and os.lstat(metrics).st_size > 0)


def create_seeds(folder: Path, config: RunConfig, seeds: list[int], command: str) -> None:
    """Makes a folder of seeds, which gets its files all at once; UsageError where it exists already, or can't be made."""
    make_folder(folder)
    remove_leftovers(folder.parent, glob.escape(folder.name))
    temporary = temporary_name(folder)
    temporary.mkdir()
    try:
        write_atomically(temporary / "command.txt", command + "\n")
        write_atomically(temporary / "config.toml", config.write())
        write_atomically(temporary / SEEDS, to_json({"seeds": seeds}) + "\n")
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_to_disk(folder.parent)


def holds_seeds(folder: Path) -> bool:
    """Whether this is a folder of seeds, and no run itself."""
    return os.path.lexists(folder / SEEDS)


def read_seeds(folder: Path) -> list[SeedRun]:
    """The runs of a folder of seeds, in the order in which they are trained; UsageError where its files are damaged."""
    path = folder / SEEDS
    try:
        seeds = read_json(path, MAX_SEEDS_BYTES)["seeds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error}); use its runs one by one: {folder}/seed-...") from error
    whole = isinstance(seeds, list) and seeds and all(type(seed) is int and abs(seed) < MAX_COUNT for seed in seeds)
    if not whole or len(set(seeds)) < len(seeds):
        raise UsageError(
            f'{path} is damaged: {{"seeds": ...}} must be a list of different whole numbers, not {shorten(seeds)};'
            f" use its runs one by one: {folder}/seed-..."
        )
    config = stored_config(folder)
    runs = [SeedRun(folder / f"seed-{seed}", replace(config, training=replace(config.training, seed=seed))) for seed in seeds]
    strangers = {run.name for run in folder.glob("seed-*")} - {run.folder.name for run in runs}
    if strangers:
        raise UsageError(
            f"{path} doesn't name {', '.join(sorted(strangers))}, which is in the folder: add it to the list, or move it away"
        )
    return runs


def open_seed(
    run: SeedRun,
    tasks: TaskDistribution | None,
    own_algorithm: Any = None,
    given: Mapping[str, Any] = NOTHING,
    iteration: int | Literal["best"] | None = None,
) -> Opened:
    """Opens one run of a folder of seeds; UsageError where it has not begun, or was not trained as the folder says.

    Its budget is the folder's, which is extended first.
    """
    together = run.folder.parent
    require_folder(run.folder)
    if not run.begun:
        raise UsageError(f"{run.folder} has not begun; train it: {run.config.command('resume', together)}")
    config, training = stored_config(run.folder), run.config.training
    config = config.ending_as(training)
    if config != run.config:
        raise UsageError(
            f"{run.folder}/config.toml is not {together}/config.toml with seed {run.config.training.seed}: one of them was"
            f" changed; use the run by itself: {run.folder}"
        )
    opened = open_run(run.folder, tasks, own_algorithm, given, iteration)
    return opened._replace(config=replace(config, training=replace(config.training, **given)))


def open_runs(
    folder: Path,
    tasks: TaskDistribution | None,
    own_algorithm: Any = None,
    given: Mapping[str, Any] = NOTHING,
    iteration: int | Literal["best"] | None = None,
) -> list[Opened]:
    """Opens a run, or all runs of a folder of seeds; `given` and `iteration` are those of `open_run`, of each its own best."""
    if not holds_seeds(folder):
        return [open_run(folder, tasks, own_algorithm, given, iteration)]
    return [open_seed(run, tasks, own_algorithm, given, iteration) for run in read_seeds(folder)]
