"""A teacher that is told the task, and its student: what imitating is worth beside RL2 at equal steps, and what it can't teach.

    python benchmarks/distillation.py                     # every cell that is not there yet, then the page
    python benchmarks/distillation.py --only cart-pole    # those of one world
    python benchmarks/distillation.py --page              # the page alone

A cell is all agents of a world, from one seed: a JSON file in docs/results/distillation, which holds its settings; change them,
and it is trained anew. The page is docs/results/distillation.md.
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
from lamp import LAMP

from quickstudy.algorithms import algorithm
from quickstudy.evaluation import evaluate
from quickstudy.families import make
from quickstudy.protocol import Learner, TaskDistribution
from quickstudy.storage import write_atomically
from quickstudy.work.local import InProcess

RESULTS = Path(__file__).parent.parent / "docs" / "results"
FOLDER = RESULTS / "distillation"
TASKS = 500
"""Held-out tasks on which each cell is scored, a trial each."""
TEACHER, ALONE, LONGER, STUDENT, IMITATOR = "task-informed", "RL2", "RL2, the teacher's steps too", "student", "imitator"
AGENTS = {
    TEACHER: "the teacher, which is told the task",
    ALONE: "RL2 as it is, after as many steps as the student",
    LONGER: "the same, after the teacher's steps besides",
    STUDENT: "RL2 that imitates as well, with a weight that falls from 1 to 0",
    IMITATOR: "RL2 whose imitating weighs 100 from the first meta-iteration to the last",
}


class World(NamedTuple):
    """Tasks, how long teacher and student learn there, and what differs from their defaults."""

    told: str
    family: str
    options: Mapping[str, Any]
    teacher: tuple[int, Mapping[str, Any]]
    """Meta-iterations, of as many steps each."""
    student: tuple[int, Mapping[str, Any]]
    """Environment steps."""
    imitating: int
    """Meta-iterations over which the weight falls to nothing: about half."""
    seeds: int = 2

    @property
    def tasks(self) -> TaskDistribution:
        return make(self.family, **self.options) if self.family else LAMP


WORLDS = {
    "lamp": World(
        "A dark room with 8 doors and a lamp that shows the right one (`benchmarks/lamp.py`), 2 steps a trial. Told, one"
        " returns 2; lighting the lamp first returns 1; guessing twice, 3/8. The teacher never lights the lamp.",
        "",
        {},
        (60, {"n_envs": 256}),
        (51_200, {"learning_rate": 5e-3, "gamma": 1.0, "ent_coef": 0.05}),
        imitating=50,
    ),
    "tabular-mdp": World(
        "10 states, 5 actions, 10 episodes of 10 steps a trial.",
        "tabular-mdp",
        {},
        (60, {"n_envs": 256, "hidden_size": 256, "ent_coef": 0.004, "gamma": 0.95}),
        (409_600, {"gamma": 0.95, "gae_lambda": 0.9, "ent_coef": 0.004}),
        imitating=8,
    ),
    "cart-pole": World(
        "Two episodes of at most 100 steps a trial; pole, gravity and force vary, and the buttons may be swapped.",
        "cart-pole",
        {"max_episode_steps": 100},
        (40, {}),
        (100_000, {"trials": 64, "gamma": 0.99, "credit": "episode", "ent_coef": 0.01}),
        imitating=8,
    ),
}


def trained(learner: Learner, iterations: int, steps: float = 0.0) -> float:
    """Meta-iterations, all of them or until so many steps are taken; the steps that were."""
    work, taken = InProcess(learner.tasks), 0.0
    while learner.iteration < iterations or taken < steps:
        taken += learner.train_step(work)["rollout/timesteps"]
    return taken


def told(learner: Learner, steps: float) -> dict[str, Any]:
    """What a learner returns on held-out tasks."""
    return {"steps": round(steps), "by_episode": evaluate(learner, num_tasks=TASKS).returns.mean(0).tolist()}


def lives(world: str, seed: int) -> dict[str, Any]:
    """All agents of a world from one seed, each with what it came to."""
    here = WORLDS[world]
    tasks, (teaching, teacher_options), (learning, options) = here.tasks, here.teacher, here.student
    informed = algorithm("task-informed")
    teacher = informed.make(tasks, informed.config(**teacher_options), seed=seed)
    found, taught = {}, trained(teacher, teaching)
    found[TEACHER] = told(teacher, taught)
    rl2 = algorithm("rl2")
    most = 0.0
    for name, more in (
        (STUDENT, {"teacher": "told", "imitate_iterations": here.imitating}),
        (IMITATOR, {"teacher": "told", "imitate": 100.0, "imitate_iterations": 0}),
    ):
        student: Any = rl2.make(tasks, rl2.config(**{**options, **more}), seed=seed)
        student.learn_from(teacher)
        steps = trained(student, 0, learning)
        found[name], most = told(student, steps), max(most, steps if name == STUDENT else 0.0)
    alone = rl2.make(tasks, rl2.config(**options), seed=seed)
    steps = trained(alone, 0, most)
    found[ALONE] = told(alone, steps)
    steps += trained(alone, 0, taught)
    found[LONGER] = told(alone, steps)
    return {name: found[name] for name in AGENTS}


def cell(world: str, seed: int) -> None:
    """Measures what isn't in its file yet, or is there under other settings."""
    file, here = FOLDER / f"{world}, {seed}.json", WORLDS[world]
    settings = json.loads(json.dumps([here.options, here.teacher, here.student, here.imitating, TASKS]))
    if file.exists() and json.loads(file.read_text())["settings"] == settings:
        return
    began = time.process_time()
    found = {"settings": settings, "agents": lives(world, seed), "minutes": (time.process_time() - began) / 60}
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(found, indent=1).encode())
    figures = ", ".join(f"{name} {sum(each['by_episode']):.2f}" for name, each in found["agents"].items())
    print(f"{world}, seed {seed}, {found['minutes']:.1f} minutes: {figures}", flush=True)


def page() -> str:
    """The tables."""
    lines = [
        "# Distillation: a teacher that is told the task",
        "",
        f"Written by `python benchmarks/distillation.py`. Figures are the mean return of a trial on {TASKS} held-out tasks, by"
        " seed, and the mean of its episodes over the seeds. All that a student has that RL2 hasn't is `teacher`. Settings are"
        " in the files of `docs/results/distillation`.",
        "",
        *(f"- *{name}*: {about}." for name, about in AGENTS.items()),
    ]
    for world, here in WORLDS.items():
        files = [FOLDER / f"{world}, {seed}.json" for seed in range(here.seeds)]
        cells = [json.loads(file.read_text()) for file in files if file.exists()]
        if not cells:
            continue
        minutes = ", ".join(f"{cell['minutes']:.1f}" for cell in cells)
        lines += ["", f"## {world}", "", f"{here.told} Minutes of a core, all agents of a seed: {minutes}.", ""]
        lines += ["| agent | trial | by seed | episodes | steps |", "| --- | --- | --- | --- | --- |"]
        for name in AGENTS:
            returns = np.array([cell["agents"][name]["by_episode"] for cell in cells])
            by_seed = ", ".join(f"{value:.2f}" for value in returns.sum(1))
            episodes = ", ".join(f"{value:.2f}" for value in returns.mean(0))
            steps = f"{np.mean([cell['agents'][name]['steps'] for cell in cells]):,.0f}"
            lines.append(f"| {name} | {returns.sum(1).mean():.2f} | {by_seed} | {episodes} | {steps} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(WORLDS), help="one world")
    parser.add_argument("--seeds", type=int, default=3, help="at most so many of each world")
    parser.add_argument("--page", action="store_true", help="the page alone")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed in range(0 if options.page else options.seeds):
        for world in [options.only] if options.only else WORLDS:
            if seed < WORLDS[world].seeds:
                cell(world, seed)
    (RESULTS / "distillation.md").write_text(page())


if __name__ == "__main__":
    main(sys.argv[1:])
