"""Identities of transfer: what begins where, what stays, what a figure is by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from small import TINY

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.data.rollout import Plan, collect
from quickstudy.protocol import Learner, Shard, TaskDistribution
from quickstudy.tasks.given import Given
from quickstudy.transferring.arms import Pieces, learnt, on_grid, round_steps
from quickstudy.transferring.ground import ground
from quickstudy.transferring.outcome import Arm, Transfer
from quickstudy.transferring.start import FineTuning, begun, seen_by
from quickstudy.work import InProcess, LocalSite

FAMILIES: dict[str, dict[str, Any]] = {
    "point-navigation": {"max_episode_steps": 5},
    "cart-pole": {"max_episode_steps": 5},
    "tabular-mdp": {"states": 4, "actions": 2, "horizon": 3},
}
"""Continuous actions, numbered ones, and numbered observations."""
TUNED = ["multi-task", "task-informed", "rl2", "rl3", "maml", "promp", "reptile", "norml", "es-maml"]
CASES = [(family, name) for family in FAMILIES for name in TUNED if name != "rl3" or family == "tabular-mdp"]
FEW = FineTuning(lanes=2)


@cache
def tasks_of(family: str) -> TaskDistribution:
    return qs.tasks.make(family, **FAMILIES[family])


@cache
def trained(family: str, name: str) -> Learner:
    """A learner that has trained a little; not to be changed."""
    entry = ALGORITHMS[name]
    learner = entry.make(tasks_of(family), entry.config(**TINY[name]))
    learner.train_step(InProcess(learner.tasks))
    return learner


def given(source: Any, count: int = 1) -> TaskDistribution:
    """Some tasks of the run's own family."""
    tasks = source.tasks.tasks if isinstance(source.tasks, qs.Informed) else source.tasks
    return seen_by(source, Given(tasks, tasks.sample(count, "test", torch.Generator().manual_seed(0))))


def actions_of(agent: Any, tasks: TaskDistribution, name: str = "action") -> torch.Tensor:
    plan = Plan(agent.explorer(), 3, 5, None)
    return getattr(collect(LocalSite(tasks), plan, Shard(0, 0, 0, 2, "test")).act, name)


def same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(value, others[name]) for name, value in some.items())


@pytest.mark.parametrize(("family", "name"), CASES)
def test_before_any_update_it_is_the_explorer_bit_for_bit(family: str, name: str):
    source = trained(family, name)
    tasks = given(source, 2)
    learner = begun(source, tasks, FEW, 7)
    for part in ("action", "log_prob"):
        assert torch.equal(actions_of(learner, tasks, part), actions_of(source, tasks, part))
    before = {key: value.clone() for key, value in learner.weights.items()}  # pyright: ignore[reportAttributeAccessIssue]
    learnt(learner, round_steps(learner))
    assert learner.iteration > 0 and not same(before, learner.weights)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", sorted(ALGORITHMS.keys() - set(TUNED)))
def test_who_needs_more_than_a_network_is_refused_in_a_line(name: str):
    source = ALGORITHMS[name].make(tasks_of("point-navigation"), ALGORITHMS[name].config(**TINY[name]))
    with pytest.raises(qs.UsageError, match=r"can't be fine-tuned by PPO: .* runs of multi-task, .* can"):
        begun(source, given(source), FEW, 0)


def test_observations_are_normalised_as_in_the_run():
    normalisation = qs.Normalisation(normalise_observation=True, normalise_reward=True)
    source = qs.Normalised(qs.MultiTask(tasks_of("cart-pole"), qs.MultiTask.Config(**TINY["multi-task"])), normalisation)
    source.train_step(InProcess(source.tasks))
    learner = begun(source, given(source, 2), FEW, 0)
    assert torch.equal(actions_of(learner, source.tasks), actions_of(source, source.tasks))
    learnt(learner, 30)
    assert learner.iteration == 3


def test_from_scratch_is_multi_task_on_that_task_bit_for_bit():
    source = trained("point-navigation", "multi-task")
    found = ground(source, source.tasks, FEW, 30, 2, 1, "test", 3)
    scratch = found.begun(None, 1, 2)
    one = {name: value[1:2] for name, value in found.drawn.items()}
    alone = qs.MultiTask(Given(source.tasks, one), replace(source.config, n_envs=2), seed=5)
    assert learnt(scratch, 30) == learnt(alone, 30)
    assert same(scratch.weights, alone.weights)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_same_tasks_as_the_evaluation_and_on_its_own_family_it_begins_with_that():
    source = trained("point-navigation", "rl2")
    evaluation = qs.evaluate(source, num_tasks=3, episodes=4)
    found = qs.transfer(source, source.tasks, FEW, budget=20, num_tasks=3, seeds=1)
    adapt = next(arm for arm in found.arms if arm.kind == "adapt")
    assert same(ground(source, source.tasks, FEW, 20, 3, 1, "test", 0).drawn, evaluation.drawn)
    assert np.array_equal(adapt.start[0], evaluation.returns[:, 0].double())
    assert np.allclose(adapt.curve[0].mean(-1), evaluation.returns.double().mean(1))


def test_fine_tuning_on_its_own_family_starts_at_the_runs_return():
    source = trained("point-navigation", "multi-task")
    found = qs.transfer(source, source.tasks, FineTuning(lanes=64), budget=320, num_tasks=4, seeds=1)
    tuned, adapt = (next(arm for arm in found.arms if arm.kind == kind) for kind in ("fine-tune", "adapt"))
    many = qs.evaluate(source, Given(source.tasks, ground(source, source.tasks, FEW, 10, 4, 1, "test", 0).drawn), num_tasks=400)
    assert np.allclose(tuned.start[0], many.returns[:, 0].view(-1, 4).mean(0), atol=0.1)
    assert adapt.start.shape == tuned.start.shape == (1, 4)


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    source = trained("cart-pole", "multi-task")
    some, again, other = (
        qs.transfer(source, source.tasks, FEW, budget=20, num_tasks=2, seeds=2, seed=seed).as_json() for seed in (0, 0, 1)
    )
    assert json.dumps(some) == json.dumps(again) != json.dumps(other)


@pytest.mark.parametrize("layer", ["policy.0", "policy", "value.0"])
def test_a_frozen_layer_does_not_move_and_others_do(layer: str):
    source = trained("point-navigation", "multi-task")
    learner: Any = begun(source, given(source), replace(FEW, freeze=(layer,)), 0)
    learnt(learner, 30)
    moved = {name for name, weight in learner.weights.items() if not torch.equal(weight, source.weights[name])}  # pyright: ignore[reportAttributeAccessIssue]
    assert moved == {name for name in learner.weights if not name.startswith(layer)}


def test_a_recurrent_policy_may_keep_its_memory():
    source = trained("point-navigation", "rl2")
    learner: Any = begun(source, given(source), replace(FEW, freeze=("encoder", "memory")), 0)
    learnt(learner, 40)
    moved = {name.split(".")[0] for name, weight in learner.weights.items() if not torch.equal(weight, source.weights[name])}  # pyright: ignore[reportAttributeAccessIssue]
    assert moved == {"policy", "value", "value_encoder", "value_memory"}


def test_head_deviation_and_optimiser_as_asked_for():
    source: Any = trained("point-navigation", "multi-task")
    tasks = given(source)
    fresh, end = qs.MultiTask(tasks, replace(source.config, n_envs=2), seed=4), "policy.4"
    plain, renewed, reset, carried = (
        begun(source, tasks, replace(FEW, **how), 4)
        for how in ({}, {"renew_head": True}, {"reset_deviation": True}, {"carry_optimiser": True})
    )
    new, old = (each.weights[f"{end}.weight"] for each in (fresh, source))
    assert torch.equal(renewed.weights[f"{end}.weight"], new)  # pyright: ignore[reportAttributeAccessIssue]
    kept = torch.cat([old[:2], new[2:]])
    assert torch.equal(reset.weights[f"{end}.weight"], kept)  # pyright: ignore[reportAttributeAccessIssue]
    assert not plain.optimiser.state and carried.optimiser.state  # pyright: ignore[reportAttributeAccessIssue]


def test_the_deviation_of_a_policy_by_gradient_is_a_weight_of_its_own():
    source: Any = trained("point-navigation", "maml")
    learner: Any = begun(source, given(source), replace(FEW, reset_deviation=True), 0)
    assert source.start.weights["log_std"].abs().sum() > 0 and learner.weights["policy.log_std"].abs().sum() == 0


@pytest.mark.parametrize("name", ["multi-task", "maml", "rl2"])
def test_across_spaces_trunk_and_named_inputs_are_the_sources(name: str):
    source: Any = trained("cart-pole", name)
    target = qs.tasks.make("cart-pole", max_episode_steps=5, changes=True)
    learner: Any = begun(source, target, FEW, 0)
    trained_weights = source.start.weights if name == "maml" else source.weights
    for key, weight in learner.weights.items():
        own = trained_weights.get(key.removeprefix("policy.") if name == "maml" else key)
        if own is None or (key.startswith("value.") and not key.startswith("value.0")):
            continue
        if own.shape != weight.shape:
            assert torch.equal(weight[..., :4], own[..., :4]) and weight.shape[-1] == own.shape[-1] + 1
        else:
            assert torch.equal(weight, own)
    learnt(learner, 40)


def test_where_actions_differ_the_last_layer_is_new_and_where_nothing_agrees_the_first_too():
    source: Any = trained("cart-pole", "multi-task")
    target = qs.tasks.make("pendulum", max_episode_steps=5)
    learner: Any = begun(source, target, FEW, 0)
    fresh = qs.MultiTask(target, learner.config, seed=0).weights
    assert torch.equal(learner.weights["policy.2.weight"], source.weights["policy.2.weight"])
    assert torch.equal(learner.weights["policy.4.weight"], fresh["policy.4.weight"])
    spin = {"pendulum": 2, "cart-pole": 3}
    first = learner.weights["policy.0.weight"]
    assert torch.equal(first[:, :2], fresh["policy.0.weight"][:, :2])
    assert torch.equal(first[:, spin["pendulum"]], source.weights["policy.0.weight"][:, spin["cart-pole"]])
    found = qs.transfer(source, target, FEW, budget=20, num_tasks=1, seeds=1)
    assert [arm.kind for arm in found.arms] == ["from-scratch", "fine-tune"] and "its spaces are others" in str(found)


def test_a_sequence_carries_weights_on_and_begins_as_transfer_does():
    source = trained("point-navigation", "multi-task")
    found = qs.transfer_sequence(source, source.tasks, FEW, budget=20, num_tasks=2, seeds=2)
    alone = qs.transfer(source, source.tasks, FEW, budget=20, num_tasks=2, seeds=2)
    for course, arm in zip(found.courses[:2], alone.arms[:2], strict=True):
        assert np.array_equal(course.curve[0, 0], arm.curve[0, 0])  # the first task is learnt as it is alone
        assert np.array_equal(course.curve[1, 0], arm.curve[1, 1])  # and the second seed begins with the second
        assert not np.array_equal(course.curve[0, 1], arm.curve[0, 1])
        assert np.array_equal(course.after[:, -1], course.end[:, -1])
    assert (found.courses[2].forgotten == 0).all() and "forgotten" in str(found)
    json.dumps(found.as_json())


def test_figures_by_hand():
    flat = np.zeros((2, 2, 10))
    scratch = Arm("from-scratch", "from-scratch", "from-scratch", None, None, flat[..., 0], flat + np.arange(10.0))
    ahead = Arm("fine-tune a", "fine-tune", "rl2", "a", 90.0, flat[..., 0] + 3, flat + np.minimum(np.arange(10.0) + 3, 9))
    worse = Arm("fine-tune b", "fine-tune", "maml", "b", None, flat[..., 0] - 5, flat - 1)
    found = Transfer("t", "test", 0, 100, 10, 9.0, np.full((1, 2), -0.5), (scratch, ahead, worse), ())
    assert found.more(ahead, "jump_start")["mean"] == 3 and found.more(ahead, "asymptote")["mean"] == 0
    assert found.ratio(ahead)["mean"] == pytest.approx((6.9 - 4.5) / (4.5 + 0.5))
    assert (found.reached(scratch), found.reached(ahead), found.reached(worse)) == (90, 60, None)
    assert (
        found.paid(ahead) == 3 and found.paid(worse) is None and found.all_steps(ahead, 3) == 270 == found.all_steps(scratch, 3)
    )
    assert found.hurts(worse) and not found.hurts(ahead)
    assert [arm.run for arm in found.ranked] == ["a", "b"]
    assert ">100" in str(found) and "fine-tune b earns -5.5 [-5.5, -5.5] an episode against from-scratch: negative" in str(
        found
    )


def test_curves_on_a_grid_are_means_over_their_steps():
    assert on_grid(Pieces([10, 10], [1, 3]), 4, 5.0).tolist() == [1, 1, 3, 3]
    assert on_grid(Pieces([5, 5, 5, 5], [0, 2, 4, 6]), 2, 10.0).tolist() == [1, 5]
    assert on_grid(Pieces([10], [2]), 3, 10.0).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("how", "options", "says"),
    [
        ({"freeze": ("polcy.0",)}, {}, "multi-task has no layer 'polcy.0' to freeze; did you mean 'policy.0'"),
        ({"freeze": ("value",)}, {}, "gives the values, whose scale moves"),
        ({"reset_deviation": True}, {}, "from no Gaussian"),
        ({}, {"budget": 9}, "a budget of 9 environment steps pays no update of from-scratch, which lives 10"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(how: dict[str, Any], options: dict[str, Any], says: str):
    source = trained("cart-pole", "multi-task")
    with pytest.raises(qs.UsageError, match=says) as error:
        qs.transfer(source, source.tasks, replace(FEW, **how), **{"budget": 20, "num_tasks": 1, "seeds": 1, **options})
    assert "\n" not in str(error.value)


def test_what_a_run_has_not_is_not_carried():
    source = trained("point-navigation", "maml")
    with pytest.raises(qs.UsageError, match="maml has no optimiser to carry over: it wasn't trained by PPO alone"):
        begun(source, given(source), replace(FEW, carry_optimiser=True), 0)
    with pytest.raises(qs.UsageError, match="runs is empty"):
        qs.transfer({}, source.tasks)
    with pytest.raises(qs.UsageError, match="'a' names no agents"):
        qs.transfer({"a": []}, source.tasks)
