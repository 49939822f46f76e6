"""Scores against agents whose result is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import jaxtyping
import numpy as np
import pytest
import torch
from probes import HiddenButton, Survival

import quickstudy as qs
from quickstudy.algorithms import BASELINES
from quickstudy.evaluation import LANES_AT_ONCE, batch_of
from quickstudy.ops.statistics import interquartile_mean, mean_interval, share_interval
from quickstudy.protocol import Act, Memory, Percept
from quickstudy.scores import Evaluation, pool, told_alike


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
    last = (evaluation.returns[:, 3] + evaluation.returns[:, 4]).double().numpy() / 2
    found = evaluation.after_adapting
    assert (found["mean"], found["mean_low"], found["mean_high"]) == (evaluation.rows[-1]["mean"], *mean_interval(last))
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
    assert set(stored["episodes"][0]) == {"episode", "seen", "mean", "mean_low", "mean_high", "iqm"}
    assert stored["interval_over"] == "tasks only" and stored["episodes"][0]["iqm"] == stored["episodes"][0]["mean"]


def test_more_tasks_than_one_batch_holds_are_all_scored():
    evaluation = qs.evaluate(qs.Random(qs.tasks.make("bandit", pulls=2)), num_tasks=LANES_AT_ONCE + 5)
    assert evaluation.returns.shape == (LANES_AT_ONCE + 5, 1)


def test_splits_draw_different_tasks():
    agent = qs.Random(qs.tasks.make("bandit", pulls=50))
    assert not torch.equal(qs.evaluate(agent, split="test").returns, qs.evaluate(agent, split="validation").returns)


def test_learners_of_several_seeds_are_pooled_and_named():
    tasks = qs.tasks.make("grid-navigation", size=3)
    agent = qs.Random(tasks)
    apart = [qs.evaluate(one, num_tasks=40) for one in (agent, qs.RL2(tasks))]
    pooled = pool(apart, seeds=[5, 6])
    assert (pooled.num_tasks, pooled.trials.shape) == (40, (2, 40))
    for row, alone in zip(pooled.trials, apart, strict=True):
        np.testing.assert_array_equal(row, alone.trials[0])
    assert pooled.rows[1]["mean"] == pytest.approx(np.mean([each.rows[1]["mean"] for each in apart]))
    assert pooled.rows[1]["success"] == pytest.approx(np.mean([each.rows[1]["success"] for each in apart]))
    scores = np.stack([each.returns[:, 1].double().numpy() for each in apart])
    assert (pooled.rows[1]["mean_low"], pooled.rows[1]["mean_high"]) == mean_interval(scores)
    succeeded = np.stack([each.success[:, 1].double().numpy() for each in apart if each.success is not None])
    assert (pooled.rows[1]["success_low"], pooled.rows[1]["success_high"]) == share_interval(succeeded)
    assert pooled.interval_over == "seeds and tasks" and "95 % interval over seeds and tasks" in str(pooled)
    assert "95 % interval over tasks only" in str(apart[0]) and "IQM" not in str(apart[0])
    text, stored = str(pooled), json.loads(json.dumps(pooled.as_json()))
    assert "2 seeds: 40 test tasks" in text and "(seed 5)" in text and "(seed 6)" in text
    assert stored["num_tasks"] == 40 and stored["seeds"] == [5, 6]
    assert stored["mean_by_seed"] == [each.trials.mean() for each in apart]
    assert "seeds" not in apart[0].as_json() and "seed " not in str(apart[0])


def test_over_tasks_the_mean_and_over_seeds_the_interquartile_mean_of_their_means():
    tasks = qs.tasks.make("bandit", pulls=2)
    apart = [qs.evaluate(qs.RL2(tasks, seed=seed), num_tasks=30) for seed in range(5)]
    row, means = pool(apart, range(5)).rows[0], np.array([each.rows[0]["mean"] for each in apart])
    assert row["mean"] == pytest.approx(means.mean()) and row["iqm"] == pytest.approx(interquartile_mean(means))
    assert row["iqm"] == pytest.approx(np.sort(means)[1:4].mean())


def test_one_task_of_one_seed_has_no_interval_and_of_several_seeds_one_over_seeds():
    tasks = qs.tasks.make("bandit", pulls=50)
    apart = [qs.evaluate(qs.RL2(tasks, seed=seed), num_tasks=1, seed=3) for seed in range(3)]
    alone, pooled = json.loads(json.dumps(apart[0].as_json(), allow_nan=False)), pool(apart, range(3))
    assert alone["interval_over"] is None and alone["episodes"][0]["mean_low"] is None and "no interval" in str(apart[0])
    assert pooled.interval_over == "seeds only" and pooled.rows[0]["mean_low"] < pooled.rows[0]["mean"]


def gaining(by: float, spread: float, seeds: int, seed: int) -> Evaluation:
    """Made-up trials of twenty tasks that differ by far more than their two episodes do."""
    generator = np.random.default_rng(seed)
    first = 10 * generator.normal(size=20) + 0.1 * generator.normal(size=(seeds, 20))
    last = first + by + spread * generator.normal(size=(seeds, 20))
    returns = torch.from_numpy(np.stack([first, last], -1).reshape(-1, 2)).float()
    bandit = qs.evaluate(qs.Random(qs.tasks.make("bandit", pulls=1)), num_tasks=20, episodes=2)
    drawn = {name: value.repeat(seeds, 1) for name, value in bandit.drawn.items()}
    return replace(bandit, returns=returns, success=None, seeds=tuple(range(seeds)) if seeds > 1 else (), drawn=drawn)


@pytest.mark.parametrize("seeds", (1, 3))
def test_adaptation_is_seen_where_every_task_gains_though_intervals_of_means_overlap(seeds: int):
    for by, says in ((1.0, "up"), (-1.0, "down")):
        found = gaining(by, 0.3, seeds, 0)
        first, last = found.rows
        assert first["mean_low"] < last["mean_high"] and last["mean_low"] < first["mean_high"]
        assert found.adapts == says and ("it falls" in str(found)) is (says == "down")
        assert "no adaptation" not in str(found) and found.as_json()["gain"] == found.gain


def test_chance_is_rarely_taken_for_adaptation_and_one_trial_never():
    seen = [gaining(0.0, 1.0, 1, seed).adapts for seed in range(200)]
    assert seen.count("not seen") >= 180  # 95 % and five deviations
    assert "no adaptation to be seen" in str(gaining(0.0, 1.0, 1, seen.index("not seen")))
    alone = qs.evaluate(qs.Random(qs.tasks.make("bandit", pulls=5)), num_tasks=1, episodes=2)
    assert alone.adapts is None and alone.gain is not None and alone.gain["mean_low"] is None
    assert gaining(0.0, 0.0, 1, 0).adapts == "not seen", "where nothing changes nothing is seen"
    assert qs.evaluate(qs.Random(qs.tasks.make("bandit", pulls=5)), num_tasks=3).gain is None


class TellsSuccess(gymnasium.Env[Any, Any]):
    """Speaks of success only where there is one: a gain above .8 at the second step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    gain = 0.5

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        told = {"success": True} if self.gain > 0.8 and self.steps == 2 else {}
        return np.zeros(1, np.float32), 1.0, False, self.steps == 3, told


def evaluated(gain: qs.Uniform, **options: Any) -> Evaluation:
    tasks = qs.GymnasiumTasks(TellsSuccess, max_episode_steps=3, episodes_per_trial=2, gain=gain)
    return qs.evaluate(qs.Random(tasks), **options)


def test_batches_that_say_nothing_of_success_have_none_where_another_has():
    for seed in range(3):
        found = evaluated(qs.Uniform(0.0, 1.0), num_tasks=12, batch=2, seed=seed)
        reached = (found.drawn["gain"] > 0.8).float().reshape(12, 1).expand(12, 2)
        assert found.success is not None and torch.equal(found.success, reached)
    never = evaluated(qs.Uniform(0.0, 0.7), num_tasks=6, batch=2)
    assert never.success is None and "success" not in never.rows[0] and "success" not in str(never)


def test_seeds_and_runs_that_say_nothing_of_success_have_none_where_another_has():
    silent = evaluated(qs.Uniform(0.0, 0.7), num_tasks=4)
    spoken = replace(silent, success=torch.ones_like(silent.returns))
    pooled = pool([silent, spoken], [0, 1])
    assert pooled.success is not None and pooled.rows[0]["success"] == 0.5 and len(pooled.success) == len(pooled.returns)
    assert pool([silent, silent], [0, 1]).success is None
    alike = told_alike({"a": spoken, "b": silent})
    assert (alike["a"].rows[1]["success"], alike["b"].rows[1]["success"]) == (1, 0)
    assert told_alike({"a": silent})["a"].success is None


def test_only_evaluations_on_the_same_tasks_are_pooled():
    agent = qs.Random(qs.tasks.make("bandit", pulls=2))
    with pytest.raises(qs.UsageError, match="on the same tasks"):
        pool([qs.evaluate(agent, num_tasks=5, seed=seed) for seed in (0, 1)], [0, 1])


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"num_tasks": 0}, "num_tasks is 0, it must be at least 1"),
        ({"num_tasks": 2.5}, "num_tasks is 2.5, it must be a whole number"),
        ({"num_tasks": True}, "num_tasks is True, it must be a whole number"),
        ({"episodes": 0}, "episodes is 0, it must be at least 1"),
        ({"episodes": -1}, "episodes is -1"),
        ({"batch": 0}, "batch is 0, it must be at least 1"),
        ({"frozen_episodes": -2}, "frozen_episodes is -2, it must be at least 0"),
        ({"adapt_episodes": 0}, "adapt_episodes is 0"),
        ({"split": "tests"}, "split is 'tests', it must be one of .*; did you mean 'test'?"),
        ({"tasks": "bandit"}, "tasks is 'bandit', it must be a task distribution: quickstudy.tasks.make"),
        ({"tasks": 3}, "tasks is 3, it must be a task distribution"),
        ({"agent": "runs/grid"}, "agent is 'runs/grid', it must be an agent, .* quickstudy.load"),
        ({"agent": qs.RL2}, "agent is the class RL2, it must be an agent, such as quickstudy.RL2\\(tasks\\)"),
        ({"agent": 3}, "agent is 3, it must be an agent"),
        ({"workers": -1}, "workers is -1"),
        ({"seed": "0"}, "seed is '0', it must be a whole number"),
        ({"deadline": 0}, "deadline is 0"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_with_what_is_right(wrong: dict[str, Any], says: str):
    # annotations are checked in tests only: a user meets what is checked here
    jaxtyping.config.update("jaxtyping_disable", True)
    agent = qs.Random(qs.tasks.make("bandit", pulls=2))
    with pytest.raises(qs.UsageError, match=says):
        qs.evaluate(**({"agent": agent, "num_tasks": 3} | wrong))


def test_agents_of_any_lanes_meet_the_same_tasks_in_batches_of_one_size():
    def met(agent: qs.Random | qs.MAML, batch: int | None) -> torch.Tensor:
        return qs.evaluate(agent, num_tasks=60, batch=batch).drawn["means"]

    one, tasks = qs.Random(qs.tasks.make("bandit", pulls=2)), qs.tasks.make("bandit", pulls=2)
    twenty = BASELINES["from-scratch"].make(tasks, config=qs.MAML.Config(lanes=20))
    batch = min(batch_of(agent.lanes) for agent in (one, twenty))
    assert torch.equal(met(one, batch), met(twenty, batch)) and not torch.equal(met(one, None), met(twenty, None))


def test_tasks_stand_in_the_order_of_their_scores():
    """One who knows each bandit earns what its best arm pays."""
    evaluation = qs.evaluate(qs.oracle("optimal", qs.tasks.make("bandit", pulls=400)), num_tasks=50, batch=20)
    best = evaluation.drawn["means"].amax(-1)
    assert (evaluation.returns[:, 0] / 400 - best).abs().max() < 0.13  # over five deviations of a mean of 400 pulls
