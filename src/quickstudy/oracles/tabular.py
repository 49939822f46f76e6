"""Agents for random tabular MDPs: the posterior over what the MDP may be, samples of it, and plans for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from quickstudy.families.classic.tabular_mdp import TabularMDP
from quickstudy.ops.tree import where_lane
from quickstudy.oracles.bandits import numpy_generator
from quickstudy.protocol import Act, Memory, Percept, has_past
from quickstudy.tasks.parameters import Normal


class MDP(NamedTuple):
    """Mean rewards and transition probabilities of many MDPs at once."""

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


class Seen(NamedTuple):
    """What was met so far, lane by lane."""

    visits: Float[Tensor, "*batch state action"]
    reward: Float[Tensor, "*batch state action"]
    """Sums of rewards."""
    arrivals: Float[Tensor, "*batch state action next"]


def sample(seen: Seen, prior_mean: float, generator: Generator | None) -> MDP:
    """An MDP from the posterior; its mean without a generator.

    Mean rewards are N(`prior_mean`, 1) at first, 1 in truth, and seen through noise N(0, 1); transitions are Dirichlet(1).
    """
    rewards = (prior_mean + seen.reward) / (1 + seen.visits)
    weights = 1 + seen.arrivals
    if generator is not None:
        rewards = rewards + torch.randn(rewards.shape, generator=generator) / (1 + seen.visits).sqrt()
        weights = torch.from_numpy(numpy_generator(generator).standard_gamma(weights.numpy(), dtype="float32"))
    return MDP(rewards, weights / weights.sum(-1, keepdim=True))


@dataclass(frozen=True)
class SamplingPolicy:
    """Follows, for an episode, the best plan for MDPs drawn from the posterior as it begins: the largest value of each action.

    One sample is PSRL (Osband et al. 2013), several are optimistic PSRL (Osband & Van Roy 2017); none takes the posterior's
    mean for the truth.
    """

    family: TabularMDP
    prior_mean: float = 1.0
    samples: int = 1

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        lead, pairs = (tasks, lanes), (self.family.states, self.family.actions)
        return {
            "visits": torch.zeros(*lead, *pairs),
            "reward": torch.zeros(*lead, *pairs),
            "arrivals": torch.zeros(*lead, *pairs, self.family.states),
            "state": torch.zeros(lead, dtype=torch.long),
            "plan": torch.zeros(*lead, self.family.horizon, *pairs),
            "step": torch.zeros(lead, dtype=torch.long),
        }

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        seen = self.learn(percept, memory)
        values, step = memory["plan"], memory["step"]
        if bool(percept.first.any()):
            luck = generator if self.samples else None
            drawn = [plan(sample(seen, self.prior_mean, luck), self.family.horizon) for _ in range(max(1, self.samples))]
            values = where_lane(percept.first, torch.stack(drawn).amax(0), values)
            step = step * ~percept.first
        task, lane = (torch.arange(size) for size in percept.first.shape)
        action = values[task[:, None], lane, step, percept.observation].argmax(-1)
        return Act(action, None, {}), seen._asdict() | {"state": percept.observation, "plan": values, "step": step + 1}

    def learn(self, percept: Percept, memory: Memory) -> Seen:
        """What has been seen, with the step before this one."""
        seen = Seen(memory["visits"].clone(), memory["reward"].clone(), memory["arrivals"].clone())
        task, lane = has_past(percept).nonzero(as_tuple=True)
        pair = task, lane, memory["state"][task, lane], percept.action[task, lane]
        seen.visits[pair] += 1
        seen.reward[pair] += percept.reward[task, lane]
        seen.arrivals[*pair, percept.arrival[task, lane]] += 1
        return seen


@dataclass(frozen=True)
class InformedPolicy:
    """The optimal policy of the MDP that the observation tells (see `Informed`)."""

    family: TabularMDP

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        family = self.family
        blank = torch.zeros(tasks, lanes, family.horizon, family.states, family.actions)
        return {"plan": blank, "step": torch.zeros(tasks, lanes, dtype=torch.long)}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        family = self.family
        values, step = memory["plan"], memory["step"] * ~percept.first
        if bool(percept.first.any()):
            values = where_lane(percept.first, plan(self.told(percept.observation), family.horizon), values)
        state = percept.observation[..., : family.states].argmax(-1)
        task, lane = (torch.arange(size) for size in percept.first.shape)
        return Act(values[task[:, None], lane, step, state].argmax(-1), None, {}), {"plan": values, "step": step + 1}

    def told(self, observation: Float[Tensor, "task lane size"]) -> MDP:
        """The MDP from its normalised parameters, which follow the one-hot state."""
        states, actions = self.family.states, self.family.actions
        _, rewards, transitions = observation.split([states, states * actions, states * actions * states], -1)
        parameter = self.family.parameters["rewards"]
        assert isinstance(parameter, Normal)
        means = parameter.mean + parameter.std * rewards.unflatten(-1, (states, actions))
        return MDP(means, (transitions.unflatten(-1, (states, actions, states)) + 1) / 2)
