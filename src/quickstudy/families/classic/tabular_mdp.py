"""Random tabular MDPs, as in the RL2 paper (Duan et al. 2016, sec. 3.2; Osband et al. 2013)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.protocol import Tasks
from quickstudy.tasks.parameters import Normal, Parameter, Simplex


@checked
@dataclass(frozen=True, kw_only=True)
class TabularMDP:
    """Random states, actions and rewards: mean rewards are N(1, 1), rewards N(mean, 1), transitions Dirichlet(1).

    Each episode begins in state 0 and has `horizon` steps.
    """

    states: int = 10
    """How many states there are."""
    actions: int = 5
    """How many actions there are."""
    horizon: int = 10
    """Steps of an episode."""
    episodes_per_trial: int = 10
    """Episodes of a trial, in the same MDP."""

    initial_noise = 0
    step_noise = 2

    def __post_init__(self) -> None:
        require_at_least(2, "tabular-mdp", self, "states", "actions")
        require_at_least(1, "tabular-mdp", self, "horizon", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.states)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.actions)

    @property
    def max_episode_steps(self) -> int:
        return self.horizon

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        pairs = (self.states, self.actions)
        return {"rewards": Normal(1.0, 1.0, pairs), "transitions": Simplex((*pairs, self.states))}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(noise.shape[:-1], dtype=torch.long, device=noise.device)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        reached = self._row(task["transitions"], state, action).cumsum(-1)
        return (reached < noise[..., :1]).sum(-1).clamp(max=self.states - 1)

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        mean = self._row(task["rewards"][..., None], state, action)[..., 0]
        return mean + torch.special.ndtri(noise[..., 1].clamp(min=1e-7))

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state, dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}

    def _row(self, table: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """The entries of a (*batch, state, action, n) table at a state and an action."""
        rows = table.flatten(-3, -2)
        return torch.take_along_dim(rows, (state * self.actions + action)[..., None, None], dim=-2)[..., 0, :]
