"""Live sessions: misuse is named, files are verified, and what a session holds is all that it depends on.

That a session acts as the evaluator does is in the contract of every learner (tests/test_contract.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import jaxtyping
import numpy as np
import pytest
import torch
from probes import HiddenButton
from small import SMALL, TINY, taken, takes
from trained import on_buttons

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.data.session import Session
from quickstudy.protocol import Learner


def make(name: str = "rl2", tasks: Any = None, settings: Any = SMALL, **options: Any) -> Learner:
    entry = ALGORITHMS[name]
    return entry.make(tasks or qs.NativeTasks(HiddenButton()), entry.config(**settings[name] | options), seed=0)


def live(session: Session, steps: int, pays: int = 1) -> list[int]:
    """Some episodes on hidden buttons of which one pays."""
    actions = []
    for _ in range(steps):
        action = int(session.act(0))
        session.feedback(float(action == pays), truncated=True)
        actions.append(action)
    return actions


def test_a_trained_agent_adapts_in_a_session():
    learner: Any = on_buttons("rl2")[1]
    session = learner.session(seed=1)
    for pays in (1, 0, 0, 1):
        assert live(session, 3, pays)[1:] == [pays, pays]
        session.new_task()


def test_an_end_that_is_told_as_both_is_a_termination():
    learner = make()
    session = learner.session()
    session.act(0)
    session.feedback(1.0, terminated=True, truncated=True)
    session.act(0)
    assert session._acted is not None
    percept = session._acted.percept
    assert bool(percept.first) and bool(percept.terminated) and not bool(percept.truncated)


def test_a_session_takes_an_environment_as_it_is():
    """Composite observations and actions of Gymnasium's own, as `env.step` gives and takes them."""

    class Composite(gymnasium.Env[Any, Any]):
        observation_space: Any = gymnasium.spaces.Dict(
            place=gymnasium.spaces.Box(-9, 9, (2,)), mode=gymnasium.spaces.Discrete(3, start=2)
        )
        action_space: Any = gymnasium.spaces.MultiDiscrete([2, 3], start=[5, 0])
        gain = 1.0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.place = self.np_random.normal(0, 1, 2).astype(np.float32)
            return {"place": self.place, "mode": 2}, {}

        def step(self, action: Any) -> Any:
            assert self.action_space.contains(action)
            self.place = np.clip(self.place + np.float32(self.gain) * (action[1] - 1), -9, 9).astype(np.float32)
            return {"place": self.place, "mode": int(action[0]) - 3}, float(-abs(self.place).sum()), False, False, {}

    tasks = qs.GymnasiumTasks(Composite, max_episode_steps=6, gain=qs.Uniform(0.5, 2.0))
    for name in ALGORITHMS:
        if ALGORITHMS[name].actions == "discrete or bounded":
            with pytest.raises(qs.UsageError, match="takes Discrete, or Box with bounds"):
                make(name, tasks)
            continue
        if not takes(name, tasks):
            with pytest.raises(qs.UsageError, match="observations and actions must be Discrete"):
                make(name, tasks)
            continue
        learner = make(name, tasks, TINY)
        qs.train(learner, 1, quiet=True)
        told = isinstance(learner.tasks, qs.Informed)
        session, env = Session(learner, seed=0), Composite()
        drawn = {"gain": torch.tensor([1.5])}

        def shown(raw: Any, learner: Any = learner, told: bool = told, drawn: Any = drawn) -> Any:
            return learner.tasks.tell(raw, drawn).numpy() if told else raw

        for episode in range(2):
            observation, _ = env.reset(seed=episode)
            for step in range(6):
                observation, reward, terminated, _, _ = env.step(session.act(shown(observation)))
                session.feedback(reward, terminated, step == 5, shown(observation))


def test_misuse_is_named():
    session = Session(make())
    with pytest.raises(qs.UsageError, match="feedback was given without an action"):
        session.feedback(1.0)
    session.act(0)
    with pytest.raises(qs.UsageError, match="act was called twice"):
        session.act(0)
    with pytest.raises(qs.UsageError, match="between act and feedback"):
        session.save("never.safetensors")
    with pytest.raises(ValueError, match="NaN or infinite"):
        session.feedback(float("nan"))
    session.feedback(1.0)
    with pytest.raises(qs.UsageError, match="feedback was given without an action"):
        session.feedback(1.0)
    with pytest.raises(ValueError, match="not in Discrete"):
        session.act(5)
    plane = Session(make("multi-task", qs.tasks.make("point-navigation")))
    with pytest.raises(ValueError, match="holds NaN"):
        plane.act([0.0, float("nan")])
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        plane.act([0.0, 0.0, 0.0])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"reward": 1e39}, "infinite in float32"),
    ({"reward": float("nan")}, "NaN or infinite"),
    ({"reward": None}, "is no number"),
    ({"reward": "1.5"}, "is no number"),
    ({"reward": 10**400}, "infinite in float32"),
    ({"reward": 0.0, "observation": [float("nan"), 0.0]}, "holds NaN"),
    ({"reward": 0.0, "truncated": "False"}, "not True or False"),
    ({"reward": 0.0, "terminated": 1}, "not True or False"),
    ({"reward": 0.0, "truncated": True, "observation": [float("nan"), 0.0]}, "holds NaN"),
    ({"reward": 0.0, "truncated": True, "observation": [1e39, 0.0]}, "holds NaN or infinity in float32"),
    ({"reward": 0.0, "terminated": True, "observation": [0.0]}, r"shape \(1,\)"),
]


@pytest.mark.parametrize(("told", "says"), WRONG, ids=str)
def test_feedback_that_is_refused_leaves_no_trace_and_can_be_given_again(told: dict[str, Any], says: str):
    jaxtyping.config.update("jaxtyping_disable", True)  # what is told wrongly is to be refused without its help
    learner = make("maml", qs.tasks.make("point-navigation"), lanes=1)
    sound, session = learner.session(seed=0), learner.session(seed=0)
    for _ in range(2):
        for step in range(3):
            action = session.act([0.1 * step, 0.0])
            assert np.array_equal(action, sound.act([0.1 * step, 0.0]))
            with pytest.raises(ValueError, match=says):
                session.feedback(**told)
            for each in (session, sound):
                each.feedback(-1.0 * step, truncated=np.bool_(step == 2), observation=np.ones(2, np.float32))


SEEING = sorted(name for name in ALGORITHMS if takes(name, qs.tasks.make("point-navigation")))
"""Who can be shown the buffer of a sensor."""


@pytest.mark.parametrize("name", SEEING)
def test_a_session_keeps_what_it_was_shown_where_the_caller_writes_over_it(name: str):
    """A sensor's buffer, also one that is read backwards."""
    learner = make(name, qs.tasks.make("point-navigation"))
    size, sessions = (learner.tasks.observation_space.shape or (1,))[0], (learner.session(seed=0), learner.session(seed=0))
    buffer = np.zeros(2 * size, np.float32)[::-2]
    for _ in range(2):
        buffer[:] = 0
        for step in range(4):
            actions = sessions[0].act(buffer), sessions[1].act(buffer.copy())
            assert np.array_equal(*actions)
            actions[0][:] = 9  # nor does the action belong to the session any more
            buffer += 0.1 * (step + 1)
            for session, shown in zip(sessions, (buffer, buffer.copy()), strict=True):
                session.feedback(-float(buffer.sum()), truncated=step == 3, observation=shown)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        pytest.param(name, steps, marks=() if steps == 5 or name in ("rl2", "maml") else pytest.mark.slow)
        for name in sorted(ALGORITHMS)
        for steps in (0, 1, 5)
    ],
)
def test_a_restored_session_and_a_fork_go_on_bit_for_bit(name: str, steps: int, tmp_path: Path):
    learner = make(name, taken(name, qs.tasks.make("point-navigation", max_episode_steps=4)), TINY)
    space = learner.tasks.observation_space

    def seen(step: int) -> Any:
        numbered = isinstance(space, gymnasium.spaces.Discrete)
        return step % 4 if numbered else np.full(space.shape or (1,), 0.1 * step, np.float32)

    def go(session: Session, count: int) -> list[Any]:
        actions = []
        for step in range(count):
            actions.append(np.asarray(session.act(seen(step))).tolist())
            session.feedback(-0.1 * step, truncated=step % 4 == 3, observation=seen(0))
        return actions

    session = Session(learner, seed=3)
    go(session, steps)
    session.save(tmp_path / "session.safetensors")
    restored, twin, other = (
        Session.restore(tmp_path / "session.safetensors", learner),
        session.fork(),
        session.fork(seed=9),
    )
    expected = go(session, 9)
    assert go(restored, 9) == expected and go(twin, 9) == expected
    assert go(other, 9) != expected


def test_gradient_adaptation_happens_when_its_lanes_are_lived():
    learner: Any = make("maml", lanes=3, inner_rate=5.0)
    session = learner.session(seed=0)
    before = session._policy.start.weights["policy.4.bias"]
    live(session, 2)
    assert session._policy.start.weights["policy.4.bias"] is before
    live(session, 1)
    after = session._policy.start.weights["policy.4.bias"]
    assert after.shape == (1, 2) and not torch.equal(after[0], before)


def test_a_file_that_was_altered_or_is_of_another_agent_is_refused(tmp_path: Path):
    learner = make()
    session = Session(learner)
    live(session, 2)
    path = tmp_path / "session.safetensors"
    session.save(path)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.integers(0, len(whole), 60).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(qs.QuickstudyError):
            Session.restore(path, learner)
    for size in generator.integers(0, len(whole), 20).tolist():
        path.write_bytes(whole[:size])
        with pytest.raises(qs.QuickstudyError):
            Session.restore(path, learner)
    path.write_bytes(whole)
    with pytest.raises(qs.QuickstudyError, match="is a session of rl2, not of multi-task"):
        Session.restore(path, make("multi-task"))
    with pytest.raises(qs.QuickstudyError, match="has shape"):
        Session.restore(path, make(hidden_size=8))
    with pytest.raises(qs.UsageError, match="no such file"):
        Session.restore(tmp_path / "none", learner)
