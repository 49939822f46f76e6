"""Robots against Gymnasium's own environments, step by step, and against facts worked out by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.envs.mujoco.humanoid_v5 import mass_center

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.families import FAMILIES, MUJOCO
from quickstudy.families.mujoco.robots import (
    AntDirection,
    HalfCheetahDirection,
    HalfCheetahVelocity,
    HopperParameters,
    HumanoidDirection,
    WalkerParameters,
)
from quickstudy.protocol import counter
from quickstudy.tasks.mujoco.env import MujocoEnv, MujocoTasks, Unstable
from quickstudy.tasks.mujoco.family import Motion, shape

FLAGS = {
    "Ant-v5": {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0},
    "Humanoid-v5": {f"include_{part}_in_observation": False for part in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")}
    | {"contact_cost_weight": 0.0},
}
"""What our robots leave out."""
ROBOTS = [name for name, entry in FAMILIES.items() if entry.simulator is MUJOCO]
TWINS = {
    "Ant-v5": AntDirection(),
    "HalfCheetah-v5": HalfCheetahDirection(),
    "Hopper-v5": HopperParameters(),
    "Humanoid-v5": HumanoidDirection(),
    "Walker2d-v5": WalkerParameters(),
}


def plain(family: Any, rows: int = 1) -> MujocoEnv:
    """An environment whose physics is that of the model as it ships."""
    env = MujocoTasks(family, threads=1).make(rows, 1)
    env.reset(unscaled(family, rows), counter(0, 0, "first"))
    return env


def unscaled(family: Any, rows: int = 1) -> dict[str, torch.Tensor]:
    """Tasks whose every parameter is one."""
    drawn = MujocoTasks(family).sample(rows, "train", counter(0, 0, "tasks"))
    return {name: torch.ones_like(value) for name, value in drawn.items()}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "Walker2d-v5" else ()) for name in sorted(TWINS)]
)
def test_a_step_is_gymnasiums_to_the_ninth_digit(name: str):
    """From Gymnasium's own state and solver's guess, over 1,000 steps: observation, reward, termination."""
    family = TWINS[name]
    theirs = gymnasium.make(name, **FLAGS.get(name, {})).unwrapped
    theirs.reset(seed=0)
    theirs.action_space.seed(0)
    ours, body, data = plain(family), family.body, theirs.data
    episodes = 0
    for _ in range(1000):
        ours._state = np.concatenate([[data.time], data.qpos, data.qvel])[None]
        ours._guess = data.qacc_warmstart.copy()[None]
        action = theirs.action_space.sample().astype(float)
        before = ours._places(ours._state)
        observation, reward, terminated, _, info = theirs.step(action)
        after, _, diverged = ours._simulate(action.astype(float)[None])
        positions, velocities = ours._parts(after)
        np.testing.assert_allclose(body.observation(positions, velocities)[0, 0].numpy(), observation, rtol=0, atol=1e-9)
        motion = Motion(before, ours._places(after), positions, velocities, theirs.dt)
        speed = float(motion.velocity[..., 0])
        if name in ("Ant-v5", "Humanoid-v5"):
            # theirs is the speed of a place within the last inner step
            reward += (speed - info["x_velocity"]) * {"Ant-v5": 1.0, "Humanoid-v5": 1.25}[name]
        else:
            assert speed == pytest.approx(info["x_velocity"], abs=1e-9)
        taken = torch.from_numpy(action).double()[None, None]
        ours_reward = family.reward(motion, taken, {"direction": torch.ones(1, 1), "angle": torch.zeros(1, 1)})
        if name == "HalfCheetah-v5":
            ours_reward = ours_reward - 0.05 * taken.square().sum(-1)  # Gymnasium counts effort twice as much as the papers
        assert float(ours_reward) == pytest.approx(reward, abs=1e-9)
        assert bool(body.healthy(positions, velocities)) is not terminated and not bool(diverged)
        if terminated:
            theirs.reset()
            episodes += 1
    assert episodes > 5 or name == "HalfCheetah-v5"


@pytest.mark.parametrize("name", sorted(TWINS))
def test_places_are_those_of_the_simulator(name: str):
    """First bodies, and for the humanoid its centre of mass as Gymnasium computes it."""
    theirs = gymnasium.make(name, **FLAGS.get(name, {})).unwrapped
    ours, axes = plain(TWINS[name]), TWINS[name].body.axes
    for seed in range(5):
        theirs.reset(seed=seed)
        data = theirs.data
        data.qpos[:axes] += seed
        mujoco.mj_forward(theirs.model, data)
        expected = mass_center(theirs.model, data) if name == "Humanoid-v5" else data.qpos[:axes]
        place = ours._places(np.concatenate([[data.time], data.qpos, data.qvel])[None])
        np.testing.assert_allclose(place[0, 0].numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(TWINS))
def test_carried_guesses_follow_gymnasium_for_a_second(name: str):
    """A closed loop, state and guess our own: what separates the two stays far below what an agent could see."""
    theirs = gymnasium.make(name, **FLAGS.get(name, {})).unwrapped
    theirs.reset(seed=1)
    theirs.action_space.seed(1)
    ours, body, data = plain(TWINS[name]), TWINS[name].body, theirs.data
    ours._state = np.concatenate([[data.time], data.qpos, data.qvel])[None]
    ours._guess = data.qacc_warmstart.copy()[None]
    for _ in range(20):
        action = 0.3 * theirs.action_space.sample()
        observation, _, terminated, _, _ = theirs.step(action)
        ours._state, ours._guess, _ = ours._simulate(action.astype(float)[None])
        assert not terminated
    seen = body.observation(*ours._parts(ours._state))[0, 0].numpy()
    np.testing.assert_allclose(seen, observation, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", sorted(TWINS))
def test_first_states_are_spread_as_gymnasiums(name: str):
    theirs = gymnasium.make(name, **FLAGS.get(name, {})).unwrapped
    drawn = np.stack([theirs.reset(seed=seed)[0] for seed in range(400)])
    ours = plain(TWINS[name], 1000)
    seen = ours._seen(ours._state)[:, 0].double().numpy()
    np.testing.assert_allclose(seen.mean(0), drawn.mean(0), atol=5 * drawn.std() / 20)
    np.testing.assert_allclose(seen.std(0), drawn.std(0), rtol=0.15, atol=1e-9)


def test_physics_is_scaled_task_by_task():
    """Each lane goes as a model of its own would, shaped by hand."""
    family = HopperParameters()
    tasks = MujocoTasks(family, threads=2)
    drawn = tasks.sample(3, "train", counter(0, 0, "tasks"))
    env = tasks.make(3, 2)
    env.reset(drawn, counter(0, 0, "first"))
    start = env._state.copy()
    generator = np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (6, 3))
    after, _, _ = env._simulate(actions)
    for row in range(6):
        model = family.body.load()
        shape(model, {name: value[row // 2].double() for name, value in drawn.items()})
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = start[row, 1:7], start[row, 7:13]
        data.ctrl[:] = actions[row]
        mujoco.mj_step(model, data, nstep=family.body.frame_skip)
        np.testing.assert_allclose(after[row, 1:], np.concatenate([data.qpos, data.qvel]), rtol=0, atol=1e-9)
    assert np.ptp(after[::2, 1:], axis=0).max() > 1e-3


def test_gravity_scales_a_fall():
    family = WalkerParameters()
    model = family.body.load()
    ones = {name: value[0].double() for name, value in unscaled(family).items()}
    shape(model, ones | {"gravity": torch.tensor(0.5).double()})
    assert model.opt.gravity[2] == pytest.approx(-9.81 / 2)
    heavy = family.body.load()
    shape(heavy, ones | {"mass": torch.full((7,), 2.0).double()})
    assert heavy.body_mass.sum() == pytest.approx(2 * family.body.load().body_mass.sum())


def test_a_lane_that_diverges_is_truncated_and_named_and_the_others_go_on():
    tasks = MujocoTasks(HalfCheetahVelocity(), threads=1)
    env, twin = tasks.make(3, 1), tasks.make(3, 1)
    drawn = tasks.sample(3, "train", counter(0, 0, "tasks"))
    for each in (env, twin):
        each.reset(drawn, counter(0, 0, "first"))
    env._state[1, 5] = 1e12
    action = torch.zeros(3, 1, 6)
    with pytest.warns(Unstable, match="task 1 .*1 of them so far"):
        bad = env.step(action)
    good = twin.step(action)
    assert bad.truncated.tolist() == [[False], [True], [False]] and not bad.terminated.any()
    for field in ("observation", "arrival", "reward"):
        ours, theirs = getattr(bad, field), getattr(good, field)
        assert torch.isfinite(ours).all() and torch.equal(ours[[0, 2]], theirs[[0, 2]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.isfinite(env.step(action).observation).all()


def test_rewards_by_hand():
    """From 1.0 to 1.1 metres in 0.05 seconds is 2 metres a second."""
    before, after = torch.tensor([[1.0]]).double(), torch.tensor([[1.1]]).double()
    motion, action = Motion(before, after, after, after, 0.05), torch.full((1, 6), 0.5).double()
    assert float(HalfCheetahVelocity().reward(motion, action, {"speed": torch.tensor([0.5])})) == pytest.approx(-1.5 - 0.075)
    assert float(HalfCheetahDirection().reward(motion, action, {"direction": torch.tensor([-1.0])})) == pytest.approx(
        -2 - 0.075
    )


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "half-cheetah-velocity" else pytest.mark.slow) for name in ROBOTS],
)
def test_it_keeps_the_contract_of_a_task_distribution(name: str):
    report = qs.check_tasks(qs.tasks.make(name, max_episode_steps=20))
    assert not report.failed, str(report)


def test_batches_and_threads_make_no_difference():
    """A task alone, among others, on one thread or two: the same numbers."""
    family = HalfCheetahVelocity(max_episode_steps=5)
    runs = []
    for threads in (1, 2):
        tasks = MujocoTasks(family, threads=threads)
        env = tasks.make(8, 4)
        env.reset(tasks.sample(8, "train", counter(0, 0, "tasks")), counter(0, 0, "first"))
        generator = counter(0, 0, "actions")
        runs.append([env.step(torch.rand(8, 4, 6, generator=generator) * 2 - 1) for _ in range(12)])
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one.observation, other.observation) and torch.equal(one.reward, other.reward)


@pytest.mark.parametrize("name", ROBOTS)
def test_it_is_trained_and_evaluated_from_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    short = ["--max-episode-steps", "10", "--trials", "4", "--minibatches", "1", "--iterations", "2", "--evaluate-every", "0"]
    assert main(["train", "rl2", name, *short, "--run", "run"]) == 0
    assert main(["evaluate", "run", "--num-tasks", "4"]) == 0
    assert f"rl2 on {name}: 4 test tasks" in capsys.readouterr().out
