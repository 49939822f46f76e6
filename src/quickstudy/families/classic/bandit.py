"""Multi-armed bandits: which arm pays best is hidden anew in each trial (Duan et al. 2016, sec. 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from gymnasium import spaces
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.protocol import Tasks
from quickstudy.tasks.parameters import Normal, Parameter, Uniform


@checked
@dataclass(frozen=True, kw_only=True)
class Bandit:
    """Find the arm that pays best: an episode is `pulls` pulls of `arms` arms.

    Bernoulli arms pay 1 with a probability uniform on [0, 1], Gaussian ones N(mean, 1) with mean ~ N(0, 1).
    """

    arms: int = 5
    """How many arms there are."""
    pulls: int = 10
    """Pulls in an episode."""
    payoff: Literal["bernoulli", "gaussian"] = "bernoulli"
    """What a pull pays: 0 or 1, or a normally distributed amount."""
    episodes_per_trial: int = 1
    """Episodes of a trial, with the same arms."""

    initial_noise = 0
    step_noise = 1

    def __post_init__(self) -> None:
        require_at_least(2, "bandit", self, "arms")
        require_at_least(1, "bandit", self, "pulls", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(1)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.arms)

    @property
    def max_episode_steps(self) -> int:
        return self.pulls

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {
            "means": Uniform(0.0, 1.0, (self.arms,), extrapolates=False)
            if self.payoff == "bernoulli"
            else Normal(0.0, 1.0, (self.arms,))
        }

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(noise.shape[:-1], dtype=torch.long, device=noise.device)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        mean = torch.take_along_dim(task["means"], action[..., None], -1)[..., 0]
        if self.payoff == "bernoulli":
            return (noise[..., 0] < mean).float()
        return mean + torch.special.ndtri(noise[..., 0].clamp(min=1e-7))

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state, dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}
