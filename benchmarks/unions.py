"""One learner over four families: what it returns on each beside a learner of its own, and on a family that it never met.

    python benchmarks/unions.py            # every cell that is not there yet, then the page
    python benchmarks/unions.py --page     # the page alone

A cell is what one learner was trained on: a JSON file in docs/results/union, which holds its settings; change them, and it is
trained anew. The page is docs/results/union.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from quickstudy.algorithms.baselines.random import Random
from quickstudy.algorithms.memory.rl2 import RL2, Config
from quickstudy.evaluation import evaluate
from quickstudy.families import make
from quickstudy.families.union import Union
from quickstudy.protocol import TaskDistribution
from quickstudy.storage import write_atomically
from quickstudy.work.local import InProcess

RESULTS = Path(__file__).parent.parent / "docs" / "results"
FOLDER = RESULTS / "union"
FAMILIES: dict[str, dict[str, Any]] = {
    "bandit": {"pulls": 15},
    "tabular-mdp": {"states": 5, "horizon": 15},
    "grid-navigation": {},
    "frozen-lake": {"size": 4, "max_episode_steps": 15},
}
EPISODES, TASKS, ITERATIONS, LATER = 2, 400, 100, 25
"""Episodes of a trial; held-out tasks of each figure; meta-iterations of the union, and on the family that was left out."""
LEFT_OUT = "grid-navigation"
SETTINGS: dict[str, Any] = {"families": FAMILIES, "episodes": EPISODES, "tasks": TASKS, "iterations": [ITERATIONS, LATER]}
OWN = {name: make(name, **options, episodes_per_trial=EPISODES) for name, options in FAMILIES.items()}
ALL = Union(*OWN.values())
OTHERS = ALL.only(*(name for name in FAMILIES if name != LEFT_OUT))


def trained(learner: RL2, iterations: int) -> dict[str, float]:
    """So many more meta-iterations; the steps that they took."""
    work = InProcess(learner.tasks)
    return {"steps": sum(learner.train_step(work)["rollout/timesteps"] for _ in range(iterations))}


def returned(learner: Any, tasks: TaskDistribution) -> float:
    """The mean return of a trial on held-out tasks."""
    return float(evaluate(learner, tasks, num_tasks=TASKS).returns.sum(1).mean())


def moved(learner: RL2, tasks: TaskDistribution) -> RL2:
    """A learner with what another one has learnt, on other tasks of the same spaces."""
    other = RL2(tasks, learner.config)
    other.load_state_dict(learner.state_dict())
    return other


def over_all() -> dict[str, Any]:
    """One learner of all families."""
    learner = RL2(ALL, Config())
    steps = trained(learner, ITERATIONS)
    return steps | {"returns": {name: returned(learner, ALL.only(name)) for name in FAMILIES}}


def of_its_own(name: str) -> dict[str, Any]:
    """A learner of one family, after a quarter of the union's meta-iterations and after as many."""
    learner = RL2(OWN[name], Config())
    found: dict[str, Any] = {"random": returned(Random(OWN[name]), OWN[name])}
    share = trained(learner, ITERATIONS // len(FAMILIES))
    found["share"] = share | {"return": returned(learner, OWN[name])}
    rest = trained(learner, ITERATIONS - ITERATIONS // len(FAMILIES))
    return found | {"whole": {"steps": share["steps"] + rest["steps"], "return": returned(learner, OWN[name])}}


def left_out() -> dict[str, Any]:
    """A learner of all families but one, on that one: at once, and after a few meta-iterations there, beside a new learner."""
    here, found = ALL.only(LEFT_OUT), {}
    met, new = RL2(OTHERS, Config()), RL2(here, Config())
    steps = trained(met, ITERATIONS)
    for name, learner in (("after the others", moved(met, here)), ("from scratch", new)):
        at_once = returned(learner, here)
        later = trained(learner, LATER)
        found[name] = {"at once": at_once, "later": returned(learner, here), **later}
    return found | {"met": steps}


CELLS: dict[str, Callable[[], dict[str, Any]]] = {
    "union": over_all,
    "left out": left_out,
    **{name: (lambda name=name: of_its_own(name)) for name in FAMILIES},
}


def stored(name: str) -> dict[str, Any] | None:
    """A cell, where it has been measured under today's settings."""
    file = FOLDER / f"{name}.json"
    found = json.loads(file.read_text()) if file.exists() else None
    return found if found and found["settings"] == SETTINGS else None


def cell(name: str) -> None:
    """Measures what isn't there yet."""
    if stored(name):
        return
    began = time.process_time()
    found = {"settings": SETTINGS, **CELLS[name](), "minutes": (time.process_time() - began) / 60}
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomically(FOLDER / f"{name}.json", json.dumps(found, indent=1).encode())
    print(name, {key: value for key, value in found.items() if key != "settings"}, flush=True)


def page() -> str:
    """The tables, of the cells that there are."""
    cells = {name: found for name in CELLS if (found := stored(name))}
    lines = [
        "# One learner over several families",
        "",
        f"Written by `python benchmarks/unions.py`: RL2 with its default settings, one seed, {EPISODES} episodes a trial, the"
        f" mean return of a trial on {TASKS} held-out tasks of each family. Settings are in the files of `docs/results/union`."
        " One seed says little of another.",
    ]
    if cells.keys() >= {"union", *FAMILIES}:
        union, minutes = cells["union"], sum(found["minutes"] for found in cells.values())
        lines += [
            "",
            f"The union took {union['steps']:,.0f} steps, a quarter of its trials in each family. A learner of its own is shown"
            f" after {ITERATIONS // len(FAMILIES)} meta-iterations, in which it has as many trials of its family as the union"
            f" had, and after {ITERATIONS}, as many trials as the union in all. Minutes of a core, in all: {minutes:.1f}.",
            "",
            "| family | random | of its own, as many trials of the family | the union | of its own, as many trials in all |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name in FAMILIES:
            own = cells[name]
            share, whole = (f"{own[part]['return']:.2f} ({own[part]['steps']:,.0f} steps)" for part in ("share", "whole"))
            lines.append(f"| {name} | {own['random']:.2f} | {share} | {union['returns'][name]:.2f} | {whole} |")
    if found := cells.get("left out"):
        lines += [
            "",
            f"## {LEFT_OUT} left out",
            "",
            f"The others took {found['met']['steps']:,.0f} steps. Then {LATER} meta-iterations on {LEFT_OUT} alone.",
            "",
            f"| learner | at once | after {LATER} meta-iterations there | steps there |",
            "| --- | --- | --- | --- |",
        ]
        for name in ("after the others", "from scratch"):
            each = found[name]
            lines.append(f"| {name} | {each['at once']:.2f} | {each['later']:.2f} | {each['steps']:,.0f} |")
        if union := cells.get("union"):
            lines += ["", f"With it among the union's families: {union['returns'][LEFT_OUT]:.2f}."]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="the page alone")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in () if options.page else CELLS:
        cell(name)
    (RESULTS / "union.md").write_text(page())


if __name__ == "__main__":
    main(sys.argv[1:])
