"""The demonstration: meta-train RL2 on a grid with a hidden goal, and show that its memory adapts. `make demo` runs it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from quickstudy.algorithms.baselines.random import Random
from quickstudy.errors import QuickstudyError
from quickstudy.evaluation import evaluate
from quickstudy.oracles import oracle
from quickstudy.plots import plot_adaptation
from quickstudy.printed import tell
from quickstudy.recipes.tuned import built
from quickstudy.runs.folder import free_folder
from quickstudy.training import train
from quickstudy.wrappers.forgetful import Forgetful


def main() -> None:
    """Trains, evaluates beside a wiped memory, the best that is possible and a random agent, and saves the curves."""
    began = time.monotonic()
    recipe, run = built("grid-navigation/rl2-short"), free_folder(Path("runs") / "demo")
    train(recipe.learner, recipe.iterations, run, command="python -m quickstudy.recipes.grid_navigation")
    agents = {
        "RL2": recipe.learner,
        "RL2, memory wiped after every episode": Forgetful(recipe.learner),
        "Bayes-optimal": oracle("bayes-optimal", recipe.learner.tasks),
        "random": Random(recipe.learner.tasks),
    }
    curves = {name: evaluate(agent, num_tasks=1000) for name, agent in agents.items()}
    for name, curve in curves.items():
        tell(f"\n{name}\n{curve}")
    picture = run / "adaptation.png"
    plot_adaptation(curves, picture, "A goal hidden anew in each trial: return on 1,000 held-out trials")
    tell(f"\nthe curve as a picture: {picture}\nthe run: {run}  (tensorboard --logdir {run})")
    tell(f"all of it took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
    except QuickstudyError as error:
        sys.exit(f"error: {error}")
