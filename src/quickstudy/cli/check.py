"""`quickstudy check`."""

from __future__ import annotations

import json
import shlex
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from quickstudy.algorithms import algorithm
from quickstudy.cli.options import make_tasks, name_next, part, read_fields, whole
from quickstudy.cli.own import is_distribution, is_learner, is_own, load_object
from quickstudy.cli.words import Parser
from quickstudy.display import following
from quickstudy.errors import QuickstudyError, UsageError, did_you_mean, shorten
from quickstudy.index import index
from quickstudy.printed import say, tell


def check(arguments: list[str]) -> int:
    """`quickstudy check`."""
    parser = Parser(
        prog="quickstudy check",
        description="Runs a task distribution or a learner through its contract, on random walks and small tasks, and says what"
        " fails. Leaves with status 1 where something does.",
        epilog="Options of a registered family or of an algorithm work too: quickstudy check bandit --arms 9",
    )
    parser.add_argument(
        "subject", metavar="TASKS|ALGORITHM", help="a registered name, FILE.py:OBJECT (tasks) or FILE.py:CLASS (a learner)"
    )
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="which tasks, actions and noise (default 0)")
    parser.add_argument("--task", type=whole, metavar="N", help="live task N of the walk again, and show its steps")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="live the trial again that a run kept in its fault.json")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given, rest = parser.parse_known_args(arguments)
    load = subject_of(given.subject, rest, parser)
    with following(f"checking {given.subject}"):
        from quickstudy.work import threads

        tasks, learner = load()
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
    tell(json.dumps(report.as_json()) if given.json else str(report))
    if report.failed:
        return 1
    # tasks that keep their contract may still be such that one policy does for all of them
    name_next(*(["train", given.subject, "point-navigation"] if learner else ["gap", given.subject]))
    return 0


def subject_of(name: str, rest: list[str], parser: Parser) -> Callable[[], tuple[Any, Any]]:
    """What makes what is to be checked: a task distribution, or how to make a learner with its settings."""
    program, see = f"quickstudy check {shlex.quote(name)}", f"quickstudy list {name}, quickstudy check --help"
    if is_own(name):
        if not rest:
            return partial(own_subject, name, program, rest, parser)
        # which options there are is told by the file
        found = own_subject(name, program, rest, parser)
        return lambda: found
    if name in index()["algorithms"]:
        read = read_fields(program, {"algorithm": part("algorithms", name)}, rest, parser, see)
        return lambda: (None, (algorithm(name).make, read()["algorithm"]))
    if name not in index()["tasks"]:
        known = [*index()["tasks"], *index()["algorithms"]]
        raise UsageError(f"unknown tasks or algorithm '{name}'; {did_you_mean(name, known)}")
    read = read_fields(program, {"tasks": part("tasks", name)}, rest, parser, see)
    return lambda: (make_tasks(name, read()["tasks"]), None)


def own_subject(name: str, program: str, rest: list[str], parser: Parser) -> tuple[Any, Any]:
    """The task distribution in a file of the user's, or the learner's class there and its settings."""
    from quickstudy.arguments import config_class

    found = load_object(name, lambda value: is_distribution(value) or is_learner(value))
    if is_learner(found):
        return None, (found, read_fields(program, {"algorithm": config_class(found)()}, rest, parser)()["algorithm"])
    if not is_distribution(found):
        raise UsageError(f"{name} is a {type(found).__name__}, neither a task distribution nor a learner's class")
    if rest:
        raise UsageError(f"check has no option '{rest[0]}'; options of your own tasks are in their file")
    return found, None


def read_record(path: Path) -> dict[str, Any]:
    """The record of a fault; UsageError where the file holds none."""
    from quickstudy.storage import Refused, read_json

    try:
        record = read_json(path)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error
    except Refused as error:
        raise UsageError(str(error)) from error
    if not isinstance(record, dict) or set(record) != {"task", "parameters", "starts", "actions"}:
        raise UsageError(f"{path} is no record of a fault, which a run keeps in its fault.json")
    starts, whole = record["starts"], isinstance(record["parameters"], dict) and isinstance(record["actions"], list)
    pairs = isinstance(starts, list) and all(isinstance(each, list) and len(each) == 2 for each in starts)
    if not whole or not pairs or not all(type(number) is int and 0 <= number < 2**31 for pair in starts for number in pair):
        raise UsageError(f"{path} is no record of a fault: starts are pairs of a step and a seed, parameters a table")
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
    from quickstudy.parts.collecting import trial_steps
    from quickstudy.tasks.gymnasium_env import live_again, recorded_task
    from quickstudy.tasks.lanes import LaneFault, Source
    from quickstudy.tasks.parameters import in_words

    longest = trial_steps(tasks)
    if not isinstance(tasks, Source):
        raise UsageError(f"{tasks!r}: only faults of Gymnasium environments are kept step by step; use --task N --seed S")
    try:
        if len(record["actions"]) > longest:
            raise ValueError(f"it has {len(record['actions'])} actions, a trial has at most {longest}")
        require_lived(tasks, record)
        told = in_words(tasks.parameters, recorded_task(record), 0, digits=17)
        tell(", ".join(f"{name}={value}" for name, value in told.items()))
        for step, (action, answer) in enumerate(live_again(tasks, record)):
            ended = bool(answer.terminated[0]), bool(answer.truncated[0])
            show(step, action, float(answer.reward[0]), *ended, answer.arrival[0].tolist())
    except LaneFault as fault:
        if fault.__cause__ is not None:
            print_traceback(fault.__cause__)
        raise QuickstudyError(f"again: {fault.what}") from fault
    except (LookupError, TypeError, ArithmeticError, ValueError, RuntimeError, AttributeError) as error:
        raise UsageError(f"the record doesn't fit {tasks!r}: {' '.join(str(error).split()) or type(error).__name__}") from error
    tell(f"{len(record['actions'])} steps without a fault this time: the environment depends on more than its seed and actions")
    return 0


def require_lived(tasks: Any, record: dict[str, Any]) -> None:
    """Raises ValueError where a record's parameters or actions aren't those of the tasks."""
    import numpy as np

    from quickstudy.ops.fit import require_fit
    from quickstudy.protocol import counter
    from quickstudy.tasks.gymnasium_env import recorded_task

    drawn = tasks.sample(1, "train", counter(0, 0, "a task of the record"))
    told = {name: value.to(drawn[name].dtype) if name in drawn else value for name, value in recorded_task(record).items()}
    require_fit("parameters", told, dict(drawn))
    space = tasks.env_action_space
    for step, action in enumerate(record["actions"]):
        taken = np.asarray(action, space.dtype)
        if (
            taken.shape != space.shape
            or not np.isfinite(taken).all()
            or (taken.dtype.kind != "f" and not space.contains(taken))
        ):
            raise ValueError(f"action {step} is {shorten(action)}, which is not in {space}")


def print_traceback(error: BaseException) -> None:
    """Where the user's own code failed, without the frames of this package."""
    package, frames = str(Path(__file__).parent.parent), error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(package):
        frames = frames.tb_next
    for line in "".join(traceback.format_exception(type(error), error, frames)).splitlines():
        say(line)


def show(step: int, action: Any, reward: float, terminated: bool, truncated: bool, arrival: Any) -> None:
    """One step as a line."""
    ended = " terminated" if terminated else " truncated" if truncated else ""
    seen = [float(f"{value:.4g}") for value in arrival] if isinstance(arrival, list) else arrival
    tell(f"step {step}: action {action} -> reward {reward:.4g}, observation {seen}{ended}")
