"""The dark key-to-door of algorithm distillation (Laskin et al. 2022, arXiv:2210.14215) and AMAGO (Grigsby et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from gymnasium import spaces
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.families.classic.cells import DifferentCells, seen_cell, seen_space, stepped
from quickstudy.protocol import Tasks
from quickstudy.scene import GOLD, GREY, PALE, PAPER, PURPLE, Point, Scene, Shape, Text, agent, grid, rectangle, ring, tint


class KeyDoorState(NamedTuple):
    """Where the agent is, and how far it has got."""

    cell: Int64[Tensor, "*batch 2"]
    holds_key: Bool[Tensor, "*batch"]
    opened: Bool[Tensor, "*batch"]


@checked
@dataclass(frozen=True, kw_only=True)
class KeyDoor:
    """Find a key and then a door in a dark room, both hidden anew in each trial: +1 for each; the door ends the episode.

    The agent sees only where it is, and an episode begins where all others of the trial did. Actions: stay, up, right, down,
    left. The door pays only whoever has taken the key in this episode.
    """

    size: int = 9
    """Cells along each side."""
    max_episode_steps: int = 50
    """Steps of an episode."""
    episodes_per_trial: int = 10
    """Episodes of a trial, with the same key and door; ten of 50 steps are AMAGO's 500."""
    start: Literal["centre", "random"] = "centre"
    """Where episodes begin: in the middle, or in a cell that is drawn for the trial, as in AMAGO's main comparison."""
    view: Literal["number", "drawn"] = "number"
    """What is seen: the number of the agent's cell, or an image of the room in which that cell is the one that is 1."""

    initial_noise = 0
    step_noise = 0

    def __post_init__(self) -> None:
        require_at_least(3, "key-door", self, "size")
        require_at_least(1, "key-door", self, "max_episode_steps", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Discrete | spaces.Box:
        return seen_space(self.view, self.size)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(5)

    @property
    def parameters(self) -> Mapping[str, DifferentCells]:
        if self.start == "random":
            return {"cells": DifferentCells(self.size, ("key", "door", "start"))}
        return {"cells": DifferentCells(self.size, ("key", "door"), never=(self._middle,))}

    @property
    def _middle(self) -> int:
        """The number of the cell in the middle; of four, the one that is up and right."""
        return self.size // 2 * self.size + self.size // 2

    def initial(self, task: Tasks, noise: Tensor) -> KeyDoorState:
        lead = noise.shape[:-1]
        start = torch.full((2,), self.size // 2, device=noise.device) if self.start == "centre" else task["cells"][..., 2, :]
        nothing = torch.zeros(lead, dtype=torch.bool, device=noise.device)
        return KeyDoorState(start.expand(*lead, 2), nothing, nothing)

    def transition(self, state: KeyDoorState, action: Tensor, task: Tasks, noise: Tensor) -> KeyDoorState:
        cell = stepped(state.cell, action, self.size)
        at_key, at_door = ((cell == task["cells"][..., place, :]).all(-1) for place in (0, 1))
        return KeyDoorState(cell, state.holds_key | at_key, state.opened | (state.holds_key & at_door))

    def observation(self, state: KeyDoorState, task: Tasks) -> Shaped[Tensor, "*batch ..."]:
        return seen_cell(self.view, state.cell, self.size)

    def reward(self, state: KeyDoorState, action: Tensor, arrival: KeyDoorState, task: Tasks, noise: Tensor) -> Tensor:
        return (arrival.holds_key & ~state.holds_key).float() + (arrival.opened & ~state.opened).float()

    def terminal(self, state: KeyDoorState, task: Tasks) -> Tensor:
        return state.opened

    def info(self, state: KeyDoorState, task: Tasks) -> dict[str, Tensor]:
        return {"success": state.opened}

    def scene(self, state: KeyDoorState, task: Tasks, action: Tensor | None) -> Scene:
        """The room with rows upwards: the key in gold until it is taken, the door in purple, filled once it opens."""
        (row, column), places = state.cell.tolist(), task["cells"].tolist()
        (key_row, key_column), (door_row, door_column) = places[:2]
        start_row, start_column = places[2] if self.start == "random" else (self.size // 2, self.size // 2)
        low, high = (-0.6, -0.6), (self.size - 0.4, self.size - 0.4)
        start = Text((start_column - 0.34, start_row + 0.33), "S", 0.15, GREY)
        floor = rectangle((-0.5, -0.5), (self.size - 0.5, self.size - 0.5), PAPER)
        inside = PURPLE if bool(state.opened) else tint(PURPLE, 0.35 if bool(state.holds_key) else 0.2)
        door = (
            rectangle((door_column - 0.34, door_row - 0.44), (door_column + 0.34, door_row + 0.44), PURPLE),
            rectangle((door_column - 0.26, door_row - 0.36), (door_column + 0.26, door_row + 0.36), inside),
        )
        ground = (floor, *grid(self.size, PALE), start, *door)
        shown = key((column + 0.2, row + 0.2), 0.6) if bool(state.holds_key) else key((key_column, key_row), 1.0)
        figures = (*agent((column, row), 0.26), *shown) if bool(state.holds_key) else (*shown, *agent((column, row), 0.26))
        return Scene(low, high, ground, figures, (column, row))


def key(center: Point, scale: float) -> tuple[Shape, ...]:
    """A key: a ring, and a blade with a bit to the right of it."""
    across, up = center
    blade = rectangle((across - 0.1 * scale, up - 0.05 * scale), (across + 0.36 * scale, up + 0.05 * scale), GOLD)
    bit = rectangle((across + 0.24 * scale, up - 0.18 * scale), (across + 0.32 * scale, up), GOLD)
    return ring((across - 0.22 * scale, up), 0.13 * scale, 0.08 * scale, GOLD), blade, bit
