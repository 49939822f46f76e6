"""Statistics of scores against SciPy's, against closed forms and against numbers worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from quickstudy.ops.statistics import (
    improvement_interval,
    interquartile_mean,
    mean_interval,
    mean_squares,
    performance_profile,
    probability_of_improvement,
    profile_intervals,
    share_interval,
    spaced_taus,
    students_t,
)


@pytest.mark.parametrize("count", [1, 3, 4, 10, 101])
def test_interquartile_mean_is_scipys_trimmed_mean(count: int):
    scores = np.random.default_rng(count).normal(size=(count, 2))
    np.testing.assert_allclose(interquartile_mean(scores, axis=0), stats.trim_mean(scores, 0.25, axis=0))


@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 26, 99, 10_000, 10**7])
def test_students_t_is_scipys(degrees: int):
    assert students_t(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-6)


def test_the_interval_of_one_seed_is_students():
    scores = np.random.default_rng(0).exponential(size=40)
    expected = stats.t.interval(0.95, 39, scores.mean(), stats.sem(scores))
    np.testing.assert_allclose(mean_interval(scores), expected, rtol=1e-6)
    np.testing.assert_allclose(mean_interval(scores[None]), expected, rtol=1e-6)
    # and that of one task is over seeds
    np.testing.assert_allclose(mean_interval(scores[:, None]), expected, rtol=1e-6)


def test_the_interval_of_seeds_and_tasks_is_that_of_an_analysis_of_variance():
    seeds, tasks = 3, 4
    table = np.random.default_rng(0).normal(size=(seeds, tasks)) + 5 * np.arange(seeds)[:, None] + np.arange(tasks) ** 2
    mean, by_seed, by_task = table.mean(), table.mean(1), table.mean(0)
    of_seeds = tasks * sum((by_seed[seed] - mean) ** 2 for seed in range(seeds)) / (seeds - 1)
    of_tasks = seeds * sum((by_task[task] - mean) ** 2 for task in range(tasks)) / (tasks - 1)
    left = [table[seed, task] - by_seed[seed] - by_task[task] + mean for seed in range(seeds) for task in range(tasks)]
    rest = sum(each**2 for each in left) / ((seeds - 1) * (tasks - 1))
    weights = [stats.t.ppf(0.975, degrees) ** 2 for degrees in (seeds - 1, tasks - 1, (seeds - 1) * (tasks - 1))]
    half = math.sqrt((weights[0] * of_seeds + weights[1] * of_tasks - weights[2] * rest) / (seeds * tasks))
    np.testing.assert_allclose(mean_interval(table), [mean - half, mean + half], rtol=1e-6)


@pytest.mark.parametrize("axes", [2, 3])
def test_mean_squares_add_up_to_the_variance_of_the_mean(axes: int):
    """Over many draws of scores with crossed parts, inclusion and exclusion of mean squares is the variance of their mean."""
    generator, shape = np.random.default_rng(0), (3, 4, 2)[:axes]
    means, estimates = [], []
    for _ in range(1000):
        parts = [generator.normal(size=[n if axis == each else 1 for axis, n in enumerate(shape)]) for each in range(axes)]
        table = sum(parts, start=generator.normal(size=shape))
        means.append(table.mean())
        estimates.append(sum(square if len(of) % 2 else -square for of, _, square in mean_squares(table)) / table.size)
    truth = sum(1 / count for count in shape) + 1 / math.prod(shape)
    assert np.var(means) == pytest.approx(truth, rel=0.15) and np.mean(estimates) == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_covers_the_mean_of_new_seeds_on_new_tasks(seeds: int):
    """An interval that resamples seeds and tasks covers .79, .86 and .92 here."""
    generator, held = np.random.default_rng(seeds), 0
    for _ in range(800):
        of_seeds, of_tasks = generator.normal(size=(seeds, 1)), 3 * generator.normal(size=100)
        low, high = mean_interval(of_seeds + of_tasks + 3 * generator.normal(size=(seeds, 100)))
        assert low is not None and high is not None
        held += low <= 0 <= high
    # .95 in truth and three deviations of 800 trials
    assert 0.93 <= held / 800 <= 0.985


def test_seeds_that_score_alike_say_no_more_of_new_tasks_than_one_does():
    scores = np.random.default_rng(0).normal(size=200)
    np.testing.assert_allclose(mean_interval(np.tile(scores, (5, 1))), mean_interval(scores))


def test_an_interval_moves_and_stretches_with_the_scores():
    scores = np.random.default_rng(0).normal(size=(3, 20))
    low, high = mean_interval(scores)
    np.testing.assert_allclose(mean_interval(1e6 - 7 * scores), [1e6 - 7 * high, 1e6 - 7 * low])


def test_a_single_score_has_no_interval_and_equal_ones_have_equal_ends():
    assert mean_interval(np.array([[2.0]])) == mean_interval(np.array([2.0])) == (None, None)
    assert mean_interval(np.full((3, 4), 2.0)) == mean_interval(np.full((1, 4), 2.0)) == (2, 2)
    assert share_interval(np.array([[1.0]])) == (None, None)


def test_the_interval_of_a_share_stays_within_0_and_1():
    assert share_interval(np.array([0.0, 1.0])) == (0, 1)
    assert share_interval(np.array([[1.0, 1.0, 1.0, 0.0]]))[1] == 1


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
    assert low is not None and high is not None and low < expected < high
    # tasks are coin tosses: 1.96 standard deviations on each side
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(expected * (1 - expected) / 5000), rel=0.1)


def test_a_profile_worked_by_hand():
    scores, taus = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([-1.0, 0.0, 1.5, 3.0])
    assert performance_profile(scores, taus).tolist() == [1, 0.75, 0.5, 0]


def test_a_profile_of_uniform_scores_falls_linearly_within_its_intervals():
    taus = np.linspace(0, 1, 12)
    scores = np.random.default_rng(0).uniform(size=(3, 2000))
    shares, (low, high) = performance_profile(scores, taus), np.array(profile_intervals(scores, taus)).T
    np.testing.assert_allclose(shares, 1 - taus, atol=0.03)
    assert (low <= shares).all() and (shares <= high).all() and (low <= 1 - taus).all() and (1 - taus <= high).all()
    assert low.min() >= 0 and high.max() <= 1


def test_taus_reach_from_the_lowest_to_the_highest_score():
    assert spaced_taus([np.array([3.0, 1.0]), np.array([[5.0, 2.0]])], 3).tolist() == [1, 3, 5]
    assert spaced_taus([np.array([2.0, 2.0])], 3).tolist() == [2]
