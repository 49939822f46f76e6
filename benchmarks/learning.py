"""What is learnt, and how well: trains the recipes on several seeds, evaluates them on held-out tasks beside baselines.

    python benchmarks/learning.py                    # all that docs/results has not got yet, then docs/results.md
    python benchmarks/learning.py bandit-10 --again  # one of them, anew

A finished result is a JSON file in docs/results; docs/results.md is written from those files alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from quickstudy.algorithms import BASELINES
from quickstudy.algorithms.baselines import Forgetful, Random
from quickstudy.evaluation import Evaluation, evaluate
from quickstudy.ops.statistics import bootstrap_interval, interquartile_mean
from quickstudy.plots import plot_adaptation
from quickstudy.protocol import Agent, Learner
from quickstudy.recipes import (
    Recipe,
    bandit_10,
    bandit_100,
    cart_pole,
    cart_pole_informed,
    cart_pole_maml,
    cart_pole_multi_task,
    grid_navigation,
    point_navigation_informed,
    point_navigation_maml,
    point_navigation_multi_task,
    point_navigation_rl2,
)
from quickstudy.storage import write_atomically
from quickstudy.training import train

FOLDER = Path(__file__).parent.parent / "docs" / "results"


class Result(NamedTuple):
    """One line of evidence."""

    label: str
    recipe: Callable[[int], Recipe]
    seeds: int
    num_tasks: int
    others: Callable[[Learner], dict[str, Agent]]
    """Agents to stand beside the learner, made from it and not trained."""
    references: dict[str, Callable[[int], Recipe]]
    """Other learners to stand beside it, trained on the same seeds."""
    says: str
    picture: str = ""
    """The title of a picture of return against episodes seen; none without."""


def wiped(every: Any) -> Callable[[Learner], dict[str, Agent]]:
    """The learner with its memory wiped, and a random agent."""
    return lambda learner: {f"memory wiped every {every}": Forgetful(learner, every), "random": Random(learner.tasks)}


RESULTS = {
    "grid-navigation": Result(
        "RL2",
        grid_navigation,
        3,
        1000,
        wiped("episode"),
        {},
        "5x5 cells, 4 episodes of 15 steps: the Bayes-optimal return of a trial is at least 37.2.",
    ),
    "bandit-10": Result(
        "RL2",
        bandit_10,
        3,
        10_000,
        wiped("step"),
        {},
        "5 arms, 10 pulls. The exact optimum is 6.66; Duan et al. 2016 print 6.7 for RL2 and 6.6 for the Gittins index.",
    ),
    "bandit-100": Result(
        "RL2",
        bandit_100,
        3,
        10_000,
        wiped("step"),
        {},
        "5 arms, 100 pulls. Duan et al. 2016 print 78.7 for RL2, 78.3 for the Gittins index and 74.7 for Thompson sampling.",
    ),
    "cart-pole": Result(
        "RL2",
        cart_pole,
        1,
        500,
        wiped("step"),
        {"task-informed": cart_pole_informed, "multi-task": cart_pole_multi_task},
        "A trial is 2 episodes of at most 500 steps; whether the buttons are swapped is hidden.",
    ),
    "point-navigation": Result(
        "MAML",
        point_navigation_maml,
        1,
        400,
        lambda learner: {"from-scratch": BASELINES["from-scratch"](learner.tasks, config=learner.config)},
        {"RL2": point_navigation_rl2, "task-informed": point_navigation_informed, "multi-task": point_navigation_multi_task},
        "Goals in a square of side 1, dense reward, 4 episodes of 100 steps; MAML and from-scratch live 20 lanes at once.",
        "point-navigation: return on 400 held-out goals",
    ),
    "cart-pole-maml": Result(
        "MAML",
        cart_pole_maml,
        1,
        400,
        lambda learner: {"from-scratch": BASELINES["from-scratch"](learner.tasks, config=learner.config)},
        {},
        "A trial is 2 episodes of at most 200 steps, before and after one inner step on 20 lanes; buttons may be swapped.",
    ),
}


def measure(name: str) -> dict[str, Any]:
    """Trains and evaluates one result; returns what its file holds."""
    result, began, scores = RESULTS[name], time.monotonic(), {}
    steps: dict[str, float] = {}
    for seed in range(result.seeds):
        trained = {result.label: result.recipe} | result.references
        for label, recipe in trained.items():
            learner, iterations = recipe(seed)
            last = train(learner, iterations, evaluate_every=0)
            steps[label] = last["time/total_timesteps"]
            agents: dict[str, Agent] = {label: learner} | (result.others(learner) if label == result.label else {})
            for agent_name, agent in agents.items():
                scores.setdefault(agent_name, []).append(evaluate(agent, num_tasks=result.num_tasks))
    if result.picture:
        first = {agent: evaluations[0] for agent, evaluations in scores.items()}
        plot_adaptation(first, FOLDER / f"{name}.png", result.picture, against="seen")
    return {
        "name": name,
        "says": result.says,
        "picture": result.picture,
        "command": f"python benchmarks/learning.py {name} --again",
        "seeds": result.seeds,
        "num_tasks": result.num_tasks,
        "steps": steps,
        "seconds": round(time.monotonic() - began),
        "threads": torch.get_num_threads(),
        "agents": {agent: summary(evaluations) for agent, evaluations in scores.items()},
    }


def summary(evaluations: list[Evaluation]) -> dict[str, Any]:
    """The return of whole trials over seeds and tasks, with its interval, and of each episode."""
    trials = np.stack([evaluation.returns.sum(1).double().numpy() for evaluation in evaluations])
    episodes = np.stack([evaluation.returns.double().numpy() for evaluation in evaluations]).transpose(2, 0, 1)
    low, high = bootstrap_interval(trials)
    return {
        "mean": float(trials.mean()),
        "iqm": float(interquartile_mean(trials.ravel())),
        "low": low,
        "high": high,
        "by_seed": [float(row.mean()) for row in trials],
        "episodes": [
            {"iqm": float(interquartile_mean(scores.ravel())), "interval": bootstrap_interval(scores)} for scores in episodes
        ],
    }


def stored(name: str) -> dict[str, Any] | None:
    """A finished result; None where it was never measured, or without what the page shows today."""
    path = FOLDER / f"{name}.json"
    result = json.loads(path.read_text()) if path.exists() else {"agents": {}}
    agents = result["agents"].values()
    return result if agents and all("episodes" in agent for agent in agents) else None


def page() -> str:
    """docs/results.md, from the files of the finished results."""
    lines = [
        "# Results",
        "",
        "Written by `python benchmarks/learning.py` (`make results`) from the files in `docs/results/`.",
        "Actions are sampled, tasks are held out, evaluations during these trainings are off.",
        "Mean and interquartile mean (IQM) are of the return of a whole trial; the interval is the 95 % bootstrap interval",
        "of the IQM (several seeds: seeds are resampled, then tasks).",
        "",
        "Continuous tasks were drawn otherwise when these were measured (2026-11-22): the same supports, other draws.",
    ]
    for name in RESULTS:
        result = stored(name)
        if result is None:
            continue
        minutes = result["seconds"] / 60
        lines += [
            "",
            f"## {name}",
            "",
            f"{result['says']} {result['num_tasks']:,} held-out tasks, {result['seeds']} seed{'s' * (result['seeds'] > 1)},"
            f" {minutes:.1f} minutes in all on {result['threads']} threads. `{result['command']}`",
            "",
            "| agent | environment steps | mean | IQM | 95 % interval | mean by seed | IQM by episode [95 % interval] |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for agent, row in result["agents"].items():
            steps = f"{result['steps'][agent]:,.0f}" if agent in result["steps"] else ""
            seeds = ", ".join(f"{mean:.2f}" for mean in row["by_seed"])
            episodes = ", ".join("{:.2f} [{:.2f}, {:.2f}]".format(each["iqm"], *each["interval"]) for each in row["episodes"])
            figures = f"{row['mean']:.2f} | {row['iqm']:.2f} | {row['low']:.2f} to {row['high']:.2f}"
            lines.append(f"| {agent} | {steps} | {figures} | {seeds} | {episodes} |")
        if result.get("picture"):
            lines += ["", f"![{result['picture']}](results/{name}.png)"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures what is missing or named, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(RESULTS)} (default: all)")
    parser.add_argument("--again", action="store_true", help="measure even what docs/results has already")
    given = parser.parse_args()
    for name in given.names or RESULTS:
        if name not in RESULTS:
            parser.error(f"unknown result '{name}'")
        if given.again or stored(name) is None:
            write_atomically(FOLDER / f"{name}.json", json.dumps(measure(name), indent=1) + "\n")
        (FOLDER.parent / "results.md").write_text(page())


if __name__ == "__main__":
    main()
