"""A planner in true dynamics expects what the environment then pays, and knowing the task is worth something to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.data.rollout import Lifetime, live
from quickstudy.oracles import oracle
from quickstudy.oracles.planner import STATES, PlannerOptions, TruePlanner
from quickstudy.protocol import Shard, counter
from quickstudy.tasks.told import Told
from quickstudy.work import LocalSite


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("family", sorted(STATES))
def test_plans_return_what_the_environment_pays_for_them(family: str, changes: bool):
    """Up to an episode's end, and through a change; of a state that is read from what is seen, in the middle of an episode."""
    tasks: Any = qs.tasks.make(family, changes=changes, max_episode_steps=40)
    agent = oracle("planner", tasks, PlannerOptions())
    policy = agent.policy
    assert isinstance(policy, TruePlanner) and isinstance(agent.tasks, Told)
    drawn, env, draws = tasks.sample(6, "test", counter(0, 0, "tasks")), agent.tasks.make(6, 1), counter(0, 0, "plans")
    seen, total, over = env.reset(drawn, counter(0, 0, "env")), torch.zeros(6, 1), torch.zeros(6, 1, dtype=torch.bool)
    noise = torch.randn(6, 1, 1, 30, policy.actions.noises, generator=draws)
    for action in policy.actions.taken(policy.actions.anyhow(noise[:, :, 0, :3])).unbind(2):
        seen = env.step(action).observation
    plans = policy.actions.anyhow(noise)
    own, task = agent.tasks.parted(seen)
    state = policy.state_of(tasks.dynamics, own)
    expected = policy.returns(state, plans, {name: value[:, :, None] for name, value in task.items()})[..., 0]
    for action in policy.actions.taken(plans[:, :, 0]).unbind(2):
        step = env.step(action)
        total, over = total + step.reward * ~over, over | step.terminated
    torch.testing.assert_close(expected, total, rtol=1e-3, atol=1e-3)
    assert family == "pendulum" or bool(over.any())


def test_knowing_the_task_is_worth_something_to_a_planner():
    tasks = qs.tasks.make("pendulum", max_episode_steps=60, episodes_per_trial=1)
    settings: dict[str, Any] = {"candidates": 60, "refits": 3}
    told, mean = (
        float(qs.evaluate(oracle("planner", tasks, PlannerOptions(settings=each, **settings)), num_tasks=12).returns.mean())
        for each in ("told", "mean")
    )
    assert told > mean + 10 > -600


def actions_where_it_changes_at(step: float, notice: int | None) -> torch.Tensor:
    """What the planner does on the same pendulums, which change at a step."""
    tasks: Any = qs.tasks.make("pendulum", changes=True, max_episode_steps=16, episodes_per_trial=1)
    agent = oracle("planner", tasks, PlannerOptions(candidates=16, plan_steps=6, refits=2, notice=notice))
    drawn = tasks.sample(4, "test", counter(0, 0, "tasks"))
    drawn["change_step"] = torch.full_like(drawn["change_step"], step)
    life = Lifetime(agent.explorer(), agent.adapt, 1, 1)
    [episode] = live(LocalSite(agent.tasks), life, Shard(0, 0, 0, 4, "test"), drawn)
    return episode.act.action


def test_until_it_notices_a_change_there_is_none_for_it():
    never, told, at_once, late = (actions_where_it_changes_at(*how) for how in ((1e6, None), (0.0, None), (0.0, 0), (8.0, 3)))
    assert torch.equal(told, at_once) and not torch.equal(told, never)
    assert torch.equal(late[:, :, :9], never[:, :, :9]) and not torch.equal(late[:, :, 8:], never[:, :, 8:])
    for options, family, says in (
        ({"notice": -1}, "pendulum", "notice"),
        ({"notice": 1, "settings": "mean"}, "pendulum", "the mean task is never told"),
        ({"notice": 1}, "cart-pole", "for worlds that change in mid-episode"),
    ):
        with pytest.raises(qs.UsageError, match=says):
            oracle("planner", qs.tasks.make(family), PlannerOptions(**options))


def test_it_is_for_families_whose_state_can_be_seen():
    with pytest.raises(qs.UsageError, match="planner is for pendulum and cart-pole"):
        oracle("planner", qs.tasks.make("bandit"))
