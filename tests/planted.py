"""Task distributions with one fault each: what `quickstudy check` must find."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from probes import HiddenSide, Survival
from torch import Generator, Tensor

import quickstudy as qs
from quickstudy.protocol import Split, Tasks, Transition
from quickstudy.tasks.native import NativeEnv

LIMIT = 30


class Cart(gymnasium.Env[Any, Any]):
    """A sound environment: a cart on a line that is pushed left or right or not at all, and falls off at 1."""

    observation_space: Any = spaces.Box(-3, 3, (2,), np.float32)
    action_space: Any = spaces.Discrete(3)
    gain = 1.0
    drag = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.position, self.speed, self.steps = float(self.np_random.uniform(-0.1, 0.1)), 0.0, 0
        return self.shown(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.speed = (self.speed + 0.02 * self.gain * (float(action) - 1)) * (1 - self.drag)
        self.position += self.speed
        return self.shown(), -abs(self.position), abs(self.position) > 1, False, {}

    def shown(self) -> Any:
        return np.clip(np.array([self.position, self.speed], np.float32), -3, 3)


class Planted(NamedTuple):
    """A fault, the check that must find it, and how to build it."""

    fault: str
    check: str
    build: Callable[[], Any]


PLANTED: list[Planted] = []


def planted(fault: str, check: str) -> Callable[[Any], Any]:
    """Lists a fault: an environment class, or a function that builds a whole distribution."""

    def listed(build: Any) -> Any:
        whole = build
        if isinstance(build, type):
            whole = lambda: qs.GymnasiumTasks(build, max_episode_steps=LIMIT, gain=qs.Uniform(0.5, 2.0))  # noqa: E731
        PLANTED.append(Planted(fault, check, whole))
        return build

    return listed


@planted("observations are float64, the space says float32", "spaces")
class Float64(Cart):
    def shown(self) -> Any:
        return np.array([self.position, self.speed])


@planted("one array is written over at each step, and given out", "arrays")
class InPlace(Cart):
    def shown(self) -> Any:
        self.buffer = getattr(self, "buffer", np.zeros(2, np.float32))
        self.buffer[:] = super().shown()
        return self.buffer


@planted("the action that step is given is changed in place", "arrays")
class ActionInPlace(Cart):
    action_space: Any = spaces.Box(-1, 1, (1,), np.float32)

    def step(self, action: Any) -> Any:
        action += 1
        return super().step(action[0])


@planted("observations leave the bounds of their space", "spaces")
class Outside(Cart):
    def shown(self) -> Any:
        return super().shown() + np.float32(10)


@planted("a Discrete observation beyond n", "steps")
class BeyondDiscrete(Cart):
    observation_space = spaces.Discrete(4)

    def shown(self) -> Any:
        return min(self.steps, 9)


@planted("an observation of another shape after some steps", "steps")
class OtherShape(Cart):
    def shown(self) -> Any:
        return super().shown()[: 1 if self.steps > 5 else 2]


@planted("an observation that is text", "steps")
class Text(Cart):
    def shown(self) -> Any:
        return super().shown() if self.steps < 5 else np.array(["far", "slow"])


@planted("step returns four values, as old Gym did", "steps")
class FourValues(Cart):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, info


@planted("the reward is None at some steps", "steps")
class NoReward(Cart):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, None if self.steps == 7 else reward, *rest


@planted("terminated is a text", "steps")
class TextEnd(Cart):
    def step(self, action: Any) -> Any:
        observation, reward, _, *rest = super().step(action)
        return observation, reward, "no", *rest


@planted("step raises for one of the actions that the space allows", "steps")
class ForbiddenAction(Cart):
    def step(self, action: Any) -> Any:
        if action == 2:
            raise KeyError("action 2")
        return super().step(action)


@planted("an observation turns NaN", "steps")
class TurnsNaN(Cart):
    def shown(self) -> Any:
        return super().shown() * np.float32(np.nan if self.steps > 8 else 1)


@planted("a reward is infinite", "steps")
class Infinite(Cart):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, reward if self.steps < 9 else -np.inf, *rest


@planted("step raises late in an episode", "steps")
def late_fault() -> Any:
    class Late(Cart):
        def step(self, action: Any) -> Any:
            observation, reward, _, *rest = super().step(action)
            if self.steps > 250:
                raise RuntimeError("worn out")
            return observation, reward, False, *rest

    return qs.GymnasiumTasks(Late, max_episode_steps=300, gain=qs.Uniform(0.5, 2.0))


@planted("rewards grow without bound", "values")
class Growing(Cart):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, reward * 10.0**self.steps, *rest


@planted("noise from a generator of the environment's own, never seeded", "determinism")
class OwnNoise(Cart):
    def __init__(self) -> None:
        self.own = np.random.default_rng()

    def shown(self) -> Any:
        return np.clip(super().shown() + self.own.normal(0, 0.01, 2).astype(np.float32), -3, 3)


@planted("the clock on the wall is part of the physics", "determinism")
class WallClock(Cart):
    def step(self, action: Any) -> Any:
        self.speed += (time.perf_counter_ns() % 1000) * 1e-6
        return super().step(action)


@planted("noise from numpy.random", "global randomness")
class NumpyNoise(Cart):
    def step(self, action: Any) -> Any:
        self.speed += np.random.normal(0, 0.01)
        return super().step(action)


@planted("noise from random", "global randomness")
class PythonNoise(Cart):
    def step(self, action: Any) -> Any:
        self.speed += random.gauss(0, 0.01)
        return super().step(action)


@planted("noise from torch's global generator", "global randomness")
class TorchNoise(Cart):
    def step(self, action: Any) -> Any:
        self.speed += 0.01 * float(torch.randn(()))
        return super().step(action)


@planted("numpy.random is seeded at each reset, for everybody", "global randomness")
class SeedsEverybody(Cart):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        np.random.seed(3)
        return super().reset(seed=seed)


@planted("a parameter is read once, in the constructor", "parameters")
class ReadOnce(Cart):
    def __init__(self) -> None:
        self.force = self.gain

    def step(self, action: Any) -> Any:
        self.gain = self.force
        return super().step(action)


@planted("one of two parameters is never used", "parameters")
def unused_parameter() -> Any:
    class Unused(Cart):
        colour = 0.0

    return qs.GymnasiumTasks(Unused, max_episode_steps=LIMIT, gain=qs.Uniform(0.5, 2.0), colour=qs.Uniform(0.0, 1.0))


@planted("configure forgets to put the values in", "parameters")
def forgetful_configure() -> Any:
    return qs.GymnasiumTasks(Cart, max_episode_steps=LIMIT, configure=lambda env, values: None, mass=qs.Uniform(0.5, 2.0))


@planted("the observation shows the task", "hidden task")
class Shows(Cart):
    def shown(self) -> Any:
        return np.array([self.position, self.gain], np.float32)


@planted("the observation shows the task, scaled and mixed with the state", "hidden task")
class ShowsMixed(Cart):
    def shown(self) -> Any:
        return np.array([self.position + 1 / self.gain, self.position], np.float32)


@planted("reset keeps the speed", "reset")
class KeepsSpeed(Cart):
    speed = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        speed = self.speed
        super().reset(seed=seed)
        self.speed = speed
        return self.shown(), {}


@planted("the environment wears out from episode to episode", "reset")
class WearsOut(Cart):
    wear = 1.0

    def step(self, action: Any) -> Any:
        self.wear *= 0.999
        self.speed *= self.wear
        return super().step(action)


@planted("an environment writes to the global of its class", "batch")
class SharedState(Cart):
    total = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        SharedState.total = 0.0
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        SharedState.total = 0.5 * SharedState.total + 0.01 * float(action)
        self.speed += SharedState.total
        return super().step(action)


@planted("dynamics that average over the batch", "batch")
def averaging() -> Any:
    class Averaging(HiddenSide):
        def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
            reward = super().reward(state, action, arrival, task, noise)
            return reward - reward.mean()

    return qs.NativeTasks(Averaging())


@planted("episodes outlast the time limit that is stated", "time limit")
def outlasts() -> Any:
    tasks = Own(dynamics=Drift())
    tasks.max_episode_steps //= 2
    return tasks


@planted("the time limit is reported as termination", "time limit")
class LimitTerminates(Cart):
    def step(self, action: Any) -> Any:
        observation, reward, _, *rest = super().step(action)
        return observation, reward, self.steps >= LIMIT, *rest


@planted("a step is terminated and truncated at once", "time limit")
def both() -> Any:
    return Own(change=lambda transition: transition._replace(terminated=transition.terminated | transition.truncated))


@planted("reset does not clear the flag that ended the episode", "ends")
class StaysDone(Cart):
    done = False

    def step(self, action: Any) -> Any:
        observation, reward, _, *rest = super().step(action)
        self.done = self.done or self.steps > 12 + self.position
        return observation, reward, self.done, *rest


@planted("a batched environment goes on after an end instead of starting anew", "ends")
def goes_on() -> Any:
    return Own(change=lambda transition: transition._replace(observation=transition.arrival), dynamics=Drift())


@planted("a batched environment's clock runs on over the episodes", "ends")
def clock_runs_on() -> Any:
    return Own(dynamics=Drift(), env=RunningClock)


@planted("rewards in float64", "values")
def float64_rewards() -> Any:
    return Own(change=lambda transition: transition._replace(reward=transition.reward.double()))


@planted("tasks are drawn from the global generator", "sampling")
def global_sampling() -> Any:
    return Own(sample=lambda count, split, generator: {"button": torch.randint(2, (count,)).float()})


@planted("the same tasks whatever the generator", "sampling")
def constant_sampling() -> Any:
    return Own(sample=lambda count, split, generator: {"button": torch.arange(count).float() % 2})


@planted("sample returns fewer tasks than were asked for", "sampling")
def fewer_tasks() -> Any:
    return Own(sample=lambda count, split, generator: {"button": torch.randint(2, (1,), generator=generator).float()})


@planted("normalise leaves the parameters unscaled", "sampling")
def unscaled() -> Any:
    own = Own()
    own.normalise = lambda tasks: tasks["button"][:, None] * 1000
    return own


@planted("train and test share tasks, said to be partitioned", "splits")
def overlap() -> Any:
    own = Own(sample=lambda count, split, generator: {"button": torch.randint(200, (count,), generator=generator) / 200})
    own.splits = "partitioned"
    return own


@planted("ten tasks, said to be partitioned", "splits")
def too_few() -> Any:
    starts = {"train": 0, "validation": 4, "test": 7}
    own = Own(
        sample=lambda count, split, generator: {
            "button": (starts[split] + torch.randint(3, (count,), generator=generator)).float()
        }
    )
    own.splits = "partitioned"
    return own


@planted("the factory holds a lock, which no process can be sent", "workers")
def locked() -> Any:
    lock = threading.Lock()

    def build() -> Any:
        with lock:
            return Cart()

    return qs.GymnasiumTasks(build, max_episode_steps=LIMIT, gain=qs.Uniform(0.5, 2.0))


@dataclass(frozen=True, kw_only=True)
class Drift(Survival):
    """A counter that goes up, by the hidden button or by two."""

    @property
    def observation_space(self) -> Any:
        return spaces.Box(-1e4, 1e4, (1,))

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(noise.shape[:-1])

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state + 1 + (action == task["button"])

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state[..., None]

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return torch.ones_like(state)

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state, dtype=torch.bool)


@planted("a batch gives out one tensor, and writes it over", "arrays")
def in_place_batch() -> Any:
    buffer = torch.zeros(16, 1, 1)
    return Own(
        dynamics=Drift(), change=lambda transition: transition._replace(observation=buffer.copy_(transition.observation))
    )


class Changed:
    """A batched environment whose transitions are changed."""

    def __init__(self, env: Any, change: Callable[[Transition], Transition]):
        self.env, self.change = env, change
        self.reset, self.restart, self.close = env.reset, env.restart, env.close

    def step(self, action: Tensor) -> Transition:
        return self.change(self.env.step(action))


class RunningClock(NativeEnv):
    """Counts its steps from the beginning of the trial, not of the episode."""

    def step(self, action: Tensor) -> Transition:
        before = self._elapsed
        transition = super().step(action)
        self._elapsed = before + 1
        return transition


class Own:
    """A task distribution of one's own, sound but for what its arguments spoil."""

    splits: Any = "iid"

    def __init__(self, change: Any = None, sample: Any = None, dynamics: Any = None, env: Any = None):
        self.sound = qs.NativeTasks(dynamics or Survival())
        self.change, self.drawn, self.env = change, sample, env
        self.observation_space, self.action_space = self.sound.observation_space, self.sound.action_space
        self.max_episode_steps, self.episodes_per_trial = self.sound.max_episode_steps, self.sound.episodes_per_trial
        self.normalise: Any = self.sound.normalise
        self.encode, self.decode = self.sound.encode, self.sound.decode

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return (self.drawn or self.sound.sample)(count, split, generator)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> Any:
        if self.env:
            return self.env(self.sound.dynamics, tasks, lanes, device)
        env = self.sound.make(tasks, lanes, device)
        return Changed(env, self.change) if self.change else env
