"""An oracle is an agent whose policy learns in its memory, by a rule that somebody has proved something about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Generator

from quickstudy.protocol import Act, Experience, Memory, Percept, Policy, TaskDistribution
from quickstudy.tasks.told import Told


@dataclass(frozen=True)
class Resumed:
    """A policy that goes on from a memory; from its own where that is None."""

    policy: Policy
    start: Memory | None = None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return self.policy.initial_memory(tasks, lanes) if self.start is None else self.start

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        return self.policy.act(percept, memory, generator)


class Oracle:
    """An agent that needs no training: its policy, and the tasks for which that was made.

    `says` is what is known about its return, such as that it is the optimum, with the figure.
    """

    lanes = 1
    device = "cpu"

    def __init__(self, name: str, tasks: TaskDistribution, policy: Policy, says: str = ""):
        self.name, self.tasks, self.policy, self.says = name, tasks, policy, says

    def explorer(self) -> Resumed:
        return Resumed(self.policy)

    def adapt(self, policy: Any, experience: Experience) -> Resumed:
        """Carries the memory over to the next episode."""
        return replace(policy, start=experience.end_memory)


def ruled(name: str, tasks: TaskDistribution, settings: str, policy: Callable[[Told | None], Policy]) -> Oracle:
    """The rule of a field as an oracle: with the settings "told" its tasks carry the task, which `policy` is given to read."""
    told = Told(tasks) if settings == "told" else None
    return Oracle(name, told or tasks, policy(told))
