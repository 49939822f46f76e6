"""What defaults are worth: every learner as it comes, on six task distributions that none of them was chosen on.

    python benchmarks/defaults.py                            # every cell that is not there yet, then the page
    python benchmarks/defaults.py --only rl2 --on shop       # some of them
    python benchmarks/defaults.py --page                     # the page alone

A cell is a learner on one of the distributions of `unseen.py`. A finished one is a JSON file in docs/results/defaults, which
holds the learner's settings: change a default, and it is trained anew. One that was stopped goes on where it was; logs and
runs are in runs/defaults. The page is docs/results/defaults.md.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from unseen import UNSEEN

from quickstudy.algorithms import ALGORITHMS, BASELINES
from quickstudy.errors import UsageError
from quickstudy.evaluation import batch_of, evaluate
from quickstudy.ops.falling import fall_of
from quickstudy.ops.statistics import mean_interval
from quickstudy.protocol import Agent, Learner
from quickstudy.runs import load
from quickstudy.runs.course import returns_of
from quickstudy.storage import write_atomically
from quickstudy.training import resume, train
from quickstudy.work import open_work

ROOT = Path(__file__).parent.parent
TASKS = 100
"""Held-out tasks that each agent is scored on."""
MOST_LANES = 20
"""Of any learner here: tasks are drawn in batches that hold so many lanes, so that all meet the same ones."""
LOOKS = 10
"""Evaluations on validation tasks in a training."""
OFF_POLICY = ("recurrent-sac", "pearl", "multi-task-sac")
TOLD, RANDOM = "task-informed", "random"
"""The two ends of the scale."""
HEAD = """# Defaults

Written by `python benchmarks/defaults.py`: every learner with its defaults, one seed, on six task distributions that played
no part in choosing them ([`unseen.py`](../../benchmarks/unseen.py)). {tasks} held-out tasks, sampled actions, the last episode
of a trial. A figure is the share of what lies between random (0) and `task-informed` (1), which is trained likewise, and told
the task. In brackets: the best of about ten evaluations on validation tasks in training, and the last one. *None*: a tenth at
most was gained. *Fell*: less than half of the best is left. *Says so*: the run's own last line told of a fall of its return.
"""
FEW, COLLAPSED = 0.1, 0.5
"""Below so much of what there is to gain nothing was learnt; who keeps less than so much of its best has collapsed."""


class Budget(NamedTuple):
    """Environment steps of a training."""

    on_policy: int
    off_policy: int

    def of(self, algorithm: str) -> int:
        return self.off_policy if algorithm in OFF_POLICY else self.on_policy


class Cell(NamedTuple):
    """A learner on a task distribution; `random` stands among the learners."""

    algorithm: str
    tasks: str

    @property
    def name(self) -> str:
        return f"{self.tasks}/{self.algorithm}"

    def result(self, results: Path) -> Path:
        return results / "defaults" / f"{self.name}.json"


def made(cell: Cell) -> Learner:
    """The learner of a cell as it comes; UsageError where it doesn't take these tasks."""
    return ALGORITHMS[cell.algorithm].make(UNSEEN[cell.tasks].make(), seed=0)


@cache
def refusal(cell: Cell) -> str | None:
    """Why a learner doesn't take a task distribution; None where it does."""
    if cell.algorithm == RANDOM:
        return None
    try:
        made(cell)
    except UsageError as error:
        return str(error)
    return None


def settings_of(cell: Cell, budget: Budget) -> dict[str, Any]:
    """All that decides the figures of a cell, as far as it is no code."""
    if cell.algorithm == RANDOM:
        return {"tasks": TASKS}
    return {"tasks": TASKS, "steps": budget.of(cell.algorithm), "options": asdict(ALGORITHMS[cell.algorithm].config())}


def finished(cell: Cell, budget: Budget, results: Path) -> dict[str, Any] | None:
    """What a cell's file holds, where that is of today's defaults."""
    path = cell.result(results)
    stored = json.loads(path.read_text()) if path.exists() else None
    return stored if stored and stored["settings"] == settings_of(cell, budget) else None


def measure(cell: Cell, budget: Budget, runs: Path) -> dict[str, Any]:
    """Trains a cell, or goes on training it, and scores it; returns what its file holds."""
    settings, tasks = settings_of(cell, budget), UNSEEN[cell.tasks].make()
    if cell.algorithm == RANDOM:
        return {"settings": settings, "returns": returns_of_episodes(BASELINES[RANDOM].make(tasks))}
    run = runs / f"{cell.name}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]}"
    if (run / "latest.json").exists():
        resume(run, tasks=tasks)
    else:
        learner = made(cell)
        looks: dict[str, Any] = {"evaluate_every": between_looks(cell, budget), "evaluate_tasks": max(8, 64 // learner.lanes)}
        named: dict[str, Any] = {"own_tasks": f"unseen.{cell.tasks}", "threads": 1, "keep_checkpoints": 20}
        train(learner, run=run, steps=budget.of(cell.algorithm), **named, **looks)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timing = {row["iteration"]: row for row in map(json.loads, (run / "timing.jsonl").read_text().splitlines())}
    last = f"validation/episode_{tasks.episodes_per_trial}/return_mean"
    course = returns_of(run)
    fall = fall_of(list(course), list(course.values()))
    return {
        "settings": settings,
        "steps": rows[-1]["time/total_timesteps"],
        "iterations": rows[-1]["iteration"],
        "seconds": round(sum(row["rollout/timesteps"] / timing[row["iteration"]]["time/fps"] for row in rows), 1),
        "curve": [[row["time/total_timesteps"], round(row[last], 3)] for row in rows if last in row],
        "says": str(fall) if fall else "",
        "returns": returns_of_episodes(load(run, tasks)),
    }


def between_looks(cell: Cell, budget: Budget) -> int:
    """Meta-iterations from one evaluation to the next, so that there are about ten: of another learner's first it is known
    how many steps one takes."""
    learner = made(cell)
    work = open_work(learner.tasks, "cpu", 0)
    try:
        steps = learner.train_step(work)["rollout/timesteps"]
    finally:
        work.close()
    return math.ceil(budget.of(cell.algorithm) / steps / LOOKS)


def returns_of_episodes(agent: Agent) -> list[list[float]]:
    """Each held-out task's return in each episode, to the second digit."""
    found = evaluate(agent, num_tasks=TASKS, batch=batch_of(MOST_LANES)).returns
    return [[round(value, 2) for value in row] for row in found.tolist()]


def work(cell: Cell, budget: Budget, results: Path, runs: Path) -> None:
    """Measures a cell and writes its file; all that it says goes into its log."""
    torch.set_num_threads(1)
    log = runs / f"{cell.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        told = measure(cell, budget, runs)
    cell.result(results).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(cell.result(results), json.dumps(told, separators=(",", ":")) + "\n")


def end_with_parent() -> None:
    """Ends this process where the one that began it is gone, killed for instance: a cell goes on from its last checkpoint."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def work_all(waiting: list[Cell], jobs: int, budget: Budget, results: Path, runs: Path) -> None:
    """Cell after cell in so many processes; the page is written anew after each."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=end_with_parent) as pool:
        began = time.monotonic()
        running = {pool.submit(work, cell, budget, results, runs): cell for cell in waiting}
        for done in as_completed(running):
            done.result()
            print(f"{running[done].name}: done after {time.monotonic() - began:.0f} s in all", flush=True)
            write_page(results)


class Told(NamedTuple):
    """What is said of a learner on a task distribution."""

    share: float
    """Of what lies between random and who is told, of the last episode."""
    best: float
    """The same of the best evaluation in training, by validation tasks."""
    last: float
    """The same of the last one."""
    says: str
    """What the run said of a fall."""

    @property
    def collapsed(self) -> bool:
        """Whether it lost more than half of the best that was seen."""
        return self.best > FEW and self.last < COLLAPSED * self.best

    def in_words(self) -> str:
        marks = (
            (" none" if self.share < FEW else "") + (" fell" if self.collapsed else "") + (" (says so)" if self.says else "")
        )
        return f"{self.share:.2f} ({self.best:.2f}, {self.last:.2f}){marks}"


def told_of(stored: Mapping[str, Any], floor: float, top: float) -> Told:
    """A finished cell on the scale from random (0) to who is told (1)."""

    def share(value: float) -> float:
        return (value - floor) / (top - floor)

    curve = [value for _, value in stored["curve"]]
    return Told(share(last_mean(stored)), share(max(curve)), share(curve[-1]), stored["says"])


def last_mean(stored: Mapping[str, Any]) -> float:
    """The mean return of the last episode of a trial."""
    return float(np.array(stored["returns"])[:, -1].mean())


def stored_cells(results: Path) -> dict[Cell, dict[str, Any]]:
    """All cells that there are of today's defaults, of whatever budget."""
    cells = [Cell(algorithm, tasks) for tasks in UNSEEN for algorithm in (RANDOM, *ALGORITHMS)]
    found = {cell: json.loads(path.read_text()) for cell in cells if (path := cell.result(results)).exists()}
    return {
        cell: stored
        for cell, stored in found.items()
        if stored["settings"] == settings_of(cell, Budget(*[stored["settings"].get("steps", 0)] * 2))
    }


def lines_of(cells: Mapping[Cell, dict[str, Any]]) -> Iterator[str]:
    """The tables of the page: the scale of each distribution, and each learner's share of it."""
    ends = {
        tasks: (last_mean(cells[Cell(RANDOM, tasks)]), last_mean(cells[Cell(TOLD, tasks)]))
        for tasks in UNSEEN
        if Cell(RANDOM, tasks) in cells and Cell(TOLD, tasks) in cells
    }
    yield from ["| tasks | what they are | random | told |", "| --- | --- | --- | --- |"]
    for tasks, (floor, top) in ends.items():
        low, high = mean_interval(np.array(cells[Cell(TOLD, tasks)]["returns"])[None, :, -1])
        yield f"| {tasks} | {UNSEEN[tasks].says} | {floor:.2f} | {top:.2f} [{low:.2f}, {high:.2f}] |"
    yield from ["", f"| learner | {' | '.join(ends)} | steps | minutes |", f"| --- |{' --- |' * (len(ends) + 2)}"]
    for algorithm in ALGORITHMS:
        found = {tasks: cells[Cell(algorithm, tasks)] for tasks in ends if Cell(algorithm, tasks) in cells}
        if not found:
            continue
        shares = [told_of(found[tasks], *ends[tasks]).in_words() if tasks in found else "" for tasks in ends]
        steps = max(stored["settings"]["steps"] for stored in found.values())
        minutes = sum(stored["seconds"] for stored in found.values()) / 60 / len(found)
        yield f"| {algorithm} | {' | '.join(shares)} | {steps / 1e6:g} M | {minutes:.1f} |"


def notes_of(cells: Mapping[Cell, dict[str, Any]]) -> Iterator[str]:
    """What runs said themselves, and who takes which tasks not."""
    for cell, stored in cells.items():
        if stored.get("says"):
            yield f"- {cell.algorithm} on {cell.tasks}: {stored['says']}."
    for algorithm in ALGORITHMS:
        refused = [tasks for tasks in UNSEEN if refusal(Cell(algorithm, tasks))]
        if refused:
            entry = ALGORITHMS[algorithm]
            kinds = f"its observations are to be {entry.observations}, its actions {entry.actions}"
            yield f"- {algorithm} doesn't take {', '.join(refused)}: {kinds}."


def write_page(results: Path) -> None:
    """Writes the page of all cells that there are."""
    cells = stored_cells(results)
    taken = [Cell(algorithm, tasks) for tasks in UNSEEN for algorithm in (RANDOM, *ALGORITHMS)]
    taken = [cell for cell in taken if refusal(cell) is None]
    known = f"{sum(cell in cells for cell in taken)} of {len(taken)} cells are measured."
    lines = [
        HEAD.format(tasks=TASKS),
        known,
        *(["", *lines_of(cells)] if cells else []),
        "",
        *notes_of(cells),
        "",
    ]
    results.mkdir(parents=True, exist_ok=True)
    write_atomically(results / "defaults.md", "\n".join(lines))


def main() -> None:
    """Measures what is missing, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    learners = [RANDOM, *ALGORITHMS]
    parser.add_argument("--only", nargs="+", default=learners, choices=learners, metavar="LEARNER", help=", ".join(learners))
    parser.add_argument("--on", nargs="+", default=list(UNSEEN), choices=list(UNSEEN), metavar="TASKS", help=", ".join(UNSEEN))
    parser.add_argument("--steps", type=int, default=1_000_000, metavar="N", help="of on-policy learners (default 1,000,000)")
    parser.add_argument("--off-policy-steps", type=int, default=100_000, metavar="N", help="of the others (default 100,000)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at once, a thread each (default 1)")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results", metavar="FOLDER", help="where results go")
    parser.add_argument("--page", action="store_true", help="write the page from what there is, and stop")
    given = parser.parse_args()
    budget, runs = Budget(given.steps, given.off_policy_steps), ROOT / "runs" / "defaults"
    if not given.page:
        cells = [Cell(algorithm, tasks) for algorithm in given.only for tasks in given.on]
        cells = [cell for cell in cells if refusal(cell) is None]
        waiting = [cell for cell in cells if not finished(cell, budget, given.results)]
        print(f"{len(cells) - len(waiting)} of {len(cells)} cells are finished", flush=True)
        work_all(waiting, given.jobs, budget, given.results, runs)
    write_page(given.results)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
