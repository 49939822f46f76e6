"""A planner in a policy's memory: it counts what it meets in a finite world, and plans for the mean of what that may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.ops.planning import Seen, at_state, nothing_seen, posterior_mean, values_at, with_step
from quickstudy.protocol import Memory, Percept, TaskDistribution


class Reckoned(NamedTuple):
    """What a planner says of the state in which a lane stands."""

    values: Float[Tensor, "task lane action"]
    """Of each action, over the steps that are left in the episode."""
    visits: Float[Tensor, "task lane action"]
    """How often each action was taken here."""


def advice(reckoned: Reckoned) -> Float[Tensor, "task lane number"]:
    """As a network reads it: what each action loses against the best one, and the logarithm of how often it was taken."""
    values, visits = reckoned
    return torch.cat([values - values.amax(-1, keepdim=True), visits.log1p()], -1)


@dataclass(frozen=True)
class Planner:
    """Backward induction from the posterior's mean, anew at every step.

    It is told how many states and actions there are, that the state is seen, how long an episode lasts, that rewards may be
    expected to be `prior_mean`, and nothing else of the family.
    """

    states: int
    actions: int
    horizon: int
    prior_mean: float

    @property
    def advice_size(self) -> int:
        """The numbers of its advice."""
        return 2 * self.actions

    def initial_memory(self, tasks: int, lanes: int, device: torch.device | str = "cpu") -> Memory:
        seen = nothing_seen(tasks, lanes, states=self.states, actions=self.actions, device=device)
        zero = torch.zeros(tasks, lanes, dtype=torch.long, device=device)
        return seen._asdict() | {"before": zero, "elapsed": zero}

    def look(self, percept: Percept, memory: Memory) -> tuple[Reckoned, Memory]:
        """Counts the step before this one, and plans from where each lane stands now."""
        state, elapsed = percept.observation, memory["elapsed"] * ~percept.first
        # a stored session may tell of a state that there isn't
        before = memory["before"].long().clamp(0, self.states - 1)
        seen = with_step(Seen(*(memory[name] for name in Seen._fields)), before, percept)
        values = values_at(posterior_mean(seen, self.prior_mean), state, (self.horizon - elapsed).clamp(1, self.horizon))
        memory = seen._asdict() | {"before": state, "elapsed": elapsed + 1}
        return Reckoned(values, at_state(seen.visits, state)), memory


def planner_for(what: str, tasks: TaskDistribution, prior_mean: float) -> Planner:
    """A planner for these tasks; UsageError where observations or actions are not numbered."""
    seen, done = tasks.observation_space, tasks.action_space
    if not isinstance(seen, spaces.Discrete) or not isinstance(done, spaces.Discrete):
        raise UsageError(f"{what} plans in tables: observations and actions must be Discrete, these are {seen} and {done}")
    return Planner(int(seen.n), int(done.n), tasks.max_episode_steps, prior_mean)
