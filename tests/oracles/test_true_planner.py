"""A planner in true dynamics expects what the environment then pays, and knowing the task is worth something to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.oracles import oracle
from quickstudy.oracles.planner import STATES, PlannerOptions, TruePlanner
from quickstudy.protocol import counter
from quickstudy.tasks.told import Told


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


def test_it_is_for_families_whose_state_can_be_seen():
    with pytest.raises(qs.UsageError, match="planner is for pendulum and cart-pole"):
        oracle("planner", qs.tasks.make("bandit"))
