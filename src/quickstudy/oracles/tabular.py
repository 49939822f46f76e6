"""Agents for random tabular MDPs: the posterior over what the MDP may be, samples of it, and plans for each sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from quickstudy.families.classic.tabular_mdp import TabularMDP
from quickstudy.ops.planning import MDP, Seen, nothing_seen, plan, posterior_mean, with_step
from quickstudy.ops.tree import where_lane
from quickstudy.oracles.bandits import numpy_generator
from quickstudy.parts.planner import Planner
from quickstudy.protocol import Act, Memory, Percept
from quickstudy.tasks.parameters import Normal


def sample(seen: Seen, prior_mean: float, generator: Generator | None) -> MDP:
    """An MDP from the posterior whose mean is `posterior_mean`; that mean without a generator."""
    mean = posterior_mean(seen, prior_mean)
    if generator is None:
        return mean
    rewards = mean.rewards + torch.randn(mean.rewards.shape, generator=generator) / (1 + seen.visits).sqrt()
    drawn = numpy_generator(generator).standard_gamma((1 + seen.arrivals).numpy(), dtype="float32")
    weights = torch.from_numpy(drawn)
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
        states, actions = self.family.states, self.family.actions
        zero, blank = (
            torch.zeros(tasks, lanes, dtype=torch.long),
            torch.zeros(tasks, lanes, self.family.horizon, states, actions),
        )
        seen = nothing_seen(tasks, lanes, states=states, actions=actions)
        return seen._asdict() | {"state": zero, "plan": blank, "step": zero}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        seen = with_step(Seen(*(memory[name] for name in Seen._fields)), memory["state"], percept)
        values, step = memory["plan"], memory["step"]
        if bool(percept.first.any()):
            luck = generator if self.samples else None
            drawn = [plan(sample(seen, self.prior_mean, luck), self.family.horizon) for _ in range(max(1, self.samples))]
            values = where_lane(percept.first, torch.stack(drawn).amax(0), values)
            step = step * ~percept.first
        task, lane = (torch.arange(size) for size in percept.first.shape)
        action = values[task[:, None], lane, step, percept.observation].argmax(-1)
        return Act(action, None, {}), seen._asdict() | {"state": percept.observation, "plan": values, "step": step + 1}


@dataclass(frozen=True)
class ReplanningPolicy:
    """Plans anew at every step, for the posterior's mean and the steps that are left in the episode."""

    planner: Planner

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return self.planner.initial_memory(tasks, lanes)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        reckoned, memory = self.planner.look(percept, memory)
        return Act(reckoned.values.argmax(-1), None, {}), memory


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
