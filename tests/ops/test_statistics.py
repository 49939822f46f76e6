"""Statistics of scores against SciPy's, against closed forms and against numbers worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from quickstudy.ops.statistics import (
    bootstrap_interval,
    improvement_interval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    profile_interval,
    spaced_taus,
)


@pytest.mark.parametrize("count", [1, 3, 4, 10, 101])
def test_interquartile_mean_is_scipys_trimmed_mean(count: int):
    scores = np.random.default_rng(count).normal(size=(count, 2))
    np.testing.assert_allclose(interquartile_mean(scores, axis=0), stats.trim_mean(scores, 0.25, axis=0))


def test_the_interval_of_one_run_is_scipys_percentile_bootstrap():
    scores = np.random.default_rng(0).exponential(size=200)
    low, high = bootstrap_interval(scores, resamples=4000)
    expected = stats.bootstrap(
        (scores,), interquartile_mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    )
    np.testing.assert_allclose([low, high], expected.confidence_interval, atol=0.02)


def test_the_interval_of_several_seeds_covers_the_spread_between_them():
    generator = np.random.default_rng(0)
    table = generator.normal(size=(5, 1)) * 3 + generator.normal(size=(5, 200)) * 0.1
    low, high = bootstrap_interval(table)
    alone_low, alone_high = bootstrap_interval(table.ravel())
    assert high - low > 2 * (alone_high - alone_low)


def test_seeds_that_score_alike_say_no_more_of_new_tasks_than_one_does():
    scores = np.random.default_rng(0).normal(size=200)
    np.testing.assert_allclose(bootstrap_interval(np.tile(scores, (5, 1))), bootstrap_interval(scores), atol=0.01)


def test_the_same_scores_have_the_same_interval():
    scores = np.arange(30.0)
    assert bootstrap_interval(scores) == bootstrap_interval(scores)


def test_improvement_worked_by_hand():
    x, y = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[2.0, 2.0], [0.0, 3.0]])
    # task 1: 1 > 0, 3 > 2, 3 > 0 of four pairs; task 2: two ties of four pairs
    assert probability_of_improvement(x, y) == (3 / 4 + 1 / 4) / 2
    assert probability_of_improvement(y, x) == (1 / 4 + 3 / 4) / 2


def test_improvement_is_one_half_for_equal_scores_and_one_for_higher_ones():
    scores = np.random.default_rng(0).normal(size=(1, 50))
    assert probability_of_improvement(scores, scores) == 0.5
    assert probability_of_improvement(scores + 10, scores[0]) == 1
    assert improvement_interval(scores, scores) == (0.5, 0.5)
    assert improvement_interval(scores, scores + 10) == (0, 0)


def test_improvement_is_the_mean_over_tasks_of_scipys_mann_whitney_statistic():
    generator = np.random.default_rng(0)
    x, y = generator.integers(6, size=(4, 30)).astype(float), generator.integers(5, size=(3, 30)).astype(float)
    expected = np.mean([stats.mannwhitneyu(x[:, task], y[:, task]).statistic / (4 * 3) for task in range(30)])
    assert probability_of_improvement(x, y) == pytest.approx(expected)
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)


def test_improvement_of_normal_scores_is_the_closed_form():
    generator = np.random.default_rng(0)
    x, y = generator.normal(1, 1, 5000), generator.normal(0, 1, 5000)
    expected = stats.norm.cdf(1 / math.sqrt(2))
    assert probability_of_improvement(x, y) == pytest.approx(expected, abs=0.02)
    low, high = improvement_interval(x, y)
    assert low < expected < high
    # tasks are coin tosses: 1.96 standard deviations on each side
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(expected * (1 - expected) / 5000), rel=0.1)


def test_a_profile_worked_by_hand():
    scores, taus = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([-1.0, 0.0, 1.5, 3.0])
    assert performance_profile(scores, taus).tolist() == [1, 0.75, 0.5, 0]


def test_a_profile_of_uniform_scores_falls_linearly_within_its_intervals():
    taus = np.linspace(0, 1, 12)
    scores = np.random.default_rng(0).uniform(size=(3, 2000))
    shares, (low, high) = performance_profile(scores, taus), profile_interval(scores, taus)
    np.testing.assert_allclose(shares, 1 - taus, atol=0.03)
    assert (low <= shares).all() and (shares <= high).all() and (low <= 1 - taus).all() and (1 - taus <= high).all()


def test_taus_reach_from_the_lowest_to_the_highest_score():
    assert spaced_taus([np.array([3.0, 1.0]), np.array([[5.0, 2.0]])], 3).tolist() == [1, 3, 5]
    assert spaced_taus([np.array([2.0, 2.0])], 3).tolist() == [2]
