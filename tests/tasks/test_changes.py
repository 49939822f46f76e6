"""Changes in mid-episode, against the families in which nothing changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import TINY

import quickstudy as qs
from quickstudy.families.classic.cart_pole import CartPole
from quickstudy.families.classic.pendulum import Pendulum
from quickstudy.protocol import Tasks, Transition, counter
from quickstudy.scene import Line, Text
from quickstudy.tasks.mujoco.bodies import simulator

LIMIT = 16
NATIVE = ("pendulum", "cart-pole")
ROBOTS = ("joint", "signs", "slope")
"""What changes of the half-cheetah."""


def changing(name: str) -> Any:
    if name in ROBOTS:
        pytest.importorskip("mujoco")
        return qs.tasks.make("half-cheetah-crippled", change=name, max_episode_steps=LIMIT)
    return qs.tasks.make(name, changes=True, max_episode_steps=LIMIT)


def actions(tasks: Any, steps: int, count: int = 5, lanes: int = 3) -> list[torch.Tensor]:
    """Of a cart-pole left and right in turns, by which it stays up; else random ones within half the range."""
    if isinstance(tasks.dynamics, CartPole):
        return [torch.full((count, lanes), step % 2) for step in range(steps)]
    shape, draws = (count, lanes, *tasks.action_space.shape), counter(0, 0, "actions")
    return [torch.rand(shape, generator=draws) - 0.5 for _ in range(steps)]


def lived(tasks: Any, drawn: Tasks, steps: int) -> tuple[torch.Tensor, list[Transition]]:
    """What is seen first, and at so many steps."""
    env = tasks.make(5, 3)
    first = env.reset(drawn, counter(0, 0, "env"))
    return first, [env.step(action) for action in actions(tasks, steps)]


def unchanged(name: str, drawn: Tasks) -> tuple[Any, Tasks]:
    """The family in which nothing changes, and what it draws of these tasks."""
    plain: Any = qs.tasks.make("half-cheetah-direction" if name in ROBOTS else name, max_episode_steps=LIMIT)
    return plain, {"direction": torch.ones(5)} if name in ROBOTS else {key: drawn[key] for key in plain.parameters}


@pytest.mark.parametrize("name", [*NATIVE, *ROBOTS])
def test_every_episode_is_the_unchanged_one_until_its_change(name: str):
    tasks = changing(name)
    drawn = tasks.sample(5, "train", counter(0, 0, "tasks")) | {"change_step": torch.tensor([4.0, 7.5, 12.0, 15.0, 99.0])}
    plain, same = unchanged(name, drawn)
    (first, ours), (still, theirs) = lived(tasks, drawn, 2 * LIMIT), lived(plain, same, 2 * LIMIT)
    assert torch.equal(first[..., :-1], still) and (first[..., -1] == 0).all()
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        before = step % LIMIT < drawn["change_step"].ceil()
        equal = (one.arrival[..., :-1] == other.arrival).all(-1)
        before = before[:, None].expand(5, 3)
        assert equal[before].all() and not equal[~before].any()
        assert torch.equal(one.reward[before], other.reward[before])
        if step < LIMIT:
            assert torch.equal(one.observation[..., :-1][before], other.observation[before])
        assert torch.equal(one.arrival[..., -1], torch.full((5, 3), (step % LIMIT + 1) / LIMIT))
        assert torch.equal(one.observation[..., -1], torch.full((5, 3), (step + 1) % LIMIT / LIMIT))


@pytest.mark.parametrize("name", NATIVE)
def test_from_its_change_on_an_episode_is_that_of_the_later_world(name: str):
    """A state reached under a change goes on as in the family in which nothing changes, whose task is the later one."""
    dynamics: Any = changing(name).dynamics
    still: Any = Pendulum() if name == "pendulum" else CartPole()
    task = changing(name).sample(50, "train", counter(0, 0, "tasks"))
    later = {key: task.get(f"after_{key}", value) for key, value in task.items()}
    state = torch.rand(50, dynamics.initial_noise, generator=counter(0, 0, "state"))
    action, none = torch.full((50,), 1) if name == "cart-pole" else torch.full((50, 1), 0.8), torch.zeros(0)
    driven = action if name == "cart-pole" else action * task["after_motor"][:, None]
    expected = still.transition(state, driven, later, none)
    for passed, changed in ((task["change_step"].ceil() - 1, False), (task["change_step"].ceil(), True)):
        arrival = dynamics.transition(torch.cat([state, passed[:, None]], -1), action, task, none)
        assert torch.equal(arrival[:, -1], passed + 1)
        close = torch.isclose(arrival[:, :-1], expected, rtol=0, atol=1e-6).all(-1)
        assert close.all() if changed else not close.any()


@pytest.mark.parametrize("name", NATIVE)
def test_what_comes_before_a_change_is_drawn_as_without_one(name: str):
    drawn = changing(name).sample(5, "train", counter(0, 0, "tasks"))
    plain, same = unchanged(name, drawn)
    alone = plain.sample(5, "train", counter(0, 0, "tasks"))
    assert same and all(torch.equal(same[key], alone[key]) for key in plain.parameters)


@pytest.mark.parametrize("change", ROBOTS)
def test_a_robot_goes_on_as_a_model_that_is_changed_by_hand(change: str):
    tasks = changing(change)
    mujoco = simulator()
    drawn = tasks.sample(5, "train", counter(0, 0, "tasks"))
    env = tasks.make(5, 3)
    env.reset(drawn, counter(0, 0, "env"))
    env._elapsed = drawn["change_step"].ceil().long()[:, None].expand(5, 3)
    start, control = env._state.copy(), actions(tasks, 1)[0].double().flatten(0, 1).numpy()
    after, _, _ = env._simulate(control)
    for row in range(15):
        model = tasks.dynamics.body.load()
        if change == "slope":
            angle = np.radians(float(drawn["after_slope"][row // 3]))
            model.opt.gravity[:] = -9.81 * np.sin(angle), 0.0, -9.81 * np.cos(angle)
        gear = np.ones(6) if change == "slope" else drawn["after_gear"][row // 3].double().numpy()
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:], data.ctrl[:] = start[row, 1:10], start[row, 10:19], gear * control[row]
        mujoco.mj_step(model, data, nstep=tasks.dynamics.body.frame_skip)
        np.testing.assert_allclose(after[row, 1:], np.concatenate([data.qpos, data.qvel]), rtol=0, atol=1e-9)


def test_one_joint_of_the_half_cheetah_fails_or_some_signs_turn():
    joint, signs = (
        changing(change).sample(500, "train", counter(0, 0, "tasks"))["after_gear"] for change in ("joint", "signs")
    )
    assert {tuple(row) for row in joint.tolist()} == {tuple(float(n != failed) for n in range(6)) for failed in range(6)}
    assert (
        (signs.abs() == 1).all() and (signs < 0).any(1).all() and (signs < 0).all(1).any() and (signs < 0).float().mean() < 0.6
    )


@pytest.mark.parametrize("change", ROBOTS)
def test_a_viewer_sees_what_became_of_a_robot_from_its_change_on(change: str):
    task = {key: value[0] for key, value in changing(change).sample(1, "train", counter(0, 0, "tasks")).items()}
    family, step = changing(change).dynamics, float(task["change_step"].ceil())
    assert family.marks(task, 0.05 * step) == ()
    marks = family.marks(task, 0.05 * (step + 1))
    if change == "slope":
        assert marks == (("direction", (-float(task["after_slope"].sign()), 0.0)),)
    else:
        assert marks == tuple(("joint", (float(joint), 0.0)) for joint in range(6) if task["after_gear"][joint] != 1)


@pytest.mark.parametrize("name", NATIVE)
def test_rewards_follow_from_what_is_seen_and_done(name: str):
    """By the family's own reward, of a state read off the observation: as who plans in a model of observations reckons."""
    tasks = changing(name)
    first, steps = lived(tasks, tasks.sample(5, "train", counter(0, 0, "tasks")), LIMIT)
    seen = [first, *(step.observation for step in steps)]
    for here, action, step in zip(seen, actions(tasks, LIMIT), steps, strict=False):
        state = here if name == "cart-pole" else torch.stack([torch.atan2(here[..., 1], here[..., 0]), here[..., 2]], -1)
        torch.testing.assert_close(tasks.dynamics.reward(state, action, state, {}, torch.zeros(0)), step.reward)


@pytest.mark.parametrize("name", NATIVE)
def test_extrapolation_changes_to_worlds_and_at_times_beyond_those_of_training(name: str):
    tasks = changing(name)
    train, beyond = (tasks.sample(400, split, counter(0, 0, "tasks")) for split in ("train", "extrapolation"))
    signed = "after_motor" if name == "pendulum" else "after_force"
    assert (train[signed] < 0).all() and (beyond[signed] < 0).all()
    for key in (signed, "after_length", "change_step"):
        low, high = tasks.parameters[key].low, tasks.parameters[key].high
        assert ((train[key] > low) & (train[key] < high)).all() and ((beyond[key] < low) | (beyond[key] > high)).all()
    assert (beyond["change_step"] > 1).all() and (beyond["change_step"].ceil() < LIMIT).all()


@pytest.mark.parametrize("name", [*NATIVE, "joint"])
def test_who_is_told_reads_what_comes_and_when_beside_the_time(name: str):
    tasks = changing(name)
    told, drawn = qs.Informed(tasks), tasks.sample(5, "train", counter(0, 0, "tasks"))
    own, parameters = tasks.observation_space.shape[0], tasks.normalise(drawn).shape[1]
    _, steps = lived(tasks, drawn, 3)
    env = told.make(5, 3)
    env.reset(drawn, counter(0, 0, "env"))
    informed = [env.step(action) for action in actions(tasks, 3)]
    assert informed[2].observation.shape[-1] == own + parameters
    assert torch.equal(informed[2].observation[..., :own], steps[2].observation)
    assert torch.equal(informed[2].observation[:, 0, own:], tasks.normalise(drawn))
    later = {key for key in drawn if key.startswith("after_") or key == "change_step"}
    assert len(later) == (2 if name == "joint" else 5)
    for key in later:
        assert not torch.equal(tasks.normalise({**drawn, key: drawn[key].flip(0)}), tasks.normalise(drawn))


@pytest.mark.parametrize("name", [*NATIVE, *(pytest.param(name, marks=pytest.mark.slow) for name in ROBOTS)])
def test_a_changing_family_keeps_the_contract(name: str):
    report = qs.check_tasks(changing(name))
    assert not report.failed, str(report)


def test_a_change_that_random_episodes_do_not_live_to_see_is_not_judged():
    report = qs.check_tasks(qs.tasks.make("cart-pole", changes=True))
    [found] = [finding for finding in report.findings if finding.check == "parameters"]
    assert found.passed is None and found.detail == "no random episode lasted until its change, of which 'after_length' tells"


def test_a_change_that_never_reaches_the_environment_is_found(monkeypatch: pytest.MonkeyPatch):
    tasks = changing("pendulum")
    monkeypatch.setattr(Pendulum, "physics", lambda self, task, *clock: {**task, "motor": torch.ones_like(task["mass"])})
    report = qs.check_tasks(tasks)
    assert report.failed == ["parameters"] and "'after_gravity' changed nothing" in str(report)


@pytest.mark.parametrize("name", [*NATIVE, "joint"])
def test_a_session_is_shown_the_time_as_the_evaluator_is(name: str):
    """As far as an episode and the first step of the next; without the time it is refused."""
    tasks = changing(name)
    learner = qs.RL2(tasks, qs.RL2.Config(**TINY["rl2"]))
    drawn, session = tasks.sample(1, "test", counter(0, 0, "tasks")), qs.Session(learner, greedy=True)
    env = tasks.make(1, 1)
    seen = env.reset(drawn, counter(0, 0, "env"))
    with pytest.raises(ValueError, match="observation"):
        session.act(seen[0, 0, :-1].numpy())
    for step in range(LIMIT + 1):
        answer = env.step(torch.as_tensor(session.act(seen[0, 0].numpy())).reshape(1, 1, *tasks.action_space.shape))
        ended = bool(answer.terminated | answer.truncated)
        session.feedback(float(answer.reward), bool(answer.terminated), bool(answer.truncated), answer.arrival[0, 0].numpy())
        seen = answer.observation
        assert float(seen[0, 0, -1]) == (0.0 if ended else (step % LIMIT + 1) / LIMIT)


def test_the_python_of_its_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "changes.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    told: dict[str, Any] = {}
    exec(compile(code, "changes.md", "exec"), told)
    lived = told["env"].step(told["push"]).reward
    torch.testing.assert_close(lived, told["reward"])


@pytest.mark.parametrize("name", NATIVE)
def test_a_picture_tells_of_the_change_and_draws_the_push_as_it_acts(name: str):
    tasks = changing(name)
    env, drawn = tasks.make(1, 1), tasks.sample(1, "train", counter(0, 0, "tasks")) | {"change_step": torch.tensor([8.0])}
    drawn |= {"direction": torch.tensor([1.0])} if name == "cart-pole" else {}
    env.reset(drawn, counter(0, 0, "env"))
    said, sides = [], []
    for step in range(10):
        action = torch.ones(1, 1, 1) if name == "pendulum" else torch.full((1, 1), int(step > 5))
        env.step(action)
        shapes = [*(scene := env.draw(0, 0)).ground, *scene.figures]
        said += [shape.text for shape in shapes if isinstance(shape, Text)]
        if step in (7, 8):
            lines = [shape for shape in scene.figures if isinstance(shape, Line) and shape.color == "#d1603d"]
            middle = 0.0 if name == "pendulum" else float(env._reached[0, 0, 0])
            sides.append(sum(x for x, _ in lines[0].points) / len(lines[0].points) > middle)
    assert said == ["changes at step 8"] * 8 + ["changed at step 8"] * 2
    assert sides == ([False, True] if name == "pendulum" else [True, False])
