"""What worlds of square cells share: numbered cells drawn as images, and several different ones as a task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Generator, Tensor

from quickstudy.protocol import Split
from quickstudy.tasks.choices import dealt_numbers, require_split

View = Literal["number", "drawn"]
"""What is seen of one who walks from cell to cell: the cell's number, or an image in which that cell is the one that is 1."""


def seen_space(view: View, size: int) -> spaces.Discrete | spaces.Box:
    """The space of what is seen on a grid."""
    return spaces.Box(0, 1, (1, size, size), np.uint8) if view == "drawn" else spaces.Discrete(size**2)


def seen_cell(view: View, place: Int64[Tensor, "*lead 2"], size: int) -> Shaped[Tensor, "*lead ..."]:
    """What is seen of row and column."""
    cell = place[..., 0] * size + place[..., 1]
    return drawn(cell[..., None], size) if view == "drawn" else cell


def cell_seen(view: View, observation: Shaped[Tensor, "*lead ..."]) -> Int64[Tensor, "*lead"]:
    """The number of the cell that an observation shows."""
    return observation.flatten(-3).argmax(-1) if view == "drawn" else observation


def stepped(place: Int64[Tensor, "*lead 2"], action: Int64[Tensor, "*lead"], size: int) -> Int64[Tensor, "*lead 2"]:
    """Row and column after an action: stay, up, right, down, left; walls hold."""
    moves = torch.tensor([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]], device=action.device)
    return (place + moves[action]).clamp(0, size - 1)


def drawn(cells: Int64[Tensor, "*lead plane"], size: int) -> UInt8[Tensor, "*lead plane {size} {size}"]:
    """For each plane an image of a grid in which one cell is 1 and all others 0; a negative number is no cell."""
    numbers = torch.arange(size**2, device=cells.device)
    return (cells[..., None] == numbers).to(torch.uint8).unflatten(-1, (size, size))


@dataclass(frozen=True)
class DifferentCells:
    """Several cells of a grid, no two the same and none where `never` is, all ways of choosing them equally likely.

    Each way belongs to one split (`tasks/choices.py`): three fifths to training, a fifth to validation, a fifth to tests.
    """

    size: int
    names: tuple[str, ...]
    """What each of them is called."""
    never: tuple[int, ...] = ()
    """Numbers of cells that are none of them."""
    extrapolates = False

    @property
    def entries(self) -> tuple[str, ...]:
        return tuple(f"{name} {axis}" for name in self.names for axis in ("row", "column"))

    def sample(self, count: int, split: Split, generator: Generator) -> Int64[Tensor, "count cell 2"]:
        require_split(split)
        free = self.size**2 - len(self.never)
        total = math.perm(free, len(self.names))
        rows = [self._cells(number, free) for number in dealt_numbers(total, count, split, generator)]
        return torch.tensor(rows).reshape(count, len(self.names), 2)

    def _cells(self, number: int, free: int) -> list[tuple[int, int]]:
        """The cells that a number below the count of all ways stands for."""
        left = [cell for cell in range(self.size**2) if cell not in self.never]
        found = []
        for taken in range(len(self.names)):
            number, place = divmod(number, free - taken)
            found.append(divmod(left.pop(place), self.size))
        return found

    def normalise(self, values: Int64[Tensor, "count cell 2"]) -> Float[Tensor, "count size"]:
        return values.flatten(1).float() / (self.size - 1) * 2 - 1

    def __str__(self) -> str:
        return f"different cells for {' and '.join(self.names)}"
