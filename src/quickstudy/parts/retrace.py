"""A trial as one lane lived it: what an agent goes through once more to tell what moved its decisions."""

from __future__ import annotations

import torch
from torch import Tensor

from quickstudy.insight import Trial
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import Experience


def lane(experience: Experience, task: int) -> Experience:
    """A task's first lane alone, (1, 1, time), without the steps in which it waited."""
    length = int(experience.valid[task, 0].sum())

    def at_steps(value: Tensor) -> Tensor:
        return value[task : task + 1, :1, :length]

    def at_ends(value: Tensor) -> Tensor:
        return value[task : task + 1, :1]

    return Experience(
        tree_map(at_steps, experience.percept),
        tree_map(at_steps, experience.act),
        tree_map(at_steps, experience.transition),
        at_steps(experience.valid),
        tree_map(at_ends, experience.start_memory),
        tree_map(at_ends, experience.end_percept),
        tree_map(at_ends, experience.end_memory),
    )


def joined(trial: Trial, task: int) -> Experience:
    """The whole trial of a task's first lane, (1, 1, time): its episodes one after another."""
    first, *later = (lane(experience, task) for experience in trial.episodes)

    def behind(*parts: Tensor) -> Tensor:
        return torch.cat(parts, dim=2)

    return (later[-1] if later else first)._replace(
        percept=tree_map(behind, first.percept, *(each.percept for each in later)),
        act=tree_map(behind, first.act, *(each.act for each in later)),
        transition=tree_map(behind, first.transition, *(each.transition for each in later)),
        valid=behind(first.valid, *(each.valid for each in later)),
        start_memory=first.start_memory,
    )
