"""MiniGrid through the door of Gymnasium environments: layouts are tasks, views and missions are MiniGrid's own."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.protocol import counter

pytest.importorskip("minigrid", reason="needs the extra minigrid")


def made(**options: Any) -> Any:
    return qs.tasks.make("minigrid", **{"max_episode_steps": 6, "episodes_per_trial": 2} | options)


def test_every_episode_of_a_trial_has_the_layout_of_its_task_and_others_have_others():
    tasks = made()
    drawn = tasks.sample(8, "train", counter(0, 0, "tasks"))
    env = tasks.make(8, 1)
    seen = [env.reset(drawn, counter(0, 0, "env")), env.restart()]
    for _ in range(6):
        step = env.step(torch.full((8, 1), 6))  # the action that does nothing
    seen.append(step.observation)
    env.close()
    assert bool(step.truncated.all())
    assert all(torch.equal(seen[0], later) for later in seen[1:])
    assert len(torch.unique(seen[0].flatten(0, 1), dim=0)) > 4
    alone: Any = gymnasium.make("MiniGrid-DoorKey-5x5-v0", max_steps=6)
    for task, layout in enumerate(drawn["layout"].tolist()):
        expected, _ = alone.reset(seed=layout)
        parts = tasks.observation_space.split(seen[0][task, 0])
        assert np.array_equal(parts["image"], expected["image"]) and int(parts["direction"]) == expected["direction"]
        mission = tasks.observation_space.parts["mission"].decode(parts["mission"].tolist())
        assert mission == expected["mission"] and "?" not in mission


def test_reaching_the_goal_is_success_and_pays_as_minigrid_pays():
    tasks = made(env_id="MiniGrid-Empty-5x5-v0", max_episode_steps=20)
    env = tasks.make(1, 1)
    env.reset(tasks.sample(1, "test", counter(0, 0, "tasks")), counter(0, 0, "env"))
    steps = [env.step(torch.tensor([[action]])) for action in (2, 2, 1, 2, 2)]
    env.close()
    assert [bool(step.terminated) for step in steps] == [False] * 4 + [True]
    assert [int(step.info["success"]) for step in steps] == [0, 0, 0, 0, 1]
    assert float(steps[-1].reward) == pytest.approx(1 - 0.9 * 5 / 20)


def test_no_layout_is_in_two_splits():
    tasks = made()
    train, test = (set(tasks.sample(1000, split, counter(0, 0, split))["layout"].tolist()) for split in ("train", "test"))
    assert not train & test and len(train) > 900


def test_what_minigrid_has_not_is_refused():
    for name in ("CartPole-v1", "MiniGrid-DoorKey-5x5", "os:system-v0"):
        with pytest.raises(qs.UsageError, match=f"MiniGrid has no environment '{name}'"):
            made(env_id=name)
    with pytest.raises(qs.UsageError, match="no extrapolation split"):
        made().sample(2, "extrapolation", counter(0, 0, "tasks"))
