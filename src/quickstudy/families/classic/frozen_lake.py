"""Lakes whose holes are hidden, and end the episode of who steps into them (AMAGO's MetaFrozenLake: Grigsby et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.protocol import Split, Tasks
from quickstudy.scene import PAPER, YELLOW, Disc, Scene, Text, agent, grid, rectangle, star
from quickstudy.tasks.parameters import Parameter

FROZEN = 0.8
"""The chance that a tile is no hole, as in Gymnasium's random maps."""


@dataclass(frozen=True)
class Holes:
    """Maps of independent holes that leave a way from the first tile to the last, drawn anew until they do.

    Each map belongs to one split, told by a hash of its holes: of every four, two are for training, one for validation,
    one for tests.
    """

    size: int
    extrapolates = False

    def sample(self, count: int, split: Split, generator: Generator) -> Bool[Tensor, "count row column"]:
        drawn, found = [], 0
        while found < count:
            holes = torch.rand(2 * count + 16, self.size, self.size, generator=generator) >= FROZEN
            holes[:, 0, 0] = holes[:, -1, -1] = False
            holes = holes[passable(holes) & (split_of(holes) == split_numbers(split)[:, None]).any(0)]
            drawn.append(holes)
            found += len(holes)
        return torch.cat(drawn)[:count]

    def normalise(self, values: Bool[Tensor, "count row column"]) -> Float[Tensor, "count size"]:
        return values.flatten(1).float() * 2 - 1

    def __str__(self) -> str:
        return f"holes in a {self.size}x{self.size} lake that leave a way across"


def split_numbers(split: Split) -> Tensor:
    """Which of the four hashes belong to a split."""
    return torch.tensor({"train": (0, 1), "validation": (2,), "test": (3,)}[split])


def split_of(holes: Bool[Tensor, "count row column"]) -> Tensor:
    """A number from 0 to 3 for each map: two bits of a hash of its holes."""
    tiles = torch.arange(1, holes[0].numel() + 1)
    return ((holes.flatten(1) * (tiles * 0x9E3779B1 ^ tiles**3)).sum(1) >> 13) & 3


def passable(holes: Bool[Tensor, "count row column"]) -> Bool[Tensor, " count"]:
    """Whether the last tile can be reached from the first over ice."""
    reached = torch.zeros_like(holes)
    reached[:, 0, 0] = True
    while True:
        wider = reached.clone()
        wider[:, 1:] |= reached[:, :-1]
        wider[:, :-1] |= reached[:, 1:]
        wider[:, :, 1:] |= reached[:, :, :-1]
        wider[:, :, :-1] |= reached[:, :, 1:]
        wider &= ~holes
        if bool((wider == reached).all()):
            return reached[:, -1, -1]
        reached = wider


@checked
@dataclass(frozen=True, kw_only=True)
class FrozenLake:
    """Cross a frozen lake whose holes are hidden anew in each trial: +1 on the far corner, 0 in a hole; both end the episode.

    Actions: stay, down, up, right, left; the ice isn't slippery. The agent sees its row and column.
    """

    size: int = 5
    """Tiles along each side."""
    max_episode_steps: int = 34
    """Steps of an episode; 15 episodes of 34 steps stay within 512."""
    episodes_per_trial: int = 15
    """Episodes of a trial, on the same lake."""

    initial_noise = 0
    step_noise = 0

    def __post_init__(self) -> None:
        require_at_least(3, "frozen-lake", self, "size")
        require_at_least(1, "frozen-lake", self, "max_episode_steps", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0.0, 1.0, (2,))

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(5)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"holes": Holes(self.size)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(*noise.shape[:-1], 2, dtype=torch.long, device=noise.device)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        moves = torch.tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], device=state.device)
        return (state + moves[action]).clamp(0, self.size - 1)

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state / self.size

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return self.info(arrival, task)["success"].float()

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        tile = (state[..., 0] * self.size + state[..., 1])[..., None]
        return torch.take_along_dim(task["holes"].flatten(-2), tile, -1)[..., 0] | self.info(state, task)["success"]

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {"success": (state == self.size - 1).all(-1)}

    def scene(self, state: Tensor, task: Tasks, action: Tensor | None) -> Scene:
        """The lake with rows downwards, the hidden holes dark."""
        (row, column), last = state.tolist(), self.size - 1
        holes = [(hole_column, last - hole_row) for hole_row, hole_column in task["holes"].nonzero().tolist()]
        ice = rectangle((-0.5, -0.5), (last + 0.5, last + 0.5), "#e6f1f5")
        water = (shape for hole in holes for shape in (Disc(hole, 0.41, "#9fbccb"), Disc(hole, 0.36, "#1d3f52")))
        start = Text((-0.34, last + 0.33), "S", 0.15, "#7ba3b5")
        ground = (ice, *grid(self.size, PAPER), start, *water, star((last, 0), 0.36, YELLOW))
        return Scene((-0.6, -0.6), (last + 0.6, last + 0.6), ground, agent((column, last - row), 0.26), (column, last - row))
