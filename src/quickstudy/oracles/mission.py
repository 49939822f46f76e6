"""The mission of somebody who knows which thing comes last: to each in turn, by the shortest way around the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Generator, Tensor

from quickstudy.families.classic.mission import CYCLES, SAMPLES, Mission
from quickstudy.oracles.told import parts_told
from quickstudy.protocol import Act, Memory, Percept

MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Up, right, down, left."""


@dataclass(frozen=True)
class InformedPolicy:
    """Reads picture and text (or hears the tones), is told by `Informed` which thing comes last, and walks there."""

    family: Mission

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        family = self.family
        parts, task = parts_told(family.observation_space, 1, percept.observation)
        last = ((task + 1) / 2 * (family.objects - 1)).round().long()
        met = (parts["vector"][..., 1] * (family.named + 1)).round().long().clamp(max=family.named)
        due = torch.take_along_dim(torch.cat([said(family, parts), last], -1), met[..., None], -1)
        planes = parts["image"].flatten(-3, -2).movedim(-1, -2) > 0
        at, things = planes[..., 0, :], planes[..., 1:, :]
        goal = torch.take_along_dim(things, due[..., None], -2)[..., 0, :]
        steps = steps_to(goal, things.any(-2) & ~goal, family.size)
        ahead = torch.take_along_dim(steps[..., None, :], neighbours(family.size)[at.int().argmax(-1)][..., None], -1)
        return Act(ahead[..., 0].argmin(-1), None, {}), memory


def said(family: Mission, parts: Mapping[str, Shaped[Tensor, "*lead ..."]]) -> Int64[Tensor, "*lead named"]:
    """The numbers of the things that are named: by their words, or by the loudest tone among theirs."""
    if family.sense == "text":
        return parts["text"][..., 1::2].long() - 3
    loudness = torch.fft.rfft(parts["sound"].unflatten(-1, (family.named, SAMPLES))).abs()
    return loudness[..., CYCLES : CYCLES * family.objects + 1 : CYCLES].argmax(-1)


def neighbours(size: int) -> Int64[Tensor, "cell action"]:
    """Where each action leads from each cell."""
    cells = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    row, column = (cells[:, None] + torch.tensor(MOVES)).clamp(0, size - 1).unbind(-1)
    return row * size + column


def steps_to(goal: Bool[Tensor, "*lead cell"], blocked: Bool[Tensor, "*lead cell"], size: int) -> Float[Tensor, "*lead cell"]:
    """How many steps the shortest way from each cell to the goal takes; infinite in blocked cells and where there is none."""
    around, steps = neighbours(size), torch.where(goal, 0.0, torch.inf)
    for _ in range(size**2):
        through = steps[..., around].amin(-1) + 1
        steps = torch.minimum(steps, torch.where(blocked, torch.inf, through))
    return steps
