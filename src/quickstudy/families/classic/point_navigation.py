"""A point in the plane with a hidden goal, as in MAML (Finn et al. 2017) and in PEARL (Rakelly et al. 2019); or with its axes
turned by a hidden angle, as in NoRML (Yang et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.protocol import Tasks
from quickstudy.scene import GREY, PALE, YELLOW, Disc, Line, Point, Scene, agent, arc, arrow, star, tint
from quickstudy.tasks.parameters import Parameter, Uniform

GOAL_RADIUS = 0.2
END_RADIUS = 0.01
GOAL_AT = 0.5
"""To the right of the start, where it is the axes that are hidden."""


@checked
@dataclass(frozen=True, kw_only=True)
class PointNavigation:
    """Move to a hidden goal, at most 0.1 along each axis in a step.

    The goal is uniform in the square of side 1 around the start, or on the upper half of the unit circle; or it is always half
    a unit to the right of the start, and a hidden angle turns every action. The dense reward is minus the distance to it; the
    sparse one is 1 less the distance within 0.2 of the goal, and 0 elsewhere. Only the time limit ends an episode, unless
    `ends_at_goal`. `info` tells the dense reward whichever is paid, for methods that may train on it.
    """

    layout: Literal["square", "half-circle", "turned"] = "square"
    """Where goals lie; turned: in one place, but the actions' axes are turned."""
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
    observes = "x", "y"

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
        if self.layout == "turned":  # all the way round: there is no angle beyond
            return {"turn": Uniform(-math.pi, math.pi, extrapolates=False)}
        return {"angle": Uniform(0.0, math.pi)}

    def goal(self, task: Tasks) -> Tensor:
        """Where the goal lies, (*batch, 2)."""
        if self.layout == "square":
            return task["goal"]
        if self.layout == "turned":
            turn = task["turn"]
            return torch.stack([torch.full_like(turn, GOAL_AT), torch.zeros_like(turn)], dim=-1)
        return torch.stack([task["angle"].cos(), task["angle"].sin()], dim=-1)

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(*noise.shape[:-1], 2, device=noise.device)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state + (action if self.layout != "turned" else turned(action, task["turn"]))

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
        """The plane around the start, wider where the agent goes far; the grey line bounds, or is, where goals may lie.

        Where axes are turned, an arrow shows the first one."""
        x, y = state.tolist()
        goal_x, goal_y = self.goal(task).tolist()
        # wider by leaps, or else the picture would breathe
        half = 1.3 if self.layout == "half-circle" else 0.75
        while half < max(abs(x) + 0.1, abs(y) + 0.1, abs(goal_x) + GOAL_RADIUS, abs(goal_y) + GOAL_RADIUS):
            half *= 1.5
        place = (Disc((goal_x, goal_y), GOAL_RADIUS, tint(YELLOW, 0.3)), star((goal_x, goal_y), 0.07 * half, YELLOW))
        if self.layout == "turned":
            turn = float(task["turn"])
            ahead = (math.cos(turn), math.sin(turn))
            told = arrow(((0.04 * ahead[0], 0.04 * ahead[1]), (0.3 * ahead[0], 0.3 * ahead[1])), 0.012 * half, GREY)
        else:
            square = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5))
            support = square if self.layout == "square" else arc((0.0, 0.0), 1.0, 0.0, math.pi)
            told = (Line(support, 0.008 * half, PALE),)
        ground = (*told, Disc((0.0, 0.0), 0.02 * half, PALE), *place)
        return Scene((-half, -half), (half, half), ground, agent((x, y), 0.05 * half), (x, y))

    def task_at(self, place: Point) -> Tasks:
        """The goal nearest to a place in the picture; the axes turned towards it."""
        x, y = torch.tensor(place)
        if self.layout == "square":
            return {"goal": torch.stack([x, y]).clamp(-0.5, 0.5)}
        if self.layout == "turned":
            return {"turn": torch.atan2(y, x)}
        # below the line, the nearer end of the half-circle
        return {"angle": torch.atan2(y, x) if y >= 0 else torch.where(x < 0, math.pi, 0.0)}


def turned(action: Float[Tensor, "*batch 2"], angle: Float[Tensor, "*#batch"]) -> Float[Tensor, "*batch 2"]:
    """Actions turned by an angle, anticlockwise."""
    x, y = action.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)
