"""Any Gymnasium environment as a task distribution: named attributes of its physics, drawn anew for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.errors import EnvironmentFault, QuickstudyError, UsageError, did_you_mean
from quickstudy.ops.features import vector_size
from quickstudy.protocol import Observation, Split, Tasks, Transition
from quickstudy.tasks.parameters import Parameter, normalise_parameters, sample_parameters


class GymnasiumTasks:
    """A task distribution over a Gymnasium environment.

        GymnasiumTasks("CartPole-v1", length=Uniform(0.25, 1.0), force_mag=Choice(-10.0, 10.0))

    `env` is a registered id or a function that builds the environment. Each keyword names an attribute of the unwrapped
    environment and where its value is drawn from. Raises UsageError for an unknown id or attribute, a space that is neither
    Box nor Discrete, or an environment without a time limit where `max_episode_steps` gives none.
    """

    def __init__(
        self,
        env: str | Callable[[], gymnasium.Env[Any, Any]],
        /,
        *,
        episodes_per_trial: int = 2,
        max_episode_steps: int | None = None,
        **parameters: Any,
    ):
        self._env = env
        self.parameters: Mapping[str, Parameter] = parameters
        self.episodes_per_trial = episodes_per_trial
        self._limit = max_episode_steps
        if not parameters:
            raise UsageError(f"{self}: name at least one attribute to vary, such as gravity=Uniform(8, 12)")
        probe = self._build()
        try:
            self.max_episode_steps = self._time_limit(probe)
            for name, parameter in parameters.items():
                if not hasattr(probe.unwrapped, name):
                    known = [key for key, value in vars(probe.unwrapped).items() if isinstance(value, int | float)]
                    raise UsageError(
                        f"{self}: {type(probe.unwrapped).__name__} has no attribute '{name}'; {did_you_mean(name, known)}"
                    )
                if not hasattr(parameter, "sample"):
                    raise UsageError(
                        f"{self}: {name}={parameter!r} is no distribution; write {name}=Uniform(low, high) or Choice(...)"
                    )
            self.observation_space = _plain(probe.observation_space)
            self.action_space = _plain(probe.action_space)
            for space in (self.observation_space, self.action_space):
                vector_size(space)
        finally:
            probe.close()

    def __repr__(self) -> str:
        name = self._env if isinstance(self._env, str) else getattr(self._env, "__name__", type(self._env).__name__)
        return f"GymnasiumTasks({name!r})"

    def _build(self) -> gymnasium.Env[Any, Any]:
        try:
            env = gymnasium.make(self._env, disable_env_checker=True) if isinstance(self._env, str) else self._env()
        except gymnasium.error.Error as error:
            raise UsageError(f"{self}: {error}") from error
        return env if self._limit is None else TimeLimit(env, self._limit)

    def _time_limit(self, probe: gymnasium.Env[Any, Any]) -> int:
        limit = self._limit or (probe.spec.max_episode_steps if probe.spec else None)
        if limit is None:
            raise UsageError(f"{self}: the environment has no time limit; pass max_episode_steps=...")
        return limit

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return sample_parameters(self.parameters, count, generator)

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return normalise_parameters(self.parameters, tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> GymnasiumEnv:
        return GymnasiumEnv(self._build, tasks, lanes, device)


def _plain(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space as tensors have it: float32 for every Box, counted from 0 for every Discrete."""
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.Box) and space.dtype != np.float32:
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32))
    return space


class GymnasiumEnv:
    """Steps an environment for each lane of each task through Gymnasium's own vector environment."""

    def __init__(self, build: Callable[[], gymnasium.Env[Any, Any]], tasks: int, lanes: int, device: str):
        self._lead, self._device = (tasks, lanes), device
        self._guards = [Guard(build(), *divmod(index, lanes)) for index in range(tasks * lanes)]
        self._vector = SyncVectorEnv(
            [lambda guard=guard: guard for guard in self._guards], autoreset_mode=AutoresetMode.SAME_STEP
        )

    def _tensor(self, array: Any, dtype: torch.dtype) -> Tensor:
        value = torch.as_tensor(np.asarray(array), dtype=dtype).to(self._device)
        return value.reshape(*self._lead, *value.shape[1:])

    def _observation(self, array: Any) -> Observation:
        space = self._vector.single_observation_space
        if isinstance(space, spaces.Discrete):
            return self._tensor(array, torch.int64) - int(space.start)
        return self._tensor(array, torch.float32)

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        for guard in self._guards:
            guard.set_task({name: value[guard.task].tolist() for name, value in tasks.items()})
        self._generator = generator
        return self.restart()

    def restart(self) -> Observation:
        seeds = torch.randint(2**31, self._lead, generator=self._generator, device=self._device)
        observation, _ = self._vector.reset(seed=seeds.flatten().tolist())
        return self._observation(observation)

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        actions = action.flatten(0, 1).cpu().numpy()
        space = self._vector.single_action_space
        if isinstance(space, spaces.Box):
            actions = actions.clip(space.low, space.high).astype(space.dtype)
        elif isinstance(space, spaces.Discrete):
            actions = actions + space.start
        observation, reward, terminated, truncated, info = self._vector.step(actions)
        arrival = observation
        if "final_obs" in info:
            arrival = np.array(observation)
            arrival[info["_final_obs"]] = np.stack(list(info["final_obs"][info["_final_obs"]]))
        terminated = self._tensor(terminated, torch.bool)
        return Transition(
            self._observation(observation),
            self._observation(arrival),
            self._tensor(reward, torch.float32),
            terminated,
            self._tensor(truncated, torch.bool) & ~terminated,
            {},
        )

    def close(self) -> None:
        self._vector.close()


class Guard(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Knows its place in the batch: gives its environment a task's parameters, and names itself where the environment fails."""

    def __init__(self, env: gymnasium.Env[Any, Any], task: int, lane: int):
        super().__init__(env)
        self.task, self._lane, self._steps, self._values = task, lane, 0, {}

    def set_task(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            setattr(self.env.unwrapped, name, value)
        derive_physics(self.env.unwrapped)
        self._values, self._steps = values, 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self._guarded("reset", lambda: self.env.reset(**options))
        self._check(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        result = self._guarded("step", lambda: self.env.step(action))
        if not isinstance(result, tuple) or len(result) != 5:
            raise self._fault(f"step returned {type(result).__name__}, not (observation, reward, terminated, truncated, info)")
        self._check(result[0])
        self._steps += 1
        return result

    def _guarded(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except QuickstudyError:
            raise
        except Exception as error:
            raise self._fault(f"{what} raised {type(error).__name__}: {error}") from error

    def _check(self, observation: Any) -> None:
        shape = np.shape(observation)
        if shape != self.observation_space.shape:
            raise self._fault(
                f"the environment returned an observation of shape {shape}, its space says {self.observation_space.shape}"
            )

    def _fault(self, what: str) -> EnvironmentFault:
        values = ", ".join(f"{name}={value}" for name, value in self._values.items())
        return EnvironmentFault(f"task {self.task} ({values}), lane {self._lane}, step {self._steps} of the trial: {what}")


def derive_physics(env: gymnasium.Env[Any, Any]) -> None:
    """Computes anew what CartPole works out in its constructor; the other classics read their physics at each step."""
    if isinstance(env, CartPoleEnv):
        env.total_mass = env.masspole + env.masscart
        env.polemass_length = env.masspole * env.length
