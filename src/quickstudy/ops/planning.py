"""Finite MDPs as tables: what is believed of one after some steps in it, and what its actions are worth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.protocol import Percept, has_past


class MDP(NamedTuple):
    """Mean rewards and transition probabilities of many MDPs at once; what a row lacks to 1 is the chance of the end."""

    rewards: Float[Tensor, "*batch state action"]
    transitions: Float[Tensor, "*batch state action next"]


def plan(mdp: MDP, horizon: int) -> Float[Tensor, "*batch horizon state action"]:
    """The value of every action with `horizon`, `horizon` - 1 ... 1 steps to go: backward induction."""
    values = []
    future = torch.zeros_like(mdp.rewards[..., 0])
    for _ in range(horizon):
        values.append(mdp.rewards + (mdp.transitions @ future[..., None, :, None])[..., 0])
        future = values[-1].amax(-1)
    return torch.stack(values[::-1], -3)


def values_at(mdp: MDP, state: Int[Tensor, "*batch"], steps: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch action"]:
    """The value of every action in one state with so many steps to go, at least 1: what `plan` has there, at less cost."""
    future = torch.zeros_like(mdp.rewards[..., 0])
    for gone in range(1, int(steps.max())):
        values = mdp.rewards + torch.einsum("...san,...n->...sa", mdp.transitions, future)
        future = torch.where((gone < steps)[..., None], values.amax(-1), future)
    row = torch.take_along_dim(mdp.transitions, state[..., None, None, None], -3)[..., 0, :, :]
    return at_state(mdp.rewards, state) + (row @ future[..., None])[..., 0]


def at_state(table: Float[Tensor, "*batch state action"], state: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch action"]:
    """The row of each table that belongs to a state."""
    return torch.take_along_dim(table, state[..., None, None], -2)[..., 0, :]


class Seen(NamedTuple):
    """What was met so far of each MDP."""

    visits: Float[Tensor, "*batch state action"]
    reward: Float[Tensor, "*batch state action"]
    """Sums of rewards."""
    arrivals: Float[Tensor, "*batch state action next"]
    """Without those where an episode terminated: nothing comes after them."""


def nothing_seen(*lead: int, states: int, actions: int, device: torch.device | str = "cpu") -> Seen:
    """Before the first step."""
    pairs = torch.zeros(*lead, states, actions, device=device)
    return Seen(pairs, pairs, torch.zeros(*lead, states, actions, states, device=device))


def with_step(seen: Seen, state: Int[Tensor, "*batch"], percept: Percept) -> Seen:
    """What has been seen, with the step that led to a percept and began in `state`; where a trial begins there was none."""
    took = has_past(percept)
    pair = (*took.nonzero(as_tuple=True), state[took], percept.action[took])
    goes_on = (~percept.terminated[took]).float()
    return Seen(
        seen.visits.index_put(pair, torch.ones_like(goes_on), accumulate=True),
        seen.reward.index_put(pair, percept.reward[took], accumulate=True),
        seen.arrivals.index_put((*pair, percept.arrival[took]), goes_on, accumulate=True),
    )


def posterior_mean(seen: Seen, prior_mean: float) -> MDP:
    """The mean of what an MDP may be: rewards N(mean, 1), their means N(`prior_mean`, 1) at first, transitions Dirichlet(1).

    That an episode terminates is expected as often as it was seen, and not at first.
    """
    rewards = (prior_mean + seen.reward) / (1 + seen.visits)
    arrivals = 1 + seen.arrivals
    return MDP(rewards, arrivals.div_((arrivals.shape[-1] + seen.visits)[..., None]))
