"""Adapting the head alone (ANIL: Raghu et al. 2020): what it is equal to, and what it leaves to all tasks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.parts.gradient import Start, collected_stages, outcomes
from quickstudy.work import InProcess

SMALL = {"meta_batch_size": 3, "lanes": 4, "hidden_size": 8}


def learner(family: str, **options: Any) -> qs.MAML:
    tasks = qs.tasks.make(family, max_episode_steps=4)
    return qs.MAML(tasks, qs.MAML.Config(**{**SMALL, **options}), seed=3)


def slope(agent: qs.MAML, start: Start) -> tuple[Tensor, dict[str, Tensor]]:
    """What adapted policies would do, and how a number made of that depends on the first weights."""
    stages, _ = collected_stages(InProcess(agent.tasks), agent, agent.inner, 3, 2)
    [found] = outcomes(agent.inner, start, stages, 1)
    gradients = torch.autograd.grad(found.square().sum(), list(start.weights.values()), allow_unused=True)
    return found.detach(), dict(zip(start.weights, gradients, strict=True))


@pytest.mark.parametrize("family", ["grid-navigation", "point-navigation"])
def test_it_is_adapting_all_with_rates_of_zero_behind_it(family: str):
    """Bit for bit, and the meta-gradient as far as sums over tasks in another order allow."""
    head, whole = learner(family, adapt="head"), learner(family)
    assert set(head.start.rates) < set(whole.start.rates)
    rates = {name: rate if name in head.start.rates else torch.zeros_like(rate) for name, rate in whole.start.rates.items()}
    # the episodes that both learn from are those of one of them
    whole.start = Start(whole.start.weights, rates)
    (mine, ours), (theirs, other) = slope(head, head.start), slope(whole, whole.start)
    assert torch.equal(mine, theirs) and mine.abs().max() > 0
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-4, atol=1e-6)


def test_a_linear_policy_is_all_head():
    agents = [learner("point-navigation", adapt=adapt, hidden_layers=0) for adapt in ("head", "all")]
    assert set(agents[0].start.rates) == set(agents[1].start.rates)
    (mine, _), (theirs, _) = (slope(agent, agent.start) for agent in agents)
    assert torch.equal(mine, theirs)


def test_what_is_read_is_read_by_weights_that_tasks_share():
    agent = learner("mission")
    assert set(agent.start.rates) == {"policy.4.weight", "policy.4.bias"}
    stages, _ = collected_stages(InProcess(agent.tasks), agent, agent.inner, 3, 1)
    found, gradients = slope(agent, agent.start)
    assert found.shape[0] == 3 and all(gradient is not None for gradient in gradients.values())
    policy = agent.explorer()
    for name, weight in policy.start.weights.items():
        assert weight.dim() == agent.net.get_parameter(name).dim()
    assert stages[0].inputs.dtype == torch.uint8


def test_all_may_adapt_where_images_are_read():
    """With weights of each task behind every pixel, which costs more; a task's outcome is its own."""
    agent = learner("mission", adapt="all")
    found, gradients = slope(agent, agent.start)
    assert set(agent.start.rates) == set(agent.start.weights) and bool(torch.isfinite(found).all())
    assert gradients["reader.parts.0.eye.first.weight"].abs().max() > 0
