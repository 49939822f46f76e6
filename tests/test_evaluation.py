"""Scores against agents whose result is known."""

from __future__ import annotations

import json

import numpy as np
import torch
from probes import HiddenButton, Survival

import quickstudy as qs
from quickstudy.evaluation import LANES_AT_ONCE


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
