"""The demonstration: meta-train RL2 on a grid with a hidden goal, and show that its memory adapts: `quickstudy demo`."""

from __future__ import annotations

import time
from pathlib import Path

from quickstudy.algorithms.baselines.random import Random
from quickstudy.evaluation import evaluate
from quickstudy.oracles import oracle
from quickstudy.plots import plot_adaptation
from quickstudy.printed import say, tell
from quickstudy.protocol import Learner
from quickstudy.recipes.tuned import built
from quickstudy.runs import load
from quickstudy.runs.folder import free_folder
from quickstudy.storage import read_text
from quickstudy.training import resume, train
from quickstudy.wrappers.forgetful import Forgetful

COMMAND = "quickstudy demo"
"""By which a run is known for the demonstration's: what it says is compared, and nothing of it is run."""
PICTURE = "adaptation.png"


def show(run: Path | None = None, iterations: int = 0, num_tasks: int = 1000) -> None:
    """Trains, evaluates beside a wiped memory, the best that is possible and a random agent, and saves the curves.

    A demonstration that was stopped goes on: the one in `run`, or that in runs/demo.
    """
    began = time.monotonic()
    folder = run or Path("runs") / "demo"
    if is_unfinished(folder):
        resume(folder)
        finish(folder, num_tasks=num_tasks)
    else:
        recipe, folder = built("grid-navigation/rl2-short"), run or free_folder(folder)
        train(recipe.learner, iterations or recipe.iterations, folder, command=COMMAND)
        finish(folder, recipe.learner, num_tasks)
    tell(f"all of it took {time.monotonic() - began:.0f} s")


def is_unfinished(run: Path) -> bool:
    """Whether a folder holds a demonstration that was stopped before its picture was drawn."""
    command = run / "command.txt"
    return command.is_file() and not (run / PICTURE).exists() and read_text(command).strip() == COMMAND


def finish(run: Path, learner: Learner | None = None, num_tasks: int = 1000) -> None:
    """Compares the learner that was trained with others, and draws how each adapts."""
    learner = learner or load(run)
    agents = {
        "RL2": learner,
        "RL2, memory wiped after every episode": Forgetful(learner),
        "Bayes-optimal": oracle("bayes-optimal", learner.tasks),
        "random": Random(learner.tasks),
    }
    curves = {}
    for name, agent in agents.items():
        say(f"evaluating on {num_tasks:,} held-out tasks: {name} ...")
        curves[name] = evaluate(agent, num_tasks=num_tasks)
    for name, curve in curves.items():
        tell(f"\n{name}\n{curve}")
    plot_adaptation(curves, run / PICTURE, f"A goal hidden anew in each trial: return on {num_tasks:,} held-out trials")
    tell(f"\nthe curve as a picture: {run / PICTURE}\nthe run: {run}  (tensorboard --logdir {run})")
