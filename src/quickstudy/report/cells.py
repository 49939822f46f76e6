"""Where the goal of grid navigation may be: the exact posterior over its cells, and the one that VariBAD's decoder tells."""

from __future__ import annotations

from typing import TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from quickstudy.algorithms.belief.varibad import VariBAD
from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.nets.belief import Belief
from quickstudy.oracles.grid import Search, posterior
from quickstudy.protocol import Percept, counter


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


def tells_cells(learner: object) -> TypeGuard[VariBAD]:
    """Whether a learner's decoder tells of each cell whether it pays."""
    return (
        isinstance(learner, VariBAD)
        and learner.config.reward_loss == "bernoulli"
        and learner.config.reward_reads == "arrival"
        and isinstance(getattr(learner.tasks, "dynamics", None), GridNavigation)
    )


@torch.no_grad()
def decoded(learner: VariBAD, belief: Belief, samples: int) -> Float[Tensor, "step cell"]:
    """The chance of each cell to pay, by the decoder, as a distribution over cells: a mean over samples of the belief."""
    generator, chances = counter(learner.seed, 0, "samples of beliefs"), torch.zeros((), device=learner.device)
    cells = torch.eye(learner.tasks.observation_space.n, device=learner.device)  # type: ignore[attr-defined]
    for _ in range(samples):
        latent = belief.sample(torch.randn(belief.mean.shape, generator=generator).to(learner.device))
        logits = functional_call(learner.model["reward"], learner.model_weights["reward"], (latent[None], cells[None]))
        chances = chances + logits[0, :, :, 0].sigmoid()
    return chances / chances.sum(-1, keepdim=True)
