"""Environments such as users bring: `quickstudy train rl2 worlds.py:tank`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from quickstudy import Choice, GymnasiumTasks, Uniform


class Tank(gymnasium.Env[Any, Any]):
    """Hold a tank that leaks at a level; told how full it is."""

    observation_space = spaces.Box(0.0, 2.0, (1,))
    action_space = spaces.Box(0.0, 1.0, (1,))

    def __init__(self) -> None:
        self.leak, self.level = 0.2, 1.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.full = self.np_random.uniform(0.0, 0.5)
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.full = float(np.clip(self.full * (1 - self.leak) + float(action[0]), 0.0, 2.0))
        return self._seen(), -abs(self.full - self.level), False, False, {}

    def _seen(self) -> np.ndarray:
        return np.array([self.full], np.float32)


class Shop(gymnasium.Env[Any, Any]):
    """Order for a shop whose demand is hidden; told the stock and the weekday by name, and paid what was sold."""

    observation_space = spaces.Dict({"stock": spaces.Box(0.0, 20.0, (2,)), "day": spaces.Discrete(7)})
    action_space = spaces.Box(0.0, 4.0, (2,))

    def __init__(self) -> None:
        self.demand = 2.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.day, self.stock = 0, np.zeros(2, np.float32)
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.stock = np.minimum(self.stock + np.asarray(action, np.float32), 20)
        sold = np.minimum(self.stock, self.demand)
        self.stock, self.day = self.stock - sold, (self.day + 1) % 7
        return self._seen(), float(sold.sum() - 0.1 * self.stock.sum()), False, False, {}

    def _seen(self) -> dict[str, Any]:
        return {"stock": self.stock.copy(), "day": self.day}


class Lock(gymnasium.Env[Any, Any]):
    """Turn a lock that opens to one side, three notches; the wrong side jams it. Success is told only where there is some."""

    observation_space = spaces.Discrete(4)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.side = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.notch = 0
        return self.notch, {}

    def step(self, action: Any) -> Any:
        right = int(action) == int(self.side)
        self.notch += right
        opened = self.notch == 3
        return self.notch, float(opened), opened or not right, False, {"success": True} if opened else {}


class Panel(gymnasium.Env[Any, Any]):
    """Set two switches at once to where they belong."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.MultiDiscrete([2, 3])

    def __init__(self) -> None:
        self.left = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), float(int(action[0]) == int(self.left)), False, False, {}


def built(kind: type[Any], **parameters: Any) -> GymnasiumTasks:
    """Tasks with episodes of four steps."""
    return GymnasiumTasks(kind, max_episode_steps=4, episodes_per_trial=2, **parameters)


tank = built(Tank, leak=Uniform(0.1, 0.4), level=Uniform(0.5, 1.5))
shop = built(Shop, demand=Uniform(1.0, 3.0))
lock = built(Lock, side=Choice(0, 1))
panel = built(Panel, left=Choice(0, 1))
