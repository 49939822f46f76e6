"""Tasks whose observation carries the task itself, in its own numbers: for rules that are told whom they have before them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.senses import is_read
from quickstudy.ops.spaces import encode
from quickstudy.protocol import Split, Splits, TaskDistribution, Tasks, counter
from quickstudy.tasks.figures import Figures, figures_of
from quickstudy.tasks.parameters import parameters_of
from quickstudy.tasks.shown import Show, ShownEnv


@checked
class Told:
    """The same tasks, with each task's parameters behind the numbers of an observation, raw: `parted` takes them apart again.

    `Informed` is what networks learn from; here a rule reads the parameters as dynamics reckon with them. UsageError where an
    observation is an image, a sound or a text.
    """

    def __init__(self, tasks: TaskDistribution):
        self.tasks = tasks
        if is_read(tasks.observation_space):
            raise UsageError(f"Told: the observations of {tasks!r} are no plain numbers")
        self._like = tasks.sample(1, "train", counter(0, 0, "space"))
        self._own = vector_size(tasks.observation_space)
        size = self._own + sum(value[0].numel() for value in self._like.values())
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,))
        self.action_space = tasks.action_space
        self.max_episode_steps = tasks.max_episode_steps
        self.episodes_per_trial = tasks.episodes_per_trial
        self.splits: Splits = tasks.splits
        self.parameters = parameters_of(tasks)
        self.figures: Figures = figures_of(tasks)

    def __repr__(self) -> str:
        return f"Told({self.tasks!r})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return self.tasks.sample(count, split, generator)

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return self.tasks.normalise(tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> ShownEnv:
        return ShownEnv(self.tasks.make(tasks, lanes, device), self._showing)

    def _showing(self, tasks: Tasks) -> Show:
        space = self.tasks.observation_space
        row = torch.cat([value[..., None].flatten(1).float() for value in tasks.values()], -1)[:, None]
        return lambda seen: torch.cat([as_vector(space, seen), row.to(seen.device).expand(*seen.shape[:2], -1)], -1)

    def parted(self, observation: Float[Tensor, "*lead entry"]) -> tuple[Float[Tensor, "*lead own"], Tasks]:
        """What the environment itself shows, as a vector, and the task's parameters, each (*lead, ...)."""
        own, start, task = observation[..., : self._own], self._own, {}
        for name, value in self._like.items():
            shape = value.shape[1:]
            end = start + prod(shape)
            task[name] = observation[..., start:end].reshape(*observation.shape[:-1], *shape).to(value.dtype)
            start = end
        return own, task

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        """An observation that carries its task."""
        return torch.as_tensor(encode(self.observation_space, observation))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return self.tasks.decode(action)
