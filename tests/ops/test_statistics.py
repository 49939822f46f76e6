"""Interquartile mean and bootstrap intervals against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from quickstudy.ops.statistics import bootstrap_interval, interquartile_mean


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


def test_the_same_scores_have_the_same_interval():
    scores = np.arange(30.0)
    assert bootstrap_interval(scores) == bootstrap_interval(scores)
