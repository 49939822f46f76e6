"""An environment of one's own that is seen, heard, read and felt."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

import quickstudy as qs

WORDS = ("pull", "the", "left", "right", "lever")


class Levers(gymnasium.Env[Any, Any]):
    """Two levers, of which one pays: each step is seen as a dot that walks, read, heard as a tone, and felt."""

    observation_space: Any = spaces.Dict(
        image=spaces.Box(0, 255, (4, 6, 3), np.uint8),
        text=spaces.Text(40),
        sound=spaces.Box(-1, 1, (80,), np.float32),
        vector=spaces.Box(-2, 2, (3,), np.float64),
    )
    action_space: Any = spaces.Discrete(2)
    side = 0.5

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.last = 0, 3 + int(self.np_random.integers(2))
        return self.shown(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.shown(), float(int(action) == int(self.side > 0.5)), self.steps == self.last, False, {}

    def shown(self) -> Any:
        image = np.zeros((4, 6, 3), np.uint8)
        image[1, self.steps] = (200, 0, 0)
        tone = np.sin(np.arange(80) * (1 + self.steps) / 5, dtype=np.float32)
        text = f"Pull the {('left', 'right')[self.steps % 2]} lever!"
        return {"image": image, "text": text, "sound": tone, "vector": self.np_random.uniform(-1, 1, 3)}


def levers(env: Any = Levers, **options: Any) -> qs.GymnasiumTasks:
    return qs.GymnasiumTasks(env, side=qs.Uniform(0.0, 1.0), max_episode_steps=5, vocabulary=WORDS, **options)
