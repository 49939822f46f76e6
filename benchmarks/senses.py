"""What senses are worth: RL2 on tasks that are seen, read and heard, with all of it and with a part taken away.

    python benchmarks/senses.py                                 # every cell that is not there yet, seed by seed, then the table
    python benchmarks/senses.py --only mission --seeds 1        # one cell
    python benchmarks/senses.py --jobs 2                        # two at once, a thread each
    python benchmarks/senses.py --table                         # the table alone

A cell is a recipe, what is taken away, and a seed. A finished one is a JSON file in docs/results/senses, which holds its
settings: change the recipe, and it is trained anew. One that was stopped goes on where it was; logs and runs are in
runs/senses. The table is docs/results/senses.md.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from quickstudy.algorithms import BASELINES, algorithm
from quickstudy.evaluation import evaluate
from quickstudy.families import make
from quickstudy.ops.statistics import mean_interval
from quickstudy.oracles import oracle
from quickstudy.protocol import Agent, TaskDistribution
from quickstudy.recipes import recipe
from quickstudy.recipes.tuned import configuration
from quickstudy.runs import load
from quickstudy.storage import write_atomically
from quickstudy.tasks.without import Without
from quickstudy.training import resume, train
from quickstudy.wrappers.forgetful import Forgetful

ROOT = Path(__file__).parent.parent
TASKS = 1000
"""Held-out tasks that each agent is scored on."""


class Cell(NamedTuple):
    """What is trained, and what it is held against."""

    says: str
    recipe: str
    oracles: tuple[str, ...]
    """The first is the best that is known, of which others are a share."""
    without: tuple[str, ...] = ()
    """Parts of the observation that are taken away."""


CELLS = {
    "grid-drawn": Cell(
        "a grid with a hidden goal, seen as an image", "grid-navigation/rl2-drawn", ("bayes-optimal", "posterior-sampling")
    ),
    "key-door": Cell("a dark room with a key and a door, seen as an image", "key-door/rl2", ("optimal", "nearest")),
    "mission": Cell("missions: image, text and vector", "mission/rl2", ("optimal",)),
    "mission-without-text": Cell("the same, its text taken away", "mission/rl2", ("optimal",), ("text",)),
    "mission-without-image": Cell("the same, its image taken away", "mission/rl2", ("optimal",), ("image",)),
    "sound": Cell("missions that are heard: a tone tells which of two things pays first", "mission/rl2-sound", ("optimal",)),
    "sound-without-sound": Cell("the same, its sound taken away", "mission/rl2-sound", ("optimal",), ("sound",)),
}


class Paths(NamedTuple):
    """Where things lie."""

    results: Path
    runs: Path

    def result(self, name: str, seed: int) -> Path:
        """The file of a finished cell."""
        return self.results / "senses" / f"{name}-seed{seed}.json"


def settings_of(cell: Cell, seed: int, steps: int | None) -> dict[str, Any]:
    """All that decides the figures of a cell."""
    found = recipe(cell.recipe)
    budget = {"steps": steps} if steps else {"iterations": found.iterations}
    parts = {
        "algorithm": found.algorithm,
        "settings": dict(found.settings),
        "tasks": found.tasks,
        "options": dict(found.options),
    }
    return {**parts, "without": list(cell.without), "seed": seed, **budget}


def whole_tasks(cell: Cell) -> TaskDistribution:
    """A cell's tasks with all of their senses."""
    found = recipe(cell.recipe)
    return make(found.tasks, **found.options)


def measure(name: str, seed: int, steps: int | None, paths: Paths) -> dict[str, Any]:
    """Trains a cell, or goes on training it, and scores it; returns what its file holds."""
    cell = CELLS[name]
    settings = settings_of(cell, seed, steps)
    tasks = Without(whole_tasks(cell), *cell.without) if cell.without else whole_tasks(cell)
    run = paths.runs / f"{name}-seed{seed}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]}"
    own: dict[str, Any] = {"tasks": tasks} if cell.without else {}
    if (run / "latest.json").exists():
        resume(run, **own)
    else:
        found = recipe(cell.recipe)
        learner = algorithm(found.algorithm).make(tasks, configuration(found, seed).algorithm_options, seed=seed)
        budget: dict[str, Any] = {"steps": steps} if steps else {"iterations": found.iterations}
        train(learner, run=run, threads=1, evaluate_every=0, keep_checkpoints=2, **budget)
    learner = load(run, **own)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timing = [json.loads(line) for line in (run / "timing.jsonl").read_text().splitlines()]
    seconds = {row["iteration"]: row["time/fps"] for row in timing}
    return {
        "settings": settings,
        "steps": rows[-1]["time/total_timesteps"],
        "seconds": round(sum(row["rollout/timesteps"] / seconds[row["iteration"]] for row in rows)),
        "trained": returns_of(learner),
        "wiped": returns_of(Forgetful(learner)),
        "random": returns_of(BASELINES["random"].make(tasks)),
        **{known: returns_of(oracle(known, whole_tasks(cell))) for known in cell.oracles},
    }


def returns_of(agent: Agent) -> list[list[float]]:
    """Each held-out task's return in each episode, to the second digit."""
    return [[round(value, 2) for value in row] for row in evaluate(agent, num_tasks=TASKS).returns.tolist()]


def finished(name: str, seed: int, steps: int | None, paths: Paths) -> dict[str, Any] | None:
    """What a cell's file holds, where that is of today's settings."""
    path = paths.result(name, seed)
    stored = json.loads(path.read_text()) if path.exists() else None
    return stored if stored and stored["settings"] == settings_of(CELLS[name], seed, steps) else None


def work(name: str, seed: int, steps: int | None, paths: Paths) -> None:
    """Measures a cell and writes its file; all that it says goes into its log."""
    torch.set_num_threads(1)
    paths.runs.mkdir(parents=True, exist_ok=True)
    with (
        (paths.runs / f"{name}-seed{seed}.log").open("a", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        told = measure(name, seed, steps, paths)
    paths.result(name, seed).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(paths.result(name, seed), json.dumps(told, separators=(",", ":")) + "\n")


def work_all(waiting: list[tuple[str, int]], jobs: int, steps: int | None, paths: Paths) -> None:
    """Each cell in a process of its own, so many at once; the table is written anew after each."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        began = time.monotonic()
        running = {pool.submit(work, name, seed, steps, paths): f"{name}, seed {seed}" for name, seed in waiting}
        for done in as_completed(running):
            done.result()
            print(f"{running[done]}: done after {time.monotonic() - began:.0f} s in all", flush=True)
            write_table(paths)


def rows_of(name: str, paths: Paths) -> Iterator[str]:
    """The rows of a cell's table, best known first, of all its seeds that there are."""
    found = sorted(paths.results.glob(f"senses/{name}-seed*.json"))
    stored = [json.loads(path.read_text()) for path in found]
    if not stored:
        return
    cell = CELLS[name]
    returns = {
        agent: np.array([each[agent] for each in stored], float) for agent in (*cell.oracles, "trained", "wiped", "random")
    }
    best, floor = (returns[agent].sum(2).mean() for agent in (cell.oracles[0], "random"))
    called = {"trained": "RL2", "wiped": "RL2, memory wiped every episode"}
    for agent, each in returns.items():
        scores = each.sum(2)
        low, high = mean_interval(scores)
        trained = agent == "trained"
        cells = [
            called.get(agent, agent),
            f"{scores.mean():.2f} [{low:.2f}, {high:.2f}]",
            f"{(scores.mean() - floor) / (best - floor):.1%}",
            ", ".join(f"{mean:.2f}" for mean in scores.mean(1)) if trained and len(scores) > 1 else "",
            f"{stored[0]['steps'] / 1e6:.2f} M" if trained else "",
            f"{sum(one['seconds'] for one in stored) / 60 / len(stored):.1f}" if trained else "",
            ", ".join(f"{mean:.2f}" for mean in each.mean((0, 1))),
        ]
        yield "| " + " | ".join(cells) + " |"


def write_table(paths: Paths) -> None:
    """Writes the page of all cells that there are."""
    lines = [
        "# Senses",
        "",
        "Written by `python benchmarks/senses.py`: 1,000 held-out tasks, the return of a whole trial with its",
    ]
    lines += ["95 % interval over seeds and tasks, and as a share of what lies between random and the best that is known."]
    lines += [
        "With one seed the interval is over tasks alone. Minutes are of the clock, on a machine that did other things too.",
        "",
    ]
    for name, cell in CELLS.items():
        rows = list(rows_of(name, paths))
        if rows:
            lines += [f"## {name}", "", f"{cell.says[0].upper()}{cell.says[1:]} (recipe `{cell.recipe}`).", ""]
            lines += ["| agent | mean [95 % interval] | share | by seed | steps | minutes | by episode |"]
            lines += ["| --- | --- | --- | --- | --- | --- | --- |", *rows, ""]
    paths.results.mkdir(parents=True, exist_ok=True)
    write_atomically(paths.results / "senses.md", "\n".join(lines))


def main() -> None:
    """Measures what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(CELLS), choices=list(CELLS), metavar="CELL", help=", ".join(CELLS))
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds of each cell (default 3)")
    parser.add_argument("--steps", type=int, metavar="N", help="environment steps instead of the recipe's meta-iterations")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at once, a thread each (default 1)")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results", metavar="FOLDER", help="where results go")
    parser.add_argument("--table", action="store_true", help="write the table from what there is, and stop")
    given = parser.parse_args()
    paths = Paths(given.results, ROOT / "runs" / "senses")
    cells = [(name, seed) for seed in range(given.seeds) for name in given.only]
    waiting = [] if given.table else [each for each in cells if not finished(*each, given.steps, paths)]
    if not given.table:
        print(f"{len(cells) - len(waiting)} of {len(cells)} cells are finished", flush=True)
    work_all(waiting, given.jobs, given.steps, paths)
    write_table(paths)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
