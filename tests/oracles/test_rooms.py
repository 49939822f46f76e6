"""Who is told the task in a dark room, or what words mean, and who searches the room."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.families.classic.mission import Mission
from quickstudy.oracles import oracle
from quickstudy.oracles.mission import said, steps_to
from quickstudy.protocol import counter


@pytest.mark.parametrize(("view", "start"), [("number", "centre"), ("drawn", "random")])
def test_who_is_told_of_key_and_door_gets_both_by_the_shortest_way(view: Any, start: Any):
    tasks = qs.tasks.make("key-door", size=5, view=view, start=start, episodes_per_trial=2)
    assert (qs.evaluate(oracle("optimal", tasks), num_tasks=60).returns == 2).all()
    short = qs.tasks.make("key-door", size=5, view=view, start=start, max_episode_steps=6, episodes_per_trial=2)
    evaluation = qs.evaluate(oracle("optimal", short), num_tasks=60)
    cells = evaluation.drawn["cells"]
    begin = cells[:, 2] if start == "random" else torch.tensor([2, 2])
    way = (cells[:, 0] - begin).abs().sum(-1) + (cells[:, 1] - cells[:, 0]).abs().sum(-1)
    assert evaluation.success is not None and 0.2 < float(evaluation.success.mean()) < 0.8
    assert torch.equal(evaluation.success, (way <= 6).float()[:, None].expand(-1, 2))


@pytest.mark.parametrize("view", ["number", "drawn"])
def test_who_searches_the_room_finds_all_there_is_and_never_forgets_it(view: Any):
    returns = qs.evaluate(
        oracle("nearest", qs.tasks.make("key-door", size=5, view=view, max_episode_steps=16)), num_tasks=40
    ).returns
    assert (returns.diff(dim=1) >= 0).all() and (returns[:, 6:] == 2).all() and 0.5 < float(returns[:, 0].mean()) < 2


def test_ways_lead_around_what_is_in_the_way():
    """A 3 x 3 grid whose middle column is blocked but for the upper end; then the goal is walled in."""
    goal, blocked = torch.zeros(2, 9, dtype=torch.bool), torch.zeros(2, 9, dtype=torch.bool)
    goal[:, 2] = True
    blocked[:, [1, 4]] = True
    blocked[1, 5] = True
    far = torch.inf
    assert steps_to(goal, blocked, 3).tolist() == [[6, far, 0, 5, far, 1, 4, 3, 2], [far, far, 0, far, far, far, far, far, far]]


@pytest.mark.parametrize("sense", ["text", "sound"])
def test_what_is_said_is_understood(sense: Any):
    mission = Mission(sense=sense, named=3, objects=5)
    task = {"last": torch.full((300,), 3.0)}
    state = mission.initial(task, torch.rand(300, mission.initial_noise, generator=counter(0, 0, "noise")))
    parts = mission.observation_space.split(mission.observation(state, task))
    assert torch.equal(said(mission, parts), state.said)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"sense": "sound"}, marks=pytest.mark.slow),
        pytest.param({"objects": 3, "named": 1, "sense": "sound"}, marks=pytest.mark.slow),
    ],
)
def test_who_knows_what_comes_last_meets_nearly_all(options: dict[str, Any]):
    """But where something else stands in the only way, or the way is longer than the episode."""
    tasks = qs.tasks.make("mission", episodes_per_trial=2, **options)
    evaluation = qs.evaluate(oracle("optimal", tasks), num_tasks=300)
    share = evaluation.returns / (1 + options.get("named", 2))
    assert float(share.mean()) > 0.97 and float(qs.evaluate(qs.Random(tasks), num_tasks=300).returns.mean()) < 0.4
