"""ProMP where it must be another method, and its meta-gradient against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms.gradient.promp import weight_for
from quickstudy.ops.tree import tree_map
from quickstudy.parts.gradient import Samples, collected_stages
from quickstudy.protocol import Learner
from quickstudy.work import InProcess

SAME = {"meta_batch_size": 4, "lanes": 5, "hidden_size": 6, "learning_rate": 1e-2}


def tasks_of(kind: str) -> Any:
    return qs.tasks.make(kind, max_episode_steps=4) if kind == "point-navigation" else qs.tasks.make(kind, pulls=4)


def collected(learner: Any) -> list[Samples]:
    config = learner.config
    work = InProcess(learner.tasks)
    return collected_stages(work, learner, learner.inner, config.meta_batch_size, config.inner_steps)[0]


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("kind", ["point-navigation", "bandit"])
def test_without_its_penalty_and_its_bound_it_is_maml_with_the_outer_steps_of_ppo_bit_for_bit(kind: str, steps: int):
    common: dict[str, Any] = SAME | {"inner_steps": steps, "inner_rate": 0.1, "n_epochs": 3, "clip_range": 0.1}
    ours = qs.ProMP(tasks_of(kind), qs.ProMP.Config(**common, kl_weight=0.0), seed=2)
    theirs = qs.MAML(tasks_of(kind), qs.MAML.Config(**common, outer="ppo", inner_ratio="step", max_grad_norm=1e9), seed=2)
    for learner in (ours, theirs):
        learner.train_step(InProcess(learner.tasks))
    assert all(torch.equal(ours.learned[name], theirs.learned[name]) for name in theirs.learned)


def gradient_of(learner: Any, stages: list[Samples]) -> Tensor:
    total, _ = learner.loss(stages)
    return torch.cat([part.flatten() for part in torch.autograd.grad(total, list(learner.learned.values()))])


def test_where_it_collected_the_penalty_has_no_slope_whatever_its_weight():
    """Ratios are 1 there and the KL is at its least, so the first of its steps goes up the meta-gradient alone."""
    small, large = (
        qs.ProMP(tasks_of("bandit"), qs.ProMP.Config(**SAME, kl_weight=weight, inner_steps=2)) for weight in (0.0, 1e3)
    )
    stages = collected(small)
    one, other = gradient_of(small, stages), gradient_of(large, stages)
    torch.testing.assert_close(other, one, atol=1e-4 * float(one.norm()), rtol=0)
    assert one.norm() > 0


def moved(learner: Any) -> None:
    """First weights elsewhere: ratios and divergences are no longer what they were where it collected."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in learner.learned.values():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)


def test_the_loss_is_its_definition_task_by_task():
    learner = qs.ProMP(tasks_of("bandit"), qs.ProMP.Config(**SAME, kl_weight=0.7, inner_rate=2.0, clip_range=0.05))
    first, last = collected(learner)
    moved(learner)
    weights, distribution, tasks = learner.start.weights, learner.inner.distribution, len(first.inputs)
    total = 0.0
    for task in range(tasks):
        before, after = (tree_map(lambda part, task=task: part[task], stage) for stage in (first, last))
        leaf = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        parameters = torch.func.functional_call(learner.net, leaf, (before.inputs,))
        ratio = (distribution.log_prob(parameters, before.action) - before.log_prob).exp()
        slopes = torch.autograd.grad(-(ratio * before.advantage).mean(), list(leaf.values()))
        own = {name: leaf[name] - 2.0 * slope for name, slope in zip(leaf, slopes, strict=True)}
        now = torch.func.functional_call(learner.net, own, (after.inputs,))
        ratio = (distribution.log_prob(now, after.action) - after.log_prob).exp()
        bounded = ratio.clamp(0.95, 1.05)
        total -= float(torch.minimum(ratio * after.advantage, bounded * after.advantage).mean().detach()) / tasks
        total += 0.7 * float(distribution.kl(before.parameters, parameters).mean().detach()) / tasks
    assert learner.loss([first, last])[1]["train/loss"].item() == pytest.approx(total, rel=1e-4)


def test_its_gradient_goes_through_the_inner_step():
    """By central differences of the loss: the weights before the inner step move, and everything that follows from them."""
    learner = qs.ProMP(tasks_of("bandit"), qs.ProMP.Config(**SAME, kl_weight=0.3, inner_rate=3.0))
    stages = collected(learner)
    moved(learner)
    names, size = list(learner.learned), 1e-2
    slopes = torch.autograd.grad(learner.loss(stages)[0], list(learner.learned.values()))
    slope, weight = slopes[names.index("policy.4.bias")], learner.learned["policy.4.bias"]
    for entry in range(3):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[entry] += sign * size
            values.append(learner.loss(stages)[1]["train/loss"].item())
            with torch.no_grad():
                weight[entry] -= sign * size
        assert float(slope[entry]) == pytest.approx((values[0] - values[1]) / (2 * size), rel=0.05, abs=2e-4)


def test_the_penalty_keeps_the_first_policy_where_it_collected():
    def distance(weight: float) -> float:
        learner: Learner = qs.ProMP(tasks_of("bandit"), qs.ProMP.Config(**SAME, n_epochs=20, kl_weight=weight), seed=1)
        return learner.train_step(InProcess(learner.tasks))["train/explorer_kl"]

    assert distance(30.0) < 0.5 * distance(0.0)


def test_the_weight_of_the_penalty_follows_its_target_and_is_stored():
    assert [weight_for(0.4, kl, 0.01) for kl in (0.016, 0.014, 0.007, 0.006)] == [0.8, 0.4, 0.4, 0.2]

    def learner() -> qs.ProMP:
        return qs.ProMP(tasks_of("bandit"), qs.ProMP.Config(**{**SAME, "learning_rate": 0.05}, target_kl=1e-9), seed=2)

    ours, again = learner(), learner()
    metrics = ours.train_step(InProcess(ours.tasks))
    assert metrics["train/explorer_kl"] > 1.5e-9 and metrics["train/kl_weight"] == 2 * ours.config.kl_weight
    again.load_state_dict(ours.state_dict())
    assert again.kl_weight == ours.kl_weight
    fixed = qs.ProMP(tasks_of("bandit"), qs.ProMP.Config(**SAME))
    assert "kl_weight" not in fixed.state_dict() and "train/kl_weight" not in fixed.train_step(InProcess(fixed.tasks))
