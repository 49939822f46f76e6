"""Agents that meta-training does not touch, to hold a learner against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Generator

from quickstudy.arguments import checked
from quickstudy.ops.spaces import ranges_of
from quickstudy.protocol import Act, Experience, Memory, Percept, TaskDistribution


@dataclass(frozen=True)
class UniformPolicy:
    """Every action as likely as any other; in a Box each entry by its own bounds, as Gymnasium samples it.

    An entry without bounds is standard normal, one with a single bound an exponential away from it.
    """

    space: Any

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        # there is no likeliest action: where the mode is asked for, the middle or first one stands in
        lead, device = percept.first.shape, percept.first.device
        if isinstance(self.space, spaces.Discrete):
            action = torch.zeros(lead, dtype=torch.long, device=device)
            if generator is not None:
                action = torch.randint(int(self.space.n), lead, generator=generator, device=device)
            return Act(action, None, {}), memory
        if isinstance(self.space, spaces.MultiDiscrete):
            sizes = torch.as_tensor(self.space.nvec, device=device)
            share = torch.zeros(*lead, len(sizes), device=device)
            if generator is not None:
                share = torch.rand(share.shape, generator=generator, device=device)
            return Act((share * sizes).long(), None, {}), memory
        low, high, _, _ = ranges = ranges_of(self.space, device)
        share = torch.full((*lead, len(low)), 0.5, device=device)
        if generator is not None:
            share = torch.rand(share.shape, generator=generator, device=device).clamp(min=1e-7)
        action = torch.special.ndtri(share)
        action = torch.where(torch.isfinite(low), low - share.log(), action)
        action = torch.where(torch.isfinite(high), high + share.log(), action)
        action = torch.where(ranges.bounded, low + (high - low) * share, action)
        return Act(action.unflatten(-1, self.space.shape), None, {}), memory


@checked
class Random:
    """Acts at random and learns nothing."""

    name = "random"
    lanes = 1

    def __init__(self, tasks: TaskDistribution, *, device: str = "cpu"):
        self.tasks, self.device = tasks, device

    def explorer(self) -> UniformPolicy:
        return UniformPolicy(self.tasks.action_space)

    def adapt(self, policy: UniformPolicy, experience: Experience) -> UniformPolicy:
        return policy
