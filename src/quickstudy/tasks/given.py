"""Tasks that are given in place of being drawn: a single one to learn, or the same few for all who are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.protocol import BatchEnv, Split, Splits, TaskDistribution, Tasks
from quickstudy.tasks.figures import Figures, figures_of
from quickstudy.tasks.observes import observes
from quickstudy.tasks.parameters import parameters_of


class Given:
    """The same kind of tasks; whoever draws some gets the given ones in their order, again and again, in every split."""

    def __init__(self, tasks: TaskDistribution, given: Tasks):
        self.tasks, self.given = tasks, given
        self.observation_space, self.action_space = tasks.observation_space, tasks.action_space
        self.max_episode_steps, self.episodes_per_trial = tasks.max_episode_steps, tasks.episodes_per_trial
        self.splits: Splits = tasks.splits
        self.parameters: Mapping[str, Any] = parameters_of(tasks)
        self.figures: Figures = figures_of(tasks)
        self.observes = observes(tasks)

    def __repr__(self) -> str:
        return f"Given({self.tasks!r})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return {name: value[torch.arange(count) % len(value)] for name, value in self.given.items()}

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return self.tasks.normalise(tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> BatchEnv:
        return self.tasks.make(tasks, lanes, device)

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        return self.tasks.encode(observation)

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return self.tasks.decode(action)
