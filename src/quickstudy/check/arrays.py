"""The clause on arrays: what an environment gave out, or was given, is nobody's to write over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.check.report import Broken
from quickstudy.check.walk import LANES, Trial
from quickstudy.protocol import counter
from quickstudy.tasks.lanes import Source
from quickstudy.tasks.parameters import env_values

STEPS = 4


def kept(trial: Trial) -> str:
    """No step or reset writes into what was given out before, or into the action that it is given."""
    trial.walked()
    batched(trial)
    if isinstance(trial.tasks, Source):
        alone(trial, trial.tasks)
    return "what was given out stays as it was"


class Watched:
    """Arrays beside copies of them."""

    def __init__(self) -> None:
        self._held: list[tuple[str, Any, Any]] = []

    def hold(self, what: str, value: Any) -> None:
        """Watches the arrays of which a value is made."""
        self._held += [
            (what, array, array.copy() if isinstance(array, np.ndarray) else array.clone()) for array in arrays_in(value)
        ]

    def require_unchanged(self, who: str) -> None:
        """Broken where one of them is no longer what it was."""
        for what, array, copy in self._held:
            same = torch.equal(array, copy) if isinstance(array, Tensor) else np.array_equal(array, copy)
            if not same:
                raise Broken(
                    f"{who} wrote into {what}: work on a copy, and give out a copy (np.array(...), tensor.clone());"
                    " quickstudy copies what it trains on, others may not"
                )


def arrays_in(value: Any) -> Iterator[Any]:
    """The arrays and tensors in dictionaries and tuples."""
    if isinstance(value, np.ndarray | Tensor):
        yield value
    elif isinstance(value, dict | tuple | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(part)


def batched(trial: Trial) -> None:
    """Watches what the batch of environments gives and is given."""
    watched, env = Watched(), trial.tasks.make(LANES, 1)
    try:
        for number in range(2):
            watched.hold("the tasks that reset was given", trial.drawn)
            watched.hold("the observation that reset gave", env.reset(trial.drawn, counter(trial.seed, number, "check arrays")))
            watched.require_unchanged("reset")
            for action in trial.actions[:STEPS]:
                watched.hold("the action that step was given", action)
                watched.hold("what step gave", env.step(action))
                watched.require_unchanged("step")
            watched.hold("the observation that restart gave", env.restart())
            watched.require_unchanged("restart")
    finally:
        env.close()


def alone(trial: Trial, tasks: Source) -> None:
    """Watches one environment as its author wrote it: here what it gives is copied, elsewhere it may not be."""
    watched, env = Watched(), tasks.build()
    try:
        tasks.put(env, env_values(tasks.parameters, trial.drawn)[0])
        for number in range(2):
            watched.hold("the observation that reset gave", env.reset(seed=trial.seed + number)[0])
            watched.require_unchanged("reset")
            for action in trial.actions[:STEPS]:
                given = trial.tasks.decode(action[0, 0])
                watched.hold("the action that step was given", given)
                observation, _, terminated, truncated, _ = env.step(given)
                watched.hold("the observation that step gave", observation)
                watched.require_unchanged("step")
                if terminated or truncated:
                    break
    finally:
        env.close()
