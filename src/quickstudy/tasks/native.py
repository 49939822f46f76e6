"""Torch-native families: dynamics as pure functions, stepped for every lane of every task at once, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import gymnasium
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import EnvironmentFault
from quickstudy.ops.spaces import action_fault, decode, encode
from quickstudy.ops.tree import tree_map, where_lane
from quickstudy.protocol import Observation, Split, Splits, Tasks, Transition
from quickstudy.scene import Drawn, Scene
from quickstudy.tasks.figures import Figures, figures_of, require_figures
from quickstudy.tasks.observes import observes
from quickstudy.tasks.parameters import (
    Parameter,
    normalise_parameters,
    require_single,
    sample_parameters,
    splits_of,
    to_single,
)

Noise = Float[Tensor, "*batch noise"]
"""Independent numbers, uniform on [0, 1), handed in so that the functions below stay pure."""


@runtime_checkable
class Dynamics(Protocol):
    """A family of MDPs as pure functions over any batch shape, named as in Gymnasium's functional API.

    A state is a tensor (*batch, ...) or a NamedTuple of such; the parameters in `task` broadcast against (*batch, ...).
    """

    @property
    def observation_space(self) -> gymnasium.Space[Any]: ...
    @property
    def action_space(self) -> gymnasium.Space[Any]: ...
    @property
    def max_episode_steps(self) -> int: ...
    @property
    def episodes_per_trial(self) -> int: ...
    @property
    def parameters(self) -> Mapping[str, Parameter]: ...
    @property
    def initial_noise(self) -> int:
        """How many random numbers `initial` uses."""
        ...

    @property
    def step_noise(self) -> int:
        """How many random numbers a step uses."""
        ...

    def initial(self, task: Tasks, noise: Noise) -> Any: ...
    def transition(self, state: Any, action: Tensor, task: Tasks, noise: Noise) -> Any: ...
    def observation(self, state: Any, task: Tasks) -> Shaped[Tensor, "*batch ..."]: ...
    def reward(self, state: Any, action: Tensor, arrival: Any, task: Tasks, noise: Noise) -> Float[Tensor, "*batch"]: ...
    def terminal(self, state: Any, task: Tasks) -> Bool[Tensor, "*batch"]: ...
    def info(self, state: Any, task: Tasks) -> dict[str, Tensor]:
        """What the scorer may know of a state, such as `success`; empty where there is nothing to tell.

        Dynamics may have `figures` as well (`tasks/figures.py`), which are told here at every step.
        """
        ...


class NativeEnv:
    """Steps a family's dynamics in every lane of every task, with time limits and episodes that start anew by themselves."""

    def __init__(self, dynamics: Dynamics, tasks: int, lanes: int, device: str):
        self._dynamics = dynamics
        self._lead = (tasks, lanes)
        self._device = device
        space = dynamics.action_space
        self._bounds = None
        if isinstance(space, gymnasium.spaces.Box):
            self._bounds = torch.as_tensor(space.low, device=device), torch.as_tensor(space.high, device=device)

    def _noise(self, size: int) -> Noise:
        return torch.rand(*self._lead, size, generator=self._generator, device=self._device)

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        self._task = {name: value[:, None] for name, value in tasks.items()}
        self._generator = generator
        return self.restart()

    def restart(self) -> Observation:
        self._state = self._dynamics.initial(self._task, self._noise(self._dynamics.initial_noise))
        self._reached, self._action = self._state, None
        self._elapsed = torch.zeros(self._lead, dtype=torch.long, device=self._device)
        self._held: Tensor | None = None
        return self._dynamics.observation(self._state, self._task)

    def hold(self, lanes: Bool[Tensor, "task lane"]) -> None:
        """These lanes alone stay where they are from now on, until a restart."""
        self._held = lanes if bool(lanes.any()) else None

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        dynamics, task = self._dynamics, self._task
        wrong = action_fault(dynamics.action_space, action)
        if wrong:
            raise EnvironmentFault(f"the policy gave an action that the environment can't take: {wrong}")
        if self._bounds is not None:
            action = action.clamp(*self._bounds)
        # drawn for all lanes at every step, so that a lane's noise doesn't depend on when other lanes end
        noise, initial_noise = self._noise(dynamics.step_noise), self._noise(dynamics.initial_noise)
        state = dynamics.transition(self._state, action, task, noise)
        reward = dynamics.reward(self._state, action, state, task, noise)
        before = {"state": self._state, "elapsed": self._elapsed, "reached": self._reached, "action": self._action}
        self._reached, self._action = state, action
        terminated = dynamics.terminal(state, task)
        self._elapsed = self._elapsed + 1
        truncated = (self._elapsed >= dynamics.max_episode_steps) & ~terminated
        arrival = observation = dynamics.observation(state, task)
        info = dynamics.info(state, task)
        ended = terminated | truncated
        if bool(ended.any()):
            state = where_lane(ended, dynamics.initial(task, initial_noise), state)
            observation = dynamics.observation(state, task)
            self._elapsed = self._elapsed * ~ended
        self._state = state
        if self._held is not None:
            after = {"state": self._state, "elapsed": self._elapsed, "reached": self._reached, "action": self._action}
            stayed = where_lane(self._held, before, after)
            self._state, self._elapsed, self._reached, self._action = stayed.values()
        return Transition(observation, arrival, reward, terminated, truncated, info)

    def draw(self, task: int, lane: int) -> Scene | None:
        """The picture of a lane as its dynamics describe it, where they do."""
        if not isinstance(self._dynamics, Drawn):
            return None
        state = tree_map(lambda value: value[task, lane].cpu(), self._reached)
        parameters = {name: value[task, 0].cpu() for name, value in self._task.items()}
        return self._dynamics.scene(state, parameters, None if self._action is None else self._action[task, lane].cpu())

    def close(self) -> None:
        pass


@checked
class NativeTasks:
    """The task distribution of torch-native dynamics: parameters drawn independently, for each split its own."""

    def __init__(self, dynamics: Dynamics):
        self.dynamics = dynamics
        self.observation_space = dynamics.observation_space
        self.action_space = dynamics.action_space
        self.max_episode_steps = dynamics.max_episode_steps
        self.episodes_per_trial = dynamics.episodes_per_trial
        self.parameters = dynamics.parameters
        self.figures: Figures = figures_of(dynamics)
        require_figures(self, self.figures)
        self.observes = observes(dynamics)
        require_single(self, self.parameters)
        self.splits: Splits = splits_of(self.parameters)

    def __repr__(self) -> str:
        return f"NativeTasks({self.dynamics!r})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return to_single(self.parameters, sample_parameters(self.parameters, count, split, generator))

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return normalise_parameters(self.parameters, tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> NativeEnv:
        return NativeEnv(self.dynamics, tasks, lanes, device)

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        return torch.as_tensor(encode(self.observation_space, observation))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return decode(self.action_space, action.cpu().numpy())
