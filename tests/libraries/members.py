"""Small members whose every number is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from quickstudy.protocol import Act, Experience, Memory, Percept, TaskDistribution


@dataclass(frozen=True)
class Fixed:
    """Draws from fixed logits at every step of a trial, (step, action), and tells a value for each step, or none."""

    logits: Tensor
    values: Tensor | None = None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"step": torch.zeros(tasks, lanes, dtype=torch.long)}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        step = memory["step"]
        parameters = self.logits[step % len(self.logits)]
        clocks = torch.empty_like(parameters).exponential_(generator=generator)
        action = parameters.argmax(-1) if generator is None else (parameters.softmax(-1) / clocks).argmax(-1)
        notes = {"parameters": parameters} | ({} if self.values is None else {"value": self.values[step]})
        log_prob = parameters.log_softmax(-1).gather(-1, action[..., None])[..., 0]
        return Act(action, log_prob, notes), {"step": step + 1}


class Alone:
    """An agent that is one policy."""

    lanes, device = 1, "cpu"

    def __init__(self, tasks: TaskDistribution, policy: Fixed, name: str = "alone"):
        self.tasks, self.policy, self.name = tasks, policy, name

    def explorer(self) -> Fixed:
        return self.policy

    def adapt(self, policy: Fixed, experience: Experience) -> Fixed:
        return policy


def sure_of(arms: list[int], count: int) -> Tensor:
    """Logits that leave no doubt of an arm at each step."""
    return torch.where(torch.nn.functional.one_hot(torch.tensor(arms), count) > 0, 0.0, -torch.inf)
