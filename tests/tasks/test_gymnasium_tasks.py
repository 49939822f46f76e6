"""Gymnasium environments as task distributions: the right physics, the right ends, and faults that say where."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy.data.rollout import rollout
from quickstudy.protocol import begin_trial, counter
from quickstudy.tasks.cart_pole import CartPole


def test_random_cart_poles_equal_the_torch_family():
    tasks = qs.GymnasiumTasks(
        "CartPole-v1",
        length=qs.Uniform(0.25, 1.0),
        masspole=qs.Uniform(0.05, 0.5),
        gravity=qs.Uniform(5.0, 15.0),
        force_mag=qs.Uniform(5.0, 20.0),
    )
    drawn = tasks.sample(20, "test", counter(0, 0, "tasks"))
    env = tasks.make(20, 1)
    names = {"length": "length", "pole_mass": "masspole", "gravity": "gravity", "force": "force_mag"}
    task = {ours: drawn[theirs][:, None].double() for ours, theirs in names.items()} | {"direction": torch.ones(20, 1)}
    dynamics = CartPole()
    state = env.reset(drawn, counter(0, 0, "env")).double()
    generator = counter(0, 0, "actions")
    for _ in range(100):
        action = torch.randint(2, (20, 1), generator=generator)
        arrival = dynamics.transition(state, action, task, torch.zeros(0))
        transition = env.step(action)
        torch.testing.assert_close(transition.arrival.double(), arrival, atol=1e-6, rtol=1e-6)
        assert torch.equal(transition.terminated, dynamics.terminal(arrival, task))
        state = transition.observation.double()


def test_an_ended_episode_starts_anew_and_keeps_its_true_successor():
    tasks = qs.GymnasiumTasks("CartPole-v1", max_episode_steps=6, gravity=qs.Uniform(9.0, 10.0))
    env = tasks.make(2, 2)
    env.reset(tasks.sample(2, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
    for step in range(1, 13):
        transition = env.step(torch.full((2, 2), step % 2))
        assert bool(transition.truncated.all()) == (step % 6 == 0)
        assert torch.equal(transition.arrival, transition.observation) == (step % 6 != 0)
    assert not transition.terminated.any()


def test_the_same_counters_give_the_same_bits():
    tasks = qs.GymnasiumTasks("Pendulum-v1", g=qs.Uniform(5.0, 15.0), m=qs.Uniform(0.5, 2.0))

    def returns() -> torch.Tensor:
        agent = qs.Random(tasks)
        return qs.evaluate(agent, num_tasks=3, episodes=1, seed=3).returns

    first = returns()
    assert torch.equal(first, returns()) and len(first.unique()) == 3


class Faulty(gymnasium.Env[Any, Any]):
    """Breaks in a chosen way at its fourth step."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)
    gain = 1.0
    fault = "none"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.steps = 0
        return np.zeros(2, dtype=np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        observation: Any = np.zeros(2, dtype=np.float32)
        if self.steps == 4:
            if self.fault == "raises":
                raise ZeroDivisionError("the wheel came off")
            if self.fault == "NaN":
                observation[0] = np.nan
            if self.fault == "shape":
                observation = np.zeros(3, dtype=np.float32)
            if self.fault == "tuple":
                return observation, 0.0, False
        return observation, 0.0, False, False, {}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", r"task 0 \(gain=.*\), lane 0, step 3 .*ZeroDivisionError: the wheel came off"),
        ("NaN", r"task 0 \(gain=.*\), lane 0, step 3 .*observation \[nan, 0.0\]: NaN or infinite"),
        ("shape", r"task 0 \(gain=.*\), lane 0, step 3 .*shape \(3,\), its space says \(2,\)"),
        ("tuple", r"task 0 \(gain=.*\), lane 0, step 3 .*step raised ValueError: not enough values to unpack"),
    ],
)
def test_a_fault_names_task_lane_and_step(fault: str, message: str):
    def build() -> Faulty:
        env = Faulty()
        env.fault = fault
        return env

    tasks = qs.GymnasiumTasks(build, max_episode_steps=10, gain=qs.Uniform(0.5, 2.0))
    env = tasks.make(2, 1)
    percept = begin_trial(env.reset(tasks.sample(2, "train", counter(0, 0, "t")), counter(0, 0, "e")), tasks.action_space)
    with pytest.raises(qs.EnvironmentFault, match=message):
        rollout(env, qs.Random(tasks).explorer(), percept, {}, 10, counter(0, 0, "a"), episodes=1)


def test_what_can_not_be_varied_is_said_at_the_door():
    with pytest.raises(qs.UsageError, match="no attribute 'lenght'; did you mean 'length'"):
        qs.GymnasiumTasks("CartPole-v1", lenght=qs.Uniform(0.25, 1.0))
    with pytest.raises(qs.UsageError, match="CartPol"):
        qs.GymnasiumTasks("CartPol-v1", length=qs.Uniform(0.25, 1.0))
    with pytest.raises(qs.UsageError, match="no time limit"):
        qs.GymnasiumTasks(Faulty, gain=qs.Uniform(0.5, 2.0))
    with pytest.raises(qs.UsageError, match="name at least one attribute"):
        qs.GymnasiumTasks("CartPole-v1")
    with pytest.raises(qs.UsageError, match="is no distribution"):
        qs.GymnasiumTasks("CartPole-v1", length=0.5)
    with pytest.raises(qs.UsageError, match="low must be less than high"):
        qs.Uniform(1.0, 0.25)


class Aim(gymnasium.Env[Any, Any]):
    """Three steps; the last one may succeed, which is told as `word` would have it."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)
    gain = 1.0
    word: Any = staticmethod(bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        says = self.word(self.steps == 3 and self.gain > 1)
        return np.zeros(2, np.float32), 0.0, self.steps == 3, False, {} if says is None else {"success": says}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("word", [bool, np.bool_, float, lambda success: True if success else None])
def test_success_in_the_info_reaches_the_scorer(word: Any, workers: int):
    """Also that of the last step of an episode, and where only some steps tell."""

    def build() -> Aim:
        env = Aim()
        env.word = word
        return env

    tasks = qs.GymnasiumTasks(build, max_episode_steps=5, gain=qs.Choice(0.5, 2.0), workers=workers)
    evaluation = qs.evaluate(qs.Random(tasks), num_tasks=8, episodes=2)
    drawn = tasks.sample(8, "test", counter(0, 0, "test tasks"))
    assert evaluation.success is not None
    assert torch.equal(evaluation.success, (drawn["gain"] > 1).float()[:, None].expand(8, 2))


def test_an_environment_that_does_not_tell_of_success_has_none():
    evaluation = qs.evaluate(qs.Random(qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(0.25, 1.0))), num_tasks=2)
    assert evaluation.success is None and "success" not in str(evaluation)


@pytest.mark.parametrize("said", [0.5, "yes", np.zeros(2)])
def test_a_success_that_is_neither_true_nor_false_is_a_fault(said: Any):
    def build() -> Aim:
        env = Aim()
        env.word = lambda success: said
        return env

    tasks = qs.GymnasiumTasks(build, max_episode_steps=5, gain=qs.Uniform(0.5, 2.0))
    with pytest.raises(qs.EnvironmentFault, match=r"lane 0, step 0 .*info\['success'\] is .*, not True or False"):
        qs.evaluate(qs.Random(tasks), num_tasks=2)
