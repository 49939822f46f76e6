"""Posterior sampling of MDPs against plans worked out by hand and the published returns."""

from __future__ import annotations

import math

import pytest
import torch
from loops import lived

import quickstudy as qs
from quickstudy.ops.planning import MDP, Seen, plan
from quickstudy.oracles import oracle
from quickstudy.oracles.tabular import sample
from quickstudy.protocol import Percept, counter


def test_a_plan_by_hand():
    """In state 0 action 1 pays 1 and stays, action 0 pays nothing and leads to state 1, where every action pays 3."""
    rewards = torch.tensor([[0.0, 1.0], [3.0, 3.0]])
    transitions = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    values = plan(MDP(rewards, transitions), 3)
    assert values.tolist() == [[[6.0, 4.0], [9.0, 9.0]], [[3.0, 2.0], [6.0, 6.0]], [[0.0, 1.0], [3.0, 3.0]]]


def test_plans_of_many_mdps_are_those_of_each():
    generator = counter(0, 0, "mdps")
    mdps = MDP(torch.randn(3, 2, 4, 2, generator=generator), torch.rand(3, 2, 4, 2, 4, generator=generator).softmax(-1))
    together = plan(mdps, 5)
    assert torch.allclose(together[1, 0], plan(MDP(mdps.rewards[1, 0], mdps.transitions[1, 0]), 5), atol=1e-6)


def test_samples_follow_the_posterior():
    """Seen three times, rewards of 9 in all: N((1 + 9) / 4, 1/4); arrivals 2 and 1: Dirichlet(3, 2)."""
    many = 20_000
    seen = Seen(
        torch.full((many, 1, 1, 1), 3.0),
        torch.full((many, 1, 1, 1), 9.0),
        torch.tensor([2.0, 1.0]).expand(many, 1, 1, 1, 2),
    )
    drawn = sample(seen, 1.0, counter(0, 0, "posterior"))
    assert float(drawn.rewards.mean()) == pytest.approx(2.5, abs=0.02)
    assert float(drawn.rewards.var()) == pytest.approx(0.25, rel=0.05)
    assert float(drawn.transitions[..., 0].mean()) == pytest.approx(0.6, abs=0.005)
    assert float(drawn.transitions[..., 0].var()) == pytest.approx(0.6 * 0.4 / 6, rel=0.05)
    mean = sample(seen, 1.0, None)
    assert float(mean.rewards[0]) == 2.5 and mean.transitions[0].flatten().tolist() == pytest.approx([0.6, 0.4])


@pytest.mark.parametrize(("name", "samples", "published"), [("psrl", 1, 138.1), ("optimistic-psrl", 10, 144.1)])
def test_published_returns_within_sampling_error(name: str, samples: int, published: float):
    """Duan et al. 2016, table 2, over 1,000 MDPs: they are met with a prior of mean 0, though rewards are N(1, 1) in truth."""
    tasks = qs.tasks.make("tabular-mdp")
    options = {"prior_mean": 0.0} | ({"samples": samples} if samples > 1 else {})
    from quickstudy.oracles import ORACLES

    agent = oracle(name, tasks, ORACLES[name].options(**options))
    ours = qs.evaluate(agent, num_tasks=1000).returns.sum(1)
    assert abs(float(ours.mean()) - published) < 3 * float(ours.std()) * math.sqrt(2 / 1000)


def test_replanning_begins_an_episode_as_greedy_does_who_remembers_the_same():
    """And does otherwise later on, for it goes on learning: it earns more."""
    tasks = qs.tasks.make("tabular-mdp")
    greedy, replanning = (oracle(name, tasks) for name in ("greedy", "replanning"))
    experience = lived(greedy, 50, 10, 100)
    policy = replanning.explorer()
    memory, same = policy.initial_memory(50, 1), []
    for step in range(100):
        act, memory = policy.act(Percept(*(part[:, :, step] for part in experience.percept)), memory, None)
        same.append(act.action == experience.act.action[:, :, step])
    agreed = torch.stack(same, -1)
    assert agreed[experience.percept.first].all() and not agreed.all()
    returns = [qs.evaluate(agent, num_tasks=300).returns.sum(1) for agent in (greedy, replanning)]
    gain = returns[1] - returns[0]
    assert float(gain.mean()) > 3 * float(gain.std()) / math.sqrt(300)


def test_the_told_policy_earns_the_value_of_its_plan():
    """What it earns is, on average, the value of the plan at the first state: nobody can earn more."""
    tasks = qs.tasks.make("tabular-mdp", episodes_per_trial=1)
    family = tasks.dynamics
    drawn = tasks.sample(1000, "test", counter(0, 0, "tasks", 0))
    promised = plan(MDP(drawn["rewards"], drawn["transitions"]), family.horizon)[:, 0, 0].amax(-1)
    earned = qs.evaluate(oracle("optimal", tasks), num_tasks=1000).returns[:, 0]
    error = math.sqrt((float(promised.var()) + float(earned.var())) / 1000)
    assert float(earned.mean()) == pytest.approx(float(promised.mean()), abs=3 * error)


def test_posterior_sampling_learns_from_episode_to_episode():
    tasks = qs.tasks.make("tabular-mdp", episodes_per_trial=30)
    episodes = qs.evaluate(oracle("psrl", tasks), num_tasks=300).returns.mean(0)
    told = qs.evaluate(oracle("optimal", tasks), num_tasks=300).returns.mean()
    assert float(episodes[0]) < 12 < 0.8 * float(told) < float(episodes[-5:].mean()) < float(told)
