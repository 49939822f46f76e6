"""Statistics of scores: means with intervals over seeds and tasks, and those of rliable (Agarwal et al. 2021).

Scores have shape (seed, task), or (task,) for one seed: learners of several seeds, each scored on the same held-out tasks.
Over tasks, which are drawn from the distribution of interest, the mean is what counts: an interquartile mean hides those that
fail. Over runs the interquartile mean stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, combinations
from math import pi, prod, sqrt

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Statistic = Scores | np.floating
Interval = tuple[float, float] | tuple[None, None]
"""The lower and the upper end; None where a single score tells nothing of its spread."""


def interquartile_mean(scores: Scores, axis: int = -1) -> Statistic:
    """The mean of the middle half: a quarter of the scores, rounded down, is left out at each end."""
    ordered = np.sort(scores, axis=axis)
    count = ordered.shape[axis]
    return ordered.take(range(count // 4, count - count // 4), axis=axis).mean(axis=axis)


def mean_interval(scores: Scores) -> Interval:
    """The 95 % interval of the mean of scores with crossed axes, (seed, task), each entry of an axis drawn at random.

    With the mean squares M of an analysis of variance, the variance of the mean over S seeds and T tasks is estimated by
    (M_seed + M_task - M_rest) / ST. In the squared half-width each is weighted with the squared quantile of Student's t for its
    own degrees of freedom (Banerjee 1960, Sankhya 22, for sums): two seeds say little of a third, and such a sum taken for one
    estimate with Satterthwaite's degrees of freedom covers .90 in place of .95. What no smaller than one part can be is
    not. An axis of one entry is no part of it: the interval of one seed, Student's own, speaks of new tasks only.
    """
    table = np.squeeze(np.asarray(scores, float))
    if table.ndim == 0:
        return None, None
    weighted = {parts: students_t(degrees) ** 2 * square for parts, degrees, square in mean_squares(table)}
    # inclusion and exclusion: what two axes share was counted with each of them
    total = sum(value if len(parts) % 2 else -value for parts, value in weighted.items())
    half = sqrt(max(total, *(value for parts, value in weighted.items() if len(parts) == 1)) / table.size)
    mean = float(table.mean())
    return mean - half, mean + half


def mean_squares(table: Scores) -> list[tuple[tuple[int, ...], int, float]]:
    """The mean square of each axis and of each interaction of axes: the axes, the degrees of freedom, and the square."""
    every, found = range(table.ndim), []
    for parts in chain.from_iterable(combinations(every, count + 1) for count in every):
        effect = table.mean(tuple(axis for axis in every if axis not in parts), keepdims=True)
        for axis in parts:
            effect = effect - effect.mean(axis, keepdims=True)
        degrees = prod(table.shape[axis] - 1 for axis in parts)
        found.append((parts, degrees, float((effect**2).sum()) * table.size / effect.size / degrees))
    return found


@lru_cache(maxsize=1024)
def students_t(degrees: int) -> float:
    """The 97.5 % quantile of Student's t: sqrt(degrees) tan(angle), where an angle's density is cos(angle)^(degrees - 1)."""
    # eight standard deviations where there are so many
    edges = np.linspace(0, min(pi / 2, 8 / sqrt(degrees)), 20_001)
    mass = np.cumsum(np.cos((edges[1:] + edges[:-1]) / 2) ** (degrees - 1))
    return sqrt(degrees) * float(np.tan(np.interp(0.95 * mass[-1], [0, *mass], edges)))


def share_interval(scores: Scores) -> Interval:
    """The 95 % interval of a mean of scores between 0 and 1, cut off there."""
    low, high = mean_interval(scores)
    return (None, None) if low is None or high is None else (max(low, 0.0), min(high, 1.0))


def probability_of_improvement(x: Scores, y: Scores) -> float:
    """How likely X does better than Y on a task: P(X > Y) of Agarwal et al. 2021.

    On each task it is the Mann-Whitney U statistic, as a share of all pairs of a seed of X and a seed of Y: a pair counts 1
    where x > y, 1/2 where x = y, 0 where x < y. Then the mean over the tasks, which X and Y share.
    """
    return float(wins(x, y).mean())


def improvement_interval(x: Scores, y: Scores) -> Interval:
    """The 95 % interval of the probability of improvement: the seeds of X, those of Y and the tasks are crossed."""
    return share_interval(wins(x, y))


def wins(x: Scores, y: Scores) -> Scores:
    """What each pair counts, (seed of X, seed of Y, task): 1 where x > y, 1/2 where x = y, else 0."""
    ours, theirs = np.atleast_2d(x)[:, None], np.atleast_2d(y)[None, :]
    return (ours > theirs) + 0.5 * (ours == theirs)


def performance_profile(scores: Scores, taus: Scores) -> Scores:
    """The share of scores above each tau, (tau,): the run-score distribution of Agarwal et al. 2021."""
    return above(scores, taus).mean((1, 2))


def profile_intervals(scores: Scores, taus: Scores) -> list[Interval]:
    """The 95 % intervals of a performance profile, each tau by itself."""
    return [share_interval(table) for table in above(scores, taus)]


def above(scores: Scores, taus: Scores) -> Scores:
    """1 where a score is above a tau, else 0: (tau, seed, task)."""
    return (np.atleast_2d(scores) > taus[:, None, None]).astype(float)


def spaced_taus(scores: Sequence[Scores], count: int) -> Scores:
    """`count` evenly spaced values from the lowest of all scores to the highest; one where all scores are equal."""
    return np.unique(np.linspace(min(each.min() for each in scores), max(each.max() for each in scores), count))
