"""`quickstudy evaluate`."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quickstudy.cli.options import (
    add_own_algorithm,
    add_own_tasks,
    add_places,
    add_split,
    make_tasks,
    name_next,
    natural,
    part,
    places_of,
    positive,
    read_fields,
    require_run,
    whole,
)
from quickstudy.cli.own import is_own, load_algorithm, load_tasks
from quickstudy.cli.words import Parser
from quickstudy.display import following
from quickstudy.errors import UsageError, did_you_mean
from quickstudy.index import index, sections_of
from quickstudy.libraries.shelf import runs_in
from quickstudy.printed import say, tell

LIBRARY = "library:"
"""With what the name of a folder of runs begins that act together."""


def evaluate(arguments: list[str]) -> int:
    """`quickstudy evaluate`."""
    parser = Parser(
        prog="quickstudy evaluate",
        description="Adapts a trained agent to tasks it has not seen and shows the return of each episode.",
        epilog="Baselines and oracles need no run: quickstudy evaluate thompson-sampling bandit --arms 5 --pulls 100."
        " Their names: quickstudy list. Runs of a folder act together with --weights exp4, bayes or greedy:"
        f" quickstudy evaluate {LIBRARY}FOLDER TASKS",
    )
    parser.add_argument(
        "run", metavar="RUN", help=f"the folder of a run or of seeds, {LIBRARY}FOLDER, or the name of a baseline or an oracle"
    )
    parser.add_argument(
        "baseline_tasks", metavar="TASKS", nargs="?", help="for a baseline or an oracle: the tasks, with their options"
    )
    add_options(parser)
    parser.add_argument(
        "--adapt-episodes", type=positive, metavar="K", help="in place of --episodes: adapt on K episodes of each task"
    )
    parser.add_argument(
        "--frozen-episodes",
        type=positive,
        default=0,
        metavar="K",
        help="then score K more, each begun where adaptation ended (Meta-World's protocol: 10 and 3)",
    )
    parser.add_argument(
        "--checkpoint",
        type=checkpoint,
        metavar="{best,N}",
        help="of a run: the one that did best on validation tasks, or that of meta-iteration N (default: the newest)",
    )
    add_csv(parser)
    add_own_algorithm(parser)
    given, rest = parser.parse_known_args(arguments)

    if given.baseline_tasks and not Path(given.run).is_dir():
        refuse_device(given)
        if given.checkpoint is not None:
            raise UsageError(f"{given.run} was not trained; --checkpoint {given.checkpoint} is for a run")
        make = untrained(given.run, given.baseline_tasks, rest, parser)
        with following(f"evaluating {given.run} on {given.baseline_tasks}"):
            from quickstudy.evaluation import evaluate as score

            agent = make()
            evaluation = score(agent, **options_of(given), **places_of(given), **protocol_of(given))
        says = getattr(agent, "says", "")
        following_step, flags = ["train", "rl2", given.baseline_tasks], ""
    else:
        parser.refuse([given.baseline_tasks, *rest] if given.baseline_tasks else rest)
        require_run(given.run)
        with following(f"evaluating {given.run}"):
            tasks = load_tasks(given.tasks) if given.tasks else None
            algorithm = load_algorithm(given.algorithm) if given.algorithm else None
            runs = open_folder(given.run, tasks, algorithm, given.device, iteration=given.checkpoint)
            evaluation, says = evaluate_runs(runs, given, **protocol_of(given)), ""
        following_step, flags = ["report", given.run], runs[0].config.own_flags
    if given.csv:
        write_csv(given.csv, evaluation.records)
    if given.json:
        tell(json.dumps(evaluation.as_json() | ({"says": says} if says else {})))
    elif given.csv != "-":
        tell(f"{evaluation}\n{says}" if says else str(evaluation))
    name_next(*following_step, flags=flags)
    return 0


def add_csv(parser: argparse.ArgumentParser) -> None:
    """Where the rows behind an evaluation's figures go."""
    parser.add_argument(
        "--csv", metavar="FILE.csv", help="write a row for each task and episode; - prints them in place of the table"
    )


def write_csv(place: str, rows: Any) -> None:
    """Writes rows to a file, whole or not at all, or prints them where the place is `-`."""
    from quickstudy.storage import write_atomically
    from quickstudy.tables import as_csv

    if place == "-":
        tell(as_csv(rows).rstrip("\n"))
        return
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(place), as_csv(rows))
    say(f"{place}  {len(rows):,} rows")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every command that prints an evaluation can be told."""
    add_trial_options(parser)
    add_places(parser, 0, 600.0)
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_trial_options(parser: argparse.ArgumentParser) -> None:
    """What every command that lives trials can be told."""
    parser.add_argument("--episodes", type=positive, metavar="K", help="episodes of each trial (default: as in training)")
    parser.add_argument("--num-tasks", type=positive, default=100, metavar="N", help="how many tasks (default 100)")
    add_split(parser, "; extrapolation: beyond the intervals of training")
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="which tasks and which noise (default 0)")
    parser.add_argument("--greedy", action="store_true", help="take the most likely action instead of sampling as in training")
    parser.add_argument("--device", metavar="D", help="where a run's agent lives: cpu, cuda, cuda:1 ... (default cpu)")
    add_own_tasks(parser)


def refuse_device(given: argparse.Namespace) -> None:
    """Raises UsageError where a device is named for an agent that has no use for one."""
    if given.device not in (None, "cpu"):
        raise UsageError(f"{given.run} lives on the CPU; --device {given.device} is for a run")


def options_of(given: argparse.Namespace) -> dict[str, Any]:
    """The options of an evaluation."""
    return {name: getattr(given, name) for name in ("episodes", "num_tasks", "split", "seed", "greedy")}


def protocol_of(given: argparse.Namespace) -> dict[str, Any]:
    """On how many episodes agents adapt, and for how many they are frozen."""
    return {name: getattr(given, name) for name in ("adapt_episodes", "frozen_episodes")}


def checkpoint(text: str) -> int | str:
    """The best checkpoint, or that of a meta-iteration."""
    return "best" if text == "best" else natural(text)


def open_folder(
    folder: str, tasks: Any, algorithm: Any, device: str | None = None, command: str = "evaluate", iteration: Any = None
) -> list[Any]:
    """Opens a run, or all runs of a folder of seeds; says on stderr what is damaged, and which seeds aren't finished.

    `device` is where its agents are to live, wherever they were trained, as `command` was told. `iteration` is that of `load`.
    """
    require_run(folder)

    from quickstudy.runs import warn_of, warn_of_machine
    from quickstudy.runs.folder import stored_config
    from quickstudy.runs.seeds import open_runs

    given, config = {"device": device} if device else {}, stored_config(Path(folder))
    config = config.told(tasks, algorithm)
    config.require_own(folder, tasks, algorithm)
    warn_of_machine(config.elsewhere(["device"], given), config.command(command, folder))
    runs = open_runs(Path(folder), tasks, algorithm, given, iteration)
    for run in runs:
        warn_of(run.complaints)
        if len(runs) > 1 and iteration is None and not run.finished:
            training = run.config.training
            done = f"{run.progress.iteration} meta-iterations, {run.progress.timesteps:,} environment steps,"
            if training.last and not training.steps:
                done = f"{run.progress.iteration}"
            say(
                f"warning: seed {training.seed} has done {done} of its {training.budget};"
                f" go on with it: {run.config.command('resume', folder)}"
            )
    return runs


def evaluate_runs(runs: list[Any], given: argparse.Namespace, **more: Any) -> Any:
    """Evaluates a run that `open_folder` opened, or several seeds, pooled."""
    from quickstudy.evaluation import evaluate as score
    from quickstudy.scores import pool

    evaluations = [score(run.learner, **options_of(given), **places_of(given), **more) for run in runs]
    return pool(evaluations, [run.config.training.seed for run in runs]) if len(runs) > 1 else evaluations[0]


def untrained(name: str, tasks: str, rest: list[str], parser: Parser) -> Callable[[], Any]:
    """What makes a baseline or an oracle for some tasks, once the rest of the arguments has been read as options of both."""
    baselines, oracles = index()["baselines"], index()["oracles"]
    folder = name.removeprefix(LIBRARY) if name.startswith(LIBRARY) else None
    if folder is not None:
        runs_in(Path(folder))
    elif name not in baselines and name not in oracles:
        if "algorithms" in sections_of(name):
            raise UsageError(f"{name} is trained first: quickstudy train {shlex.join([name, tasks])}")
        raise UsageError(f"unknown baseline '{name}'; {did_you_mean(name, [*baselines, *oracles])}")
    read: Callable[[], dict[str, Any]] = dict
    if is_own(tasks) and folder is None:
        parser.refuse(rest)
    else:
        parts = {} if is_own(tasks) else {"tasks": part("tasks", tasks)}
        parts |= {"oracle": part("oracles", name)} if name in oracles else {}
        parts |= {"library": part("library")} if folder is not None else {}
        see = f"quickstudy list {tasks}, {parser.prog} --help"
        read = read_fields(shlex.join([*parser.prog.split(), name, tasks]), parts, rest, parser, see)

    def make() -> Any:
        from quickstudy.algorithms import BASELINES
        from quickstudy.oracles import oracle

        options = read()
        distribution = make_tasks(tasks, options["tasks"]) if "tasks" in options else load_tasks(tasks)
        if folder is not None:
            from quickstudy.libraries.folder import library

            return library(folder, distribution, options["library"])
        return BASELINES[name].make(distribution) if name in baselines else oracle(name, distribution, options.get("oracle"))

    return make


def add_agent(parser: argparse.ArgumentParser) -> None:
    """Whom `one_agent` loads."""
    parser.add_argument("run", metavar="RUN", help="the folder of a run, or the name of a baseline or an oracle")
    parser.add_argument(
        "baseline_tasks", metavar="TASKS", nargs="?", help="for a baseline or an oracle: the tasks, with their options"
    )


def one_agent(given: argparse.Namespace, rest: list[str], parser: Parser) -> Callable[[], Any]:
    """What loads the agent of a run, a baseline or an oracle, for a command that takes one; all words are read before.

    What it raises: UsageError where there are several seeds.
    """
    if given.baseline_tasks and not Path(given.run).is_dir():
        refuse_device(given)
        return untrained(given.run, given.baseline_tasks, rest, parser)
    parser.refuse([given.baseline_tasks, *rest] if given.baseline_tasks else rest)
    require_run(given.run)

    def load() -> Any:
        tasks = load_tasks(given.tasks) if given.tasks else None
        algorithm = load_algorithm(given.algorithm) if given.algorithm else None
        runs = open_folder(given.run, tasks, algorithm, given.device, parser.command)
        if len(runs) > 1:
            first = shlex.quote(f"{given.run}/seed-{runs[0].config.training.seed}")
            raise UsageError(f"{given.run} holds a run for each of several seeds; take one: {parser.prog} {first}")
        return runs[0].learner

    return load
