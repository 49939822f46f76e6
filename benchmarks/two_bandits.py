"""Bandits of several families that differ in where the good arms tend to be: what a library's weights have to find out.

Which family a bandit is of, and what its arms pay, is hidden. `libraries.py` holds libraries against the exact answer on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from quickstudy.protocol import Tasks
from quickstudy.tasks.native import NativeTasks
from quickstudy.tasks.parameters import Choice, Dirichlet, Parameter

Prior = tuple[tuple[float, float], ...]
"""For each arm the weights of a Beta distribution, from which its chance to pay is drawn."""

LEFT: Prior = ((8, 2), (4, 4), (2, 4), (1, 4), (1, 8))
"""The first arms tend to be the good ones."""
RIGHT: Prior = LEFT[::-1]
MIDDLE: Prior = ((1, 8), (1, 4), (8, 2), (1, 4), (1, 8))
"""In neither of the two above: the arm that tends to be good is one that both think little of."""


@dataclass(frozen=True)
class Arms:
    """Bernoulli arms of one of several families, each as likely as any other."""

    priors: tuple[Prior, ...]
    max_episode_steps: int = 100
    episodes_per_trial: int = 1
    initial_noise: int = 0
    step_noise: int = 1
    observation_space = Discrete(1)

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(self.priors[0]))

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        arms = {
            f"family {number}, arm {arm}": Dirichlet(weights)
            for number, prior in enumerate(self.priors)
            for arm, weights in enumerate(prior)
        }
        return arms | ({"family": Choice(*range(len(self.priors)))} if len(self.priors) > 1 else {})

    def means(self, task: Tasks) -> Tensor:
        """The chance of each arm to pay."""
        by_family = [
            torch.stack([task[f"family {number}, arm {arm}"][..., 0] for arm in range(len(prior))], -1)
            for number, prior in enumerate(self.priors)
        ]
        if len(by_family) == 1:
            return by_family[0]
        return torch.take_along_dim(torch.stack(by_family, -2), task["family"].long()[..., None, None], -2)[..., 0, :]

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(noise.shape[:-1], dtype=torch.long, device=noise.device)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return (noise[..., 0] < torch.take_along_dim(self.means(task), action[..., None], -1)[..., 0]).float()

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state, dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}


BOTH = NativeTasks(Arms((LEFT, RIGHT)))
"""Bandits of the first two families."""
