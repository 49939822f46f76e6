"""A point in the plane with a hidden goal, as in MAML (Finn et al. 2017) and in PEARL (Rakelly et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.protocol import Tasks
from quickstudy.scene import PALE, YELLOW, Disc, Line, Point, Scene, agent, arc, star, tint
from quickstudy.tasks.parameters import Parameter, Uniform

GOAL_RADIUS = 0.2
END_RADIUS = 0.01


@checked
@dataclass(frozen=True, kw_only=True)
class PointNavigation:
    """Move to a hidden goal, at most 0.1 along each axis in a step.

    The goal is uniform in the square of side 1 around the start, or on the upper half of the unit circle. The dense reward is
    minus the distance to it; the sparse one is 1 less the distance within 0.2 of the goal, and 0 elsewhere. Only the time limit
    ends an episode, unless `ends_at_goal`. `info` tells the dense reward whichever is paid, for methods that may train on it.
    """

    layout: Literal["square", "half-circle"] = "square"
    """Where goals lie."""
    payoff: Literal["dense", "sparse"] = "dense"
    """Reward at every step, or only near the goal."""
    ends_at_goal: bool = False
    """End an episode within 0.01 of the goal along each axis, as the code of MAML's paper does."""
    max_episode_steps: int = 100
    """Steps of an episode."""
    episodes_per_trial: int = 2
    """Episodes of a trial, with the same goal."""

    initial_noise = 0
    step_noise = 0

    def __post_init__(self) -> None:
        require_at_least(1, "point-navigation", self, "max_episode_steps", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (2,))

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-0.1, 0.1, (2,))

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        if self.layout == "square":
            return {"goal": Uniform(-0.5, 0.5, (2,), entries=("x", "y"))}
        return {"angle": Uniform(0.0, math.pi)}

    def goal(self, task: Tasks) -> Tensor:
        """Where the goal lies, (*batch, 2)."""
        if self.layout == "square":
            return task["goal"]
        return torch.stack([task["angle"].cos(), task["angle"].sin()], dim=-1)

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(*noise.shape[:-1], 2, device=noise.device)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state + action

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        distance = self.distance(arrival, task)
        return -distance if self.payoff == "dense" else (1 - distance) * (distance <= GOAL_RADIUS)

    def distance(self, state: Tensor, task: Tasks) -> Tensor:
        """How far the goal is."""
        return (state - self.goal(task)).norm(dim=-1)

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return ((state - self.goal(task)).abs() < END_RADIUS).all(-1) & self.ends_at_goal

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        distance = self.distance(state, task)
        return {"success": distance <= GOAL_RADIUS, "dense_reward": -distance}

    def scene(self, state: Tensor, task: Tasks, action: Tensor | None) -> Scene:
        """The plane around the start, wider where the agent goes far; the grey line bounds, or is, where goals may lie."""
        x, y = state.tolist()
        goal_x, goal_y = self.goal(task).tolist()
        # wider by leaps, or else the picture would breathe
        half = 0.75 if self.layout == "square" else 1.3
        while half < max(abs(x) + 0.1, abs(y) + 0.1, abs(goal_x) + GOAL_RADIUS, abs(goal_y) + GOAL_RADIUS):
            half *= 1.5
        square = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5))
        support = square if self.layout == "square" else arc((0.0, 0.0), 1.0, 0.0, math.pi)
        goal = (Disc((goal_x, goal_y), GOAL_RADIUS, tint(YELLOW, 0.3)), star((goal_x, goal_y), 0.07 * half, YELLOW))
        ground = (Line(support, 0.008 * half, PALE), Disc((0.0, 0.0), 0.02 * half, PALE), *goal)
        return Scene((-half, -half), (half, half), ground, agent((x, y), 0.05 * half), (x, y))

    def task_at(self, place: Point) -> Tasks:
        """The goal nearest to a place in the picture."""
        x, y = torch.tensor(place)
        if self.layout == "square":
            return {"goal": torch.stack([x, y]).clamp(-0.5, 0.5)}
        # below the line, the nearer end of the half-circle
        return {"angle": torch.atan2(y, x) if y >= 0 else torch.where(x < 0, math.pi, 0.0)}
