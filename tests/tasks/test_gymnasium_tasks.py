"""Gymnasium environments as task distributions: the right physics, the right ends, and faults that say where."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

import quickstudy as qs
from quickstudy.data.rollout import rollout
from quickstudy.families.classic.cart_pole import CartPole
from quickstudy.protocol import begin_trial, counter


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
    with pytest.raises(qs.UsageError, match="length=the class Uniform is no distribution"):
        qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform)
    with pytest.raises(qs.UsageError, match="low must be less than high"):
        qs.Uniform(1.0, 0.25)
    pole = {"length": qs.Uniform(0.25, 1.0)}
    with pytest.raises(qs.UsageError, match=r"episode_per_trial=3 is no distribution.* did you mean 'episodes_per_trial'"):
        qs.GymnasiumTasks("CartPole-v1", episode_per_trial=3, **pole)
    with pytest.raises(qs.UsageError, match=r"it builds None, no gymnasium\.Env"):
        qs.GymnasiumTasks(lambda: None, max_episode_steps=3, **pole)
    for name, value, message in (
        ("max_episode_steps", 0, "it must be at least 1"),
        ("episodes_per_trial", 0, "it must be at least 1"),
        ("episodes_per_trial", 1.5, "it must be a whole number"),
        ("workers", -1, "it must be at least 0"),
        ("deadline", 0, "it must be more than 0"),
        ("deadline", float("nan"), "it must be a finite number"),
        ("configure", "length", "it must be a function"),
    ):
        with pytest.raises(qs.UsageError, match=message):
            qs.GymnasiumTasks("CartPole-v1", **{name: value}, **pole)


def length_of(tasks: Any) -> int:
    """The steps of an episode that only a time limit ends."""
    env = tasks.make(1, 1)
    env.reset(tasks.sample(1, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
    action = torch.zeros(1, 1, *(tasks.action_space.shape or ()))
    if isinstance(tasks.action_space, spaces.Discrete):
        action = action.long()
    return next(step for step in range(1, 2000) if bool(env.step(action).truncated.any()))


def unwrapped() -> Any:
    """A registered environment that has lost its TimeLimit."""
    whole = gymnasium.make("Pendulum-v1")
    bare: Any = whole.unwrapped
    bare.spec = whole.spec
    return bare


def limited(*limits: int) -> Any:
    """What builds an environment in time limits, the innermost first."""

    def build() -> Any:
        env: Any = Faulty()
        for limit in limits:
            env = TimeLimit(env, limit)
        return env

    return build


@pytest.mark.parametrize(
    ("env", "given", "length"),
    [
        ("Pendulum-v1", None, 200),
        ("Pendulum-v1", 500, 500),
        ("Pendulum-v1", 50, 50),
        (lambda: gymnasium.make("Pendulum-v1"), None, 200),
        (lambda: gymnasium.make("Pendulum-v1"), 50, 50),
        (lambda: gymnasium.make("Pendulum-v1").unwrapped, 300, 300),
        (lambda: TimeLimit(gymnasium.make("Pendulum-v1").unwrapped, 300), None, 300),
        (unwrapped, None, 200),
        (limited(30), None, 30),
        (limited(30), 20, 20),
        (limited(30, 40), None, 30),
        (limited(40, 30), None, 30),
        (limited(), 25, 25),
    ],
)
def test_the_time_limit_that_is_stated_is_the_one_that_ends_episodes(env: Any, given: int | None, length: int):
    varied = {"gain": qs.Uniform(0.5, 2.0)} if "limited" in getattr(env, "__qualname__", "") else {"g": qs.Uniform(8.0, 12.0)}
    tasks = qs.GymnasiumTasks(env, max_episode_steps=given, **varied)
    assert (tasks.max_episode_steps, length_of(tasks)) == (length, length)


def test_a_longer_limit_than_one_inside_is_refused():
    for env in (lambda: gymnasium.make("Pendulum-v1"), lambda: TimeLimit(gymnasium.make("Pendulum-v1"), 400)):
        with pytest.raises(qs.UsageError, match=r"is 500, but the environment has a TimeLimit of 200 of its own.*=200 or less"):
            qs.GymnasiumTasks(env, max_episode_steps=500, g=qs.Uniform(8.0, 12.0))


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
