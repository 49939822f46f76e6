"""Tasks whose optimum is known by hand: what an algorithm that works must reach, and one that cheats can't."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from quickstudy.protocol import Tasks
from quickstudy.tasks.parameters import Choice, Parameter


@dataclass(frozen=True, kw_only=True)
class HiddenButton:
    """One of two buttons pays 1, the other 0; an episode is one press, a trial three.

    A policy that remembers gets 0.5 + 1 + 1 = 2.5 a trial, one without memory at most 1.5, one that is told 3.
    """

    max_episode_steps: int = 1
    episodes_per_trial: int = 3

    initial_noise = 0
    step_noise = 0
    optimum = 2.5
    memoryless_optimum = 1.5
    informed_optimum = 3.0

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(1)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"button": Choice(0.0, 1.0)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(noise.shape[:-1], dtype=torch.long)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return (action == task["button"]).float()

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state, dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True, kw_only=True)
class HiddenSide:
    """The target lies at -1 or +1 on a line; the reward is 1 less a quarter of the squared distance between action and target.

    A trial is three episodes of one step. The first action does best near 0, for 0.75, a little to one side so that the
    reward tells the target's: 0.75 + 1 + 1 = 2.75 with memory, 3 x 0.75 without, 3 when told.
    """

    max_episode_steps: int = 1
    episodes_per_trial: int = 3

    initial_noise = 0
    step_noise = 0
    optimum = 2.75
    memoryless_optimum = 2.25
    informed_optimum = 3.0

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-1, 1, (1,))

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1.5, 1.5, (1,))

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"side": Choice(-1.0, 1.0)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(*noise.shape[:-1], 1)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return 1 - (action[..., 0] - task["side"]).square() / 4

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state[..., 0], dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Survival:
    """+1 for each step; the hidden one of two buttons keeps one alive, the other ends the episode. At most ten steps.

    Dying tells which button lives, so remembering gives half of (1 + 10 + 10) and half of (10 + 10 + 10), 25.5 a trial;
    a short-sighted discount over the trial makes dying nearly free, which is what this probe is there to show.
    """

    max_episode_steps: int = 10
    episodes_per_trial: int = 3

    initial_noise = 0
    step_noise = 0
    optimum = 25.5

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(1)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"button": Choice(0.0, 1.0)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.ones(noise.shape[:-1], dtype=torch.bool)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return action == task["button"]

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state, dtype=torch.long)

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return torch.ones_like(state, dtype=torch.float32)

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return ~state

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True, kw_only=True)
class HiddenLedge:
    """A walker on a line who slips one step in five: a step pays its place on the hidden side, and the third one out falls off.

    Here for how its episodes end rather than for its optimum: about a third of those of a random walker by a fall, after three
    steps or five, the others at the time limit of five. So lanes of one batch end, wait and begin anew at different times.
    """

    max_episode_steps: int = 5
    episodes_per_trial: int = 3
    numbered: bool = False
    """Show the number of the walker's place."""

    initial_noise = 0
    step_noise = 1

    @property
    def observation_space(self) -> spaces.Box | spaces.Discrete:
        return spaces.Discrete(7) if self.numbered else spaces.Box(-3, 3, (1,))

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"side": Choice(-1.0, 1.0)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(noise.shape[:-1])

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        meant = 2.0 * action - 1
        return state + torch.where(noise[..., 0] < 0.2, -meant, meant)

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state.long() + 3 if self.numbered else state[..., None]

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return torch.where(arrival.abs() < 3, task["side"] * arrival, -2.0)

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return state.abs() >= 3

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}
