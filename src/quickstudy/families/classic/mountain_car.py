"""Gymnasium's MountainCar-v0 and MountainCarContinuous-v0, with cars and hills that differ from task to task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.protocol import Tasks
from quickstudy.scene import BLUE, INK, ORANGE, YELLOW, Disc, Line, Point, Polygon, Scene, Shape, arrow
from quickstudy.tasks.parameters import Parameter, Uniform

MIN_POSITION, MAX_POSITION, GOAL = -1.2, 0.6, 0.5
MAX_SPEED = 0.07


@checked
@dataclass(frozen=True, kw_only=True)
class MountainCar:
    """Rock a weak car up a hill: -1 for each step until it is there (Moore 1990). Actions: push left, none, push right."""

    max_episode_steps: int = 200
    """The time limit of an episode."""
    episodes_per_trial: int = 2
    """Episodes of a trial, with the same car."""

    initial_noise = 1
    step_noise = 0
    observes = "position", "velocity"

    def __post_init__(self) -> None:
        require_at_least(1, "mountain-car", self, "max_episode_steps", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Box:
        return place_and_speed()

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(3)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"force": Uniform(0.0008, 0.0015), "gravity": Uniform(0.002, 0.003)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return at_rest(noise)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return rolled(state, (action - 1) * task["force"], task["gravity"])

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return -torch.ones_like(state[..., 0])

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return (state[..., 0] >= GOAL) & (state[..., 1] >= 0)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {"success": self.terminal(state, task)}

    def scene(self, state: Tensor, task: Tasks, action: Tensor | None) -> Scene:
        """The car in its valley, a flag at the goal, and the push of the last step."""
        return valley(float(state[0]), GOAL, 0.0 if action is None else float(action) - 1)


@checked
@dataclass(frozen=True, kw_only=True)
class MountainCarContinuous:
    """Push a weak car up a hill: 100 at the goal, less a tenth of each squared push; tasks differ in engine and goal.

    Nothing else is ever paid, so that who doesn't get there by chance learns to stand still.
    """

    max_episode_steps: int = 300
    """The time limit of an episode; Gymnasium's own is 999."""
    episodes_per_trial: int = 2
    """Episodes of a trial, with the same car and goal."""

    initial_noise = 1
    step_noise = 0
    observes = "position", "velocity"

    def __post_init__(self) -> None:
        require_at_least(1, "mountain-car-continuous", self, "max_episode_steps", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Box:
        return place_and_speed()

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (1,))

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"power": Uniform(0.001, 0.002), "goal": Uniform(0.3, 0.5)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return at_rest(noise)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return rolled(state, action[..., 0].clamp(-1, 1) * task["power"], 0.0025)

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return 100.0 * self.terminal(arrival, task) - 0.1 * action[..., 0].square()

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return (state[..., 0] >= task["goal"]) & (state[..., 1] >= 0)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {"success": self.terminal(state, task)}

    def scene(self, state: Tensor, task: Tasks, action: Tensor | None) -> Scene:
        """The car in its valley, a flag at the goal, and the push of the last step, as long as it was strong."""
        return valley(float(state[0]), float(task["goal"]), 0.0 if action is None else float(action[0]))


def place_and_speed() -> spaces.Box:
    """What is seen of a car."""
    low = np.array([MIN_POSITION, -MAX_SPEED], dtype=np.float32)
    return spaces.Box(low, np.array([MAX_POSITION, MAX_SPEED], dtype=np.float32))


def at_rest(noise: Tensor) -> Tensor:
    """A car somewhere at the bottom of the valley."""
    position = 0.2 * noise[..., 0] - 0.6
    return torch.stack([position, torch.zeros_like(position)], dim=-1)


def rolled(state: Tensor, push: Tensor, gravity: Tensor | float) -> Tensor:
    """A car a step later: it is pushed, rolls, and stops at the left end."""
    position, speed = state.unbind(-1)
    speed = speed + push - (3 * position).cos() * gravity
    speed = speed.clamp(-MAX_SPEED, MAX_SPEED)
    position = (position + speed).clamp(MIN_POSITION, MAX_POSITION)
    speed = torch.where((position == MIN_POSITION) & (speed < 0), 0.0, speed)
    return torch.stack([position, speed], dim=-1)


def valley(x: float, goal: float, push: float) -> Scene:
    """A car at x, a flag at the goal, and a push from -1 to 1."""
    places = [-1.3 + 2.0 * index / 100 for index in range(101)]
    hill = tuple((place, hill_height(place)) for place in places)
    slope = math.atan(1.35 * math.cos(3 * x))

    def beside(along: float, above: float) -> Point:
        """A point in the frame of the car."""
        cos, sin = math.cos(slope), math.sin(slope)
        return x + along * cos - above * sin, hill_height(x) + along * sin + above * cos

    foot = (goal, hill_height(goal))
    top = (goal, foot[1] + 0.2)
    flag = Polygon((top, (top[0] + 0.11, top[1] - 0.035), (top[0], top[1] - 0.07)), YELLOW)
    ground = (Polygon(((-1.3, -0.1), *hill, (0.7, -0.1)), "#e4e2dc"), Line(hill, 0.012, "#a9a498"))
    body = tuple(beside(*corner) for corner in ((-0.1, 0.04), (0.1, 0.04), (0.08, 0.1), (-0.08, 0.1)))
    car = (Polygon(body, BLUE), *(Disc(beside(side, 0.034), 0.032, INK) for side in (-0.056, 0.056)))
    shown: tuple[Shape, ...] = ()
    if abs(push) > 0.02:
        side = math.copysign(1, push)
        shown = arrow((beside(0.12 * side, 0.07), beside((0.12 + 0.08 * abs(push)) * side, 0.07)), 0.02, ORANGE)
    return Scene((-1.3, -0.02), (0.7, 1.28), (*ground, Line((foot, top), 0.01, INK), flag), (*shown, *car))


def hill_height(position: float) -> float:
    """How high the ground is, as Gymnasium draws it."""
    return 0.45 * math.sin(3 * position) + 0.55
