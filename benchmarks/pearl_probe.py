"""What PEARL's belief knows: a linear probe from its mean to the goal, fitted on training tasks and scored on held-out ones.

    python benchmarks/pearl_probe.py [--seed 0] [--episodes 10]

Trains the recipe of dense point navigation, or takes the run that is there already, and prints a row for each number of
episodes seen: R2 of the held-out goals, the belief's mean standard deviation, and the return of the episode that follows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.belief.pearl import PEARL
from quickstudy.data.rollout import Lifetime, draw_tasks, live
from quickstudy.protocol import Shard, Split, Tasks
from quickstudy.recipes.tuned import built
from quickstudy.runs import load
from quickstudy.training import resume, train
from quickstudy.work import LocalSite

RUNS = Path(__file__).parent.parent / "runs" / "pearl-probe"
HELD_OUT = 400


class Seen(NamedTuple):
    """Beliefs and returns by the number of episodes that were seen, none first."""

    mean: Float[Tensor, "episode task latent"]
    std: Float[Tensor, "episode task latent"]
    returns: Float[Tensor, "episode task"]
    """Of the episode that followed."""


@torch.no_grad()
def lived(learner: PEARL, tasks: Tasks, split: Split, episodes: int) -> Seen:
    """Trials on the given tasks, as the evaluator lives them."""
    site, policy = LocalSite(learner.tasks), learner.explorer()
    life = Lifetime(policy, learner.adapt, 1, episodes)
    count = len(next(iter(tasks.values())))
    means, stds, returns = [], [], []
    for experience in live(site, life, Shard(learner.seed, 0, 0, count, split), tasks):
        means.append(policy.belief.mean.expand(count, -1))
        stds.append(policy.belief.std.expand(count, -1))
        returns.append((experience.transition.reward * experience.valid).sum(-1)[:, 0])
        policy = learner.adapt(policy, experience)
    return Seen(*map(torch.stack, (means, stds, returns)))


def probe_r2(
    inputs: Float[Tensor, "task latent"],
    goals: Float[Tensor, "task axis"],
    held_inputs: Float[Tensor, "held latent"],
    held_goals: Float[Tensor, "held axis"],
) -> float:
    """R2 on held-out goals of the least-squares fit to the others."""

    def with_one(values: Tensor) -> Tensor:
        return torch.cat([values, torch.ones_like(values[:, :1])], 1).double()

    fit = torch.linalg.lstsq(with_one(inputs), goals.double(), driver="gelsd").solution
    error = (with_one(held_inputs) @ fit - held_goals).square().sum()
    return float(1 - error / (held_goals - held_goals.mean(0)).square().sum())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--episodes", type=int, default=10, help="episodes that are seen")
    given = parser.parse_args()
    run = RUNS / f"seed-{given.seed}"
    if (run / "latest.json").exists():
        resume(run)
    else:
        learner, iterations = built("point-navigation/pearl", given.seed)
        train(learner, iterations, run, threads=1, evaluate_every=0, keep_checkpoints=2)
    learner = load(run)
    assert isinstance(learner, PEARL)
    held = draw_tasks(LocalSite(learner.tasks), Shard(learner.seed, 0, 0, HELD_OUT, "test"))
    fitted = lived(learner, learner.train_tasks, "train", given.episodes + 1)
    scored = lived(learner, held, "test", given.episodes + 1)
    print(f"{len(fitted.mean[0])} goals to fit, {HELD_OUT} to score, episodes of {learner.tasks.max_episode_steps} steps\n")
    print("| episodes seen | R2 of the goal | standard deviation | return of the next |\n| --- | --- | --- | --- |")
    for seen in range(given.episodes + 1):
        r2 = probe_r2(fitted.mean[seen], learner.train_tasks["goal"], scored.mean[seen], held["goal"])
        print(f"| {seen} | {r2:.3f} | {float(scored.std[seen].mean()):.3f} | {float(scored.returns[seen].mean()):.2f} |")


if __name__ == "__main__":
    main()
