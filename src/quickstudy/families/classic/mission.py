"""Missions: a text says which things pay in which order, a picture shows where they lie, and which one comes last is hidden."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError, require_at_least
from quickstudy.families.classic.cells import drawn
from quickstudy.ops.senses import Senses, Words
from quickstudy.protocol import Tasks
from quickstudy.scene import (
    GOLD,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PAPER,
    PINK,
    PURPLE,
    YELLOW,
    Disc,
    Point,
    Polygon,
    Scene,
    Shape,
    Text,
    agent,
    grid,
    rectangle,
    ring,
)
from quickstudy.tasks.parameters import Choice

WORDS = ("disc", "square", "triangle", "diamond", "pentagon", "hexagon")
"""What things are called."""
SAMPLES = 128
"""Of the sound of a word."""
CYCLES = 6
"""Of the first word's tone; the second has twice as many, and so on."""
NOISE = 0.2
"""The share of noise in a sound."""


class MissionState(NamedTuple):
    """Where all is, what was said, and how far the agent has got."""

    cell: Int64[Tensor, "*batch"]
    things: Int64[Tensor, "*batch thing"]
    """The cell of each thing, -1 once somebody has stepped on it."""
    said: Int64[Tensor, "*batch named"]
    """The numbers of the things that are named, in their order."""
    sound: Float[Tensor, "*batch sample"]
    """How they sounded; empty where they are written."""
    met: Int64[Tensor, "*batch"]
    """How many of the things that pay have been met."""
    steps: Int64[Tensor, "*batch"]
    lost: Bool[Tensor, "*batch"]


@checked
@dataclass(frozen=True, kw_only=True)
class Mission:
    """Go to things in the order in which a text names them, and then to one that it never names: +1 for each that is due.

    Where things and agent are and what is named is drawn anew in each episode; the thing that comes last is hidden and stays
    for the trial. A thing that is due vanishes when it is met, and the last one ends the episode; so does, unpaid, stepping on
    any other. Actions: up, right, down, left.
    """

    size: int = 4
    """Cells along each side."""
    objects: int = 4
    """Different things on the grid, 6 at most."""
    named: int = 2
    """How many of them an episode's text names."""
    sense: Literal["text", "sound"] = "text"
    """Whether the words are written or heard: each is a tone then, its phase and some noise drawn in each episode."""
    max_episode_steps: int = 14
    """Steps of an episode."""
    episodes_per_trial: int = 4
    """Episodes of a trial, with the same thing last."""

    def __post_init__(self) -> None:
        require_at_least(3, "mission", self, "size")
        require_at_least(2, "mission", self, "objects")
        require_at_least(1, "mission", self, "named", "max_episode_steps", "episodes_per_trial")
        if self.objects > len(WORDS):
            raise UsageError(f"mission: objects is {self.objects}, there are words for {len(WORDS)}")
        if self.named >= self.objects:
            raise UsageError(f"mission: named is {self.named} of {self.objects} objects, one must stay that is never named")

    @property
    def initial_noise(self) -> int:
        return self.size**2 + self.objects + (self.named * (1 + SAMPLES) if self.sense == "sound" else 0)

    step_noise = 0

    @property
    def observation_space(self) -> Senses:
        """The image has a plane for the agent and one for each thing; the vector the shares of time left and of things met."""
        parts = {
            "image": spaces.Box(0, 1, (self.size, self.size, 1 + self.objects), np.uint8),
            "vector": spaces.Box(0, 1, (2,)),
        }
        if self.sense == "sound":
            return Senses(parts | {"sound": spaces.Box(-1, 1, (SAMPLES * self.named,))})
        return Senses(parts | {"text": Words(2 * self.named, ("first", "then", *WORDS[: self.objects]))})

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(4)

    @property
    def parameters(self) -> Mapping[str, Choice]:
        """The number of the thing that comes last."""
        return {"last": Choice(*range(self.objects))}

    def initial(self, task: Tasks, noise: Tensor) -> MissionState:
        cells, rest = noise[..., : self.size**2].argsort(-1), noise[..., self.size**2 :]
        things, luck = torch.arange(self.objects, device=noise.device), rest[..., self.objects :]
        order = torch.where(things == task["last"][..., None], 1.0, rest[..., : self.objects]).argsort(-1)
        said = order[..., : self.named]
        sound = heard(said, luck.unflatten(-1, (self.named, 1 + SAMPLES))) if self.sense == "sound" else luck
        nothing = torch.zeros(noise.shape[:-1], dtype=torch.long, device=noise.device)
        return MissionState(cells[..., 0], cells[..., 1 : 1 + self.objects], said, sound, nothing, nothing, nothing.bool())

    def transition(self, state: MissionState, action: Tensor, task: Tasks, noise: Tensor) -> MissionState:
        moves = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]], device=action.device)
        here = torch.stack([state.cell // self.size, state.cell % self.size], -1)
        row, column = (here + moves[action]).clamp(0, self.size - 1).unbind(-1)
        cell = row * self.size + column
        stepped_on = state.things == cell[..., None]
        right = torch.take_along_dim(stepped_on, self.due(state, task)[..., None], -1)[..., 0]
        return state._replace(
            cell=cell,
            things=torch.where(stepped_on, -1, state.things),
            met=state.met + right,
            steps=state.steps + 1,
            lost=state.lost | (stepped_on.any(-1) & ~right),
        )

    def due(self, state: MissionState, task: Tasks) -> Int64[Tensor, "*batch"]:
        """The number of the thing that pays; of the last one also when all have been met."""
        last = task["last"].long().expand_as(state.met)[..., None]
        order = torch.cat([state.said, last], -1)
        return torch.take_along_dim(order, state.met.clamp(max=self.named)[..., None], -1)[..., 0]

    def observation(self, state: MissionState, task: Tasks) -> UInt8[Tensor, "*batch bytes"]:
        planes = drawn(torch.cat([state.cell[..., None], state.things], -1), self.size)
        left, met = 1 - state.steps / self.max_episode_steps, state.met / (self.named + 1)
        parts = {"image": planes.movedim(-3, -1), "vector": torch.stack([left, met], -1)}
        if self.sense == "sound":
            return self.observation_space.join(parts | {"sound": state.sound})
        # behind the 0 of no word the vocabulary has "first", "then" and the words
        between = torch.full_like(state.said, 2).index_fill(-1, torch.tensor(0, device=state.said.device), 1)
        return self.observation_space.join(parts | {"text": torch.stack([between, state.said + 3], -1).flatten(-2)})

    def reward(self, state: MissionState, action: Tensor, arrival: MissionState, task: Tasks, noise: Tensor) -> Tensor:
        return (arrival.met - state.met).float()

    def terminal(self, state: MissionState, task: Tasks) -> Tensor:
        return state.lost | (state.met > self.named)

    def info(self, state: MissionState, task: Tasks) -> dict[str, Tensor]:
        return {"success": state.met > self.named}

    def scene(self, state: MissionState, task: Tasks, action: Tensor | None) -> Scene:
        """The grid with rows upwards, the thing that is due in a ring; below, what was said, and the thing that comes last."""
        last, size = self.size - 1, self.size
        row, column = divmod(int(state.cell), size)
        due = -1 if bool(self.terminal(state, task)) else int(self.due(state, task))
        figures: list[Shape] = []
        for number, cell in enumerate(state.things.tolist()):
            if cell >= 0:
                place = (cell % size, cell // size)
                figures += [thing(number, place, 0.27)]
                figures += [ring(place, 0.42, 0.05, YELLOW)] if number == due else []
        said = [WORDS[word] for word in state.said.tolist()]
        line = f"first {' then '.join(said)}" if self.sense == "text" else f"heard: {', '.join(said)}"
        written = [Text((last / 2, -0.9), line, 0.2, INK)]
        hidden = (Text((last / 2 - 0.2, -1.4), "and last", 0.15, GREY), thing(int(task["last"]), (last / 2 + 0.35, -1.4), 0.14))
        floor = rectangle((-0.5, -0.5), (last + 0.5, last + 0.5), PAPER)
        ground = (floor, *grid(size, PALE), *written, *hidden)
        return Scene((-0.6, -1.7), (last + 0.6, last + 0.6), ground, (*figures, *agent((column, row), 0.24)), (column, row))


def heard(said: Int64[Tensor, "*lead named"], luck: Float[Tensor, "*lead named part"]) -> Float[Tensor, "*lead sample"]:
    """Words one after another, each a tone whose phase is the first of its random numbers; the others are its noise."""
    time = torch.arange(SAMPLES, device=said.device) / SAMPLES
    turns = CYCLES * (said[..., None] + 1) * time + luck[..., :1]
    return ((1 - NOISE) * (2 * math.pi * turns).sin() + NOISE * (2 * luck[..., 1:] - 1)).flatten(-2)


def thing(number: int, center: Point, radius: float) -> Shape:
    """Each thing has a shape and a colour of its own."""
    color = (GREEN, ORANGE, PURPLE, PINK, GOLD, GREY)[number]
    corners = (0, 4, 3, 4, 5, 6)[number]
    if not corners:
        return Disc(center, radius, color)
    # the first of the two with four corners lies on a side, all others stand on a corner or have one on top
    turn = math.pi / 4 if number == 1 else math.pi / 2
    angles = [turn + 2 * math.pi * corner / corners for corner in range(corners)]
    return Polygon(tuple((center[0] + radius * math.cos(a), center[1] + radius * math.sin(a)) for a in angles), color)
