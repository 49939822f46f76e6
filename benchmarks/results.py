"""What is learnt, and how well: trains each recipe seed by seed, scores it on held-out tasks, and writes docs/results.md
and what came out into the recipes.

    python benchmarks/results.py                           # every cell that docs/results has not got yet, then the page
    python benchmarks/results.py grid-navigation --jobs 2  # the cells of one work, two at a time
    python benchmarks/results.py --page                    # the page and the recipes' results alone

A cell is one learner, one seed. A finished cell is a JSON file in docs/results, which holds its configuration: change the
recipe, and the cell is trained anew. A cell that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from cells import WORKS
from page import FORMULAE, write_page, write_recipes
from torch.utils.flop_counter import FlopCounterMode
from works import Each, Trained, Work

from quickstudy.algorithms import BASELINES
from quickstudy.evaluation import evaluate
from quickstudy.names import named_now
from quickstudy.oracles import ORACLES, oracle
from quickstudy.protocol import Agent, Learner, Split
from quickstudy.recipes import as_option, recipe
from quickstudy.recipes.tuned import configuration
from quickstudy.runs import load
from quickstudy.runs.config import RunConfig
from quickstudy.scores import Evaluation
from quickstudy.storage import write_atomically
from quickstudy.training import resume, train
from quickstudy.work import open_work

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "results"
RUNS = ROOT / "runs" / "results"
IN_PLACE = (torch.ops.aten.baddbmm_, torch.ops.aten.addbmm, torch.ops.aten.addbmm_)
"""Products that PyTorch's counter doesn't know, of the GRU's steps."""


class Cell(NamedTuple):
    """One file of evidence: a trained learner of one seed, or (without one) all that needs no training."""

    work: str
    label: str
    seed: int | None

    @property
    def name(self) -> str:
        return f"{self.work}/{self.label}" + ("" if self.seed is None else f"-seed{self.seed}")

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.json"


def cells_of(names: list[str]) -> Iterator[Cell]:
    """The cells of the named works: what is not trained, then the first seed of each, then the second."""
    yield from (Cell(name, "untrained", None) for name in names)
    for seed in range(max(trained.seeds for name in names for trained in WORKS[name].trained.values())):
        for name in names:
            yield from (Cell(name, label, seed) for label, trained in WORKS[name].trained.items() if seed < trained.seeds)


def configured(trained: Trained, seed: int) -> RunConfig:
    """The whole configuration of a cell's training."""
    config = configuration(recipe(trained.recipe), seed)
    return replace(config, training=replace(config.training, threads=1, evaluate_every=0, keep_checkpoints=2))


def parts_of(config: RunConfig) -> dict[str, Any]:
    """The options that decide what a cell's figures are, by section."""
    return {
        "algorithm": config.algorithm_options,
        "tasks": config.task_options,
        "training": config.training,
        "normalisation": config.normalisation,
    }


def finished(cell: Cell) -> dict[str, Any] | None:
    """What docs/results holds of this cell, where that is as it is configured today; a newer option counts at its default."""
    if not cell.path.exists():
        return None
    work, stored = WORKS[cell.work], json.loads(cell.path.read_text())
    held = stored["config"]
    if cell.seed is None:
        return stored if held == untrained_config(work) else None
    config = configured(work.trained[cell.label], cell.seed)
    now = held | {"algorithm": named_now(config.algorithm, held["algorithm"])}
    same = all(
        now.get(section, {}).get(name, getattr(type(options)(), name)) == value
        for section, options in parts_of(config).items()
        for name, value in vars(options).items()
    )
    return stored if same and stored.get("met", {}) == met(work) else None


def untrained_config(work: Work) -> dict[str, Any]:
    """What decides the figures of agents that need no training."""
    held = {"agents": list(work.untrained), "tasks": dict(work.options), "num_tasks": work.num_tasks, "lanes": work.lanes}
    return held | met(work)


def met(work: Work) -> dict[str, int]:
    """What else decides which tasks and episodes an agent is scored on; older files say nothing where it is nothing."""
    return {name: value for name in ("frozen", "each") if (value := getattr(work, name))}


def measure(cell: Cell) -> dict[str, Any]:
    """Trains, or goes on training, and scores; returns what the cell's file holds."""
    work = WORKS[cell.work]
    if cell.seed is None:
        agents = {name: untrained(work, name) for name in work.untrained}
        evaluations = {name: scores(agent, work, "test") for name, agent in agents.items()}
        return {"config": untrained_config(work), "evaluations": evaluations}
    trained = work.trained[cell.label]
    config = configured(trained, cell.seed)
    command, training = command_of(config), config.training
    run = RUNS / f"{cell.name}-{hashlib.sha256(command.encode()).hexdigest()[:8]}"
    if (run / "latest.json").exists():
        resume(run)
    else:
        settings = {name: getattr(training, name) for name in ("threads", "evaluate_every", "keep_checkpoints")}
        train(config.build_learner(), training.iterations, run, command=command, **settings)
    peak, learner = peak_memory(), load(run)
    wanted: dict[str, tuple[Agent, Split]] = {cell.label: (learner, "test")}
    if trained.extrapolates:
        wanted[f"{cell.label}, extrapolation"] = (learner, "extrapolation")
    wanted |= {name: (agent, "test") for name, agent in trained.others(learner).items()}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timing = {row["iteration"]: row for row in map(json.loads, (run / "timing.jsonl").read_text().splitlines())}
    steps = rows[-1]["time/total_timesteps"]
    # a run that was finished before took its memory in another process
    trained_here = max(row["time/memory_mb"] for row in timing.values()) <= peak
    return {
        "config": {section: asdict(options) for section, options in parts_of(config).items()},
        "formulae": FORMULAE,
        "met": met(work),
        "steps": steps,
        "operations": operations_of(load(run), steps),
        "memory": round(peak) if trained_here else None,
        "seconds": round(sum(row["rollout/timesteps"] / timing[row["iteration"]]["time/fps"] for row in rows)),
        "evaluations": {name: scores(agent, work, split) for name, (agent, split) in wanted.items()},
    }


def operations_of(learner: Learner, steps: int) -> float:
    """Floating-point operations of so many environment steps of training, as counted in one more meta-iteration of a learner.

    Those of matrix products and convolutions, forward and backward, two for each product that is added up.
    """
    work = open_work(learner.tasks, learner.device, 0)
    try:
        with FlopCounterMode(display=False, custom_mapping=dict.fromkeys(IN_PLACE, of_product)) as counter:
            lived = learner.train_step(work)["rollout/timesteps"]
    finally:
        work.close()
    return float(f"{counter.get_total_flops() * steps / lived:.4g}")


def of_product(added: torch.Size, left: torch.Size, right: torch.Size, **options: Any) -> int:
    """The operations of products (batch, n, m) with (batch, m, k) that are added to something."""
    return 2 * math.prod(left) * right[-1]


def peak_memory() -> float:
    """The most memory in MiB that this process has had resident."""
    # the peak that `resource` tells may be the parent's
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def untrained(work: Work, name: str) -> Agent:
    """An oracle or a baseline for a work's tasks; `name` may carry an option, as in `psrl --prior-mean 0`."""
    head, *rest = name.split()
    tasks = work.tasks()
    if head in BASELINES:
        return BASELINES[head].make(tasks)
    options = ORACLES[head].options()
    if rest:
        value = float(rest[1]) if rest[1].replace(".", "", 1).isdigit() else rest[1]
        options = replace(options, **{rest[0].removeprefix("--").replace("-", "_"): value})
    return oracle(head, tasks, options)


def scores(agent: Agent, work: Work, split: Split) -> dict[str, Any]:
    """Each task's return in each episode, to the second digit; figures of its field to the fourth."""
    tasks = Each(agent.tasks) if work.each else agent.tasks
    options: dict[str, Any] = {"num_tasks": work.num_tasks, "split": split, "batch": work.batch()}
    result: Evaluation = evaluate(agent, tasks, frozen_episodes=work.frozen, **options)
    returns = [[short(value) for value in row] for row in result.returns.tolist()]
    success = None if result.success is None else [round(value, 4) for value in result.success.mean(0).tolist()]
    by: dict[str, Any] = {"by": [short(value) for value in result.drawn[work.by].tolist()]} if work.by else {}
    says = getattr(agent, "says", "")
    if result.figures:
        by["figures"] = {
            name: [[whole(float(f"{value:.4g}")) for value in row] for row in values.tolist()]
            for name, values in result.figures.items()
        }
    return {"lanes": agent.lanes, "split": split, "success": success, "says": says, **by, "returns": returns}


def short(value: float) -> float | int:
    """A number in as few characters as its second digit allows."""
    return whole(round(value, 2))


def whole(value: float) -> float | int:
    """A whole number without its point."""
    return int(value) if value == int(value) else value


def command_of(config: RunConfig) -> str:
    """The command that trains the same run."""
    words = ["quickstudy", "train", config.algorithm, config.tasks]
    for options in parts_of(config).values():
        plain = type(options)()
        for name, value in vars(options).items():
            if value == getattr(plain, name) or name == "keep_checkpoints":
                continue
            words.append(as_option(name, value))
    return " ".join(words)


def run_all(cells: list[Cell], jobs: int) -> None:
    """Each cell in a process of its own, `jobs` of them at once; the page is written anew after each."""
    waiting, running = [cell for cell in cells if not finished(cell)], {}
    print(f"{len(cells) - len(waiting)} of {len(cells)} cells are finished", flush=True)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.pop(0)
                RUNS.mkdir(parents=True, exist_ok=True)
                log = (RUNS / f"{cell.name.replace('/', '-')}.log").open("a")
                job = subprocess.Popen([sys.executable, __file__, "--cell", json.dumps(cell)], stdout=log, stderr=log)
                running[cell] = (job, time.monotonic())
                print(f"begins  {cell.name}  (log: {log.name})", flush=True)
            time.sleep(0.5)
            for cell, (job, began) in list(running.items()):
                if job.poll() is not None:
                    del running[cell]
                    ended = "done   " if job.returncode == 0 else f"status {job.returncode}"
                    print(f"{ended} {cell.name}  {time.monotonic() - began:.0f} s, {len(waiting)} to begin", flush=True)
                    write()
    except KeyboardInterrupt:
        for job, _ in running.values():
            job.wait()
        print("stopped; the same command goes on")


def cells_by_work() -> dict[str, list[dict[str, Any]]]:
    """The finished cells of each work, as their files hold them, with the command that trains each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for cell in cells_of(list(WORKS)):
        stored = finished(cell)
        if stored is None:
            continue
        stored |= {"seed": cell.seed, "label": cell.label}
        if cell.seed is not None:
            stored["command"] = command_of(configured(WORKS[cell.work].trained[cell.label], cell.seed))
        found.setdefault(cell.work, []).append(stored)
    return found


def write() -> None:
    """Writes the page, and what they reached into the recipes."""
    cells = cells_by_work()
    write_page(FOLDER, cells)
    write_recipes(cells)


def main() -> None:
    """Measures what is missing, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"which: {', '.join(WORKS)} (default: all)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at once, a thread each (default 1)")
    parser.add_argument(
        "--page", action="store_true", help="write docs/results.md and the recipes' results from what there is, and stop"
    )
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for name in given.works:
        if name not in WORKS:
            parser.error(f"unknown work '{name}'; there are {', '.join(WORKS)}")
    if given.cell:
        cell = Cell(*json.loads(given.cell))
        cell.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cell.path, json.dumps(measure(cell), separators=(",", ":")) + "\n")
        return
    if not given.page:
        run_all(list(cells_of(given.works or list(WORKS))), given.jobs)
    write()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
