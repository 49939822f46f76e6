"""Tasks that show features instead of what is seen: an encoder of one's own before any method at all."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor, nn

from quickstudy.arguments import checked
from quickstudy.errors import NotFiniteFault, UsageError, in_a_line
from quickstudy.ops.senses import Senses, dtype_of
from quickstudy.protocol import BatchEnv, Observation, Split, Splits, TaskDistribution, Tasks, Transition
from quickstudy.scene import Drawable, Picture
from quickstudy.tasks.figures import Figures, figures_of
from quickstudy.tasks.holding import hold
from quickstudy.tasks.parameters import parameters_of

MOST_ROWS = 1024
"""As many observations are encoded at once."""


@checked
class Encoded:
    """The same tasks, whose observations are the features that an encoder makes of them: Box, float32 (size,).

        qs.PEARL(qs.Encoded(tasks, encoder, 64))

    `encoder` makes features (n, size) of observations (n, ...) as tensors have them, images as bytes; of several senses it gets
    a dict of the parts, (n, ...) each, texts as numbers of words. It is called without gradients, and never learns. A module is
    copied, set to `eval()`, and moved to the device of the environments; a function gets tensors where those are. Workers need
    one that can be pickled.

    A reader that another run has learnt is shared so, frozen (`wrappers.reading`):

        reading = Reading(qs.load("runs/first", tasks))
        qs.PEARL(qs.Encoded(tasks, reading, reading.size))

    UsageError where it raises, or gives anything but a tensor of that shape.
    """

    def __init__(self, tasks: TaskDistribution, encoder: Callable[..., Tensor], size: int):
        self.tasks, self.size = tasks, size
        self.encoder = copy.deepcopy(encoder).eval() if isinstance(encoder, nn.Module) else encoder
        if size < 1:
            raise UsageError(f"Encoded: size is {size}, it must be at least 1")
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,))
        self.action_space = tasks.action_space
        self.max_episode_steps = tasks.max_episode_steps
        self.episodes_per_trial = tasks.episodes_per_trial
        self.splits: Splits = tasks.splits
        self.parameters: Mapping[str, Any] = parameters_of(tasks)
        self.figures: Figures = figures_of(tasks)
        space = tasks.observation_space
        self.features(self._here(torch.zeros(2, *(space.shape or ()), dtype=dtype_of(space))))

    def __repr__(self) -> str:
        name = getattr(self.encoder, "__name__", type(self.encoder).__name__)
        return f"Encoded({self.tasks!r}, {name}, {self.size})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return self.tasks.sample(count, split, generator)

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return self.tasks.normalise(tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> EncodedEnv:
        if isinstance(self.encoder, nn.Module):
            self.encoder.to(device)
        return EncodedEnv(self.tasks.make(tasks, lanes, device), self.features)

    @torch.no_grad()
    def features(self, seen: Shaped[Tensor, "row ..."]) -> Float[Tensor, "row {self.size}"]:
        """What the encoder makes of observations; UsageError where that is not what it should be."""
        space = self.tasks.observation_space
        return torch.cat(
            [
                self._checked(space.split(rows) if isinstance(space, Senses) else rows, len(rows))
                for rows in seen.split(MOST_ROWS)
            ]
        )

    def _checked(self, given: Any, rows: int) -> Float[Tensor, "row {self.size}"]:
        try:
            found = self.encoder(given)
        except Exception as error:  # whatever it is that somebody's own encoder raises
            raise UsageError(f"{self!r}: the encoder raised {in_a_line(error)}") from error
        if not isinstance(found, Tensor) or found.shape != (rows, self.size) or not found.is_floating_point():
            what = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise UsageError(f"{self!r}: of {rows} observations the encoder makes {what}, not float32 {(rows, self.size)}")
        return found.float()

    def encode(self, observation: Any) -> Float[Tensor, "{self.size}"]:
        return self.features(self._here(self.tasks.encode(observation)[None]))[0]

    def _here(self, seen: Shaped[Tensor, "row ..."]) -> Shaped[Tensor, "row ..."]:
        """Observations where a module's weights are."""
        weight = next(self.encoder.parameters(), None) if isinstance(self.encoder, nn.Module) else None
        return seen if weight is None else seen.to(weight.device)

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return self.tasks.decode(action)


class EncodedEnv:
    """Shows features; where an episode goes on, those of the arrival are those of the observation, which is the same."""

    def __init__(self, env: BatchEnv, features: Callable[[Tensor], Tensor]):
        self._env, self._features = env, features

    def _shown(self, observation: Observation) -> Observation:
        found = self._features(observation.flatten(0, 1))
        require_finite(found)
        return found.unflatten(0, observation.shape[:2])

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        return self._shown(self._env.reset(tasks, generator))

    def restart(self) -> Observation:
        return self._shown(self._env.restart())

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        transition = self._env.step(action)
        observation = arrival = self._shown(transition.observation)
        ended = transition.terminated | transition.truncated
        if bool(ended.any()):
            found = self._features(transition.arrival[ended])
            require_finite(found)
            arrival = observation.index_put((ended,), found)
        return transition._replace(observation=observation, arrival=arrival)

    def hold(self, lanes: Bool[Tensor, "task lane"]) -> None:
        """Lets lanes of the environment wait."""
        hold(self._env, lanes)

    def draw(self, task: int, lane: int) -> Picture | None:
        """What the environment draws."""
        return self._env.draw(task, lane) if isinstance(self._env, Drawable) else None

    def close(self) -> None:
        self._env.close()


def require_finite(features: Tensor) -> None:
    """NotFiniteFault where an encoder made what is NaN or infinite."""
    if not bool(torch.isfinite(features).all()):
        raise NotFiniteFault("the encoder made features that are NaN or infinite")
