"""The dark room with a key and a door: who is told where they are, and who searches it cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Generator, Tensor

from quickstudy.families.classic.cells import cell_seen
from quickstudy.families.classic.key_door import KeyDoor
from quickstudy.oracles.grid import met, towards
from quickstudy.oracles.told import parts_told
from quickstudy.protocol import Act, Memory, Percept, has_past


@dataclass(frozen=True)
class InformedPolicy:
    """Walks straight to the key and then to the door, which `Informed` tells."""

    family: KeyDoor

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"holds_key": torch.zeros(tasks, lanes, dtype=torch.bool)}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        family = self.family
        size = len(family.parameters["cells"].entries)
        parts, task = parts_told(family.observation_space, size, percept.observation)
        (seen,) = parts.values()
        places = ((task + 1) / 2 * (family.size - 1)).round().long().unflatten(-1, (-1, 2))
        cells = places[..., 0] * family.size + places[..., 1]
        holds_key = (memory["holds_key"] | met(percept)) & ~percept.first
        goal = torch.where(holds_key, cells[..., 1], cells[..., 0])
        return Act(towards(cell_seen(family.view, seen), goal, family.size), None, {}), {"holds_key": holds_key}


@dataclass(frozen=True)
class NearestPolicy:
    """Goes to what it needs next, where that is known, and else to the nearest cell where it may be.

    What it needs is the key, and with the key the door. A rule of thumb and no optimum: what can be done is at least as much.
    """

    family: KeyDoor

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        may_be = torch.ones(tasks, lanes, self.family.size**2, dtype=torch.bool)
        unknown = torch.full((tasks, lanes), -1)
        known = {"key": unknown, "door": unknown, "may_be_key": may_be, "may_be_door": may_be}
        return known | {"holds_key": torch.zeros(tasks, lanes, dtype=torch.bool)}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        cell, arrival = (cell_seen(self.family.view, seen) for seen in (percept.observation, percept.arrival))
        memory = learnt(percept, arrival, memory)
        if self.family.start == "centre":  # neither lies where episodes begin
            started = set_of(cell, self.family.size**2) & percept.first[..., None]
            memory |= {name: memory[name] & ~started for name in ("may_be_key", "may_be_door")}
        holds_key = memory["holds_key"]
        needed = torch.where(holds_key, memory["door"], memory["key"])
        may_be = torch.where(holds_key[..., None], memory["may_be_door"], memory["may_be_key"])
        goal = torch.where(needed >= 0, needed, nearest(cell, may_be, self.family.size))
        return Act(towards(cell, goal, self.family.size), None, {}), memory


def learnt(percept: Percept, arrival: Int64[Tensor, "task lane"], memory: Memory) -> Memory:
    """What one more step says of where key and door are."""
    past, got, held = has_past(percept), met(percept), memory["holds_key"]
    there = set_of(arrival, memory["may_be_key"].shape[-1])
    # without the key in hand nobody sees a door, and where the key is there is none
    not_key = there & (past & ~held & ~got)[..., None]
    not_door = there & (past & ((held & ~got) | (got & ~held)))[..., None]
    return {
        "key": torch.where(got & ~held, arrival, memory["key"]),
        "door": torch.where(got & held, arrival, memory["door"]),
        "may_be_key": memory["may_be_key"] & ~not_key,
        "may_be_door": memory["may_be_door"] & ~not_door,
        "holds_key": (held | got) & ~percept.first,
    }


def set_of(cell: Int64[Tensor, "*lead"], cells: int) -> Bool[Tensor, "*lead cell"]:
    """The set of one of so many cells."""
    return torch.nn.functional.one_hot(cell, cells).bool()


def nearest(cell: Int64[Tensor, "*lead"], may_be: Bool[Tensor, "*lead cell"], size: int) -> Int64[Tensor, "*lead"]:
    """The nearest cell of a set, of several the first; any where the set is empty."""
    numbers = torch.arange(size**2)
    rows, columns = numbers // size, numbers % size
    steps = (rows - (cell // size)[..., None]).abs() + (columns - (cell % size)[..., None]).abs()
    return torch.where(may_be, steps, 2 * size).argmin(-1)
