"""Bandit strategies against closed forms, Gittins' printed tables and the published returns."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.errors import UsageError
from quickstudy.oracles import ORACLES, oracle
from quickstudy.oracles.bandit_optimum import number_of_states, solve
from quickstudy.oracles.bandits import Record, epsilon_greedy, gittins_indices, posterior_mean, thompson, ucb1
from quickstudy.protocol import counter

PUBLISHED = [
    ("gittins", 10, 5, 6.6),
    ("gittins", 100, 5, 78.3),
    ("gittins", 100, 10, 82.8),
    ("thompson-sampling", 10, 5, 5.7),
    ("thompson-sampling", 10, 10, 5.5),
    ("thompson-sampling", 100, 5, 74.7),
    ("thompson-sampling", 100, 10, 76.7),
    ("ucb1", 10, 5, 6.7),
    ("ucb1", 100, 5, 78.0),
    ("greedy", 10, 5, 6.6),
]
"""Duan et al. 2016, table 1: the mean over 1,000 bandits."""


def returns(name: str, num_tasks: int, **options: Any) -> torch.Tensor:
    agent = oracle(name, qs.tasks.make("bandit", **options))
    return qs.evaluate(agent, num_tasks=num_tasks).returns.sum(1)


@pytest.mark.parametrize(("name", "pulls", "arms", "published"), PUBLISHED)
def test_published_returns_within_sampling_error(name: str, pulls: int, arms: int, published: float):
    ours = returns(name, 4000, arms=arms, pulls=pulls)
    error = float(ours.std()) * math.sqrt(1 / 4000 + 1 / 1000)
    assert abs(float(ours.mean()) - published) < 3 * error + 0.05  # the printed digit is rounded


@pytest.mark.parametrize(
    ("gamma", "paid", "failed", "printed"),
    [(0.9, 0, 0, 0.7029), (0.9, 0, 1, 0.5001), (0.9, 1, 0, 0.8001), (0.99, 0, 0, 0.8699), (0.99, 1, 1, 0.7844)],
)
def test_gittins_indices_are_those_of_the_printed_tables(gamma: float, paid: int, failed: int, printed: float):
    """Gittins 1989, tables for Bernoulli arms with a uniform prior."""
    assert gittins_indices(gamma, 2)[paid, failed] == pytest.approx(printed, abs=2e-4)


def test_without_a_future_the_gittins_index_is_the_mean():
    indices = gittins_indices(1e-6, 4)
    for paid, failed in product(range(3), range(2)):
        assert indices[paid, failed] == pytest.approx((1 + paid) / (2 + paid + failed), abs=1e-4)


@pytest.mark.parametrize(("arms", "pulls", "value"), [(2, 1, 1 / 2), (2, 2, 13 / 12), (5, 10, 6.660), (10, 10, 6.714)])
def test_the_optimum_is_the_one_worked_out_by_hand_or_printed(arms: int, pulls: int, value: float):
    """Two pulls of two arms: 1/2, then 2/3 on the arm that has just paid or 1/2 on the other one."""
    assert solve(arms, pulls).value == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(("arms", "pulls"), [(2, 1), (2, 7), (3, 6), (5, 5), (4, 9)])
def test_states_are_counted_before_they_are_gone_through(arms: int, pulls: int):
    assert number_of_states(arms, pulls) == len(solve(arms, pulls).best)


def test_the_optimum_is_that_of_every_plan():
    """All plans of three pulls of two arms, by brute force: an arm for each history."""
    histories = [history for length in range(3) for history in product((0, 1), repeat=length)]

    def worth(plan: dict[tuple[int, ...], int]) -> float:
        total = 0.0
        for outcome in product((0, 1), repeat=3):
            counts, chance = [[1, 1], [1, 1]], 1.0
            for step in range(3):
                paid, failed = counts[plan[outcome[:step]]]
                chance *= (paid if outcome[step] else failed) / (paid + failed)
                counts[plan[outcome[:step]]][1 - outcome[step]] += 1
            total += chance * sum(outcome)
        return total

    best = max(worth(dict(zip(histories, arms, strict=True))) for arms in product((0, 1), repeat=len(histories)))
    assert solve(2, 3).value == pytest.approx(best, abs=1e-12)


def test_the_optimal_agent_earns_the_optimum_and_nobody_earns_more():
    best = returns("bayes-optimal", 20_000, pulls=10)
    assert float(best.mean()) == pytest.approx(6.660, abs=3 * float(best.std()) / math.sqrt(20_000))
    for name in ("gittins", "thompson-sampling", "ucb1", "greedy", "epsilon-greedy"):
        other = returns(name, 20_000, pulls=10)
        gain = other - best  # on the same bandits, so that their luck cancels in part
        assert float(gain.mean()) < 3 * float(gain.std()) / math.sqrt(20_000)


def test_the_told_agent_earns_the_mean_of_the_best_arm():
    ours = returns("optimal", 4000, arms=4, pulls=10)
    assert float(ours.mean()) == pytest.approx(10 * 4 / 5, abs=3 * float(ours.std()) / math.sqrt(4000))


def test_scores_by_hand():
    record = Record(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]]))
    assert posterior_mean(record, "bernoulli").tolist() == [[[0.5, 0.5]]]
    assert posterior_mean(record, "gaussian").tolist() == [[[pytest.approx(1 / 3), 0.0]]]
    bonus = math.sqrt(2 * math.log(6))
    assert ucb1(0.5)(record, None)[0, 0].tolist() == pytest.approx([0.5 + bonus / 4, 0.5 + bonus / math.sqrt(8)])


def test_thompson_draws_from_the_posterior():
    record = Record(torch.full((20_000, 1, 2), 8.0), torch.tensor([6.0, 1.0]).expand(20_000, 1, 2))
    draws = thompson("bernoulli")(record, counter(0, 0, "draws"))
    assert draws.mean((0, 1)).tolist() == pytest.approx([0.7, 0.2], abs=0.005)
    assert draws.var((0, 1)).tolist() == pytest.approx([0.7 * 0.3 / 11, 0.2 * 0.8 / 11], rel=0.05)
    normal = thompson("gaussian")(record, counter(0, 0, "draws"))
    assert normal.mean((0, 1)).tolist() == pytest.approx([6 / 9, 1 / 9], abs=0.01)
    assert normal.var((0, 1)).tolist() == pytest.approx([1 / 9, 1 / 9], rel=0.05)


def test_epsilon_greedy_strays_that_often():
    record = Record(torch.ones(20_000, 1, 2), torch.tensor([1.0, 0.0]).expand(20_000, 1, 2))
    scores = epsilon_greedy("bernoulli", 0.3)(record, counter(0, 0, "stray"))
    assert float((scores[..., 0] == scores[..., 1]).float().mean()) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("name", sorted(name for name, entry in ORACLES.items() if "bandit" in entry.make))
def test_what_was_learnt_is_kept_over_the_episodes_of_a_trial(name: str):
    """Two episodes of five pulls go as one of ten: the arms are the same."""
    whole = returns(name, 3000, arms=3, pulls=10)
    parts = returns(name, 3000, arms=3, pulls=5, episodes_per_trial=2)
    options = {"gamma": 0.8} if name == "gittins" else {}
    assert not options or float((whole - parts).mean().abs()) < 1  # its discount is set from the pulls of an episode
    assert float(whole.mean()) == pytest.approx(float(parts.mean()), abs=4 * float(whole.std()) / math.sqrt(1500))


@pytest.mark.parametrize(
    ("name", "tasks", "options", "says"),
    [
        ("bayes-optimal", "bandit", {"pulls": 100}, "more than 400,000"),
        ("bayes-optimal", "bandit", {"payoff": "gaussian"}, "bernoulli"),
        ("gittins", "bandit", {"payoff": "gaussian"}, "thompson-sampling takes both"),
        ("gittins", "grid-navigation", {}, "for these tasks there is bayes-optimal, optimal, posterior-sampling"),
        ("psrl", "point-navigation", {}, "for these tasks there is none"),
        ("gitins", "bandit", {}, "did you mean 'gittins'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(name: str, tasks: str, options: dict[str, Any], says: str):
    with pytest.raises(UsageError, match=says):
        oracle(name, qs.tasks.make(tasks, **options))
