"""`quickstudy check`."""

from __future__ import annotations

import argparse
import json
import traceback
from pathlib import Path
from typing import Any

from quickstudy.cli.options import default_family, make_tasks, parse_fields
from quickstudy.cli.own import is_distribution, is_learner, is_own, load_object
from quickstudy.display import following
from quickstudy.errors import QuickstudyError, UsageError, did_you_mean
from quickstudy.printed import tell


def check(arguments: list[str]) -> int:
    """`quickstudy check`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy check",
        description="Runs a task distribution or a learner through its contract, on random walks and small tasks, and says what"
        " fails. Leaves with status 1 where something does.",
        epilog="Options of a registered family or of an algorithm work too: quickstudy check bandit --arms 9",
        allow_abbrev=False,
    )
    parser.add_argument(
        "subject", metavar="TASKS|ALGORITHM", help="a registered name, FILE.py:OBJECT (tasks) or FILE.py:CLASS (a learner)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which tasks, actions and noise (default 0)")
    parser.add_argument("--task", type=int, metavar="N", help="live task N of the walk again, and show its steps")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="live the trial again that a run kept in its fault.json")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given, rest = parser.parse_known_args(arguments)
    with following(f"checking {given.subject}"):
        from quickstudy.work import threads

        tasks, learner = subject_of(given.subject, rest)
        with threads(1):
            if learner is not None:
                from quickstudy.check.learner import check_learner

                if given.task is not None or given.replay:
                    raise UsageError(f"{given.subject} is a learner; --task and --replay are for tasks")
                report = check_learner(*learner, seed=given.seed)
            elif given.replay:
                return replay(tasks, read_record(given.replay))
            elif given.task is not None:
                return walk_again(tasks, given.task, given.seed)
            else:
                from quickstudy.check.tasks import check_tasks

                report = check_tasks(tasks, seed=given.seed, called=given.subject)
    tell(json.dumps(report.as_json()) if given.json else f"{report}")
    return 1 if report.failed else 0


def subject_of(name: str, rest: list[str]) -> tuple[Any, Any]:
    """What is to be checked: a task distribution, or how to make a learner and its configuration."""
    from quickstudy.algorithms import ALGORITHMS
    from quickstudy.arguments import config_class
    from quickstudy.families import FAMILIES

    program = f"quickstudy check {name}"
    if is_own(name):
        found = load_object(name, lambda value: is_distribution(value) or is_learner(value))
        if is_learner(found):
            return None, (found, parse_fields(program, {"algorithm": config_class(found)()}, rest)["algorithm"])
        if not is_distribution(found):
            raise UsageError(f"{name} is a {type(found).__name__}, neither a task distribution nor a learner's class")
        if rest:
            raise UsageError(f"check has no option '{rest[0]}'; options of your own tasks are in their file")
        return found, None
    if name in ALGORITHMS:
        entry = ALGORITHMS[name]
        return None, (entry.make, parse_fields(program, {"algorithm": entry.config()}, rest)["algorithm"])
    if name not in FAMILIES:
        raise UsageError(f"unknown tasks or algorithm '{name}'; {did_you_mean(name, [*FAMILIES, *ALGORITHMS])}")
    return make_tasks(name, parse_fields(program, {"tasks": default_family(name)}, rest)["tasks"]), None


def read_record(path: Path) -> dict[str, Any]:
    """The record of a fault; UsageError where the file holds none."""
    from quickstudy.storage import read_json

    try:
        record = read_json(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    if not isinstance(record, dict) or set(record) != {"task", "parameters", "starts", "actions"}:
        raise UsageError(f"{path} is no record of a fault, which a run keeps in its fault.json")
    return record


def walk_again(tasks: Any, number: int, seed: int) -> int:
    """Lives one task of the walk that `check` takes under a seed."""
    from quickstudy.check.walk import LANES, Trial
    from quickstudy.errors import EnvironmentFault
    from quickstudy.tasks.parameters import in_words, parameters_of

    if not 0 <= number < LANES:
        raise UsageError(f"--task {number}: the walk goes through tasks 0 to {LANES - 1}; a run's fault has --replay FILE")
    trial = Trial(tasks, seed)
    try:
        walk, _ = trial.first_walk, trial.long_walk
    except EnvironmentFault as fault:
        tell(f"error: {fault}")
        if fault.replay is None:
            return 1
        return replay(tasks, fault.replay)
    told = in_words(parameters_of(tasks), trial.drawn, number, digits=17)
    tell(f"task {number}: {', '.join(f'{name}={value}' for name, value in told.items())}")
    steps = walk.steps
    for step, action in enumerate(walk.actions):
        at = number, 0, step
        ended = bool(steps.terminated[at]), bool(steps.truncated[at])
        show(step, action[number, 0].tolist(), float(steps.reward[at]), *ended, steps.arrival[at].tolist())
    tell(f"{len(walk.actions)} steps without a fault")
    return 0


def replay(tasks: Any, record: dict[str, Any]) -> int:
    """Lives a recorded trial again, and shows its steps and the error with its traceback."""
    from quickstudy.tasks.gymnasium_env import live_again, recorded_task
    from quickstudy.tasks.lanes import LaneFault, Source
    from quickstudy.tasks.parameters import in_words

    if not isinstance(tasks, Source):
        raise UsageError(f"{tasks!r}: only faults of Gymnasium environments are kept step by step; use --task N --seed S")
    try:
        told = in_words(tasks.parameters, recorded_task(record), 0, digits=17)
        tell(", ".join(f"{name}={value}" for name, value in told.items()))
        for step, (action, answer) in enumerate(live_again(tasks, record)):
            ended = bool(answer.terminated[0]), bool(answer.truncated[0])
            show(step, action, float(answer.reward[0]), *ended, answer.arrival[0].tolist())
    except LaneFault as fault:
        if fault.__cause__ is not None:
            print_traceback(fault.__cause__)
        raise QuickstudyError(f"again: {fault.what}") from fault
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UsageError(f"the record doesn't fit {tasks!r}: {error}") from error
    tell(f"{len(record['actions'])} steps without a fault this time: the environment depends on more than its seed and actions")
    return 0


def print_traceback(error: BaseException) -> None:
    """Where the user's own code failed, without the frames of this package."""
    package, frames = str(Path(__file__).parent.parent), error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(package):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)


def show(step: int, action: Any, reward: float, terminated: bool, truncated: bool, arrival: Any) -> None:
    """One step as a line."""
    ended = " terminated" if terminated else " truncated" if truncated else ""
    seen = [float(f"{value:.4g}") for value in arrival] if isinstance(arrival, list) else arrival
    tell(f"step {step}: action {action} -> reward {reward:.4g}, observation {seen}{ended}")
