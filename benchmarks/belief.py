"""How right VariBAD's belief is on grid navigation, beside the exact posterior: the goal that it decodes, step by step.

    python benchmarks/belief.py RUN...     # folders of runs, or none: the cells of docs/results that are still in runs/

In trials of the learner's own, at every step: the decoded chance of each cell to pay, a mean over 64 samples of the belief,
normalised over cells. The exact posterior is uniform over the goal cells that were not entered, or the cell where the goal was
met. Distances are total variation; the prior is what one believes who has seen nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.data.rollout import Plan, collect
from quickstudy.insight import KnowsTasks, Trial
from quickstudy.oracles.posteriors import Posterior, posterior_of
from quickstudy.protocol import Learner, Shard
from quickstudy.report.cells import exact, foretold
from quickstudy.runs import load
from quickstudy.work import LocalSite

RUNS = Path(__file__).parent.parent / "runs" / "results" / "grid-navigation"


def total_variation(one: Float[Tensor, "*lead cell"], other: Float[Tensor, "*#lead cell"]) -> Float[Tensor, "*lead"]:
    """The largest difference between the chances that two distributions give to one event."""
    return 0.5 * (one - other).abs().sum(-1)


def measure(learner: Learner, posterior: Posterior, trials: int = 400) -> tuple[float, float] | None:
    """The mean distance of the foretold goal to the exact posterior, and that of the prior, over all steps of new trials.

    None for a learner whose belief doesn't tell which cells pay.
    """
    if not isinstance(learner, KnowsTasks):
        return None
    tasks, policy = learner.tasks, learner.explorer()
    plan = Plan(policy, 1, tasks.max_episode_steps * tasks.episodes_per_trial, tasks.episodes_per_trial)
    experience = collect(LocalSite(tasks), plan, Shard(learner.seed, 0, 0, trials, "test"))
    truth = exact(posterior, experience.percept).flatten(0, 2)
    believed = learner.known(Trial([policy, policy], [experience])).believed
    told = believed and foretold(learner, posterior, *(part[0].flatten(0, 1) for part in believed))
    if told is None:
        return None
    return (
        total_variation(told, truth).mean().item(),
        total_variation(posterior.prior.expand_as(truth), truth).mean().item(),
    )


def main() -> None:
    """Prints a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of VariBAD's runs on grid navigation")
    given = parser.parse_args()
    runs = given.runs or sorted(RUNS.glob("VariBAD-seed*"))
    if not runs:
        sys.exit("error: no run of VariBAD on grid navigation; train one: python benchmarks/results.py grid-navigation")
    torch.set_num_threads(1)
    print("| run | distance of the belief to the exact posterior | of the prior | share |\n| --- | --- | --- | --- |")
    for run in runs:
        learner = load(run)
        posterior = posterior_of(learner.tasks)
        found = posterior and measure(learner, posterior)
        if not found:
            sys.exit(f"error: {run} is no run of VariBAD on a grid that predicts whether a reward is above zero")
        ours, known = found
        print(f"| {run.name} | {ours:.3f} | {known:.3f} | {ours / known:.2f} |", flush=True)


if __name__ == "__main__":
    main()
