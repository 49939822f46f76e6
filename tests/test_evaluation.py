"""Scores against agents whose result is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from probes import HiddenButton, Survival

import quickstudy as qs
from quickstudy.algorithms import BASELINES
from quickstudy.evaluation import LANES_AT_ONCE, batch_of, pool
from quickstudy.ops.statistics import bootstrap_interval
from quickstudy.protocol import Act, Memory, Percept


def test_a_random_agent_presses_the_right_button_half_the_time():
    evaluation = qs.evaluate(qs.Random(qs.NativeTasks(HiddenButton())), num_tasks=4000)
    np.testing.assert_allclose([row["mean"] for row in evaluation.rows], 0.5, atol=0.03)
    assert [row["seen"] for row in evaluation.rows] == [0, 1, 2]


def test_episodes_of_different_lengths_are_scored_apart():
    returns = qs.evaluate(qs.Random(qs.NativeTasks(Survival())), num_tasks=4000).returns
    # a coin each step: 1 + 1/2 + ... + 1/2^9
    torch.testing.assert_close(returns.mean(0), torch.full((3,), 2 - 2**-9), atol=0.1, rtol=0)
    assert returns.min() == 1


def test_success_is_any_step_of_the_episode():
    tasks = qs.tasks.make("grid-navigation", size=3)
    evaluation = qs.evaluate(qs.Random(tasks), num_tasks=500)
    assert evaluation.success is not None
    reached = evaluation.returns > -0.1 * 15 + 1e-4
    assert torch.equal(evaluation.success.bool(), reached)
    assert "success" in str(evaluation) and 0 < evaluation.rows[0]["success"] < 1


@dataclass(frozen=True)
class Presses:
    """Presses the second button once it has been adapted three times, the first one until then."""

    adapted: int

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Any) -> tuple[Act, Memory]:
        return Act(torch.full_like(percept.action, int(self.adapted >= 3)), None, {}), memory


class Adapter:
    """An agent of two lanes that knows how often it was adapted."""

    name, device, lanes = "adapter", "cpu", 2
    tasks = qs.NativeTasks(HiddenButton())

    def explorer(self) -> Presses:
        return Presses(0)

    def adapt(self, policy: Presses, experience: Any) -> Presses:
        return Presses(policy.adapted + 1)


def test_frozen_episodes_follow_so_many_to_adapt_on():
    evaluation = qs.evaluate(Adapter(), num_tasks=40, adapt_episodes=6, frozen_episodes=2)
    pressed = (evaluation.returns == evaluation.returns[:, -1:]).all(0)
    assert pressed.tolist() == [False, False, False, True, True]
    assert [row["seen"] for row in evaluation.rows] == [0, 2, 4, 6, 6]
    assert evaluation.after_adapting == {"mean": evaluation.rows[-1]["mean"]}
    assert "adapted on 6 episodes, then frozen for 2: mean 0." in str(evaluation)
    assert evaluation.as_json()["after_adapting"] == evaluation.after_adapting and "extrapolate" not in str(evaluation)


def test_nothing_crosses_between_frozen_episodes():
    """In a world without chance, a recurrent agent that takes its most likely actions repeats itself, once it is frozen."""
    learner = qs.RL2(qs.tasks.make("grid-navigation"), seed=1)
    frozen = qs.evaluate(learner, num_tasks=200, adapt_episodes=2, frozen_episodes=3, greedy=True)
    lived = qs.evaluate(learner, num_tasks=200, episodes=5, greedy=True)
    assert torch.equal(frozen.returns[:, :3], lived.returns[:, :3])
    assert torch.equal(frozen.returns[:, 3:], frozen.returns[:, 2:3].expand(-1, 2)) and frozen.success is not None
    assert frozen.after_adapting["success"] == pytest.approx(float(frozen.success[:, 2].mean()))


def test_episodes_to_adapt_on_are_a_multiple_of_the_lanes():
    with pytest.raises(qs.UsageError, match="adapter adapts on 2 episodes of a task at once, so it can't adapt on 5"):
        qs.evaluate(Adapter(), adapt_episodes=5)
    with pytest.raises(qs.UsageError, match="not both"):
        qs.evaluate(Adapter(), episodes=3, adapt_episodes=6)


def test_the_json_has_the_promised_keys():
    evaluation = qs.evaluate(qs.Random(qs.tasks.make("bandit")), num_tasks=10, seed=4, split="validation")
    stored = json.loads(json.dumps(evaluation.as_json()))
    assert {key: stored[key] for key in ("algorithm", "tasks", "split", "num_tasks", "seed")} == {
        "algorithm": "random",
        "tasks": "bandit",
        "split": "validation",
        "num_tasks": 10,
        "seed": 4,
    }
    assert set(stored["episodes"][0]) == {"episode", "seen", "iqm", "mean", "low", "high"}


def test_more_tasks_than_one_batch_holds_are_all_scored():
    evaluation = qs.evaluate(qs.Random(qs.tasks.make("bandit", pulls=2)), num_tasks=LANES_AT_ONCE + 5)
    assert evaluation.returns.shape == (LANES_AT_ONCE + 5, 1)


def test_splits_draw_different_tasks():
    agent = qs.Random(qs.tasks.make("bandit", pulls=50))
    assert not torch.equal(qs.evaluate(agent, split="test").returns, qs.evaluate(agent, split="validation").returns)


def test_learners_of_several_seeds_are_pooled_and_named():
    agent = qs.Random(qs.tasks.make("grid-navigation", size=3))
    apart = [qs.evaluate(agent, num_tasks=40, seed=seed) for seed in (0, 1)]
    pooled = pool(apart, seeds=[5, 6])
    assert (pooled.num_tasks, pooled.trials.shape) == (40, (2, 40))
    for row, alone in zip(pooled.trials, apart, strict=True):
        np.testing.assert_array_equal(row, alone.trials[0])
    assert pooled.rows[1]["mean"] == pytest.approx(np.mean([each.rows[1]["mean"] for each in apart]))
    assert pooled.rows[1]["success"] == pytest.approx(np.mean([each.rows[1]["success"] for each in apart]))
    scores = np.stack([each.returns[:, 1].double().numpy() for each in apart])
    assert (pooled.rows[1]["low"], pooled.rows[1]["high"]) == bootstrap_interval(scores)
    text, stored = str(pooled), json.loads(json.dumps(pooled.as_json()))
    assert "2 seeds: 40 test tasks" in text and "(seed 5)" in text and "(seed 6)" in text
    assert stored["num_tasks"] == 40 and stored["seeds"] == [5, 6]
    assert stored["mean_by_seed"] == [each.trials.mean() for each in apart]
    assert "seeds" not in apart[0].as_json() and "seed " not in str(apart[0])


def test_agents_of_any_lanes_meet_the_same_tasks_in_batches_of_one_size():
    def met(agent: qs.Random | qs.MAML, batch: int | None) -> torch.Tensor:
        return qs.evaluate(agent, num_tasks=60, batch=batch).drawn["means"]

    one, twenty = qs.Random(qs.tasks.make("bandit", pulls=2)), BASELINES["from-scratch"](qs.tasks.make("bandit", pulls=2))
    batch = min(batch_of(agent.lanes) for agent in (one, twenty))
    assert torch.equal(met(one, batch), met(twenty, batch)) and not torch.equal(met(one, None), met(twenty, None))


def test_tasks_stand_in_the_order_of_their_scores():
    """One who knows each bandit earns what its best arm pays."""
    evaluation = qs.evaluate(qs.oracle("optimal", qs.tasks.make("bandit", pulls=400)), num_tasks=50, batch=20)
    best = evaluation.drawn["means"].amax(-1)
    assert (evaluation.returns[:, 0] / 400 - best).abs().max() < 0.13  # over five deviations of a mean of 400 pulls
