"""Summary statistics of scores as in rliable (Agarwal et al. 2021): interquartile mean and bootstrap intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]


def interquartile_mean(scores: Scores, axis: int = -1) -> Scores | np.floating:
    """The mean of the middle half: a quarter of the scores, rounded down, is left out at each end."""
    ordered = np.sort(scores, axis=axis)
    count = ordered.shape[axis]
    return ordered.take(range(count // 4, count - count // 4), axis=axis).mean(axis=axis)


def bootstrap_interval(scores: Scores, seed: int = 0, resamples: int = 2000, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of the interquartile mean of `scores`.

    Scores of one run have shape (task,): tasks are resampled. Scores of several seeds have shape (seed, task): seeds are
    resampled, then tasks within each, so that the interval speaks of new seeds as well as of new tasks.
    """
    generator = np.random.default_rng(seed)
    table = np.atleast_2d(scores)
    seeds, tasks = table.shape
    means = np.empty(resamples)
    for row in range(resamples):
        chosen = generator.integers(seeds, size=seeds) if seeds > 1 else np.zeros(1, dtype=int)
        picks = generator.integers(tasks, size=(seeds, tasks))
        means[row] = interquartile_mean(np.take_along_axis(table[chosen], picks, axis=1).ravel())
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
