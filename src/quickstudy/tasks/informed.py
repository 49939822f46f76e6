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
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.spaces import encode
from quickstudy.protocol import BatchEnv, Observation, Split, Splits, TaskDistribution, Tasks, Transition, counter
from quickstudy.scene import Drawable, Picture
from quickstudy.tasks.parameters import parameters_of


@checked
class Informed:
    """The same tasks, with their normalised parameters appended to each observation."""

    def __init__(self, tasks: TaskDistribution):
        self.tasks = tasks
        parameters = tasks.normalise(tasks.sample(1, "train", counter(0, 0, "space"))).shape[-1]
        self.observation_space = spaces.Box(-np.inf, np.inf, (vector_size(tasks.observation_space) + parameters,))
        self.action_space = tasks.action_space
        self.max_episode_steps = tasks.max_episode_steps
        self.episodes_per_trial = tasks.episodes_per_trial
        self.splits: Splits = tasks.splits
        self.parameters: Mapping[str, Any] = parameters_of(tasks)

    def __repr__(self) -> str:
        return f"Informed({self.tasks!r})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return self.tasks.sample(count, split, generator)

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return self.tasks.normalise(tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> InformedEnv:
        return InformedEnv(self.tasks, self.tasks.make(tasks, lanes, device))

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        """An observation with the normalised task parameters behind it, as `tell` makes it."""
        return torch.as_tensor(encode(self.observation_space, observation))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return self.tasks.decode(action)

    def tell(self, observation: Any, task: Tasks) -> Float[Tensor, "size"]:
        """What a policy that is told reads: the environment's own observation, then one task, its parameters (1, ...) each."""
        seen = as_vector(self.tasks.observation_space, self.tasks.encode(observation))
        return torch.cat([seen, self.tasks.normalise(task)[0]])


class InformedEnv:
    """Appends each lane's task to what the wrapped environment shows."""

    def __init__(self, tasks: TaskDistribution, env: BatchEnv):
        self._tasks, self._env = tasks, env

    def _told(self, observation: Observation) -> Observation:
        vector = as_vector(self._tasks.observation_space, observation)
        return torch.cat([vector, self._told_task[:, None].expand(*vector.shape[:2], -1)], dim=-1)

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        observation = self._env.reset(tasks, generator)
        self._told_task = self._tasks.normalise(tasks).to(observation.device)
        return self._told(observation)

    def restart(self) -> Observation:
        return self._told(self._env.restart())

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        transition = self._env.step(action)
        return transition._replace(observation=self._told(transition.observation), arrival=self._told(transition.arrival))

    def draw(self, task: int, lane: int) -> Picture | None:
        """What the wrapped environment draws."""
        return self._env.draw(task, lane) if isinstance(self._env, Drawable) else None

    def close(self) -> None:
        self._env.close()
