"""Environments whose observations are shown otherwise than they are: what wrappers of tasks are made of."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool, Shaped
from torch import Generator, Tensor

from quickstudy.protocol import BatchEnv, Observation, Tasks, Transition
from quickstudy.scene import Drawable, Picture
from quickstudy.tasks.holding import hold

Show = Callable[[Observation], Observation]
"""What makes of an environment's own observations, (task, lane, ...), those that are shown."""


class ShownEnv:
    """Another environment, whose observations go through a function; `showing` gives it for the tasks of a trial.

    `beside` is a parameter of tasks that the environment itself doesn't know.
    """

    def __init__(self, env: BatchEnv, showing: Callable[[Tasks], Show], beside: str = ""):
        self._env, self._showing, self._beside = env, showing, beside

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        observation = self._env.reset({name: value for name, value in tasks.items() if name != self._beside}, generator)
        self._show = self._showing(tasks)
        return self._show(observation)

    def restart(self) -> Observation:
        return self._show(self._env.restart())

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        transition = self._env.step(action)
        observation = self._show(transition.observation)
        # where no lane's episode ended, environments give one tensor as both
        same = transition.arrival is transition.observation
        return transition._replace(observation=observation, arrival=observation if same else self._show(transition.arrival))

    def hold(self, lanes: Bool[Tensor, "task lane"]) -> None:
        """Lets lanes of the environment wait."""
        hold(self._env, lanes)

    def draw(self, task: int, lane: int) -> Picture | None:
        """What the environment draws."""
        return self._env.draw(task, lane) if isinstance(self._env, Drawable) else None

    def close(self) -> None:
        self._env.close()
