"""Gymnasium environments as one batch; a fault names its task, lane and step, and can be lived again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Generator, Tensor

from quickstudy.errors import EnvironmentFault, NotFiniteFault
from quickstudy.ops.senses import Senses
from quickstudy.ops.spaces import action_fault, decode
from quickstudy.protocol import Observation, Tasks, Transition
from quickstudy.scene import Picture
from quickstudy.tasks.lanes import Answer, Block, LaneFault, Source, Values
from quickstudy.tasks.parameters import env_values, in_words
from quickstudy.tasks.workers import Workers

MOST_TOLD = 64
"""Numbers of an observation that a message lists; of more it names the first that is wrong."""


class GymnasiumEnv:
    """The environments of all lanes of all tasks as one batch."""

    def __init__(self, source: Source, tasks: int, lanes: int, device: str):
        self._source, self._lead, self._device = source, (tasks, lanes), device
        count = tasks * lanes
        self._lanes = Workers(source, count) if source.workers else Block(source, range(count))
        self._tasks: Tasks = {}

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        self._tasks = {name: value.detach().cpu().clone() for name, value in tasks.items()}
        self._generator = generator
        self._starts: list[tuple[int, list[int]]] = []
        self._actions: list[np.ndarray] = []
        self._waited: list[list[bool]] = []
        by_lane = {name: value.repeat_interleave(self._lead[1], 0) for name, value in self._tasks.items()}
        return self._start(env_values(self._source.parameters, by_lane))

    def restart(self) -> Observation:
        return self._start(None)

    def _start(self, values: list[Values] | None) -> Observation:
        seeds = torch.randint(2**31, self._lead, generator=self._generator, device=self._device).flatten().tolist()
        self._starts.append((len(self._actions), seeds))
        self._held = [False] * len(seeds)
        observation = self._guarded(lambda: self._lanes.start(values, seeds))
        self._require_finite("observation", observation)
        return self._tensor(observation)

    def hold(self, lanes: Bool[Tensor, "task lane"]) -> None:
        """These lanes alone stay where they are from now on, until a restart."""
        held = lanes.flatten().tolist()
        if held != self._held:
            self._guarded(lambda: self._lanes.hold(held))
            self._held = held

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        wrong = action_fault(self._source.action_space, action)
        if wrong:
            raise EnvironmentFault(f"the policy gave an action that the environment can't take: {wrong}")
        actions = decode(self._source.env_action_space, action.flatten(0, 1).cpu().numpy())
        self._actions.append(actions)
        self._waited.append(self._held)
        answer = self._guarded(lambda: self._lanes.step(actions))
        for name in ("arrival", "observation", "reward"):
            self._require_finite(name, getattr(answer, name))
        observation, arrival, reward, terminated, truncated, success, figures = map(self._tensor, answer)
        terminated = terminated.bool()
        truncated = truncated.bool() & ~terminated
        info = {"success": success} | {name: figures[..., place] for place, name in enumerate(self._source.figures)}
        return Transition(observation, arrival, reward.float(), terminated, truncated, info)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array).to(self._device).unflatten(0, self._lead)

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except LaneFault as fault:
            raise self._fault(fault.index, fault.what) from fault.__cause__

    def _require_finite(self, name: str, array: np.ndarray) -> None:
        noun, parts = "observation", {"": array}
        if name == "reward":
            noun = "reward"
        elif isinstance(self._source.observation_space, Senses):
            rows = self._source.observation_space.split(torch.as_tensor(array))
            parts = {f"'{part}' ": value.numpy() for part, value in rows.items()}
        for part, value in parts.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                index = int(np.argwhere(~np.isfinite(value))[0][0])
                told = value[index].tolist() if value[index].size <= MOST_TOLD else first_not_finite(value[index])
                raise self._fault(index, f"the environment returned {noun} {part}{told}: NaN or infinite", NotFiniteFault)

    def _fault(self, index: int, what: str, kind: type[EnvironmentFault] = EnvironmentFault) -> EnvironmentFault:
        """The fault of a lane with its place, and all that it takes to live its trial again."""
        task, lane = divmod(index, self._lead[1])
        step = len(self._actions) - (self._starts[-1][0] < len(self._actions))
        taken = [not waited[index] for waited in self._waited]
        replay = {
            "task": task,
            "parameters": {name: value[task].tolist() for name, value in self._tasks.items()},
            "starts": [[sum(taken[:step]), seeds[index]] for step, seeds in self._starts],
            "actions": [actions[index].tolist() for actions, own in zip(self._actions, taken, strict=True) if own],
        }
        named = ", ".join(f"{name}={value}" for name, value in in_words(self._source.parameters, self._tasks, task).items())
        return kind(f"task {task} ({named}), lane {lane}, step {step} of the trial: {what}", replay)

    def draw(self, task: int, lane: int) -> Picture | None:
        """The picture of a lane: by its environment, where it has the render mode `rgb_array`, else the image that it shows."""
        return self._lanes.draw(task * self._lead[1] + lane)

    def close(self) -> None:
        self._lanes.close()


def first_not_finite(array: np.ndarray) -> str:
    """The first number of many that is NaN or infinite, with its place."""
    place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
    return f"{array[place]} at {list(place)}"


def recorded_task(replay: dict[str, Any]) -> Tasks:
    """The task (1, ...) in the record that a fault keeps."""
    return {name: torch.from_numpy(np.asarray([value])) for name, value in replay["parameters"].items()}


def live_again(source: Source, replay: dict[str, Any]) -> Iterator[tuple[Any, Answer]]:
    """The trial of one lane once more, from the record that a fault keeps: each action with what came of it.

    Raises LaneFault where it fails again.
    """
    block = Block(source, range(1))
    try:
        starts = {step: seed for step, seed in replay["starts"]}
        block.start(env_values(source.parameters, recorded_task(replay)), [starts[0]])
        for step, action in enumerate(replay["actions"]):
            if step in starts and step:
                block.start(None, [starts[step]])
            yield action, block.step(np.asarray([action], source.env_action_space.dtype))
    finally:
        block.close()
