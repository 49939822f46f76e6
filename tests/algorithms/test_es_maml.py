"""ES-MAML: pushes and their opposites meet the same, and what is lived under them has the slope that is followed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.algorithms.gradient.es_maml import Search, lived_both_ways, pushes, returns, slope
from quickstudy.ops.tree import tensors_in
from quickstudy.parts.collecting import shards_of
from quickstudy.work import InProcess

SMALL: dict[str, Any] = {"meta_batch_size": 4, "lanes": 5, "hidden_size": 6}


def make(tasks: Any = None, **options: Any) -> qs.ESMAML:
    tasks = tasks or qs.tasks.make("point-navigation", max_episode_steps=4)
    return qs.ESMAML(tasks, qs.ESMAML.Config(**{**SMALL, **options}), seed=2)


def search_of(learner: qs.ESMAML, perturbation: float) -> Search:
    return Search(learner.explorer(), learner.adapt, learner.lanes, 2, perturbation)


def lived(learner: qs.ESMAML, perturbation: float) -> Any:
    [shard] = shards_of(learner, learner.config.meta_batch_size)
    [both] = InProcess(learner.tasks).map(lived_both_ways, search_of(learner, perturbation), [shard])
    return both


@pytest.mark.parametrize("family", ["point-navigation", "cart-pole", "bandit"])
def test_a_pair_meets_the_same_task_under_the_same_noise(family: str):
    """Not pushed at all, both ways are one life bit for bit, in all its stages; pushed, they differ."""
    learner = make(qs.tasks.make(family))
    one, other = lived(learner, 0.0)
    assert all(torch.equal(*pair) for pair in zip(tensors_in(one), tensors_in(other), strict=True))
    one, other = lived(learner, 0.5)
    assert not torch.equal(one[0].act.notes["parameters"], other[0].act.notes["parameters"])


def test_a_task_s_weights_are_pushed_and_its_opposite_the_other_way():
    learner = make()
    [shard] = shards_of(learner, 4)
    noise = pushes(search_of(learner, 0.1), shard)
    assert {name: each.shape[1:] for name, each in noise.items()} == {n: w.shape for n, w in learner.start.weights.items()}
    assert float(torch.cat([each.flatten() for each in noise.values()]).std()) == pytest.approx(1, abs=0.15)
    one, other = lived(learner, 0.1)
    bias = [both[0].act.notes["parameters"][..., 0, 2:].mean(1) for both in (one, other)]  # log-deviations, read as they are
    torch.testing.assert_close((bias[0] - bias[1]) / 0.2, noise["log_std"], rtol=1e-3, atol=1e-3)


def test_its_slope_is_that_of_a_linear_function_whatever_is_pushed():
    """Over pushes along each axis in turn, whose squares sum to as many as there are."""
    wanted = torch.tensor([0.3, -2.0, 0.7], dtype=torch.float64)
    noise = {"w": torch.eye(3, dtype=torch.float64) * 3**0.5}
    for perturbation in (0.01, 5.0):
        worth = 4 + perturbation * noise["w"] @ wanted
        found = slope(worth, 4 - perturbation * noise["w"] @ wanted, noise, perturbation)
        torch.testing.assert_close(found["w"], wanted)


def test_a_meta_iteration_goes_up_that_slope():
    """Adam's first step is the sign of it, weight by weight."""
    learner = make(learning_rate=0.01)
    [shard] = shards_of(learner, 4)
    one, other = lived(learner, learner.config.perturbation)
    up = slope(returns(one[-1]), returns(other[-1]), pushes(search_of(learner, 0.1), shard), learner.config.perturbation)
    before = {name: weight.detach().clone() for name, weight in learner.start.weights.items()}
    learner.train_step(InProcess(learner.tasks))
    for name, weight in learner.start.weights.items():
        clear = up[name].abs() > 0.05
        assert clear.any() or name != "policy.2.bias"
        torch.testing.assert_close((weight - before[name])[clear], 0.01 * up[name].sign()[clear], rtol=1e-2, atol=1e-5)
