"""What MAML tells of itself, against other ways to the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

import quickstudy as qs
from quickstudy.insight import Trial
from quickstudy.ops.tree import tree_map
from quickstudy.report.trials import live_trials

POINT = {"max_episode_steps": 3, "episodes_per_trial": 3}
CONFIG = {"hidden_size": 8, "lanes": 6, "inner_rate": 0.3}


def maml(tasks: Any, **options: Any) -> qs.MAML:
    """MAML with weights of usual sizes, so that what is seen moves decisions."""
    agent = qs.MAML(tasks, qs.MAML.Config(**CONFIG | options))
    luck = Generator().manual_seed(1)
    with torch.no_grad():
        for weight in agent.start.weights.values():
            weight += 0.3 * torch.empty_like(weight).normal_(generator=luck)
    return agent


def by_adapting(agent: qs.MAML, trial: Trial, task: int, numbers: list[Tensor]) -> Tensor:
    """The log-probabilities of a first lane's actions where it saw and was paid these numbers: adapts as the agent does."""
    policy, found = agent.explorer(), []
    for experience, own in zip(trial.episodes, numbers, strict=True):
        lived = tree_map(lambda part: part[task : task + 1].clone(), experience)
        lived.percept.observation[0, 0, : len(own)] = own[:, :-1]
        lived.transition.reward[0, 0, : len(own)] = own[:, -1]
        act, _ = policy.act(lived.percept, {}, None)
        log_prob = agent.distribution.log_prob(act.notes["parameters"], lived.act.action)
        policy = agent.adapt(policy, lived._replace(act=lived.act._replace(log_prob=log_prob)))
        found.append(log_prob[0, 0, : len(own)])
    return torch.cat(found)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"first_order": True}, marks=pytest.mark.slow),
        {"inner_ratio": "path", "learn_inner_rate": True},
    ],
    ids=str,
)
def test_a_decision_is_traced_back_through_the_weights_it_was_made_with(options: dict[str, Any]):
    """The derivative by each number that was seen or paid is the central difference of adapting anew."""
    agent = maml(qs.tasks.make("point-navigation", **POINT), **options)
    trial = live_trials(agent, batch=8, num_tasks=2).trial
    retraced, lengths = agent.retrace(trial, 1), trial.lengths(1)
    recorded = [each.act.log_prob for each in trial.episodes]
    torch.testing.assert_close(retraced.log_prob.detach(), trial.joined(1, recorded), atol=1e-4, rtol=1e-4)  # pyright: ignore[reportArgumentType]
    [seen] = retraced.seen
    slopes = torch.stack([torch.autograd.grad(each, seen, retain_graph=True)[0] for each in retraced.log_prob])
    little, differences = 2e-3, torch.zeros_like(slopes)
    for step in range(len(seen)):
        for entry in range(seen.shape[1]):
            ends = []
            for way in (little, -little):
                numbers = seen.detach().clone()
                numbers[step, entry] += way
                ends.append(by_adapting(agent, trial, 1, list(numbers.split(lengths))))
            differences[:, step, entry] = (ends[0] - ends[1]) / (2 * little)
    torch.testing.assert_close(slopes, differences.detach(), atol=3e-3, rtol=3e-2)
    # within an episode weights stand still; later ones answer to all of it
    for place in range(3):
        own = slice(3 * place, 3 * place + 3)
        assert not (slopes[own, own] * (1 - torch.eye(3))[..., None]).any()
        assert not slopes[own, 3 * place + 3 :].any() and bool(slopes[own, : 3 * place].abs().amax(2).gt(1e-4).all())


def test_where_all_lanes_are_paid_alike_slopes_are_numbers():
    agent = maml(qs.tasks.make("grid-navigation", size=3, max_episode_steps=2, episodes_per_trial=2))
    retraced = agent.retrace(live_trials(agent, batch=8, num_tasks=1).trial, 0)
    assert torch.isfinite(torch.autograd.grad(retraced.log_prob.sum(), retraced.seen)[0]).all()


def test_adapting_goes_down_what_is_told():
    """A step with one rate for all moves the weights by that much of the gradient, and the loss falls."""
    tasks = qs.tasks.make("point-navigation", **POINT)
    agent = maml(tasks, inner_rate=0.01)
    trial = live_trials(agent, batch=8, num_tasks=4).trial
    [first, second, *_], [lived, *_] = trial.policies, trial.episodes
    before, after = agent.descent(first, lived), agent.descent(second, lived)
    known = agent.known(Trial([first, second], [lived]))
    assert known.kind == "weights" and known.believed is None
    torch.testing.assert_close(known.end, -0.01 * before.gradient, atol=1e-6, rtol=1e-4)
    assert bool((after.loss < before.loss).all())
    assert before.gradient.shape == (4, sum(weight.numel() for weight in agent.start.weights.values()))
