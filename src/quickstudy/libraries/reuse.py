"""Bayesian policy reuse: a member acts alone for a whole episode, chosen by what is believed of the task (Rosman et al. 2016).

Machine Learning 104. What an episode returns to each member on tasks of each member's family is measured beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional

from quickstudy.libraries.rules import Bayes, Played, Weights, floored, only_past
from quickstudy.libraries.trials import trials_on
from quickstudy.nets.ensemble import gaussian_error
from quickstudy.ops.tree import under, within
from quickstudy.protocol import Agent, Memory, Percept, has_past

Choose = Literal["expected-improvement", "probability-of-improvement", "upper-confidence-bound", "greedy"]
LEAST = 0.05
"""A deviation counts as no less than this share of that of all returns: one that returns the same each time proves nothing."""


class Performance(NamedTuple):
    """What an episode returns: a Gaussian for each family and member."""

    mean: Float[Tensor, "family member"]
    deviation: Float[Tensor, "family member"]


def performance_of(members: Sequence[Agent], num_tasks: int, seed: int = 0) -> Performance:
    """Measured on `num_tasks` training tasks of each member's family, over all lanes and episodes of trials.

    What a member learns while another acts isn't in it.
    """
    returns = [[returns_of(agent, family, num_tasks, seed) for agent in members] for family in members]
    everything = torch.cat([each for row in returns for each in row])
    least = (LEAST * everything.std(correction=0)).clamp(min=1e-6)
    deviation = torch.stack([torch.stack([each.std(correction=0) for each in row]) for row in returns])
    return Performance(torch.stack([torch.stack([each.mean() for each in row]) for row in returns]), deviation.clamp(min=least))


def returns_of(agent: Agent, family: Agent, num_tasks: int, seed: int) -> Float[Tensor, "episode"]:
    """What an agent's episodes return on training tasks of another's family, all lanes and episodes one after the other."""
    episodes = trials_on(agent, family.tasks, num_tasks, seed)
    return torch.cat([(each.transition.reward * each.valid).sum(-1).flatten() for each in episodes])


@dataclass(frozen=True)
class Reuse:
    """A belief over the members' families, by returns of episodes or at each step, and by it the member of the next episode.

    With returns, log b_f grows by log N(return; mean, deviation of family f and the member that acted), once an episode. With
    `steps` it is the posterior that these tell. `floor` of it is dealt out evenly at each change, so that none is given up.
    """

    performance: Performance
    choose: Choose = "expected-improvement"
    floor: float = 0.01
    steps: Bayes | None = None
    best_only = False

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        count, device = len(self.performance.mean), self.performance.mean.device
        blank = torch.zeros(tasks, lanes, count, device=device)
        memory = {"belief": blank + 1 / count, "acting": blank, "paid": blank[..., 0]}
        return memory | (under("steps ", self.steps.initial_memory(tasks, lanes)) if self.steps else {})

    def weigh(self, percept: Percept, played: Played, memory: Memory) -> tuple[Weights, Memory]:
        paid = memory["paid"] + only_past(percept, percept.reward[..., None])[..., 0]
        if self.steps:
            belief, steps = self.steps.weigh(percept, played, within("steps ", memory))
        else:
            over = (percept.first & has_past(percept))[..., None]
            belief = torch.where(over, self.moved(memory["belief"], memory["acting"], paid), memory["belief"])
            steps = {}
        acting = torch.where(percept.first[..., None], self.chosen(belief), memory["acting"])
        paid = torch.where(percept.first, torch.zeros_like(paid), paid)
        return acting, {"belief": belief, "acting": acting, "paid": paid} | under("steps ", steps)

    def moved(self, belief: Weights, acting: Weights, paid: Float[Tensor, "task lane"]) -> Weights:
        """The belief over families after an episode of the member that acted."""
        mean, deviation = (acting @ each.mT for each in self.performance)
        told = -gaussian_error(mean, 2 * deviation.log(), paid[..., None].expand_as(mean))
        return floored((belief.log() + told).softmax(-1), self.floor)

    def chosen(self, belief: Weights) -> Weights:
        """One for the member that is to act, zero for all others; the first of those that are as good."""
        return functional.one_hot(self.worth(belief).argmax(-1), belief.shape[-1]).to(belief)

    def worth(self, belief: Weights) -> Float[Tensor, "task lane member"]:
        """What each member promises, as `choose` says; U* is the best that is expected of any under the belief.

        Expected improvement sum_f b_f E[max(U - U*, 0)], its probability sum_f b_f P(U > U*), the mean of the returns and
        their deviation under the belief together, or the mean alone.
        """
        mean, deviation = self.performance
        expected = belief @ mean
        if self.choose == "greedy":
            return expected
        if self.choose == "upper-confidence-bound":
            return expected + (belief @ (deviation**2 + mean**2) - expected**2).clamp(min=0).sqrt()
        best = expected.amax(-1)[..., None, None]
        above, normal = (mean - best) / deviation, Normal(0.0, 1.0)
        beyond = normal.cdf(above)
        if self.choose == "expected-improvement":
            beyond = deviation * (above * beyond + normal.log_prob(above).exp())
        return (belief[..., None] * beyond).sum(-2)
