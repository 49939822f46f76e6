"""Tasks with some of their senses taken away: what a sense is worth is what is lost without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError, did_you_mean, shorten
from quickstudy.ops.senses import Senses
from quickstudy.protocol import Split, Splits, TaskDistribution, Tasks
from quickstudy.tasks.figures import Figures, figures_of
from quickstudy.tasks.parameters import parameters_of
from quickstudy.tasks.shown import ShownEnv


@checked
class Without:
    """The same tasks, in whose observations the named parts are always zero.

        qs.Without(tasks, "text")

    An observation that isn't made of parts has no names, and `qs.Without(tasks)` takes away all of it. The space stays, and so
    do the sizes of networks. UsageError for parts that aren't there.
    """

    def __init__(self, tasks: TaskDistribution, *parts: str):
        self.tasks, self.parts = tasks, parts
        self.observation_space = tasks.observation_space
        require_parts(self.observation_space, parts)
        self.action_space = tasks.action_space
        self.max_episode_steps = tasks.max_episode_steps
        self.episodes_per_trial = tasks.episodes_per_trial
        self.splits: Splits = tasks.splits
        self.parameters: Mapping[str, Any] = parameters_of(tasks)
        self.figures: Figures = figures_of(tasks)

    def __repr__(self) -> str:
        return f"Without({', '.join([repr(self.tasks), *map(repr, self.parts)])})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return self.tasks.sample(count, split, generator)

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return self.tasks.normalise(tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> ShownEnv:
        return ShownEnv(self.tasks.make(tasks, lanes, device), lambda _: self.show)

    def show(self, observation: Shaped[Tensor, "*lead ..."]) -> Shaped[Tensor, "*lead ..."]:
        """Observations without those parts."""
        if not isinstance(self.observation_space, Senses):
            return torch.zeros_like(observation)
        parts = self.observation_space.split(observation)
        return self.observation_space.replaced(observation, {name: torch.zeros_like(parts[name]) for name in self.parts})

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        return self.show(self.tasks.encode(observation))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return self.tasks.decode(action)


def require_parts(space: Any, parts: tuple[str, ...]) -> None:
    """UsageError where there are no parts of these names to take away."""
    if not isinstance(space, Senses):
        if parts:
            raise UsageError(f"Without: observations are {space}, which has no parts; name none to take all of it away")
        return
    if not parts:
        raise UsageError(f"Without: name at least one part of the observation: {', '.join(space.parts)}")
    for name in parts:
        if name not in space.parts:
            raise UsageError(f"Without: the observation has no part {shorten(name)}; {did_you_mean(str(name), space.parts)}")
