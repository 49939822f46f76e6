"""In which cell a task hides: the exact posterior, where there is one, and what an agent's own belief makes of it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.insight import Foretells
from quickstudy.oracles.posteriors import Posterior
from quickstudy.protocol import Agent, Percept

SAMPLES = 64
"""Samples of a belief of which what is foretold is the mean."""


def exact(posterior: Posterior, percepts: Percept) -> Float[Tensor, "task lane time cell"]:
    """The posterior at each step of whole trials."""
    steps = (Percept(*(part[:, :, step] for part in percepts)) for step in range(percepts.first.shape[2]))
    return posterior.after_each(steps, posterior.prior.expand(*percepts.first.shape[:2], -1))


@torch.no_grad()
def foretold(
    agent: Agent, posterior: Posterior, mean: Float[Tensor, "step latent"], std: Float[Tensor, "step latent"]
) -> Float[Tensor, "step cell"] | None:
    """What an agent's belief says of each cell, as a distribution over cells; None where it says nothing of what pays."""
    if not isinstance(agent, Foretells):
        return None
    chances = agent.foretold((mean, std), posterior.arrivals.to(mean.device), SAMPLES)
    return None if chances is None else chances / chances.sum(-1, keepdim=True)
