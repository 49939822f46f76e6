"""Some Gymnasium environments, one a lane, stepped one after another; what goes wrong names its lane."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from quickstudy.answers import encode_reward
from quickstudy.arguments import shown
from quickstudy.errors import EnvironmentFault, QuickstudyError, UsageError, ending
from quickstudy.ops.spaces import encode
from quickstudy.scene import Picture
from quickstudy.tasks.figures import Figures
from quickstudy.tasks.pictures import draws_itself, seen_picture

Env = gymnasium.Env[Any, Any]
Values = dict[str, Any]
"""The parameters of one task as its environment receives them: a copy of its own for each lane."""


@runtime_checkable
class Source(Protocol):
    """What task distributions over Gymnasium environments are to this module: they build them and put tasks into them."""

    workers: int
    deadline: float
    parameters: Mapping[str, Any]
    """Where the parameters are drawn from, of those that know it."""
    figures: Figures
    """The figures of its field, of which an environment's info tells at each step."""
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    env_observation_space: gymnasium.Space[Any]
    env_action_space: gymnasium.Space[Any]

    def build(self) -> Env: ...
    def put(self, env: Env, values: Values) -> None: ...


class LaneFault(Exception):
    """The environment of one lane, counted over all tasks, did what it must not."""

    def __init__(self, index: int, what: str):
        super().__init__(index, what)
        self.index, self.what = index, what


class Answer(NamedTuple):
    """What a batch of lanes gives back for its actions."""

    observation: np.ndarray
    arrival: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray
    """1 and 0 where an environment's info says whether it succeeded, -1 where it doesn't say."""
    figures: np.ndarray
    """What its info says of each figure, (lane, figure)."""


class Guard(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Around the environment of one lane: gives it its task, encodes what it shows, and names the lane where it fails."""

    def __init__(self, source: Source, index: int, clock: Clock):
        try:
            super().__init__(source.build())
        except (SystemExit, GeneratorExit) as error:
            raise EnvironmentFault(f"lane {index} of all: building its environment {ending(error)}") from error
        self._source, self._index, self._clock = source, index, clock
        self._space = source.env_observation_space
        self.observation_space = source.observation_space
        self._drawn, self._end = False, None
        self._seen: Any = None
        """What the environment showed last, as it showed it."""
        self._encoding: Any = None
        """The same as policies read it."""
        self.held = False
        """Whether it stays where it is when it is stepped."""
        self.success = -1
        """What the last step said of success."""
        self.figures = [0.0] * len(source.figures)
        """What it said of each figure."""

    def put(self, values: Values) -> None:
        self._guarded("taking its parameters", lambda: self._source.put(self.env, values))

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        result = self._guarded("reset", lambda: self.env.reset(**options))
        if not isinstance(result, tuple) or len(result) != 2:
            raise LaneFault(self._index, f"reset returned {described(result)}, not (observation, info)")
        return self._encoded(result[0]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.held:
            return self._encoding, 0.0, False, False, {}
        result = self._guarded("step", lambda: self.env.step(action))
        if not isinstance(result, tuple) or len(result) != 5:
            what = f"step returned {described(result)}, not (observation, reward, terminated, truncated, info)"
            raise LaneFault(self._index, what)
        observation, reward, terminated, truncated, info = result
        try:
            reward = encode_reward(reward)
        except ValueError as error:
            raise LaneFault(self._index, str(error)) from error
        for name, ended in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(ended, bool | np.bool_):
                raise LaneFault(self._index, f"{name} is {ended!r}, not True or False")
        self.success, encoded = self._succeeded(info), self._encoded(observation)
        self.figures = [self._figure(name, info) for name in self._source.figures]
        if self._drawn:
            # the vector environment resets an ended episode before anyone can ask what its end looked like
            self._end = self._picture() if terminated or truncated else None
        return encoded, reward, bool(terminated), bool(truncated), {}

    def _succeeded(self, info: Any) -> int:
        success = info.get("success") if isinstance(info, dict) else None
        if success is None:
            return -1
        if not isinstance(success, bool | int | float | np.generic) or success not in (0, 1):
            raise LaneFault(self._index, f"info['success'] is {success!r}, not True or False")
        return int(success)

    def _figure(self, name: str, info: Any) -> float:
        value = info.get(name) if isinstance(info, dict) else None
        if not isinstance(value, bool | int | float | np.number | np.bool_) or not math.isfinite(value):
            told = "doesn't say" if value is None else f"is {shown(value)}"
            raise LaneFault(self._index, f"info['{name}'] {told}; a figure is a finite number at every step")
        return float(value)

    def draw(self) -> Picture | None:
        """What the last reset or step led to, where it ended the episode its end; None where there are no pictures."""
        self._drawn = True
        return self._picture() if self._end is None else self._end

    def begin(self) -> None:
        """An episode begins that was asked for."""
        self._end, self.held = None, False

    def _picture(self) -> Picture | None:
        """A picture by the environment itself, which needn't have been built with a render mode; else what it shows."""
        if not draws_itself(self.env):
            return seen_picture(self._space, self._seen)
        if self.env.render_mode is None:
            self.env.unwrapped.render_mode = "rgb_array"
        try:
            picture = self.env.render()
        except Exception as error:
            # whatever it is that the environment draws with
            first = str(error).partition("\n")[0]
            raise UsageError(f"{self.env.unwrapped} can't draw itself here: {type(error).__name__}: {first}") from error
        return picture.copy() if isinstance(picture, np.ndarray) else None

    def _guarded(self, what: str, call: Callable[[], Any]) -> Any:
        self._clock.start(self._index)
        try:
            return call()
        except (QuickstudyError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise LaneFault(self._index, f"{what} {ending(error)}") from error

    def _encoded(self, observation: Any) -> np.ndarray:
        self._seen = observation
        try:
            self._encoding = encode(self._space, observation, self.observation_space)
        except ValueError as error:
            raise LaneFault(self._index, str(error)) from error
        return self._encoding


def described(value: Any) -> str:
    """A wrong return value in words."""
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"


class Clock:
    """Raises TimeoutError inside a call that takes longer than `deadline` seconds, and notes which lane is at work.

    It rings by SIGALRM, so only in a process's main thread, on systems that have it, and where nobody else uses it.
    """

    def __init__(self, deadline: float, lane: Any = None):
        self._deadline = deadline
        self._began = 0.0
        self._lane = lane
        """A shared counter that others may read where this process is gone or hangs."""

    def start(self, index: int) -> None:
        """One lane begins to work."""
        self._began = time.monotonic()
        if self._lane is not None:
            self._lane.value = index

    def __enter__(self) -> None:
        self._armed = (
            hasattr(signal, "setitimer")
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
        )
        if self._armed:
            signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self._deadline)

    def _ring(self, number: int, frame: Any) -> None:
        left = self._began + self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no answer within the deadline of {self._deadline:g} s")
        signal.setitimer(signal.ITIMER_REAL, left)

    def __exit__(self, *_: object) -> None:
        if self._armed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


class Block:
    """Some neighbouring lanes, stepped one after another in this process by Gymnasium's own vector environment."""

    def __init__(self, source: Source, lanes: range, lane: Any = None):
        self._clock = Clock(source.deadline, lane)
        self._guards = [Guard(source, index, self._clock) for index in lanes]
        self._vector = SyncVectorEnv(
            [lambda guard=guard: guard for guard in self._guards], autoreset_mode=AutoresetMode.SAME_STEP
        )

    def start(self, values: Sequence[Values] | None, seeds: Sequence[int]) -> np.ndarray:
        with self._clock:
            for guard, own in zip(self._guards, values or (), strict=bool(values)):
                guard.put(own)
            for guard in self._guards:
                guard.begin()
            return self._vector.reset(seed=list(seeds))[0]

    def step(self, actions: np.ndarray) -> Answer:
        with self._clock:
            # a copy, since an environment may spoil what it is given
            observation, reward, terminated, truncated, info = self._vector.step(actions.copy())
        arrival = observation
        if "final_obs" in info:
            arrival = np.array(observation)
            arrival[info["_final_obs"]] = np.stack(list(info["final_obs"][info["_final_obs"]]))
        success = np.array([guard.success for guard in self._guards], np.int8)
        with np.errstate(over="ignore"):  # what float32 can't hold is infinite, and refused as such
            reward = reward.astype(np.float32)
        figures = np.array([guard.figures for guard in self._guards], np.float32)
        return Answer(observation, arrival, reward, terminated, truncated, success, figures)

    def hold(self, lanes: Sequence[bool]) -> None:
        """These lanes alone stay where they are from now on, until a start."""
        for guard, held in zip(self._guards, lanes, strict=True):
            guard.held = held

    def draw(self, index: int) -> Picture | None:
        """A picture of one of the lanes, counted within the block."""
        return self._guards[index].draw()

    def close(self) -> None:
        self._vector.close()
