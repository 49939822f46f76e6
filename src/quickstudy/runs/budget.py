"""The budget of a stored run, meta-iterations, environment steps or both, and its patience: they may be extended afterwards."""

from __future__ import annotations

from pathlib import Path

from quickstudy.errors import UsageError
from quickstudy.printed import say
from quickstudy.runs.config import RunConfig, Training
from quickstudy.runs.folder import Opened, stored_config
from quickstudy.runs.progress import Progress
from quickstudy.storage import write_atomically

SCHEDULES = {
    "anneal_iterations": "step size and entropy bonus fall over the first {} meta-iterations and stay at 1 %",
    "imitate_iterations": "what imitating weighs falls to nothing over the first {} meta-iterations",
    "bonus_iterations": "the bonuses fall to nothing over the first {} meta-iterations",
    "early_iterations": "the belief's early updates are those of the first {} meta-iterations",
}
"""Settings by which a learner changes with its meta-iterations, whatever the budget, and what they do."""
NEEDS = {"imitate_iterations": "teacher"}
"""Of those, the settings without which they do nothing."""


def extended(folder: Path, opened: Opened, iterations: int | None, steps: int | None, patience: int | None) -> Opened:
    """A run with another budget, or another patience, where one is given; UsageError where it has done more."""
    config = opened.config.extended(iterations, steps, patience)
    if config == opened.config:
        return opened
    require_left(folder, opened.progress, config.training)
    write_budget(folder, config.training)
    tell_schedules(config)
    return opened._replace(config=config)


def require_left(folder: Path, done: Progress, training: Training) -> None:
    """Raises UsageError where a run has done more than a budget."""
    for what, count, most in (
        ("meta-iterations", done.iteration, training.iterations),
        ("environment steps", done.timesteps, training.steps),
    ):
        if most and count > most:
            raise UsageError(f"{folder} has done {count} {what} already, so it can't end after {most}; name more")
    # after the last of them it has gone on as well
    waited = done.since_best + bool(training.patience and done.iteration % training.evaluate_every)
    if 0 < training.patience < waited:
        raise UsageError(
            f"{folder} has gone on after {waited - 1} evaluations without a better score, so it can't end after"
            f" {training.patience}; name more"
        )


def write_budget(folder: Path, training: Training) -> None:
    """Writes a budget into the configuration of a run, or of a folder of seeds, and changes nothing else there."""
    config = stored_config(folder)
    if config != (ending := config.ending_as(training)):
        write_atomically(folder / "config.toml", ending.write())


def tell_schedules(config: RunConfig) -> None:
    """Says what a learner's schedules do in a budget that is another than the one that they were made for."""
    options = config.algorithm_options if config.own_algorithm else vars(config.algorithm_options)
    asked = [name for name in SCHEDULES if options.get(name) and options.get(NEEDS.get(name, name))]
    told = [SCHEDULES[name].format(options[name]) for name in asked]
    if told:
        say(f"the budget is {config.training.budget} now, the schedules are what they were: {'; '.join(told)}")
