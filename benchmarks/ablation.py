"""What each of RL2's settings is worth: one changed at a time, at equal steps, on held-out tasks of several families.

    python benchmarks/ablation.py                        # every cell that is not there yet, seed by seed, then page and picture
    python benchmarks/ablation.py --only bandit-10x100   # the cells of one family
    python benchmarks/ablation.py --jobs 2               # two at once, a thread each
    python benchmarks/ablation.py --page                 # page and picture alone

A cell is a learner on a family, with what differs from its defaults, and a seed: a JSON file in docs/results/ablation, which
holds its settings; change them, and it is trained anew. The page is docs/results/ablation.md, the picture
docs/results/ablation.png.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from quickstudy.algorithms import BASELINES, algorithm
from quickstudy.evaluation import evaluate
from quickstudy.families import make
from quickstudy.ops.statistics import mean_interval
from quickstudy.protocol import Agent, TaskDistribution
from quickstudy.storage import write_atomically
from quickstudy.work.local import InProcess

RESULTS = Path(__file__).parent.parent / "docs" / "results"
FOLDER = RESULTS / "ablation"
TASKS = 1000
"""Held-out tasks on which each cell is scored."""


class Ground(NamedTuple):
    """What learners are trained on, and for how long."""

    says: str
    algorithm: str
    family: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    """What all of its cells have."""
    iterations: int
    variants: tuple[str, ...]


BEFORE, DEFAULT = "shared value, gain 1", "own value, spread"
BOTH = (BEFORE, DEFAULT)
LEVERS: dict[str, Mapping[str, Any]] = {
    BEFORE: {"value": "shared", "initialisation": "orthogonal"},
    "own value, gain 1": {"initialisation": "orthogonal"},
    "shared value, spread": {"value": "shared"},
    DEFAULT: {},
    "... and a cap of .01 on the KL": {"kl_cap": 0.01},
    "... and gamma .99, lambda .3": {"gamma": 0.99, "gae_lambda": 0.3},
    "... and minibatches of 32 trials": {"minibatch_trials": 32},
}
"""Each variant with what differs from the defaults."""
BELIEFS: dict[str, Mapping[str, Any]] = {"gain 1": {"initialisation": "orthogonal"}, "spread": {}}
VARIANTS = LEVERS | BELIEFS
MDP = {"hidden_size": 96, "gamma": 0.95, "gae_lambda": 0.9, "ent_coef": 0.004}
GROUNDS = {
    "bandit-10x100": Ground(
        "ten arms, 100 pulls", "rl2", "bandit", {"arms": 10, "pulls": 100}, {"learning_rate": 3e-3}, 40, tuple(LEVERS)
    ),
    "tabular-mdp-10": Ground("random MDPs, ten episodes", "rl2", "tabular-mdp", {}, MDP, 60, tuple(LEVERS)),
    "point-navigation": Ground("goals in the plane", "rl2", "point-navigation", {}, {}, 20, BOTH),
    "cart-pole": Ground(
        "poles of hidden length and mass", "rl2", "cart-pole", {}, {"trials": 64, "credit": "episode", "gamma": 0.99}, 15, BOTH
    ),
    "grid-navigation": Ground("a hidden goal in a grid", "rl2", "grid-navigation", {}, {"ent_coef": 0.05}, 60, BOTH),
    "frozen-lake": Ground("lakes with hidden holes", "rl2", "frozen-lake", {}, {}, 50, BOTH),
    "belief, grid-navigation": Ground(
        "VariBAD's belief, a hidden goal in a grid",
        "varibad",
        "grid-navigation",
        {},
        {
            "reward_loss": "bernoulli",
            "reward_reads": "arrival",
            "belief_rate": 1e-2,
            "belief_updates": 4,
            "learning_rate": 2e-3,
        },
        40,
        tuple(BELIEFS),
    ),
    "belief, point-navigation": Ground(
        "VariBAD's belief, goals in the plane", "varibad", "point-navigation", {}, {}, 20, tuple(BELIEFS)
    ),
}


class Cell(NamedTuple):
    """One training."""

    ground: str
    variant: str
    seed: int

    @property
    def path(self) -> Path:
        words = "".join(letter if letter.isalnum() else " " for letter in f"{self.ground} {self.variant}").split()
        return FOLDER / f"{'-'.join(words)}-seed{self.seed}.json"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its figures."""
        ground = GROUNDS[self.ground]
        told = dict(ground.settings) | dict(VARIANTS[self.variant])
        options = {"options": dict(ground.options), "iterations": ground.iterations, "seed": self.seed}
        return {"algorithm": ground.algorithm, "family": ground.family, "settings": told, **options}

    def stored(self) -> dict[str, Any] | None:
        """What its file holds, where that is of today's settings."""
        found = json.loads(self.path.read_text()) if self.path.exists() else None
        return found if found and found["settings"] == self.settings else None


def measure(cell: Cell) -> dict[str, Any]:
    """Trains a cell and scores it on held-out tasks."""
    torch.set_num_threads(1)
    ground, entry, began = GROUNDS[cell.ground], algorithm(GROUNDS[cell.ground].algorithm), time.process_time()
    tasks: TaskDistribution = make(ground.family, **ground.options)
    learner = entry.make(tasks, entry.config(**cell.settings["settings"]), seed=cell.seed)
    work = InProcess(tasks)
    rows = [learner.train_step(work) for _ in range(ground.iterations)]
    seconds = time.process_time() - began
    steps = np.cumsum([row["rollout/timesteps"] for row in rows])
    returns = [sum(value for name, value in row.items() if name.startswith("adapt/")) for row in rows]
    return {
        "settings": cell.settings,
        "seconds": round(seconds, 1),
        "steps": steps.tolist(),
        "training": [round(value, 3) for value in returns],
        "trained": scores(learner),
        "random": scores(BASELINES["random"].make(tasks)) if cell.seed == 0 else [],
    }


def scores(agent: Agent) -> list[float]:
    """The return of each held-out trial."""
    return [round(value, 2) for value in evaluate(agent, num_tasks=TASKS).returns.sum(1).tolist()]


def work(cell: Cell) -> None:
    """Measures a cell and writes its file."""
    told = measure(cell)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomically(cell.path, json.dumps(told, separators=(",", ":")) + "\n")


def rows_of(name: str, seeds: int) -> list[str]:
    """A row for each variant of a ground that has been measured."""
    rows = []
    for variant in GROUNDS[name].variants:
        stored = [found for seed in range(seeds) if (found := Cell(name, variant, seed).stored())]
        if not stored:
            continue
        returns = np.array([each["trained"] for each in stored], float)
        low, high = mean_interval(returns)
        minutes = sum(each["seconds"] for each in stored) / 60 / len(stored)
        by_seed = ", ".join(f"{mean:.2f}" for mean in returns.mean(1))
        steps = f"{stored[0]['steps'][-1] / 1e6:.2f} M"
        rows.append(f"| {variant} | {returns.mean():.2f} [{low:.2f}, {high:.2f}] | {by_seed} | {steps} | {minutes:.1f} |")
    return rows


def write_page(seeds: int) -> None:
    """Writes page and picture of all cells that there are."""
    lines = [
        "# What a setting is worth",
        "",
        f"Written by `python benchmarks/ablation.py`: {TASKS:,} held-out tasks, the return of a whole trial with its 95 %",
        "interval over seeds and tasks, at equal steps; minutes are of one core. The settings of a ground are in its files in",
        "`docs/results/ablation`; *...* stands for an own value and spread first weights.",
        "",
    ]
    for name, ground in GROUNDS.items():
        if rows := rows_of(name, seeds):
            lines += [f"## {name}", "", f"{ground.says[0].upper()}{ground.says[1:]}.", ""]
            lines += [
                "| variant | mean [95 % interval] | by seed | steps | minutes |",
                "| --- | --- | --- | --- | --- |",
                *rows,
                "",
            ]
    write_atomically(RESULTS / "ablation.md", "\n".join(lines))
    draw(seeds)


def draw(seeds: int) -> None:
    """Learning curves of the grounds on which every setting was tried: the mean over seeds, in moving means of five."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    grounds = [name for name, ground in GROUNDS.items() if ground.variants == tuple(LEVERS)]
    figure, places = pyplot.subplots(1, len(grounds), figsize=(11, 4.2), layout="constrained")
    for axes, name in zip(places, grounds, strict=True):
        for number, variant in enumerate(LEVERS):
            stored = [found for seed in range(seeds) if (found := Cell(name, variant, seed).stored())]
            if not stored:
                continue
            curve = np.mean([np.convolve(each["training"], np.ones(5) / 5, "valid") for each in stored], axis=0)
            style = "--" if variant == BEFORE else "-"
            axes.plot(np.array(stored[0]["steps"][4:]) / 1e6, curve, style, color=f"C{number}", label=variant)
        axes.set(title=name, xlabel="environment steps (M)", ylabel="return of a trial in training")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*places[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(RESULTS / "ablation.png", dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Measures what is missing, and writes page and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(GROUNDS), choices=list(GROUNDS), metavar="FAMILY")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds of each cell (default 3)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at once, a thread each (default 1)")
    parser.add_argument("--page", action="store_true", help="write page and picture from what there is, and stop")
    given = parser.parse_args()
    cells = [Cell(name, each, seed) for seed in range(given.seeds) for name in given.only for each in GROUNDS[name].variants]
    waiting = [] if given.page else [cell for cell in cells if not cell.stored()]
    if not given.page:
        print(f"{len(cells) - len(waiting)} of {len(cells)} cells are finished", flush=True)
    with ProcessPoolExecutor(given.jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        running = {pool.submit(work, cell): cell for cell in waiting}
        for done in as_completed(running):
            done.result()
            print("done: {}, {}, seed {}".format(*running[done]), flush=True)
    write_page(given.seeds)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
