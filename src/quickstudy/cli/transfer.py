"""`quickstudy transfer`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from quickstudy.cli.compare import refuse_twice
from quickstudy.cli.evaluate import open_folder
from quickstudy.cli.gap import maker
from quickstudy.cli.options import (
    add_options,
    add_own_algorithm,
    add_own_tasks,
    add_split,
    file_name,
    part,
    positive,
    require_run,
    whole,
)
from quickstudy.cli.own import load_algorithm, load_tasks
from quickstudy.cli.words import Parser, read
from quickstudy.display import following
from quickstudy.errors import UsageError
from quickstudy.printed import say, tell


def transfer(arguments: list[str]) -> int:
    """`quickstudy transfer`."""
    parser = Parser(
        prog="quickstudy transfer",
        usage="quickstudy transfer RUN ... TASKS [--KEY VALUE ...]",
        description="What a run is worth on other tasks. Learns the same tasks at equal environment steps: from each"
        " run's policy by PPO (fine-tune), from nothing (from-scratch), and as each run adapts (adapt). Shows jump-start,"
        " asymptote, area (the mean return while learning), steps to a threshold, negative transfer, what was forgotten of the"
        " run's own tasks, and after how many tasks meta-training has paid for itself; of several runs, which is related most.",
        epilog="TASKS and its options may be of another family, and of other spaces: then the network's trunk is kept."
        " An example: quickstudy transfer runs/point point-navigation --layout half-circle --budget 50000",
    )
    parser.add_argument("words", metavar="RUN ... TASKS", nargs="+", help="folders of runs or of seeds, and last the new tasks")
    add_own_options(parser)
    tuning = part("transfer")
    named = [option.name for option in tuning.options]
    add_options(parser.add_argument_group("how learning goes on"), tuning.options, "transfer")
    given, rest = parser.parse_known_args(arguments)
    *runs, tasks = given.words
    if not runs:
        raise UsageError(f"transfer takes runs and then tasks, not {tasks} alone; see: {parser.prog} --help")
    refuse_twice(runs)
    if Path(tasks, "config.toml").is_file():
        raise UsageError(f"{tasks} is a run; name the tasks that are to be learnt last, such as {parser.prog} {tasks} TASKS")
    make = maker(tasks, rest, parser)
    for run in runs:
        require_run(run)
    if given.sequence and (given.figure or given.page or given.threshold is not None):
        raise UsageError("transfer: --sequence has no --figure, --page or --threshold; its figures are in the table and --json")

    with following(f"transfer of {', '.join(runs)} to {tasks}"):
        from quickstudy.plots import require_kind, require_matplotlib
        from quickstudy.transferring.sequence import transfer_sequence
        from quickstudy.transferring.transfer import transfer as measured
        from quickstudy.work import threads

        if given.figure:
            require_kind(given.figure)
        if given.page:
            require_matplotlib()
        own = load_tasks(given.tasks) if given.tasks else None
        algorithm = load_algorithm(given.algorithm) if given.algorithm else None
        opened = {run: open_folder(run, own, algorithm, given.device, "transfer") for run in runs}
        learners = {run: [each.learner for each in found] for run, found in opened.items()}
        how = tuning.make(**{name: value for name in named if (value := getattr(given, f"transfer {name}")) is not None})
        options = {name: getattr(given, name) for name in ("budget", "num_tasks", "seeds", "split", "seed")}
        with threads(1):
            if given.sequence:
                found: Any = transfer_sequence(learners, make(), how, **options)
            else:
                steps = {run: sum(each.progress.timesteps for each in found) / len(found) for run, found in opened.items()}
                found = measured(learners, make(), how, **options, threshold=given.threshold, trained_steps=steps)
    tell(json.dumps(found.as_json()) if given.json else str(found))
    if given.figure:
        from quickstudy.plots import plot_transfer

        plot_transfer(found, given.figure)
        say(f"{given.figure}")
    if given.page:
        from quickstudy.transferring.page import write_page

        write_page(found, given.page)
        say(f"{given.page}")
    return 0


def add_own_options(parser: argparse.ArgumentParser) -> None:
    """What the command reads itself."""
    parser.add_argument(
        "--budget", type=positive, default=50_000, metavar="STEPS", help="environment steps on each task (default 50,000)"
    )
    parser.add_argument("--num-tasks", type=positive, default=5, metavar="N", help="how many new tasks (default 5)")
    parser.add_argument(
        "--seeds", type=positive, default=3, metavar="N", help="how often each task is learnt, each from a seed (default 3)"
    )
    add_split(parser)
    parser.add_argument(
        "--seed", type=whole, default=0, metavar="S", help="which tasks, and the first of the seeds (default 0)"
    )
    parser.add_argument(
        "--threshold",
        type=number,
        metavar="RETURN",
        help="the return to be reached (default: 0.8 of the way from random's to the best asymptote)",
    )
    parser.add_argument("--sequence", action="store_true", help="learn the tasks one after another, carrying weights along")
    parser.add_argument("--device", metavar="D", help="where learners live: cpu, cuda, cuda:1 ... (default cpu)")
    parser.add_argument("--figure", type=file_name, metavar="FILE.pdf", help="draw the curves (.pdf, .svg or .png)")
    parser.add_argument("--page", type=file_name, metavar="FILE.html", help="write curves and tables as one page")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_own_tasks(parser)
    add_own_algorithm(parser)


def number(text: str) -> float:
    """A finite number."""
    return read(float, text)
