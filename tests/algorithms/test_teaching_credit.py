"""What episodes that taught are credited with (E-MAML), by hand; its gradient is exact by oracles_of_gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probes import HiddenButton, HiddenLedge

import quickstudy as qs
from quickstudy.algorithms.gradient.maml import above_others, worth
from quickstudy.parts.gradient import lived_stages, samples_of
from quickstudy.work import InProcess

SMALL: dict[str, Any] = {"meta_batch_size": 3, "lanes": 6, "hidden_size": 6, "teaching_credit": True}


def learner(tasks: Any = None, **options: Any) -> qs.MAML:
    return qs.MAML(tasks or qs.NativeTasks(HiddenLedge()), qs.MAML.Config(**{**SMALL, **options}), seed=4)


def test_what_a_task_came_to_is_counted_in_the_units_of_the_objective():
    """Where all tasks' advantages deviate alike, lanes / steps x (return - that of others) / deviation."""
    agent = learner(qs.NativeTasks(HiddenButton()), lanes=20)
    [_, last], _ = lived_stages(InProcess(agent.tasks), agent, 3, 1)
    returns = last.transition.reward.double().sum(2)
    spread = (returns - returns.mean(1, keepdim=True)).square().mean(1)
    above = torch.stack(
        [returns[task].mean() - returns[[other for other in range(3) if other != task]].mean() for task in range(3)]
    )
    expected = above / spread.mean().sqrt() * 20 / 60
    torch.testing.assert_close(worth(agent.inner, last), expected.float(), rtol=2e-2, atol=1e-3)
    assert worth(agent.inner, last).abs().max() > 0.01
    assert above_others(torch.tensor([3.0])).tolist() == [3.0]


def test_where_nobody_is_paid_nobody_is_credited():
    agent = learner(qs.tasks.make("point-navigation", payoff="sparse", layout="half-circle", max_episode_steps=3))
    [_, last], _ = lived_stages(InProcess(agent.tasks), agent, 3, 1)
    assert worth(agent.inner, last).tolist() == [0.0] * 3


@pytest.mark.parametrize("scored", ["last", "all"])
def test_each_stage_is_credited_with_what_scored_ones_after_it_came_to(scored: Any):
    agent = learner(inner_steps=2, outer_stages=scored)
    episodes, _ = lived_stages(InProcess(agent.tasks), agent, 3, 2)
    _, middle, last = (worth(agent.inner, each) for each in episodes)
    credits = agent.credits(episodes)
    expected = [last, last] if scored == "last" else [(middle + last) / 3, last / 3]
    assert len(credits) == 2
    for found, theirs in zip(credits, expected, strict=True):
        torch.testing.assert_close(found, theirs)


@pytest.mark.parametrize("scored", ["last", "all"])
@pytest.mark.parametrize("outer", ["trpo", "ppo"])
def test_it_adds_its_term_and_no_more(outer: Any, scored: Any):
    """The gradient is that without it, of the same inner loss, and that of credit times the likelihood of what was met."""
    agent = learner(outer=outer, outer_stages=scored, inner_steps=2, cg_damping=0.1)
    episodes, _ = lived_stages(InProcess(agent.tasks), agent, 3, 2)
    stages, credits = [samples_of(agent.inner, each) for each in episodes], agent.credits(episodes)
    assert agent.inner.ratio == "none"

    def slope(value: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [part.flatten() for part in torch.autograd.grad(value, list(agent.learned.values()), retain_graph=True)]
        )

    parameters = agent.outcomes(agent.learned, stages)
    whole, plain = (slope(agent.objective(parameters, stages, each)) for each in (credits, []))
    likelihood = torch.stack(
        [
            (credit[:, None, None] * agent.distribution.log_prob(now, stage.action) * stage.valid).sum()
            for now, stage, credit in zip(parameters, stages, credits, strict=False)
        ]
    ).sum()
    torch.testing.assert_close(whole - plain, slope(likelihood), rtol=1e-3, atol=1e-4)
    before = {name: weight.detach().clone() for name, weight in agent.learned.items()}
    metrics = agent.train_step(InProcess(agent.tasks))
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    assert any(not torch.equal(before[name], weight) for name, weight in agent.learned.items())
