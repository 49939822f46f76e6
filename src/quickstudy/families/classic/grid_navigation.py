"""A grid with a hidden goal, as in VariBAD (Zintgraf et al. 2020, sec. 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from gymnasium import spaces
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.families.classic.cells import seen_cell, seen_space, stepped
from quickstudy.protocol import Tasks
from quickstudy.scene import GREY, PALE, PAPER, YELLOW, Point, Scene, Text, agent, grid, rectangle, star, tint
from quickstudy.tasks.parameters import Choice


@checked
@dataclass(frozen=True, kw_only=True)
class GridNavigation:
    """From a corner, find a goal cell that is hidden anew in each trial: +1 for each step that ends on it, -0.1 for any other.

    The goal is uniform over the cells outside the 2x2 block at the start. Actions: stay, up, right, down, left.
    """

    size: int = 5
    """Cells along each side."""
    max_episode_steps: int = 15
    """Steps of an episode; only this time limit ends it."""
    episodes_per_trial: int = 4
    """Episodes of a trial, with the same goal."""
    view: Literal["number", "drawn"] = "number"
    """What is seen: the number of the agent's cell, or an image of the grid in which that cell is the one that is 1."""

    initial_noise = 0
    step_noise = 0

    def __post_init__(self) -> None:
        require_at_least(3, "grid-navigation", self, "size")
        require_at_least(1, "grid-navigation", self, "max_episode_steps", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Discrete | spaces.Box:
        return seen_space(self.view, self.size)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(5)

    @property
    def parameters(self) -> Mapping[str, Choice]:
        cells = [(row, column) for row in range(self.size) for column in range(self.size)]
        return {"goal": Choice(*(cell for cell in cells if max(cell) > 1), entries=("row", "column"))}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(*noise.shape[:-1], 2, dtype=torch.long, device=noise.device)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return stepped(state, action, self.size)

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return seen_cell(self.view, state, self.size)

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return self.info(arrival, task)["success"] * 1.1 - 0.1

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros(state.shape[:-1], dtype=torch.bool, device=state.device)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {"success": (state == task["goal"]).all(-1)}

    def scene(self, state: Tensor, task: Tasks, action: Tensor | None) -> Scene:
        """The grid with rows upwards, the hidden goal in gold."""
        (row, column), (goal_row, goal_column) = state.tolist(), task["goal"].tolist()
        low, high = (-0.6, -0.6), (self.size - 0.4, self.size - 0.4)
        goal = rectangle((goal_column - 0.5, goal_row - 0.5), (goal_column + 0.5, goal_row + 0.5), tint(YELLOW, 0.3))
        start = Text((-0.34, 0.33), "S", 0.15, GREY)
        ground = (rectangle((-0.5, -0.5), (self.size - 0.5, self.size - 0.5), PAPER), goal, *grid(self.size, PALE), start)
        figures = (star((goal_column, goal_row), 0.36, YELLOW), *agent((column, row), 0.26))
        return Scene(low, high, ground, figures, (column, row))

    def task_at(self, place: Point) -> Tasks:
        """The goal cell nearest to a place in the picture."""
        table = self.parameters["goal"].table.float()
        column, row = place
        return {"goal": table[(table - torch.tensor([row, column])).square().sum(-1).argmin()]}
