"""Wrappers of tasks that are seen, heard and read: what they show is what they say, and nothing else changes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy.ops.senses import Senses
from quickstudy.protocol import counter

LOOK = spaces.Box(0, 255, (6, 6, 3), np.uint8)


class Lookout(gymnasium.Env[Any, Any]):
    """Everything shown is drawn at random, so that no two observations are alike; episodes end after two to four steps."""

    observation_space = spaces.Dict(
        image=LOOK,
        kind=spaces.Discrete(4),
        sound=spaces.Box(-1, 1, (64,)),
        text=spaces.Text(20, charset="abcdefgh "),
        vector=spaces.Box(-2, 2, (3,)),
    )
    action_space = spaces.Discrete(2)
    goal = 0.0

    def _shown(self) -> dict[str, Any]:
        random = self.np_random
        return {
            "image": random.integers(1, 256, (6, 6, 3)).astype(np.uint8),
            "kind": int(random.integers(1, 4)),
            "sound": random.uniform(0.1, 1, 64).astype(np.float32),
            "text": " ".join(random.choice(["a", "bad", "egg"], 3)),
            "vector": random.uniform(0.5, 2, 3).astype(np.float32),
        }

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 5))
        return self._shown(), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self._shown(), float(action == round(self.goal)), self.left == 0, False, {}


class Camera(Lookout):
    """The image alone."""

    observation_space = LOOK

    def _shown(self) -> Any:
        return super()._shown()["image"]


def make(env: Any = Lookout) -> qs.GymnasiumTasks:
    return qs.GymnasiumTasks(env, goal=qs.Uniform(0, 1), max_episode_steps=5, episodes_per_trial=2)


def lived(tasks: Any, steps: int = 6, split: Any = "test") -> list[torch.Tensor]:
    """All that is shown in a trial on three tasks, two lanes each: where it begins, observation and arrival of each step."""
    env = tasks.make(3, 2)
    seen = [env.reset(tasks.sample(3, split, counter(0, 0, "tasks")), counter(0, 0, "env"))]
    for _ in range(steps):
        transition = env.step(torch.ones(3, 2, dtype=torch.long))
        seen += [transition.observation, transition.arrival]
    return [*seen, env.restart()]


def test_named_parts_are_zero_and_the_others_as_they_were():
    tasks = make()
    space = tasks.observation_space
    assert isinstance(space, Senses)
    without = qs.Without(tasks, "text", "image", "sound")
    assert without.observation_space is space
    for full, less in zip(lived(tasks), lived(without), strict=True):
        full, less = space.split(full), space.split(less)
        for name in space.parts:
            gone = name in ("text", "image", "sound")
            assert full[name].any() and torch.equal(less[name], torch.zeros_like(full[name]) if gone else full[name]), name
    raw = Lookout()
    seen = space.split(without.encode(raw.reset(seed=0)[0]))
    assert [name for name, part in seen.items() if not part.any()] == ["image", "sound", "text"]


def test_without_names_all_of_a_single_image_is_gone():
    tasks = make(Camera)
    assert all(part.any() for part in lived(tasks))
    assert all(part.dtype == torch.uint8 and not part.any() for part in lived(qs.Without(tasks)))


@pytest.mark.parametrize(
    ("env", "parts", "says"),
    [
        (Lookout, ("txt",), "did you mean 'text'"),
        (Lookout, (), "name at least one part of the observation: image, kind, sound, text, vector"),
        (Camera, ("image",), "has no parts; name none"),
    ],
)
def test_parts_that_are_not_there_are_refused(env: Any, parts: tuple[str, ...], says: str):
    with pytest.raises(qs.UsageError, match=says):
        qs.Without(make(env), *parts)
