"""What every algorithm must do, on tasks whose optimum is known by hand: a new entry in the list is tested at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from probes import HiddenButton, HiddenSide, Survival
from small import SMALL
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.ops.state import leaves
from quickstudy.protocol import Learner
from quickstudy.runs.checkpoint import load_checkpoint, save_checkpoint
from quickstudy.work import InProcess

REACHES = {"rl2": "optimum", "maml": "optimum", "multi-task": "memoryless_optimum", "task-informed": "informed_optimum"}
"""What each algorithm can know, and so what it must reach."""

SHORTFALL = {("maml", "continuous"): 0.35}
"""What is lost for a reason: a Gaussian explorer keeps the spread that its gradient step needs, and pays for it."""

PROBES = {"discrete": HiddenButton, "continuous": HiddenSide}

every_algorithm = pytest.mark.parametrize("name", sorted(ALGORITHMS))
every_probe = pytest.mark.parametrize("probe", sorted(PROBES))


def make(name: str, dynamics: Any, seed: int = 0, **options: Any) -> Learner:
    entry = ALGORITHMS[name]
    return entry.make(qs.NativeTasks(dynamics), entry.config(**SMALL[name] | options), seed=seed)


def train(learner: Learner, iterations: int) -> list[dict[str, float]]:
    work = InProcess(learner.tasks, learner.device)
    return [learner.train_step(work) for _ in range(iterations)]


def trial_return(learner: Learner, greedy: bool = False) -> float:
    return float(qs.evaluate(learner, num_tasks=400, greedy=greedy).returns.sum(1).mean())


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    ours, theirs = dict(leaves(one)), dict(leaves(other))
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[path]) if isinstance(value, Tensor) else value == theirs[path] for path, value in ours.items()
    )


@every_algorithm
def test_every_algorithm_has_small_settings_and_a_goal(name: str):
    assert name in SMALL and name in REACHES


@every_algorithm
@every_probe
def test_reaches_the_optimum_of_what_it_can_know_and_no_more(name: str, probe: str):
    learner = make(name, PROBES[probe]())
    before = trial_return(learner)
    train(learner, 100)
    after, goal = trial_return(learner), getattr(learner_dynamics(learner.tasks), REACHES[name])
    assert goal - SHORTFALL.get((name, probe), 0.15) < after < goal + 0.1
    assert after > before or before > goal - 0.15  # any memoryless policy is an optimal one on hidden buttons


@every_algorithm
@every_probe
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name: str, probe: str):
    learners = [make(name, PROBES[probe](), seed) for seed in (3, 3, 4)]
    metrics = [train(learner, 2) for learner in learners]
    assert same(learners[0].state_dict(), learners[1].state_dict()) and metrics[0] == metrics[1]
    assert not same(learners[0].state_dict(), learners[2].state_dict())


@every_algorithm
@every_probe
def test_a_saved_learner_is_the_same_policy_and_goes_on_bit_for_bit(name: str, probe: str, tmp_path: Path):
    learner = make(name, PROBES[probe]())
    train(learner, 2)
    save_checkpoint(tmp_path / "checkpoints", 2, learner.state_dict())
    restored = make(name, PROBES[probe](), seed=0)
    restored.load_state_dict(load_checkpoint(tmp_path / "checkpoints" / "00000002"))
    assert same(learner.state_dict(), restored.state_dict())
    assert torch.equal(qs.evaluate(learner, num_tasks=20).returns, qs.evaluate(restored, num_tasks=20).returns)
    assert train(learner, 2) == train(restored, 2)
    assert same(learner.state_dict(), restored.state_dict())


@every_algorithm
def test_training_neither_reads_nor_moves_global_randomness(name: str):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(name, HiddenButton())
    train(first, 1)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = make(name, HiddenButton())
    train(second, 1)
    assert same(first.state_dict(), second.state_dict())


@every_algorithm
def test_adapting_and_evaluating_change_nothing_in_the_learner(name: str):
    learner = make(name, HiddenSide())
    before = {path: value.clone() for path, value in leaves(learner.state_dict()) if isinstance(value, Tensor)}
    explorer = learner.explorer()
    qs.evaluate(learner, num_tasks=10)
    train(learner, 1)
    weights = learner.explorer()
    assert type(weights) is type(explorer)
    fresh = make(name, HiddenSide())
    fresh_leaves = dict(leaves(fresh.state_dict()))
    assert all(torch.equal(value, fresh_leaves[path]) for path, value in before.items())


@every_algorithm
def test_evaluating_twice_gives_the_same_and_another_seed_other_tasks(name: str):
    learner = make(name, HiddenSide())
    first, again, other = (qs.evaluate(learner, num_tasks=50, seed=seed).returns for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@every_algorithm
def test_shards_cut_the_work_and_not_its_kind(name: str):
    learner = make(name, HiddenButton(), shards=2)
    metrics = train(learner, 60)
    assert metrics[-1]["rollout/timesteps"] == train(make(name, HiddenButton()), 1)[0]["rollout/timesteps"]
    assert trial_return(learner) > getattr(HiddenButton(), REACHES[name]) - 0.15


@pytest.mark.parametrize("credit", ["trial", "episode"])
def test_rl2_survives_where_every_step_is_rewarded(credit: Any):
    """A fall costs the rest of an episode: a memory must find the button that lives, at once, and keep to it."""
    learner = make("rl2", Survival(), credit=credit, gamma=0.97)
    train(learner, 100)
    assert trial_return(learner) > Survival.optimum - 1.5


def test_a_short_sighted_discount_over_the_trial_makes_dying_nearly_free():
    """Why `credit="episode"` and a gamma near 1 exist."""
    learner = make("rl2", Survival(), credit="trial", gamma=0.2)
    train(learner, 100)
    assert trial_return(learner) < Survival.optimum - 1.5


def test_rl2_with_an_lstm_learns_too():
    learner = make("rl2", HiddenButton(), cell="lstm")
    train(learner, 60)
    assert trial_return(learner) > HiddenButton.optimum - 0.15


def test_a_wiped_memory_costs_what_it_was_worth():
    learner = make("rl2", HiddenButton())
    train(learner, 60)
    for every in ("episode", "step"):
        wiped = qs.evaluate(qs.Forgetful(learner, every), num_tasks=400).returns.sum(1).mean()
        assert abs(float(wiped) - HiddenButton.memoryless_optimum) < 0.15


def test_a_longer_trial_than_in_training_is_marked_as_extrapolation():
    learner = make("rl2", HiddenButton())
    assert "extrapolate" not in str(qs.evaluate(learner, num_tasks=5))
    longer = qs.evaluate(learner, num_tasks=5, episodes=5)
    assert longer.returns.shape == (5, 5) and "episodes after 3 extrapolate" in str(longer)


def learner_dynamics(tasks: Any) -> Any:
    return tasks.tasks.dynamics if isinstance(tasks, qs.Informed) else tasks.dynamics
