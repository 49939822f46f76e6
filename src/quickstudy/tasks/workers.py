"""Lanes stepped side by side in worker processes, which hand over through shared memory."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from ctypes import c_int
from multiprocessing.connection import wait
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv
from gymnasium.vector.async_vector_env import AsyncState
from gymnasium.vector.utils import batch_space

from quickstudy.errors import UsageError
from quickstudy.scene import Picture
from quickstudy.tasks.lanes import Answer, Block, LaneFault, Source, Values


class WorkerBlock(gymnasium.Env[Any, Any]):
    """A block as one environment whose observation is a whole answer, so that it reaches the parent through shared memory."""

    def __init__(self, source: Source, lanes: range, size: int, lane: Any):
        self._source, self._lanes, self._size, self._lane = source, lanes, size, lane
        self._block: Block | None = None
        shown = batch_space(source.observation_space, size)
        flags = spaces.MultiBinary(size)
        self.observation_space = self._answers = spaces.Dict(
            observation=shown,
            arrival=shown,
            reward=spaces.Box(-np.inf, np.inf, (size,), np.float64),
            terminated=flags,
            truncated=flags,
            success=spaces.Box(-1, 1, (size,), np.int8),
            # shared memory has no tables without columns
            figures=spaces.Box(-np.inf, np.inf, (size, max(1, len(source.figures))), np.float32),
        )
        self.action_space = batch_space(source.env_action_space, size)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert options is not None
        own = slice(self._lanes.start, self._lanes.stop)
        try:
            if self._block is None:
                torch.set_num_threads(1)  # a forked process must not wait for the threads of its parent
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides how to stop
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self._block = Block(self._source, self._lanes, self._lane)
            values = options["values"]
            observation = self._block.start(values and values[own], options["seeds"][own])
        except LaneFault as fault:
            return self._padded(None), {"fault": [fault.index, fault.what]}
        nothing = np.zeros(len(self._lanes))
        return self._padded(Answer(observation, observation, nothing, nothing, nothing, nothing, nothing[:, None])), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self._block is not None
        try:
            answer = self._block.step(action[: len(self._lanes)])
        except LaneFault as fault:
            return self._padded(None), 0.0, False, False, {"fault": [fault.index, fault.what]}
        return self._padded(answer), 0.0, False, False, {}

    def _padded(self, answer: Answer | None) -> dict[str, np.ndarray]:
        """The answer of as many lanes as the largest block has."""
        whole = {name: np.zeros(space.shape or (self._size,), space.dtype) for name, space in self._answers.spaces.items()}
        if answer is not None:
            for name, value in answer._asdict().items():
                whole[name][: len(value)] = value if value.size else 0
        return whole

    def hold(self, lanes: Sequence[bool]) -> None:
        """Those of these lanes, counted over all blocks, that are its own wait."""
        if self._block is not None:
            self._block.hold(lanes[self._lanes.start : self._lanes.stop])

    def draw(self, index: int) -> Picture | UsageError | None:
        """A picture of a lane, counted over all blocks, or why there is none; None from the other blocks."""
        if self._block is None or index not in self._lanes:
            return None
        try:
            return self._block.draw(index - self._lanes.start)
        except UsageError as error:
            return error

    def close(self) -> None:
        if self._block is not None:
            self._block.close()


class Workers:
    """Lanes divided into one block a process."""

    def __init__(self, source: Source, lanes: int):
        self._deadline = source.deadline
        size = -(-lanes // source.workers)
        self._shares = [range(start, min(start + size, lanes)) for start in range(0, lanes, size)]
        self._size = size
        self._at = [multiprocessing.RawValue(c_int, share.start) for share in self._shares]
        self._vector = AsyncVectorEnv(
            [
                lambda share=share, at=at: WorkerBlock(source, share, size, at)
                for share, at in zip(self._shares, self._at, strict=True)
            ],
            copy=False,
        )

    def start(self, values: Sequence[Values] | None, seeds: Sequence[int]) -> np.ndarray:
        self._sent(lambda: self._vector.reset_async(options={"values": values, "seeds": list(seeds)}))
        return self._joined(self._received(self._vector.reset_wait)).observation

    def step(self, actions: np.ndarray) -> Answer:
        missing = self._size * len(self._shares) - len(actions)
        padded = np.concatenate([actions, np.repeat(actions[-1:], missing, axis=0)]).reshape(
            len(self._shares), self._size, *actions.shape[1:]
        )
        self._sent(lambda: self._vector.step_async(padded))
        return self._joined(self._received(self._vector.step_wait))

    def hold(self, lanes: Sequence[bool]) -> None:
        """These lanes alone stay where they are from now on, until a start."""
        try:
            self._vector.call("hold", lanes)
        except (OSError, EOFError) as error:
            raise self._death() from error

    def draw(self, index: int) -> Picture | None:
        """A picture of a lane; UsageError where it can't draw itself here."""
        answers = self._vector.call("draw", index)
        for answer in answers:
            if isinstance(answer, UsageError):
                raise answer
        return next((answer for answer in answers if answer is not None), None)

    def _sent(self, send: Callable[[], None]) -> None:
        try:
            send()
        except (OSError, EOFError) as error:
            raise self._death() from error

    def _received(self, receive: Callable[[], Any]) -> dict[str, np.ndarray]:
        """What all workers answer; LaneFault where one reports a fault, dies, or works on one lane past its deadline."""
        waiting, at = set(self._vector.parent_pipes), None
        while waiting:
            ready = wait(waiting, timeout=2 * self._deadline)
            now = [lane.value for lane in self._at]
            if not ready and at == now:
                slow = next(i for i, pipe in enumerate(self._vector.parent_pipes) if pipe in waiting)
                raise LaneFault(now[slow], f"no answer within {2 * self._deadline:g} s; its worker process was ended")
            waiting, at = waiting - set(ready), now
        try:
            answers, *_, info = receive()
        except (OSError, EOFError) as error:
            raise self._death() from error
        for fault in info.get("fault", ()):
            if fault is not None:
                raise LaneFault(*fault)
        return answers

    def _death(self) -> LaneFault:
        """Which lane a dead worker was at."""
        sentinels: list[Any] = [process.sentinel for process in self._vector.processes]
        number = sentinels.index(wait(sentinels)[0])
        self._vector.processes[number].join()
        code = self._vector.processes[number].exitcode or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        return LaneFault(self._at[number].value, f"its worker process died {how}")

    def _joined(self, answers: dict[str, np.ndarray]) -> Answer:
        """The blocks' answers in the order of the lanes, without padding, copied out of shared memory."""
        count = self._shares[-1].stop
        return Answer(*(answers[name].reshape(-1, *answers[name].shape[2:])[:count].copy() for name in Answer._fields))

    def close(self) -> None:
        # or else Gymnasium waits for the answer to a call in flight, which a dead worker never gives
        self._vector._state = AsyncState.DEFAULT
        self._vector.close(terminate=True)
