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

import torch

from quickstudy.arguments import checked, require_device
from quickstudy.data.rollout import Lifetime
from quickstudy.display import Display
from quickstudy.errors import EnvironmentFault, NotFinite, QuickstudyError, UsageError, did_you_mean
from quickstudy.evaluation import batch_of, score, shards_of
from quickstudy.ops.falling import fall_of
from quickstudy.ops.state import copy_state
from quickstudy.ops.tally import counted
from quickstudy.printed import say
from quickstudy.profiling import memory_of, phases, profiled
from quickstudy.protocol import Learner, Metrics, TaskDistribution, Work
from quickstudy.runs import warn_of, warn_of_machine
from quickstudy.runs.budget import extended, require_left, tell_schedules, write_budget
from quickstudy.runs.checkpoint import kept_iterations
from quickstudy.runs.config import ENDS, MACHINE, RunConfig, Training, config_of, flags, machine_of, require_memory
from quickstudy.runs.course import RETURN, returns_of
from quickstudy.runs.folder import (
    NOTHING,
    Opened,
    Run,
    amended,
    create_run,
    make_folder,
    open_run,
    refuse_seeds,
    stored_config,
)
from quickstudy.runs.lock import sole_trainer
from quickstudy.runs.progress import Progress, ending, is_over, out_of_patience
from quickstudy.runs.seeds import SeedRun, open_seed, read_seeds
from quickstudy.runs.stops import stoppable, undisturbed
from quickstudy.runs.teaching import open_teacher
from quickstudy.runs.writers import require_writer
from quickstudy.storage import read_text, remove_leftovers, require_folder
from quickstudy.work import open_work, threads


@checked
def train(
    learner: Learner,
    iterations: int | None = None,
    run: str | Path | None = None,
    *,
    steps: int | None = None,
    quiet: bool = False,
    own_tasks: str | None = None,
    own_algorithm: str | None = None,
    command: str = "quickstudy.train(...)",
    **options: Any,
) -> Metrics:
    """Meta-trains a learner for `iterations` meta-iterations in all, or until it has taken `steps` environment steps.

    Given both, it ends with whichever is reached first, given neither after 200 meta-iterations; it returns the metrics of the
    last one. With `run`, everything is kept in that folder, which must not exist yet, and training can go on: see `resume`.
    `options` are the other fields of `Training` (checkpoint_every, evaluate_every, threads ...). `own_tasks` and
    `own_algorithm` are what the folder calls tasks and a learner of one's own. Ctrl-C saves the last complete meta-iteration
    and raises KeyboardInterrupt, as does whatever else ends a training.
    """
    for name in {"seed", "device"} & options.keys():
        raise UsageError(f"train: {name} is the learner's: give it there, such as RL2(tasks, {name}={options[name]!r})")
    if "shift" in options:
        raise UsageError("train: shift is the tasks': shift them, such as RL2(qs.Shifted(tasks, pixels=4))")
    if "repeat" in options:
        raise UsageError("train: repeat is the tasks': hold their actions, such as RL2(qs.Repeated(tasks, 4))")
    training = resolve(Training(iterations=iterations, steps=steps, seed=learner.seed, device=learner.device, **options))
    return begin(learner, config_of(learner, training, own_tasks, own_algorithm), Path(run) if run else None, command, quiet)


@checked
def resume(
    run: str | Path,
    tasks: TaskDistribution | None = None,
    algorithm: Any = None,
    *,
    iterations: int | None = None,
    steps: int | None = None,
    patience: int | None = None,
    quiet: bool = False,
    **here: Any,
) -> Metrics:
    """Goes on with a stored run to the end of its budget; on the CPU it ends with the same bits as one that never stopped.

    `iterations` and `steps` are another budget, which may go beyond what a finished run has done, and `patience` is another
    patience: 0 goes on with a run that has none left. `here` is what belongs to this machine (`workers`, `deadline`,
    `attempts`, `device`, `threads`, `log`, `profile`), of which nothing is taken from the folder.
    """
    require_machine(here)
    folder = Path(run)
    refuse_seeds(folder)
    config = stored_config(folder).told(tasks, algorithm)
    with sole_trainer(folder):
        warn_of_machine(config.elsewhere(MACHINE, here), config.command("resume", folder))
        opened = open_run(folder, tasks, algorithm, here)
        warn_of(opened.complaints)
        opened = extended(folder, opened, iterations, steps, patience)
        if is_done(folder, opened):
            say(f"{folder} is finished: {ending(opened.config.training, opened.progress)}")
            return {}
        return go_on(folder, opened, quiet)


def train_seeds(
    folder: Path,
    tasks: TaskDistribution | None = None,
    algorithm: Any = None,
    *,
    iterations: int | None = None,
    steps: int | None = None,
    patience: int | None = None,
    quiet: bool = False,
    **here: Any,
) -> None:
    """Meta-trains the runs of a folder of seeds, one after the other: what was interrupted goes on, the others begin.

    `tasks` and `algorithm` are the task distribution and the learner's class where they are one's own; the rest is that of
    `resume`. Ctrl-C saves, as in `train`, and raises KeyboardInterrupt.
    """
    require_machine(here)
    read_seeds(folder)
    with sole_trainer(folder):
        remove_leftovers(folder)
        config = stored_config(folder).told(tasks, algorithm)
        warn_of_machine(config.elsewhere(MACHINE, here), config.command("resume", folder))
        if config != (longer := config.extended(iterations, steps, patience)):
            extend_seeds(folder, tasks, algorithm, longer)
        runs = read_seeds(folder)
        if not any([train_seed(run, tasks, algorithm, quiet, here) for run in runs]):
            training = runs[0].config.training
            waited = ", or waited for a better score as long as they may" if training.patience else ""
            say(f"{folder} is finished: its {len(runs)} seeds have done their {training.budget}{waited}")


def train_seed(
    run: SeedRun, tasks: TaskDistribution | None, algorithm: Any, quiet: bool, here: Mapping[str, Any] = NOTHING
) -> Metrics:
    """Meta-trains one run of a folder of seeds to the end of its budget; no metrics where it has come there already."""
    together = run.folder.parent
    require_folder(run.folder)
    if not run.begun:
        shutil.rmtree(run.folder, ignore_errors=True)
        config = replace(run.config, training=resolve(replace(run.config.training, **here)), trained_with=NOTHING)
        learner, command = config.build_learner(tasks, algorithm), read_text(together / "command.txt").strip()
        return begin(learner, config, run.folder, command, quiet, together)
    with sole_trainer(run.folder):
        opened = open_seed(run, tasks, algorithm, here)
        warn_of(opened.complaints)
        # the folder's budget may have been extended since
        write_budget(run.folder, opened.config.training)
        return {} if is_done(run.folder, opened) else go_on(run.folder, opened, quiet, together)


def extend_seeds(folder: Path, tasks: TaskDistribution | None, algorithm: Any, config: RunConfig) -> None:
    """Gives a folder of seeds another budget; UsageError where one of its runs has done more."""
    for run in read_seeds(folder):
        if run.begun:
            require_left(run.folder, open_seed(run, tasks, algorithm).progress, config.training)
    write_budget(folder, config.training)
    tell_schedules(config)


def is_done(folder: Path, opened: Opened) -> bool:
    """Whether a run has come to the end of its budget and was evaluated there."""
    return opened.finished and not (ends_unscored(opened) and not amended(folder, opened.progress))


def ends_unscored(opened: Opened) -> bool:
    """Whether the last meta-iteration is to be evaluated besides, since its turn by `evaluate_every` it is not."""
    return opened.progress.iteration % (opened.config.training.evaluate_every or 1) != 0


def require_machine(here: Mapping[str, Any]) -> None:
    """Raises UsageError where an argument is none that belongs to this machine."""
    for name in here:
        if name not in MACHINE:
            raise UsageError(
                f"resume has no argument '{name}'; {did_you_mean(name, (*ENDS, *MACHINE))}; the rest stays as the run began"
            )


def begin(
    learner: Learner, config: RunConfig, folder: Path | None, command: str, quiet: bool, together: Path | None = None
) -> Metrics:
    """Meta-trains from the start, in a new folder where one is named."""
    require_memory(learner, config.training)
    open_teacher(learner)
    start = Progress(learner.iteration, copy_state(learner.state_dict()), 0, 0)
    if folder is None:
        return loop(learner, config, None, start, quiet)
    make_folder(folder)
    with sole_trainer(folder):
        return loop(learner, config, create_run(folder, config, command, start), start, quiet, together)


def go_on(folder: Path, opened: Opened, quiet: bool, together: Path | None = None) -> Metrics:
    """Meta-trains a stored run from where it was saved."""
    config, learner, progress, _ = opened
    require_memory(learner, config.training)
    open_teacher(learner)
    config = replace(config, training=resolve(config.training))
    before, now = config.trained_with.get("threads", Training.threads), config.training.threads
    if now != before:
        say(f"it goes on with {now} threads in place of {before}: what comes may differ in the last bits")
    return loop(learner, config, Run(folder, config, progress), progress, quiet, together)


def resolve(training: Training) -> Training:
    """Replaces what depends on the machine by what it comes to here, so that the run can be repeated elsewhere."""
    require_device(training.device)
    require_writer(training.log)
    return replace(training, iterations=training.last, threads=training.threads or torch.get_num_threads())


def loop(
    learner: Learner,
    config: RunConfig,
    run: Run | None,
    complete: Progress,
    quiet: bool,
    together: Path | None = None,
) -> Metrics:
    """Meta-iterations to the end of the budget; `complete` is the state after the last whole one, so that a stop loses nothing.

    `together` is the folder of seeds that the run belongs to, which is what to resume.
    """
    training, row = config.training, {}
    if run is None and (training.keep_best or training.not_finite == "rollback"):
        asked = "keep_best is asked for" if training.keep_best else "not_finite is rollback"
        raise UsageError(f"{asked}, which needs a folder with checkpoints; name one: run=...")
    limits = {"deadline": training.deadline, "attempts": training.attempts}
    work = open_work(learner.tasks, learner.device, training.workers, **limits)
    started, returns = time.monotonic(), returns_of(run.folder) if run else {}
    title = f"{config.algorithm} on {config.tasks}{f', seed {training.seed}' if together else ''}"
    try:
        with (
            threads(training.threads),
            stoppable() as stops,
            profiled(training.profile, learner.iteration, run and run.folder / "profile") as profile_step,
            Display(title, training, complete.iteration, complete.timesteps, quiet) as display,
        ):
            while not is_over(training, complete):
                began = time.monotonic()
                counted()
                try:
                    metrics = learner.train_step(work)
                    require_steps(metrics, config)
                except NotFinite as error:
                    metrics = passed_over(error, learner, training, run, complete)
                timesteps = complete.timesteps + int(metrics["rollout/timesteps"])
                row = {"iteration": learner.iteration, "time/total_timesteps": timesteps, **metrics}
                stepped = time.monotonic()
                returns |= {learner.iteration: metrics[RETURN]} if RETURN in metrics else {}
                timing = {"iteration": learner.iteration, "time/time_elapsed": time.monotonic() - started}
                timing |= phases(metrics["rollout/timesteps"], stepped - began, counted())
                judged = complete
                if training.evaluate_every and learner.iteration % training.evaluate_every == 0:
                    scores = validation(learner, work, training.evaluate_tasks)
                    row, judged = row | scores, complete.judged(learner.iteration, scores)
                    seconds = time.monotonic() - stepped
                    timing |= {"time/evaluation_seconds": seconds, "time/evaluation_fps": counted()["steps"] / seconds}
                timing |= {
                    "time/worker_restarts": float(work.restarts),
                    "time/memory_mb": memory_of(os.getpid()),
                    "time/workers_memory_mb": sum(map(memory_of, work.pids), 0.0),
                }
                with stops.held():
                    size = run.log(row, timesteps) if run else 0
                    complete = judged.reached(learner.iteration, copy_state(learner.state_dict()), timesteps, size)
                    due = learner.iteration % training.checkpoint_every == 0
                    due = due or (training.keep_best and complete.best_iteration == learner.iteration)
                    if run and (due or is_over(training, complete)):
                        timing |= run.save(complete)
                    if run:
                        run.log_timing(timing, timesteps)
                    display.show(learner.iteration, {**row, **timing})
                    profile_step()
            if learner.iteration % (training.evaluate_every or 1):
                scores = validation(learner, work, training.evaluate_tasks)
                row |= scores
                if run:
                    with stops.held():
                        run.amend(scores, complete.timesteps)
        if not quiet:
            if out_of_patience(training, complete.since_best):
                say(f"it ends with meta-iteration {complete.iteration} of {training.budget}: {ending(training, complete)}")
            tell_fall(returns, run)
    except BaseException as stop:
        if run:
            save_end(stop, run, complete, together)
        raise
    finally:
        work.close()
        if run:
            run.close()
    return row


def tell_fall(returns: Mapping[int, float], run: Run | None) -> None:
    """Says where the return of training fell from its best, and which checkpoint that is kept lies closest to that."""
    fall = fall_of(list(returns), list(returns.values()))
    if fall is None:
        return
    kept = kept_iterations(run.folder) if run else []
    if run and kept:
        closest = min(kept, key=lambda iteration: abs(iteration - fall.iteration))
        say(f"{fall}; of what is kept, closest to its best: quickstudy.load({str(run.folder)!r}, iteration={closest})")
    else:
        say(str(fall))


def save_end(stop: BaseException, run: Run, complete: Progress, together: Path | None) -> None:
    """Saves the last complete meta-iteration, whatever ended the training, and says how to go on.

    A fault of an environment is raised anew with the command that lives it again.
    """
    config, folder = run.config, together or run.folder
    here = machine_of(config.training)
    again = config.command("resume", folder)
    try:
        with undisturbed(stop):
            run.save(complete)
            if not isinstance(stop, KeyboardInterrupt | QuickstudyError):
                stop.add_note(f"its traceback is in {run.keep_traceback(stop)}")
    except (OSError, QuickstudyError) as trouble:
        # a full disk, or a folder that is gone, says so once
        if str(trouble) != str(stop):
            say(f"meta-iteration {complete.iteration} of {run.folder} can't be saved: {trouble}")
        return
    done = f"stopped after meta-iteration {complete.iteration}{f' of {run.folder}' if together else ''}, saved"
    if isinstance(stop, KeyboardInterrupt) and sys.stderr.isatty():
        say("")  # leaves the line with ^C
    say(f"{done}; resume with: {again}{flags(here)}")
    if isinstance(stop, EnvironmentFault):
        alone = f"{again}{flags(here | {'workers': 0})}" if config.training.workers else ""
        raise type(stop)(f"{stop}{run.keep_fault(stop, alone)}", stop.replay) from stop.__cause__


def require_steps(metrics: Metrics, config: RunConfig) -> None:
    """Raises UsageError where training ends after so many environment steps, and a learner takes none."""
    if config.training.last is None and not metrics["rollout/timesteps"] > 0:
        raise UsageError(f"{config.algorithm} takes no environment steps, so that a budget of them never ends; give iterations")


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
    say(f"{error}; passed over, with the state after meta-iteration {back}")
    return {"rollout/timesteps": 0.0, "train/not_finite": 1.0, "train/state_of_iteration": float(back)}
