"""Robots stepped in batches by MuJoCo's own threaded rollout: a model for each task whose physics differs, and no processes."""

from __future__ import annotations

import copy
import os
import warnings
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import EnvironmentFault
from quickstudy.ops.spaces import action_fault, decode, encode
from quickstudy.ops.tree import where_lane, within
from quickstudy.protocol import Observation, Split, Splits, Tasks, Transition
from quickstudy.tasks.changes import AFTER, STEP
from quickstudy.tasks.mujoco.bodies import simulator
from quickstudy.tasks.mujoco.family import SCALES, Family, Motion, shape
from quickstudy.tasks.mujoco.stage import Stage
from quickstudy.tasks.parameters import normalise_parameters, require_single, sample_parameters, splits_of, to_single


class Unstable(UserWarning):
    """The simulator diverged in some lanes; their episodes were truncated."""


class MujocoEnv:
    """Every lane of every task as one row of a batch that MuJoCo steps on its own threads.

    A rollout gives back positions and velocities alone, and starts its solver from zero unless told: the acceleration over the
    last step of the simulator is carried from call to call as the solver's first guess, which is what stepping in place does.
    """

    def __init__(self, family: Family, tasks: int, lanes: int, device: str, threads: int):
        mujoco = simulator()
        self._family, self._lead, self._device = family, (tasks, lanes), device
        self._model = family.body.load()
        self._models: Any = self._model
        self._size = int(mujoco.mj_stateSize(self._model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
        self._rollout = mujoco.rollout.Rollout(nthread=threads)
        self._data = [mujoco.MjData(self._model) for _ in range(threads)]
        self._count = tasks * lanes
        self._stage: Stage | None = None
        self.unstable = 0
        """How many episodes were truncated because the simulator diverged."""

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        self._task = {name: value[:, None].double() for name, value in tasks.items()}
        self._generator = generator
        later = within(AFTER, tasks)
        if later or any(name in SCALES for name in tasks):
            self._models = self._shaped(tasks)
            self._later = self._shaped({**tasks, **later}) if later else self._models
        return self.restart()

    def _shaped(self, tasks: Tasks) -> list[Any]:
        """A model for each lane, the same for all of a task."""
        models = [copy.copy(self._model) for _ in range(self._lead[0])]
        for number, model in enumerate(models):
            shape(model, {name: value[number].double() for name, value in tasks.items()})
        return [model for model in models for _ in range(self._lead[1])]

    def _in_force(self) -> Any:
        """The model of each lane at the step that it is at."""
        if STEP not in self._task:
            return self._models
        changed = (self._elapsed >= self._task[STEP]).flatten().tolist()
        return [later if now else model for model, later, now in zip(self._models, self._later, changed, strict=True)]

    def restart(self) -> Observation:
        self._state = self._reached = self._first_states()
        self._place = self._places(self._state)
        self._guess = np.zeros((self._count, self._model.nv))
        self._elapsed = torch.zeros(self._lead, dtype=torch.long)
        self._held: Tensor | None = None
        return self._seen(self._state)

    def hold(self, lanes: Bool[Tensor, "task lane"]) -> None:
        """These lanes alone stay where they are from now on, until a restart."""
        self._held = lanes.cpu() if bool(lanes.any()) else None

    def _first_states(self) -> Float[np.ndarray, "lane state"]:
        """A first state for every lane: time, positions, velocities."""
        model, body = self._model, self._family.body
        positions = 2 * torch.rand(self._count, model.nq, generator=self._generator, dtype=torch.float64) - 1
        velocities = torch.rand(self._count, model.nv, generator=self._generator, dtype=torch.float64).clamp(min=1e-12)
        velocities = torch.special.ndtri(velocities) if body.gaussian else 2 * velocities - 1
        state = np.zeros((self._count, self._size))
        state[:, 1 : 1 + model.nq] = model.qpos0 + body.reset_noise * positions.numpy()
        state[:, 1 + model.nq : 1 + model.nq + model.nv] = body.reset_noise * velocities.numpy()
        return state

    def _parts(self, state: np.ndarray) -> tuple[Tensor, Tensor]:
        """Positions and velocities of a batch of states, (task, lane, ...)."""
        nq, nv = self._model.nq, self._model.nv
        rows = torch.from_numpy(state).unflatten(0, self._lead)
        return rows[..., 1 : 1 + nq], rows[..., 1 + nq : 1 + nq + nv]

    def _places(self, state: np.ndarray) -> Float[Tensor, "task lane axis"]:
        """Where the robots are. A sensor is read as a step of the simulator begins, so it takes one more, not gone along."""
        axes = self._family.body.axes
        if self._family.body.by_mass:
            _, sensed = self._rollout.rollout(self._models, self._data, state, nstep=1, skip_checks=False)
            return torch.from_numpy(sensed[:, 0, :axes].copy()).unflatten(0, self._lead)
        return self._parts(state)[0][..., :axes]

    def _seen(self, state: np.ndarray) -> Observation:
        seen = self._family.body.observation(*self._parts(state))
        if STEP in self._task:
            seen = torch.cat([seen, (self._elapsed / self._family.max_episode_steps)[..., None]], -1)
        return seen.float().to(self._device)

    def step(self, action: Shaped[Tensor, "task lane actuator"]) -> Transition:
        body, family = self._family.body, self._family
        wrong = action_fault(spaces.Box(-body.action_limit, body.action_limit, (body.action_size,)), action)
        if wrong:
            raise EnvironmentFault(f"the policy gave an action that the environment can't take: {wrong}")
        action = action.double().cpu().clamp(-body.action_limit, body.action_limit)
        before = self._reached, self._state, self._guess, self._place, self._elapsed
        after, guess, diverged = self._simulate(action.flatten(0, 1).numpy())
        self._reached = after
        positions, velocities = self._parts(after)
        place = self._places(after)
        motion = Motion(self._place, place, positions, velocities, body.frame_skip * self._model.opt.timestep)
        reward = family.reward(motion, action, self._task).where(~diverged, 0.0)
        self._elapsed = self._elapsed + 1
        terminated = ~body.healthy(positions, velocities) & ~diverged
        truncated = (diverged | (self._elapsed >= family.max_episode_steps)) & ~terminated
        ended = terminated | truncated
        arrival = observation = self._seen(after)
        # drawn for all lanes at every step, so that a lane's noise doesn't depend on when other lanes end
        fresh = self._first_states()
        if bool(ended.any()):
            rows = ended.flatten().numpy()[:, None]
            after, guess = np.where(rows, fresh, after), np.where(rows, 0.0, guess)
            self._elapsed = self._elapsed * ~ended
            observation, place = self._seen(after), self._places(after)
        self._state, self._guess, self._place = after, guess, place
        if self._held is not None:
            self._stay(*before)
        reward, terminated, truncated = (value.to(self._device) for value in (reward.float(), terminated, truncated))
        return Transition(observation, arrival, reward, terminated, truncated, {})

    def _stay(self, reached: np.ndarray, state: np.ndarray, guess: np.ndarray, place: Tensor, elapsed: Tensor) -> None:
        """Puts lanes that are held back to where they were."""
        assert self._held is not None
        rows = self._held.flatten().numpy()[:, None]
        self._reached, self._state = np.where(rows, reached, self._reached), np.where(rows, state, self._state)
        self._guess = np.where(rows, guess, self._guess)
        self._place = where_lane(self._held, place, self._place)
        self._elapsed = where_lane(self._held, elapsed, self._elapsed)

    def _simulate(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray, Bool[Tensor, "task lane"]]:
        """The states after a step of the environment, the solver's next guesses, and in which lanes the simulator diverged.

        Where it diverges it sets the state back, its clock with it: such a lane keeps the state it had.
        """
        skip, (nq, nv) = self._family.body.frame_skip, (self._model.nq, self._model.nv)
        repeated = np.repeat(control[:, None], skip, axis=1)
        states, _ = self._rollout.rollout(
            self._in_force(), self._data, self._state, repeated, initial_warmstart=self._guess, skip_checks=False
        )
        after, velocities = states[:, -1], slice(1 + nq, 1 + nq + nv)
        clock = self._state[:, 0] + skip * self._model.opt.timestep
        diverged = ~np.isfinite(after).all(1) | (np.abs(after[:, 0] - clock) > self._model.opt.timestep / 2)
        previous = states[:, -2] if skip > 1 else self._state
        guess = (after[:, velocities] - previous[:, velocities]) / self._model.opt.timestep
        if diverged.any():
            after, guess = np.where(diverged[:, None], self._state, after), np.where(diverged[:, None], 0.0, guess)
            self.unstable += int(diverged.sum())
            tasks = sorted({row // self._lead[1] for row in np.flatnonzero(diverged)})
            warnings.warn(
                f"MuJoCo diverged in task {', '.join(map(str, tasks[:5]))} (generator's seed {self._generator.initial_seed()}):"
                f" the episode was truncated, {self.unstable} of them so far",
                Unstable,
                stacklevel=2,
            )
        return after, guess, torch.from_numpy(diverged).unflatten(0, self._lead)

    def draw(self, task: int, lane: int) -> UInt8[np.ndarray, "height width 3"]:
        """A picture by MuJoCo's own renderer, the camera following the robot; UsageError where no GL can be had."""
        self._stage = self._stage or Stage(self._family.body)
        state = self._reached[task * self._lead[1] + lane]
        parameters = {name: value[task, 0] for name, value in self._task.items()}
        return self._stage.picture(state, self._family.marks(parameters, float(state[0])))

    def close(self) -> None:
        self._rollout.close()
        if self._stage is not None:
            self._stage.close()
            self._stage = None


@checked
class MujocoTasks:
    """The task distribution of a family of robot tasks: parameters drawn independently, for each split its own."""

    def __init__(self, dynamics: Family, threads: int | None = None):
        simulator()
        body = dynamics.body
        self.dynamics, self.threads = dynamics, threads or os.cpu_count() or 1
        size = body.observation_size + (STEP in dynamics.parameters)
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,))
        self.action_space = spaces.Box(-body.action_limit, body.action_limit, (body.action_size,))
        self.max_episode_steps = dynamics.max_episode_steps
        self.episodes_per_trial = dynamics.episodes_per_trial
        self.parameters = dynamics.parameters
        require_single(self, self.parameters)
        self.splits: Splits = splits_of(self.parameters)

    def __repr__(self) -> str:
        return f"MujocoTasks({self.dynamics!r})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return to_single(self.parameters, sample_parameters(self.parameters, count, split, generator))

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return normalise_parameters(self.parameters, tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> MujocoEnv:
        return MujocoEnv(self.dynamics, tasks, lanes, device, self.threads)

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        return torch.as_tensor(encode(self.observation_space, observation))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return decode(self.action_space, action.cpu().numpy())
