"""Statistics of scores as in rliable (Agarwal et al. 2021): interquartile mean, probability of improvement, profiles.

Scores have shape (seed, task), or (task,) for one seed: learners of several seeds, each scored on the same held-out tasks.
Intervals are percentile bootstrap intervals. Seeds are resampled, and tasks, the same ones for all seeds, so that an interval
speaks of new seeds as well as of new tasks. Of two learners, seeds are resampled apart and tasks together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Statistic = Scores | np.floating


def interquartile_mean(scores: Scores, axis: int = -1) -> Statistic:
    """The mean of the middle half: a quarter of the scores, rounded down, is left out at each end."""
    ordered = np.sort(scores, axis=axis)
    count = ordered.shape[axis]
    return ordered.take(range(count // 4, count - count // 4), axis=axis).mean(axis=axis)


def bootstrap_interval(scores: Scores, seed: int = 0, resamples: int = 2000, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of the interquartile mean of all scores."""
    table = np.atleast_2d(scores)

    def resampled(generator: np.random.Generator) -> Statistic:
        seeds, tasks = (generator.integers(count, size=count) for count in table.shape)
        return interquartile_mean(table[seeds][:, tasks].ravel())

    low, high = percentiles(resampled, seed, resamples, confidence)
    return float(low), float(high)


def probability_of_improvement(x: Scores, y: Scores) -> float:
    """How likely X does better than Y on a task: P(X > Y) of Agarwal et al. 2021.

    On each task it is the Mann-Whitney U statistic, as a share of all pairs of a seed of X and a seed of Y: a pair counts 1
    where x > y, 1/2 where x = y, 0 where x < y. Then the mean over the tasks, which X and Y share.
    """
    return float(wins(x, y).mean())


def improvement_interval(x: Scores, y: Scores) -> tuple[float, float]:
    """The 95 % interval of the probability of improvement."""
    table = wins(x, y)

    def resampled(generator: np.random.Generator) -> Statistic:
        x_seeds, y_seeds, tasks = (draws(generator, count) for count in table.shape)
        return x_seeds @ (table @ tasks) @ y_seeds / table.size

    low, high = percentiles(resampled)
    return float(low), float(high)


def wins(x: Scores, y: Scores) -> Scores:
    """What each pair counts, (seed of X, seed of Y, task): 1 where x > y, 1/2 where x = y, else 0."""
    ours, theirs = np.atleast_2d(x)[:, None], np.atleast_2d(y)[None, :]
    return (ours > theirs) + 0.5 * (ours == theirs)


def performance_profile(scores: Scores, taus: Scores) -> Scores:
    """The share of scores above each tau, (tau,): the run-score distribution of Agarwal et al. 2021."""
    return above(scores, taus).mean((1, 2))


def profile_interval(scores: Scores, taus: Scores) -> tuple[Scores, Scores]:
    """The lower and upper ends of a performance profile's 95 % intervals, each tau by itself, (tau,)."""
    table = above(scores, taus)

    def resampled(generator: np.random.Generator) -> Statistic:
        seeds, tasks = (draws(generator, count) for count in table.shape[1:])
        return table @ tasks @ seeds / table[0].size

    low, high = percentiles(resampled)
    return low, high


def above(scores: Scores, taus: Scores) -> Scores:
    """1 where a score is above a tau, else 0: (tau, seed, task)."""
    return (np.atleast_2d(scores) > taus[:, None, None]).astype(float)


def spaced_taus(scores: Sequence[Scores], count: int) -> Scores:
    """`count` evenly spaced values from the lowest of all scores to the highest; one where all scores are equal."""
    return np.unique(np.linspace(min(each.min() for each in scores), max(each.max() for each in scores), count))


def draws(generator: np.random.Generator, count: int) -> Scores:
    """How often each of `count` things comes in `count` draws with replacement, (count,)."""
    return np.bincount(generator.integers(count, size=count), minlength=count).astype(float)


def percentiles(
    resampled: Callable[[np.random.Generator], Statistic], seed: int = 0, resamples: int = 2000, confidence: float = 0.95
) -> Scores:
    """The percentile bootstrap interval of what a function computes on scores that it resamples: (2, ...), low and high."""
    generator, tail = np.random.default_rng(seed), (1 - confidence) / 2
    return np.quantile([resampled(generator) for _ in range(resamples)], [tail, 1 - tail], axis=0)
