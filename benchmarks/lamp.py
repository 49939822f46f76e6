"""A dark room with doors, one of them right, and a lamp that shows which: whoever is told the door never needs the lamp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from quickstudy.protocol import Tasks
from quickstudy.tasks.native import NativeTasks
from quickstudy.tasks.parameters import Choice, Parameter


@dataclass(frozen=True)
class Lamp:
    """Two steps: a door pays 1 if it is the right one, the last action pays nothing and lights the lamp.

    Of 8 doors, told the door, one returns 2; lighting the lamp first returns 1; guessing, again after a wrong guess, 3/8.
    """

    doors: int = 8
    max_episode_steps: int = 2
    episodes_per_trial: int = 1
    initial_noise: int = 0
    step_noise: int = 0

    @property
    def observation_space(self) -> Discrete:
        """0 in the dark, else 1 + the right door."""
        return Discrete(self.doors + 1)

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.doors + 1)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"door": Choice(*range(self.doors))}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(noise.shape[:-1], dtype=torch.long, device=noise.device)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return torch.where(action == self.doors, 1 + task["door"].long(), state)

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return (action == task["door"].long()).float()

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state, dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}


LAMP = NativeTasks(Lamp())
