"""docs/results.md and the results in the recipes, from the files of the finished cells alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import WORKS
from numpy.typing import NDArray
from works import Work

from quickstudy.ops.statistics import mean_interval
from quickstudy.plots import plot_adaptation
from quickstudy.recipes import FOLDER as RECIPES
from quickstudy.recipes import Result
from quickstudy.scores import Evaluation
from quickstudy.storage import write_atomically

FORMULAE = 2
"""Raised when what learners compute changes, so that figures stored before say so: new cells are stored with it."""

HEADS = (
    *("agent", "mean [95 % interval]", "over", "share", "published", "by seed", "steps", "minutes", "TFLOP", "MiB", "measured"),
    "by episode",
)
"""The columns of a table."""
Cells = list[dict[str, Any]]
Returns = NDArray[np.floating]

INTRODUCTION = """# Results

Written by `make results` (`python benchmarks/results.py`) from the files in `docs/results/`, one for each learner and seed.

Tasks are held out and actions sampled, as published. A figure is the mean return of a whole trial, over seeds and tasks, with
its 95 % interval. *Over* says what the interval speaks of: new seeds and new tasks, or, with one seed, new tasks only, so
that another seed may well lie outside ([what an interval says](intervals.md)). *Share* is the figure as a part of the best
row's, both counted from the random agent's. *By episode* is the mean of each episode's return. A second table has the figures
of a field where tasks name some ([gap.md](gap.md)): the mean over a trial's episodes with its interval, and that of each
episode. Minutes are of one thread, beside one more such training on two cores, without evaluation. *TFLOP* are 10^12
floating-point operations of one training, those of matrix products and convolutions, counted in one more meta-iteration and
for as many steps; *MiB* is the most memory that the process of training had, libraries included. `quickstudy train ALGORITHM
TASKS --tuned` takes the settings of a table; `quickstudy list recipes` names them all.

*Measured before*: trained before formulae of the learners were mended (the first update of a value scale, MAML's baseline,
PEARL's context, normalisers), and not again since. Such returns are those of then; the statistics are today's.
"""


def rows_of(cells: Cells) -> dict[str, dict[str, Any]]:
    """What is known of each agent: returns (seed, task, episode), and of a trained one steps, minutes and command."""
    rows: dict[str, dict[str, Any]] = {}
    for cell in cells:
        for name, evaluation in cell["evaluations"].items():
            about = {key: evaluation[key] for key in ("lanes", "says")} | {"by": evaluation.get("by")}
            row = rows.setdefault(name, {"returns": [], "success": [], "figures": [], "seeds": [], "before": False, **about})
            row["returns"].append(evaluation["returns"])
            row["success"].append(evaluation["success"])
            row["figures"].append(evaluation.get("figures", {}))
            row["before"] |= cell["seed"] is not None and cell.get("formulae", 1) < FORMULAE
            if name == cell["label"]:
                row["seeds"].append(cell["seed"])
                row |= {"steps": cell["steps"], "command": cell["command"]}
                row["seconds"] = row.get("seconds", 0) + cell["seconds"]
                for figure in ("operations", "memory"):
                    row[figure] = [*row.get(figure, []), cell.get(figure)]
    return {
        name: row | {"returns": np.array(row["returns"], float), "success": mean_success(row["success"])}
        for name, row in rows.items()
    }


def verdict(scores: Returns, figure: float) -> str:
    """Whether scores (seed, task) reach a figure: a figure within their own interval is undecided."""
    low, high = mean_interval(scores)
    if low is None or high is None:
        return "not known"
    if low >= figure or high < figure:
        return "reached" if low >= figure else "missed"
    return f"undecided, {scores.mean():.2f} of [{low:.2f}, {high:.2f}]"


def mean_success(found: list[list[float] | None]) -> list[float] | None:
    """The mean over seeds of the share of success by episode; a seed that says nothing where another does never succeeded."""
    told = [shares for shares in found if shares]
    return [sum(shares) / len(found) for shares in zip(*told, strict=True)] if told else None


def table_of(work: Work, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The table of a work, best first, rows of published figures alone at the end."""
    trial = {name: row["returns"].sum(2) for name, row in rows.items()}
    floor = trial["random"].mean() if "random" in trial else 0.0
    best = trial[work.best].mean() if work.best in trial else None
    lines = [
        f"| {' | '.join(HEADS)} |",
        f"| {' | '.join('---' for _ in HEADS)} |",
    ]
    for name in sorted(rows, key=lambda name: -trial[name].mean()):
        row, scores = rows[name], trial[name]
        low, high = mean_interval(scores)
        share = "" if best is None or name.endswith("extrapolation") else f"{(scores.mean() - floor) / (best - floor):.1%}"
        trained = "steps" in row
        cells = [
            name,
            f"{scores.mean():.2f} [{low:.2f}, {high:.2f}]",
            "seeds and tasks" if len(scores) > 1 else "tasks only",
            share,
            f"{work.published[name]:g}" if name in work.published else "",
            ", ".join(f"{mean:.2f}" for mean in scores.mean(1)) if len(scores) > 1 else "",
            f"{row['steps'] / 1e6:.2f} M" if trained else "",
            f"{row['seconds'] / 60 / len(row['seeds']):.1f}" if trained else "",
            of_seeds(row.get("operations", []), 1e12, np.mean),
            of_seeds(row.get("memory", []), 1, np.max),
            "before" if row["before"] else "",
            by_episode(row["returns"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    rest = " |" * (len(HEADS) - 5)
    lines += [f"| {name} | | | | {work.published[name]:g} |{rest}" for name in work.published if name not in rows]
    return lines


def figures_table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What each agent reached in the figures of the field: the mean over a trial's episodes, and each of them; none without."""
    names = list(next(iter(rows.values()))["figures"][0])
    if not names:
        return []
    lines = ["", f"| agent | {' | '.join(names)} |", f"| {' | '.join('---' for _ in ['agent', *names])} |"]
    for agent, row in rows.items():
        cells = []
        for name in names:
            values = np.array([found[name] for found in row["figures"]], float)
            low, high = mean_interval(values.mean(2))
            each = values.mean((0, 1))
            by = f" ({', '.join(f'{mean:.3g}' for mean in each)})" if 1 < len(each) <= 6 else ""
            cells.append(f"{values.mean():.4g} [{low:.4g}, {high:.4g}]{by}")
        lines.append(f"| {agent} | {' | '.join(cells)} |")
    return lines


def of_seeds(figures: list[float | None], unit: float, middle: Callable[[list[float]], Any]) -> str:
    """What seeds took, to the third digit; nothing where one of them wasn't measured."""
    known = [figure for figure in figures if figure is not None]
    if not known or len(known) < len(figures):
        return ""
    value = float(middle(known)) / unit
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def by_episode(returns: Returns) -> str:
    """The mean of each episode's return; some of many episodes."""
    if returns.shape[2] == 1:
        return ""
    figures = [f"{mean:.2f}" for mean in returns.mean((0, 1))]
    if len(figures) <= 6:
        return ", ".join(figures)
    chosen = [*range(5), *range(6, len(figures), max(2, len(figures) // 6))]
    return ", ".join(f"{number + 1}: {figures[number]}" for number in chosen)


def by_parameter(row: Mapping[str, Any]) -> str:
    """The last episode's mean return for each value of the parameter by which tasks are told apart."""
    values = np.array(row["by"])
    return ", ".join(f"{value:g}: {row['returns'][:, values == value, -1].mean():.1f}" for value in np.unique(values))


def by_success(row: Mapping[str, Any], frozen: int = 0) -> str:
    """In which share of each episode any step succeeded, and what the last episode's return has over the first's, by task.

    Of `frozen` episodes at the end the share that succeeded is told besides.
    """
    gain = row["returns"][..., -1] - row["returns"][..., 0]
    low, high = mean_interval(gain)
    shares = ", ".join(f"{share:.2f}" for share in row["success"])
    after = f" (after adapting {np.mean(row['success'][-frozen:]):.2f})" if frozen else ""
    more = f"{gain.mean():+.1f} [{low:.1f}, {high:.1f}]"
    return f"success by episode {shares}{after}; the last episode's return less the first's {more}"


def binary(returns: Returns) -> bool:
    """Whether a return is a matter of success or failure."""
    return set(np.unique(returns)) <= {0.0, 1.0}


def draw(work: Work, rows: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Return against episodes of the task seen before, agent by agent; extrapolation is left to the table."""
    curves = {}
    for name, row in rows.items():
        if name.endswith("extrapolation"):
            continue
        seeds, tasks, episodes = row["returns"].shape
        returns = torch.from_numpy(row["returns"].reshape(seeds * tasks, episodes)).float()
        curves[name] = Evaluation(
            algorithm=name,
            tasks=work.family,
            split="test",
            seed=0,
            lanes=row["lanes"],
            greedy=False,
            trained_episodes=episodes,
            seeds=tuple(range(seeds)) if seeds > 1 else (),
            splits="partitioned",
            drawn={},
            returns=returns,
            success=returns if binary(row["returns"]) else None,
        )
    lanes = {curve.lanes for curve in curves.values()}
    all_binary = all(curve.success is not None for curve in curves.values())
    plot_adaptation(
        curves, path, work.picture, "seen" if len(lanes) > 1 else "episode", score="success" if all_binary else "mean"
    )


def section(name: str, work: Work, cells: Cells, folder: Path) -> list[str]:
    """All that the page says of a work."""
    rows = rows_of(cells)
    lines = ["", f"## {name}", "", f"{work.says} {work.num_tasks:,} held-out tasks.", "", *table_of(work, rows)]
    lines += figures_table(rows)
    notes = [f"{agent}: {row['says']}." for agent, row in rows.items() if row["says"]]
    missing = [f"{agent} (seed {seed})" for agent, each in work.trained.items() for seed in range(each.seeds)]
    missing = [name for name in missing if name not in {f"{cell['label']} (seed {cell['seed']})" for cell in cells}]
    if missing:
        notes.append(f"Not measured yet: {', '.join(missing)}.")
    notes += [
        f"{agent}, mean of the last episode by {work.by}: {by_parameter(row)}." for agent, row in rows.items() if row["by"]
    ]
    if work.success:
        notes += [f"{agent}: {by_success(row, work.frozen)}." for agent, row in rows.items() if row["success"]]
    for agent, figure in work.reach.items():
        if agent in rows:
            notes.append(f"{agent} was to reach {figure:g}: {verdict(rows[agent]['returns'].sum(2), figure)}.")
    if notes:
        lines += ["", " ".join(notes)]
    if work.tried:
        lines += ["", work.tried]
    trained = {agent: row for agent, row in rows.items() if "command" in row}
    if trained:
        lines += ["", "```sh", *(row["command"] + seeds_of(row["seeds"]) for row in trained.values()), "```"]
    if trained and work.picture:
        draw(work, rows, folder / f"{name}.png")
        lines += ["", f"![{work.picture}](results/{name}.png)"]
    return lines


def seeds_of(seeds: list[int]) -> str:
    """A comment that names the seeds beside that of the command, which is the last."""
    return f"  # and --seed {', '.join(map(str, seeds[:-1]))}" if len(seeds) > 1 else ""


def write_page(folder: Path, cells: Mapping[str, Cells]) -> None:
    """Writes the page beside the folder of results."""
    lines = [INTRODUCTION.rstrip()]
    for name, work in WORKS.items():
        if name in cells:
            lines += section(name, work, cells[name], folder)
    write_atomically(folder.parent / "results.md", "\n".join(lines) + "\n")


def results_of(cells: Mapping[str, Cells]) -> dict[str, Result | None]:
    """What each recipe of the page reached, by its name; None where it is not measured."""
    results: dict[str, Result | None] = {}
    for name, work in WORKS.items():
        rows = rows_of(cells.get(name, []))
        for label, trained in work.trained.items():
            measured = {label, "random"} <= rows.keys()
            results[trained.recipe] = result_of(name, rows[label], rows["random"]) if measured else None
    return results


def result_of(table: str, row: Mapping[str, Any], random: Mapping[str, Any]) -> Result:
    """A trained row of a table, as its recipe tells it."""
    scores = row["returns"].sum(2)
    return Result(
        table=table,
        mean=rounded(scores.mean()),
        interval=[rounded(end) for end in mean_interval(scores)],
        by_episode=[rounded(mean) for mean in row["returns"].mean((0, 1))],
        random=rounded(random["returns"].sum(2).mean()),
        tasks=scores.shape[1],
        seeds=row["seeds"],
        steps=row["steps"],
        minutes=round(row["seconds"] / 60 / len(row["seeds"]), 1),
        before=row["before"],
    )


def rounded(value: Any) -> float:
    """A figure to the second digit."""
    return round(float(value), 2)


def write_recipes(cells: Mapping[str, Cells]) -> None:
    """Writes the last section of each recipe of the page, which tells what it reached; the rest of its file stays."""
    for name, result in results_of(cells).items():
        path = RECIPES / f"{name}.toml"
        lines = [] if result is None else [f"{key} = {json.dumps(value)}" for key, value in asdict(result).items()]
        settings, *_ = path.read_text().split("\n[result]\n")
        write_atomically(path, "\n".join([settings, "[result]", *lines, ""]) if lines else settings)
