"""`quickstudy compare`."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from quickstudy.cli.evaluate import add_csv, add_options, evaluate_runs, open_folder, write_csv
from quickstudy.cli.options import file_name, name_next, require_run
from quickstudy.cli.own import load_algorithm, load_tasks
from quickstudy.cli.words import Parser, read
from quickstudy.display import following
from quickstudy.errors import UsageError
from quickstudy.printed import say, tell

TAUS, DRAWN_TAUS = 12, 101
"""Returns at which the profiles are printed, and at which they are drawn."""


def compare(arguments: list[str]) -> int:
    """`quickstudy compare`."""
    parser = Parser(
        prog="quickstudy compare",
        description="Evaluates runs on the same held-out tasks and compares the returns of their trials: means, how"
        " likely each run does better than each other on a task, and performance profiles (Agarwal et al. 2021), with 95 %"
        " intervals.",
        epilog="All meet the tasks that quickstudy evaluate draws for the run with the most lanes. An interval of a folder of"
        " seeds is over seeds and tasks, that of a single run over tasks only.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="the folders of two or more runs, or of seeds")
    add_options(parser)
    parser.add_argument(
        "--algorithm",
        metavar="FILE.py:CLASS",
        action="append",
        default=[],
        help="for a run with a learner of your own: its class again; several classes: once for each, as in training",
    )
    parser.add_argument(
        "--figure",
        type=file_name,
        metavar="FILE.pdf",
        help="a figure for a paper (.pdf, .svg or .png): adaptation, learning curves of all seeds, profiles",
    )
    parser.add_argument(
        "--columns",
        type=partial(read, Literal[1, 2]),
        metavar="{1,2}",
        default=2,
        help="how many columns of a paper the figure is wide (default 2)",
    )
    add_csv(parser)
    parser.add_argument("--picture", type=file_name, metavar="FILE.png", help="the profiles alone; --figure has them, and more")
    parser.add_argument("-o", "--output", type=file_name, metavar="FILE.html", help="write all of it as a page of pictures")
    given, rest = parser.parse_known_intermixed_args(arguments)
    parser.refuse(rest)
    if len(given.runs) < 2:
        raise UsageError(
            f"compare takes two or more runs, not {' '.join(given.runs)} alone; one by itself: quickstudy evaluate RUN"
        )
    refuse_twice(given.runs)
    for run in given.runs:
        require_run(run)

    with following(f"comparing {', '.join(given.runs)}"):
        from quickstudy.plots import require_kind
        from quickstudy.report.budgets import uneven
        from quickstudy.report.comparison import by_steps

        if given.figure:
            require_kind(given.figure)
        opened = open_folders(given)
        evaluations = evaluate_folders(opened, given)
    first = next(iter(evaluations.values()))
    found: dict[str, Any] = {
        "runs": [summary(name, opened[name], evaluation) for name, evaluation in evaluations.items()],
        "improvement": improvement(evaluations),
        "profile": profile(evaluations, TAUS),
    }
    budgets = uneven(opened)
    if given.csv:
        write_csv(given.csv, [{"run": name} | row for name, each in evaluations.items() for row in each.records])
    if given.json:
        names = ("tasks", "split", "splits", "num_tasks", "seed", "greedy", "trained_episodes")
        about = {name: getattr(first, name) for name in names}
        tell(json.dumps(about | {"episodes": first.returns.shape[1]} | found))
    elif given.csv != "-":
        tell(report(found, first, [str(budgets)] if budgets else []))
    if given.figure:
        from quickstudy.plots import plot_comparison

        plot_comparison(evaluations, by_steps(opened), given.figure, given.columns)
        say(f"{given.figure}")
    if given.picture:
        from quickstudy.plots import plot_profiles

        plot_profiles(evaluations, given.picture, f"{first.tasks}: {first.how}")
        say(f"{given.picture}  note: --figure {given.picture} draws the profiles beside adaptation and learning curves")
    if given.output:
        write_page(given.output, evaluations, opened, found | {"profile": profile(evaluations, DRAWN_TAUS)})
    elif not given.figure:
        name_next("compare", *given.runs, "-o", "compare.html")
    return 0


def refuse_twice(runs: list[str]) -> None:
    """Raises UsageError where two of the names are one run, by whatever spelling or link."""
    names: dict[Path, str] = {}
    for name in runs:
        place = Path(name).resolve()
        if place in names:
            other = names[place]
            raise UsageError(
                f"{other} and {name} are the same run, which can't be compared with itself;"
                f" alone: quickstudy evaluate {shlex.quote(other)}"
            )
        names[place] = name


def write_page(path: Path, evaluations: dict[str, Any], opened: dict[str, list[Any]], found: dict[str, Any]) -> None:
    """The comparison as one HTML file, and on stderr where it is."""
    from quickstudy.report.comparison import comparison
    from quickstudy.report.page import COMPARISON, page
    from quickstudy.storage import write_atomically

    content = page(comparison(evaluations, opened, found), COMPARISON)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    say(f"{path}  {len(content.encode()) / 1e6:.2f} MB")


def open_folders(given: argparse.Namespace) -> dict[str, list[Any]]:
    """The runs in each folder, of one seed or several; UsageError where two were trained on different tasks."""
    from quickstudy.runs.folder import stored_config

    configs = {name: stored_config(Path(name)) for name in given.runs}
    (first, one), *others = configs.items()
    for name, other in others:
        if tasks_of(other) != tasks_of(one):
            raise UsageError(
                f"{first} was trained on {trained_on(one)}, {name} on {trained_on(other)}; compare runs on the same tasks"
            )
    tasks = load_tasks(given.tasks) if given.tasks else None
    classes = {place: load_algorithm(place) for place in given.algorithm}
    asked = {config.algorithm for config in configs.values() if config.own_algorithm}
    if len(asked) == len(classes) == 1:
        # a file that was moved since
        classes = dict(zip(asked, classes.values(), strict=True))
    return {
        name: open_folder(name, tasks, classes.get(config.algorithm), given.device, "compare")
        for name, config in configs.items()
    }


def tasks_of(config: Any) -> Any:
    """What tells a run's tasks from others: the family with its options, or what one's own are called, wherever they lie."""
    return config.task_options or Path(config.tasks).name


def trained_on(config: Any) -> str:
    """A run's tasks with their options, as one would type them."""
    options = asdict(config.task_options) if config.task_options else {}
    return " ".join([config.tasks, *(f"--{name.replace('_', '-')} {value}" for name, value in options.items())])


def evaluate_folders(opened: dict[str, list[Any]], given: argparse.Namespace) -> dict[str, Any]:
    """Evaluates the runs of each folder, all on the same tasks."""
    from quickstudy.evaluation import batch_of
    from quickstudy.scores import told_alike

    # which tasks are drawn depends on the batch, and the usual batch on a learner's lanes
    batch = min(batch_of(run.learner.lanes) for runs in opened.values() for run in runs)
    return told_alike({name: evaluate_runs(runs, given, batch=batch) for name, runs in opened.items()})


def summary(name: str, runs: list[Any], evaluation: Any) -> dict[str, Any]:
    """The trials of a folder's runs in figures; `timesteps` are the environment steps of each seed's training."""
    return {
        "run": name,
        "algorithm": evaluation.algorithm,
        "seeds": [run.config.training.seed for run in runs],
        "lanes": evaluation.lanes,
        "timesteps": [run.progress.timesteps for run in runs],
        **evaluation.summary,
        "interval_over": evaluation.interval_over,
    }


def improvement(evaluations: dict[str, Any]) -> list[dict[str, Any]]:
    """The probability that x does better than y on a task, for each pair both ways."""
    from quickstudy.ops.statistics import improvement_interval, probability_of_improvement

    rows = []
    for (x, one), (y, other) in combinations(evaluations.items(), 2):
        probability = probability_of_improvement(one.trials, other.trials)
        low, high = improvement_interval(one.trials, other.trials)
        rows.append({"x": x, "y": y, "probability": probability, "low": low, "high": high})
        low, high = improvement_interval(other.trials, one.trials)
        rows.append({"x": y, "y": x, "probability": 1 - probability, "low": low, "high": high})
    return rows


def profile(evaluations: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """For each of so many taus, the share of each run's trials with a return above it."""
    from quickstudy.ops.statistics import performance_profile, profile_intervals, spaced_taus

    taus = spaced_taus([evaluation.trials for evaluation in evaluations.values()], count)
    rows = [{"tau": tau, "runs": []} for tau in taus.tolist()]
    for name, evaluation in evaluations.items():
        shares, intervals = performance_profile(evaluation.trials, taus), profile_intervals(evaluation.trials, taus)
        for row, share, (low, high) in zip(rows, shares.tolist(), intervals, strict=True):
            row["runs"].append({"run": name, "share": share, "low": low, "high": high})
    return rows


def report(found: dict[str, list[dict[str, Any]]], first: Any, more: list[str]) -> str:
    """The comparison as three tables, each pair of runs one way; `first` is one of the evaluations."""
    from quickstudy.scores import ends, table, with_ends

    runs = [["run", "algorithm", "seeds", "lanes", "steps a seed", "mean", "95 % interval", "over", "IQM of seeds"]]
    for row in found["runs"]:
        seeds, steps = ", ".join(map(str, row["seeds"])), sum(row["timesteps"]) / len(row["timesteps"])
        how = [row["run"], row["algorithm"], seeds, f"{row['lanes']}", f"{steps:,.0f}"]
        middle = f"{row['iqm']:.2f}" if len(row["seeds"]) > 1 else ""
        runs.append([*how, f"{row['mean']:.2f}", ends(row, "mean"), row["interval_over"] or "", middle])
    figured = [["run", *first.figures]]
    figured += [[row["run"], *map(with_ends, row.get("figures", {}).values())] for row in found["runs"]]
    pairs = [["X", "Y", "P(X > Y) [95 % interval]"]]
    # both ways are told in JSON, where the second is one less the first
    pairs += [[row["x"], row["y"], interval(row, "probability")] for row in found["improvement"][::2]]
    shares = [["tau", *(row["run"] for row in found["runs"])]]
    shares += [[f"{row['tau']:.2f}", *(interval(each, "share") for each in row["runs"])] for row in found["profile"]]
    lines = [
        f"{first.tasks}: {first.how}; a trial's return is the sum over {first.returns.shape[1]} episodes",
        *table(runs),
        *(["\nmean over a trial's episodes [95 % interval]", *table(figured)] if first.figures else []),
        "\nhow likely X does better than Y on a task; ties count half",
        *table(pairs),
        "\nshare of trials with a return above tau [95 % interval]",
        *table(shares),
    ]
    notes = list(first.notes)
    single = [row["run"] for row in found["runs"] if len(row["seeds"]) == 1]
    if single:
        notes.append(f"of one seed, so that its intervals say nothing of others: {', '.join(single)}")
    if len({row["lanes"] for row in found["runs"]}) > 1:
        notes.append("the return of a run with several lanes is their mean, which spreads less than that of a single one")
    notes += more
    return "\n".join([*lines, "", *notes] if notes else lines)


def interval(row: dict[str, Any], figure: str) -> str:
    """A figure of a row with its interval."""
    return f"{row[figure]:.2f}" + ("" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]")
