"""The loop: meta-iterations, metrics, checkpoints, evaluation on validation tasks, and how a run stops and goes on."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from quickstudy.arguments import checked, require_device
from quickstudy.data.rollout import Lifetime
from quickstudy.display import Display
from quickstudy.errors import EnvironmentFault, NotFinite, QuickstudyError, UsageError, did_you_mean
from quickstudy.evaluation import batch_of, score, shards_of
from quickstudy.ops.state import copy_state
from quickstudy.ops.tally import counted
from quickstudy.profiling import profiled
from quickstudy.protocol import Learner, Metrics, TaskDistribution, Work
from quickstudy.runs import warn_of
from quickstudy.runs.config import RunConfig, Training, config_of, require_memory
from quickstudy.runs.folder import Opened, Progress, Run, create_run, open_run
from quickstudy.runs.seeds import SeedRun, open_seed, read_seeds
from quickstudy.runs.stops import stoppable, undisturbed
from quickstudy.runs.trainer import leave_mark, remove_mark
from quickstudy.runs.writers import require_writer
from quickstudy.storage import read_text, remove_leftovers, require_folder
from quickstudy.work import open_work, threads

NOTHING: Mapping[str, Any] = {}
PLACES = ("workers", "deadline", "attempts")
"""What of a stored configuration may be otherwise when a run goes on: no result depends on it."""


@checked
def train(
    learner: Learner,
    iterations: int = 200,
    run: str | Path | None = None,
    *,
    quiet: bool = False,
    own_tasks: str | None = None,
    own_algorithm: str | None = None,
    command: str = "quickstudy.train(...)",
    **options: Any,
) -> Metrics:
    """Meta-trains a learner until it has done `iterations` meta-iterations; returns the metrics of the last one.

    With `run`, everything is kept in that folder, which must not exist yet, and an interrupted run can go on: see `resume`.
    `options` are the other fields of `Training` (checkpoint_every, evaluate_every, threads ...). `own_tasks` and
    `own_algorithm` are what the folder calls tasks and a learner of one's own. Ctrl-C saves the last complete meta-iteration
    and raises KeyboardInterrupt.
    """
    for name in {"seed", "device"} & options.keys():
        raise UsageError(f"train: {name} is the learner's: give it there, such as RL2(tasks, {name}={options[name]!r})")
    training = resolve(Training(iterations=iterations, seed=learner.seed, device=learner.device, **options))
    return begin(learner, config_of(learner, training, own_tasks, own_algorithm), Path(run) if run else None, command, quiet)


@checked
def resume(
    run: str | Path, tasks: TaskDistribution | None = None, algorithm: Any = None, *, quiet: bool = False, **places: Any
) -> Metrics:
    """Goes on with a stored run to its last meta-iteration; on the CPU it ends with the same bits as one that never stopped.

    `places` may be `workers`, `deadline` and `attempts` in place of what the folder says: no result depends on them.
    """
    for name in places:
        if name not in PLACES:
            raise UsageError(f"resume has no argument '{name}'; {did_you_mean(name, PLACES)}; the rest stays as the run began")
    opened = open_run(Path(run), tasks, algorithm)
    warn_of(opened.complaints)
    if opened.finished:
        print(f"{run} is finished: it has done its {opened.config.training.iterations} meta-iterations", file=sys.stderr)
        return {}
    return go_on(Path(run), opened, quiet, places=places)


def train_seeds(
    folder: Path, tasks: TaskDistribution | None = None, algorithm: Any = None, *, quiet: bool = False, **places: Any
) -> None:
    """Meta-trains the runs of a folder of seeds, one after the other: what was interrupted goes on, the others begin.

    `tasks` and `algorithm` are the task distribution and the learner's class where they are one's own, `places` those of
    `resume`. Ctrl-C saves, as in `train`, and raises KeyboardInterrupt.
    """
    runs = read_seeds(folder)
    remove_leftovers(folder)
    leave_mark(folder)
    try:
        trained = any([train_seed(run, tasks, algorithm, quiet, places) for run in runs])
    finally:
        remove_mark(folder)
    if not trained:
        iterations = runs[0].config.training.iterations
        print(f"{folder} is finished: its {len(runs)} seeds have done their {iterations} meta-iterations", file=sys.stderr)


def train_seed(
    run: SeedRun, tasks: TaskDistribution | None, algorithm: Any, quiet: bool, places: Mapping[str, Any] = NOTHING
) -> Metrics:
    """Meta-trains one run of a folder of seeds to its last meta-iteration; no metrics where it has done that already."""
    together = run.folder.parent
    require_folder(run.folder)
    if not run.begun:
        shutil.rmtree(run.folder, ignore_errors=True)
        learner, command = run.config.build_learner(tasks, algorithm), read_text(together / "command.txt").strip()
        return begin(learner, run.config, run.folder, command, quiet, together, places)
    opened = open_seed(run, tasks, algorithm)
    warn_of(opened.complaints)
    return {} if opened.finished else go_on(run.folder, opened, quiet, together, places)


def begin(
    learner: Learner,
    config: RunConfig,
    folder: Path | None,
    command: str,
    quiet: bool,
    together: Path | None = None,
    places: Mapping[str, Any] = NOTHING,
) -> Metrics:
    """Meta-trains from the start, in a new folder where one is named."""
    require_memory(learner, config.training)
    start = Progress(learner.iteration, copy_state(learner.state_dict()), 0, 0)
    run = create_run(folder, config, command, start) if folder else None
    return loop(learner, config, run, start, quiet, together, places)


def go_on(
    folder: Path, opened: Opened, quiet: bool, together: Path | None = None, places: Mapping[str, Any] = NOTHING
) -> Metrics:
    """Meta-trains a stored run from where it was saved."""
    config, learner, progress, _ = opened
    require_memory(learner, config.training)
    require_writer(config.training.log)
    return loop(learner, config, Run(folder, config, progress), progress, quiet, together, places)


def resolve(training: Training) -> Training:
    """Replaces what depends on the machine by what it comes to here, so that the run can be repeated elsewhere."""
    require_device(training.device)
    require_writer(training.log)
    return replace(training, threads=training.threads or torch.get_num_threads())


def loop(
    learner: Learner,
    config: RunConfig,
    run: Run | None,
    complete: Progress,
    quiet: bool,
    together: Path | None = None,
    places: Mapping[str, Any] = NOTHING,
) -> Metrics:
    """Meta-iterations up to the last one; `complete` is the state after the last whole one, so that a stop loses nothing.

    `together` is the folder of seeds that the run belongs to, which is what to resume; `places` stands in for what the
    configuration says of workers.
    """
    training, row = replace(config.training, **places), {}
    if training.not_finite == "rollback" and run is None:
        raise UsageError("not_finite is rollback, which needs a folder with checkpoints; name one: run=...")
    limits = {"deadline": training.deadline, "attempts": training.attempts}
    work = open_work(learner.tasks, learner.device, training.workers, **limits)
    started = time.monotonic()
    title = f"{config.algorithm} on {config.tasks}{f', seed {training.seed}' if together else ''}"
    try:
        with (
            threads(training.threads),
            stoppable() as stops,
            profiled(training.profile, learner.iteration, run and run.folder / "profile") as profile_step,
            Display(title, learner.iteration, training.iterations, quiet) as display,
        ):
            while learner.iteration < training.iterations:
                began = time.monotonic()
                counted()
                try:
                    metrics = learner.train_step(work)
                except NotFinite as error:
                    metrics = passed_over(error, learner, training, run, complete)
                timesteps = complete.timesteps + int(metrics["rollout/timesteps"])
                row = {"iteration": learner.iteration, "time/total_timesteps": timesteps, **metrics}
                stepped = time.monotonic()
                timing = {"iteration": learner.iteration, "time/time_elapsed": time.monotonic() - started}
                timing |= phases(metrics["rollout/timesteps"], stepped - began, counted())
                if training.evaluate_every and learner.iteration % training.evaluate_every == 0:
                    row |= validation(learner, work, training.evaluate_tasks)
                    seconds = time.monotonic() - stepped
                    timing |= {"time/evaluation_seconds": seconds, "time/evaluation_fps": counted()["steps"] / seconds}
                timing |= {
                    "time/worker_restarts": float(work.restarts),
                    "time/memory_mb": memory_of(os.getpid()),
                    "time/workers_memory_mb": sum(map(memory_of, work.pids), 0.0),
                }
                with stops.held():
                    size = run.log(row, timesteps) if run else 0
                    complete = Progress(learner.iteration, copy_state(learner.state_dict()), timesteps, size)
                    if run and (learner.iteration % training.checkpoint_every == 0 or learner.iteration == training.iterations):
                        timing |= run.save(complete)
                    if run:
                        run.log_timing(timing, timesteps)
                    display.show(learner.iteration, {**row, **timing})
                    profile_step()
    except (KeyboardInterrupt, QuickstudyError) as stop:
        if run:
            with undisturbed(stop):
                run.save(complete)
            done = f"stopped after meta-iteration {complete.iteration}{f' of {run.folder}' if together else ''}, saved"
            print(f"\n{done}; resume with: quickstudy resume {together or run.folder}{config.own_flags}", file=sys.stderr)
            if isinstance(stop, EnvironmentFault):
                again = f"quickstudy resume {together or run.folder} --workers 0{config.own_flags}" if training.workers else ""
                raise type(stop)(f"{stop}{run.keep_fault(stop, again)}", stop.replay) from stop.__cause__
        raise
    finally:
        work.close()
        if run:
            run.close()
    return row


def validation(learner: Learner, work: Work, num_tasks: int) -> Metrics:
    """Scores on validation tasks, the same ones at every call, so that the curve's ups and downs are the learner's."""
    life = Lifetime(learner.explorer(), learner.adapt, learner.lanes, learner.tasks.episodes_per_trial)
    batches = work.map(score, life, shards_of(num_tasks, batch_of(learner.lanes), "validation", learner.seed))
    scores = torch.cat([batch.returns for batch in batches]).double().mean(0).tolist()
    return {f"validation/episode_{number}/return_mean": score for number, score in enumerate(scores, 1)}


def passed_over(error: NotFinite, learner: Learner, training: Training, run: Run | None, complete: Progress) -> Metrics:
    """Throws away a meta-iteration in which a number was not finite, and goes on with the counters of the next.

    `skip` goes on from the state before it; `rollback` from the last checkpoint whose turn it was by `checkpoint_every`, which
    a stopped and resumed run has as well. Its metrics say so in place of its own; the steps that it took are not counted.
    """
    back = complete.iteration
    if training.not_finite == "stop":
        raise error
    if training.not_finite == "skip":
        learner.load_state_dict(copy_state(complete.learner))
    else:
        assert run is not None
        back -= back % training.checkpoint_every
        learner.load_state_dict(run.saved(back).learner)
    learner.iteration = complete.iteration + 1
    print(f"{error}; passed over, with the state after meta-iteration {back}", file=sys.stderr)
    return {"rollout/timesteps": 0.0, "train/not_finite": 1.0, "train/state_of_iteration": float(back)}


def phases(steps: float, whole: float, figures: Metrics) -> Metrics:
    """Seconds and environment steps a second of a meta-iteration, by what it does.

    Collecting is all the time for which units of work are waited for, and the update is the rest. The seconds of adapting,
    which lie within those of collecting, and of waiting for a free worker are summed over the units of work.
    """
    collecting = figures.get("work", 0.0)
    seconds = {"collect": collecting, "adapt": figures.get("adapt", 0.0), "update": whole - collecting}
    timing = {f"time/{name}_seconds": spent for name, spent in seconds.items()}
    timing |= {f"time/{name}_fps": steps / spent for name, spent in seconds.items() if spent > 0}
    return {"time/fps": steps / whole, "time/queue_seconds": figures.get("queue", 0.0), **timing}


def memory_of(process: int) -> float:
    """The resident memory of a process in MiB; 0 where it is gone."""
    try:
        return psutil.Process(process).memory_info().rss / 2**20
    except psutil.NoSuchProcess:
        return 0.0
