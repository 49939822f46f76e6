"""The door to Gymnasium environments: what they give is copied and checked, and what they are given is theirs to spoil."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy.errors import NotFiniteFault
from quickstudy.protocol import Transition, counter
from quickstudy.tasks.gymnasium_env import GymnasiumEnv, live_again


class Sound(gymnasium.Env[Any, Any]):
    """Counts the steps of an episode, upwards and downwards; pays what the action says."""

    observation_space: Any = spaces.Box(-100, 100, (2,), np.float32)
    action_space: Any = spaces.Box(-1, 1, (1,), np.float32)
    gain = 1.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self.shown(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.shown(), float(action[0]), False, False, {}

    def shown(self) -> Any:
        return np.array([self.steps, -self.steps], np.float32)


class Overwriting(Sound):
    """Shows one array, written over at each step, and spoils its action."""

    def __init__(self) -> None:
        self.buffer = np.zeros(2, np.float32)

    def step(self, action: Any) -> Any:
        result = super().step(action)
        action[...] = 9
        return result

    def shown(self) -> Any:
        self.buffer[:] = super().shown()
        return self.buffer


class Backwards(Sound):
    """Shows a view that is read backwards."""

    def shown(self) -> Any:
        return np.array([-self.steps, self.steps], np.float32)[::-1]


def walk(env: Any, workers: int, steps: int = 7) -> tuple[list[Transition], GymnasiumEnv]:
    tasks = qs.GymnasiumTasks(env, max_episode_steps=5, gain=qs.Uniform(0.5, 2.0), workers=workers)
    made = tasks.make(2, 1)
    made.reset(tasks.sample(2, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
    actions = torch.rand(steps, 2, 1, 1, generator=counter(0, 0, "actions"))
    try:
        return [made.step(action) for action in actions], made
    finally:
        made.close()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("env", [Overwriting, Backwards])
def test_what_is_seen_is_not_what_an_environment_makes_of_it_later(env: Any, workers: int):
    expected, got = walk(Sound, 0)[0], walk(env, workers)[0]
    for one, other in zip(expected, got, strict=True):
        for name in ("observation", "arrival", "reward", "truncated"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert [int(step.arrival[0, 0, 0]) for step in got] == [1, 2, 3, 4, 5, 1, 2]
    assert [int(step.observation[0, 0, 0]) for step in got] == [1, 2, 3, 4, 0, 1, 2]


def test_a_fault_is_lived_again_with_the_actions_that_were_taken_though_the_environment_spoils_them():
    class Fails(Overwriting):
        def step(self, action: Any) -> Any:
            if self.steps == 3:
                raise ValueError("too far")
            return super().step(action)

    with pytest.raises(qs.EnvironmentFault, match="too far") as caught:
        walk(Fails, 0)
    replay = caught.value.replay
    assert replay is not None
    taken = torch.rand(7, 2, 1, 1, generator=counter(0, 0, "actions"))[:4, replay["task"], 0, 0]
    assert np.array(replay["actions"], np.float32)[:, 0].tolist() == taken.tolist()
    lived = live_again(qs.GymnasiumTasks(Sound, max_episode_steps=5, gain=qs.Uniform(0.5, 2.0)), replay)
    assert [float(answer.reward[0]) for _, answer in lived] == taken.tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("large", [1e39, -1e300, float("inf"), 10**400])
def test_a_number_that_float32_cannot_hold_is_a_fault_with_its_place(large: float):
    class Pays(Sound):
        def step(self, action: Any) -> Any:
            observation, _, *rest = super().step(action)
            return observation, large if self.steps == 2 else 0.0, *rest

    class Shows(Sound):
        observation_space: Any = spaces.Box(-np.inf, np.inf, (2,), np.float64)

        def shown(self) -> Any:
            return np.full(2, float(min(large, 1e300)) if self.steps == 2 else 0.0)

    for env, what in ((Pays, "reward"), (Shows, "observation")):
        with pytest.raises(NotFiniteFault, match=rf"task 0 .*lane 0, step 1 .*{what}.*infinite"):
            walk(env, 0)


def test_small_floats_are_acted_on_as_they_are():
    class Half(Sound):
        action_space: Any = spaces.Box(-1, 1, (1,), np.float16)

    rewards = torch.stack([step.reward[:, 0] for step in walk(Half, 0)[0]])
    torch.testing.assert_close(
        rewards, torch.rand(7, 2, 1, 1, generator=counter(0, 0, "actions"))[..., 0, 0], atol=1e-3, rtol=0
    )
