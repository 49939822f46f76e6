"""Worlds that change in mid-episode: how much of what a planner loses there is won back by a model that adapts.

    python benchmarks/changes.py                     # every cell that is not there yet, then page and picture
    python benchmarks/changes.py --only pendulum     # those of one world
    python benchmarks/changes.py --page              # page and picture alone

A cell is an agent in a world, and a seed: a JSON file in docs/results/changes, which holds its settings; change them, and it is
trained anew. The page is docs/results/changes.md, the picture docs/results/changes.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from quickstudy.algorithms import BASELINES, algorithm
from quickstudy.data.rollout import Lifetime, collect_lives, draw_tasks
from quickstudy.families import make
from quickstudy.oracles import oracle
from quickstudy.oracles.planner import PlannerOptions
from quickstudy.protocol import Agent, Shard, TaskDistribution
from quickstudy.storage import write_atomically
from quickstudy.work.local import InProcess, LocalSite

RESULTS = Path(__file__).parent.parent / "docs" / "results"
FOLDER = RESULTS / "changes"
TASKS = 32
"""Held-out tasks on which each cell is scored, an episode each."""
BEFORE, AFTER = 50, 150
"""Steps around the change that are looked at; recovery is over those from 50 on after it."""


class World(NamedTuple):
    """A family that changes, how learners plan in it while they train, and how long each is trained."""

    family: str
    options: Mapping[str, Any]
    search: Mapping[str, Any]
    learners: Mapping[str, tuple[int, Mapping[str, Any]]]
    """Each with its meta-iterations and what differs from its defaults."""
    seeds: int = 3


SEARCH = {"plan_steps": 20, "candidates": 64, "refits": 3}
"""With 15 steps the oracle itself wins back no more than .9 of a swinging pendulum."""
BUTTONS = {**SEARCH, "candidates": 128, "elite_share": 0.2, "noise_color": 0.0}
ONE = {"members": 1, "particles": 1}
MODELS = {"grbal": {"past_steps": 6, "future_steps": 10}, "rebal": {}, "cadm": {"past_steps": 6, **ONE}, "mpc": ONE}
WITHOUT_MODEL: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "rl2": (60, {"trials": 256, "learning_rate": 0.002, "minibatch_trials": 32})
}
ONCE = {"episodes_per_trial": 1}
WHOLE = {"changes": True, "max_episode_steps": 300, **ONCE}


def trained(iterations: int, *names: str, **options: Any) -> Mapping[str, tuple[int, Mapping[str, Any]]]:
    """Methods that plan, all on as much, and RL2 without a model."""
    return {**{name: (iterations, {**options, **MODELS[name]}) for name in names or MODELS}, **WITHOUT_MODEL}


WORLDS = {
    "pendulum": World("pendulum", WHOLE, SEARCH, trained(16, trials=16, updates=500)),
    "cart-pole": World("cart-pole", WHOLE, BUTTONS, trained(12, trials=16, updates=400)),
    "half-cheetah, torques reversed": World(
        "half-cheetah-crippled",
        {"change": "signs", **ONCE},
        {**SEARCH, "plan_steps": 12},
        trained(40, "grbal", "mpc", trials=10, updates=400),
    ),
}
CEILING, CHANCE, UNADAPTED = "planner, told", "random", "mpc"
LATE = {f"planner, told {steps} steps late": steps for steps in (2, 5, 10)}
"""What noticing so late is worth, to who plans in true dynamics otherwise."""


def agent_of(name: str, world: str, tasks: TaskDistribution, seed: int) -> tuple[Agent, int]:
    """An agent, trained where it learns, and the steps that it learnt from."""
    plans = WORLDS[world].search
    if name == CEILING or name in LATE:
        return oracle("planner", tasks, PlannerOptions(**plans, notice=LATE.get(name))), 0
    if name == CHANCE:
        return BASELINES[name].make(tasks), 0
    iterations, options = WORLDS[world].learners[name]
    entry = algorithm(name)
    plans = {} if name in WITHOUT_MODEL else plans
    learner, work, steps = entry.make(tasks, entry.config(**plans, **options), seed=seed), InProcess(tasks), 0.0
    for _ in range(iterations):
        steps += learner.train_step(work)["rollout/timesteps"]
    return learner, round(steps)


def around_the_change(agent: Agent, seed: int) -> tuple[list[float], list[float]]:
    """Mean reward at each step from BEFORE before the change to AFTER behind it, and how many tasks had that step.

    After an episode's end nothing is paid: those steps count with zero.
    """
    site, shard = LocalSite(agent.tasks), Shard(seed, 0, 0, TASKS, "test")
    change = draw_tasks(site, shard)["change_step"].ceil().long()
    life = Lifetime(agent.explorer(), agent.adapt, 1, 1)
    [experience] = collect_lives(site, life, shard)
    limit = agent.tasks.max_episode_steps
    paid = torch.zeros(TASKS, limit)
    reward = (experience.transition.reward * experience.valid)[:, 0]
    paid[:, : reward.shape[1]] = reward
    step = change[:, None] + torch.arange(-BEFORE, AFTER)
    there = (step >= 0) & (step < limit)
    taken = paid.gather(1, step.clamp(0, limit - 1)) * there
    count = there.sum(0)
    return (taken.sum(0) / count.clamp(min=1)).tolist(), count.tolist()


def cell(name: str, world: str, seed: int) -> dict[str, Any]:
    """What a cell comes to, from its file where that has the same settings."""
    file, here = FOLDER / f"{world}, {name}, {seed}.json", WORLDS[world]
    settings = {"options": here.options, "search": here.search, "learner": here.learners.get(name), "tasks": TASKS}
    settings = json.loads(json.dumps(settings))
    if file.exists() and (stored := json.loads(file.read_text()))["settings"] == settings:
        return stored
    began, tasks = time.process_time(), make(here.family, **here.options)
    agent, steps = agent_of(name, world, tasks, seed)
    trained = time.process_time()
    reward, count = around_the_change(agent, seed)
    minutes = [(trained - began) / 60, (time.process_time() - trained) / 60]
    found = {"settings": settings, "steps": steps, "minutes": minutes, "reward": reward, "count": count}
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(found).encode())
    print(
        f"{world}, {name}, seed {seed}: {recovered(found):.3f} a step, {minutes[0]:.1f} + {minutes[1]:.1f} minutes", flush=True
    )
    return found


def recovered(found: Mapping[str, Any], start: int = 50) -> float:
    """The mean reward of a step from `start` steps after the change on; each step weighs as many tasks as had it."""
    reward, count = (np.array(found[name])[BEFORE + start :] for name in ("reward", "count"))
    return float((reward * count).sum() / count.sum())


def names_of(world: str) -> list[str]:
    """Who is scored in a world; the oracle plans where dynamics are pure functions, which MuJoCo's aren't."""
    told = [] if world.startswith("half-cheetah") else [CEILING, *LATE]
    return [*told, *WORLDS[world].learners, CHANCE]


def stored(world: str) -> dict[str, list[dict[str, Any]]]:
    """The cells of a world that there are, by agent."""
    found = {
        name: [
            json.loads(file.read_text())
            for seed in range(WORLDS[world].seeds)
            if (file := FOLDER / f"{world}, {name}, {seed}.json").exists()
        ]
        for name in names_of(world)
    }
    return {name: cells for name, cells in found.items() if cells}


def page() -> str:
    """The tables, with what falls short of what was asked for."""
    lines = [
        "# Worlds that change in mid-episode",
        "",
        f"Written by `python benchmarks/changes.py`: {TASKS} held-out tasks a seed, an episode each. In each the "
        "physics change at a hidden step, and motors or buttons are reversed. The figure is the mean reward of "
        "a step from 50 to 150 steps after the change, as far as episodes go; after an episode's end nothing is paid. "
        "Recovery is (agent - unadapted) / (told - unadapted), where unadapted is `mpc`, which learns one model of "
        "all tasks, with the same seed, and told is the oracle `planner`, which plans in the task's true dynamics with "
        "the same search. Told late, it knows of nothing until so many steps after the change. RL2 learns no model; what it "
        "takes is in the column of the steps. "
        "Minutes are of one core, to train and to score. The settings of a cell are in its file in "
        "`docs/results/changes`.",
        "",
        "![Mean reward by step around the change](changes.png)",
    ]
    for world in WORLDS:
        cells = stored(world)
        if {UNADAPTED, CHANCE} <= cells.keys():
            lines += ["", f"## {world}", "", *table(cells)]
    return "\n".join(lines) + "\n"


def table(cells: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """A world's rows, with recovery where somebody is told."""
    means = {name: float(np.mean([recovered(each) for each in found])) for name, found in cells.items()}
    lines = []
    if CEILING in cells:
        cost = (means[CEILING] - means[UNADAPTED]) / (means[CEILING] - means[CHANCE])
        lines = [f"The change costs the unadapted planner {cost:.2f} of what lies between told and chance.", ""]
    head = ["agent", "reward a step before", "50 to 150 steps after", "by seed"]
    head += ["recovery, by seed"] if CEILING in cells else []
    head += ["steps to train", "minutes"]
    lines += [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    for name, found in cells.items():
        figures = [recovered(each) for each in found]
        row = [name, f"{np.mean([each['reward'][:BEFORE] for each in found]):.3f}", f"{means[name]:.3f}"]
        row.append(", ".join(f"{figure:.3f}" for figure in figures))
        if CEILING in cells:
            shares = [
                (figure - recovered(low)) / (recovered(high) - recovered(low))
                for figure, low, high in zip(figures, cells[UNADAPTED], cells[CEILING], strict=False)
            ]
            row.append(f"{np.mean(shares):.2f} ({', '.join(f'{each:.2f}' for each in shares)})")
        minutes = " + ".join(f"{np.mean([each['minutes'][part] for each in found]):.1f}" for part in (0, 1))
        row += [f"{found[0]['steps']:,}", minutes]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def picture() -> None:
    """Mean reward by step around the change, smoothed over ten steps; told late is in the table alone."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from quickstudy.looks import looks_of

    worlds = [world for world in WORLDS if stored(world)]
    figure, places = pyplot.subplots(1, len(worlds), figsize=(5.6 * len(worlds), 4.2), layout="constrained", squeeze=False)
    for world, axes in zip(worlds, places[0], strict=True):
        cells = {name: found for name, found in stored(world).items() if name not in LATE}
        for (name, found), look in zip(cells.items(), looks_of(list(cells)), strict=True):
            reward = np.mean([each["reward"] for each in found], axis=0)
            smooth = np.convolve(reward, np.ones(10) / 10, mode="valid")
            style = {"linestyle": (0, look.dash)} if look.dash else {}
            axes.plot(np.arange(len(smooth)) - BEFORE + 5, smooth, color=look.light, label=name, **style)
        axes.axvline(0, color="#888888", linewidth=0.8)
        axes.set_title(world)
        axes.set_xlabel("steps after the change")
        axes.set_ylabel("reward of a step")
        axes.legend(fontsize=8)
    figure.savefig(RESULTS / "changes.png", dpi=110)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(WORLDS), help="one world")
    parser.add_argument("--agents", nargs="+", help="these agents alone")
    parser.add_argument("--seeds", type=int, default=3, help="at most so many of each cell")
    parser.add_argument("--page", action="store_true", help="page and picture alone")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed in range(0 if options.page else options.seeds):
        for world in [options.only] if options.only else WORLDS:
            for name in options.agents or names_of(world) if seed < WORLDS[world].seeds else ():
                cell(name, world, seed)
    (RESULTS / "changes.md").write_text(page())
    picture()


if __name__ == "__main__":
    main(sys.argv[1:])
