"""Tasks whose observation tells the task: for a policy that need not find out, the upper bound of adaptation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.senses import Senses, as_bytes, is_read, sense_of
from quickstudy.ops.spaces import Space, encode
from quickstudy.protocol import Split, Splits, TaskDistribution, Tasks, counter
from quickstudy.tasks.figures import Figures, figures_of
from quickstudy.tasks.parameters import parameters_of
from quickstudy.tasks.shown import Show, ShownEnv

TOLD = "task"
"""What the part of an observation is called that tells the task."""


@checked
class Informed:
    """The same tasks, each of whose observations tells the task by its normalised parameters.

    They are appended to a vector. An image, a sound, a text or several senses get one more part beside them, "task"; a single
    one is then called "image", "sound" or "text". UsageError where there is a part of that name already.
    """

    def __init__(self, tasks: TaskDistribution):
        self.tasks = tasks
        parameters = tasks.normalise(tasks.sample(1, "train", counter(0, 0, "space"))).shape[-1]
        self.observation_space = told_space(tasks.observation_space, parameters)
        self.action_space = tasks.action_space
        self.max_episode_steps = tasks.max_episode_steps
        self.episodes_per_trial = tasks.episodes_per_trial
        self.splits: Splits = tasks.splits
        self.parameters: Mapping[str, Any] = parameters_of(tasks)
        self.figures: Figures = figures_of(tasks)

    def __repr__(self) -> str:
        return f"Informed({self.tasks!r})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return self.tasks.sample(count, split, generator)

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return self.tasks.normalise(tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> ShownEnv:
        return ShownEnv(self.tasks.make(tasks, lanes, device), self._showing)

    def _showing(self, tasks: Tasks) -> Show:
        return lambda seen: self.told(seen, tasks)

    def _told(
        self, seen: Shaped[Tensor, "*lead ..."], parameters: Float[Tensor, "*lead parameter"]
    ) -> Shaped[Tensor, "*lead entry"]:
        if not isinstance(self.observation_space, Senses):
            return torch.cat([as_vector(self.tasks.observation_space, seen), parameters], dim=-1)
        # parts lie in the order of their names, so that one more goes between bytes that stay as they are
        row, start = as_bytes(self.tasks.observation_space, seen), self.observation_space.places[TOLD].start
        return torch.cat([row[..., :start], parameters.contiguous().view(torch.uint8), row[..., start:]], dim=-1)

    def told(self, seen: Shaped[Tensor, "task *lead ..."], tasks: Tasks) -> Shaped[Tensor, "task *lead entry"]:
        """What a policy that is told reads on these tasks, where those who aren't told see this."""
        lead = seen.shape[: seen.dim() - len(self.tasks.observation_space.shape or ())]
        parameters = self.tasks.normalise(tasks).to(seen.device)
        return self._told(seen, parameters.reshape(len(parameters), *[1] * (len(lead) - 1), -1).expand(*lead, -1))

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        """An observation that tells the normalised task parameters, as `tell` makes it."""
        return torch.as_tensor(encode(self.observation_space, observation))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return self.tasks.decode(action)

    def tell(self, observation: Any, task: Tasks) -> Shaped[Tensor, "entry"]:
        """What a policy that is told reads: the environment's own observation, and one task, its parameters (1, ...) each."""
        return self._told(self.tasks.encode(observation), self.tasks.normalise(task)[0])


def told_space(space: Space, parameters: int) -> spaces.Box:
    """The space of observations that tell so many numbers of the task."""
    if not is_read(space):
        return spaces.Box(-np.inf, np.inf, (vector_size(space) + parameters,))
    parts = space.parts if isinstance(space, Senses) else {sense_of(space): space}
    if TOLD in parts:
        raise UsageError(f"Informed: the observation has a part '{TOLD}' already; call it otherwise")
    return Senses({**parts, TOLD: spaces.Box(-np.inf, np.inf, (parameters,))})
