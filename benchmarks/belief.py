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
from torch.func import functional_call
from torch.nn import functional

from quickstudy.algorithms.varibad import VariBAD
from quickstudy.data.rollout import Plan, collect
from quickstudy.nets.belief import Belief
from quickstudy.oracles.grid import Search, posterior
from quickstudy.protocol import Percept, Shard, counter
from quickstudy.runs import load
from quickstudy.tasks.grid_navigation import GridNavigation
from quickstudy.work import LocalSite

RUNS = Path(__file__).parent.parent / "runs" / "results" / "grid-navigation"


def prior(family: GridNavigation) -> Float[Tensor, "cell"]:
    """Uniform over the goal cells."""
    goals = torch.from_numpy(Search(family).goals())
    chances = torch.zeros(family.size**2).index_fill(0, goals[:, 0] * family.size + goals[:, 1], 1.0)
    return chances / chances.sum()


def exact(family: GridNavigation, percepts: Percept) -> Float[Tensor, "task lane time cell"]:
    """The posterior over the goal at each step of trials."""
    lead = percepts.first.shape[:2]
    possible, found = prior(family).expand(*lead, -1), []
    for step in range(percepts.first.shape[2]):
        possible = posterior(Percept(*(part[:, :, step] for part in percepts)), possible)
        found.append(possible / possible.sum(-1, keepdim=True))
    return torch.stack(found, 2)


@torch.no_grad()
def decoded(learner: VariBAD, belief: Belief, samples: int) -> Float[Tensor, "step cell"]:
    """The chance of each cell to pay, by the decoder, as a distribution over cells."""
    generator, chances = counter(learner.seed, 0, "samples of beliefs"), torch.zeros(())
    cells = functional.one_hot(torch.arange(learner.tasks.observation_space.n)).float()  # type: ignore[attr-defined]
    for _ in range(samples):
        latent = belief.sample(torch.randn(belief.mean.shape, generator=generator))
        logits = functional_call(learner.model["reward"], learner.model_weights["reward"], (latent[None], cells[None]))
        chances = chances + logits[0, :, :, 0].sigmoid()
    return chances / chances.sum(-1, keepdim=True)


def total_variation(one: Float[Tensor, "*lead cell"], other: Float[Tensor, "*#lead cell"]) -> Float[Tensor, "*lead"]:
    """The largest difference between the chances that two distributions give to one event."""
    return 0.5 * (one - other).abs().sum(-1)


def measure(learner: VariBAD, trials: int = 400, samples: int = 64) -> tuple[float, float]:
    """The mean distance of the decoded goal to the exact posterior, and that of the prior, over all steps of new trials."""
    tasks = learner.tasks
    family, horizon = tasks.dynamics, tasks.max_episode_steps * tasks.episodes_per_trial  # type: ignore[attr-defined]
    plan = Plan(learner.explorer(), 1, horizon, tasks.episodes_per_trial)
    experience = collect(LocalSite(tasks), plan, Shard(learner.seed, 0, 0, trials, "test"))
    truth = exact(family, experience.percept).flatten(0, 2)
    belief = Belief(*(part.flatten(0, 2) for part in learner.beliefs(experience)))
    ours = total_variation(decoded(learner, belief, samples), truth)
    return ours.mean().item(), total_variation(prior(family).expand_as(truth), truth).mean().item()


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
        if not isinstance(learner, VariBAD) or learner.config.reward_loss != "bernoulli":
            sys.exit(f"error: {run} is no run of VariBAD that predicts whether a reward is above zero")
        ours, known = measure(learner)
        print(f"| {run.name} | {ours:.3f} | {known:.3f} | {ours / known:.2f} |", flush=True)


if __name__ == "__main__":
    main()
