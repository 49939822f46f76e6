"""Whether what was learnt was lost again: a return that fell from its best, by more than luck, and not by a little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WINDOW = 0.1
"""The share of a training over which its best and its last return are averaged."""
FEWEST = 10
"""Meta-iterations of which something can be said."""
LOST = 1 / 3
"""The share of all that lies between the worst return and the best that must be lost."""
LUCK = 5.0
"""How many standard deviations of a difference of two windows must be lost, since the best window is the luckiest of many."""
MEDIAN_OF_DIFFERENCES = 0.954
"""The median size of the difference of two numbers drawn from N(0, 1)."""


class Fall(NamedTuple):
    """A return that fell."""

    iteration: int
    """The meta-iteration in the middle of the best tenth."""
    best: float
    last: float

    def __str__(self) -> str:
        return f"the return fell from {self.best:.4g} (meta-iteration {self.iteration}) to {self.last:.4g}"


def fall_of(iterations: Sequence[int], returns: Sequence[float]) -> Fall | None:
    """The fall of a series of returns, each of a meta-iteration: the best mean over a tenth of them, and the mean of the last.

    None where there are few, where less than a third of what lies between the worst tenth and the best was lost, and where
    luck explains it. What luck is comes from how neighbours differ: the median, so that a jump is no luck.
    """
    values = np.asarray(returns, float)
    count = len(values)
    if count < FEWEST or not np.isfinite(values).all():
        return None
    width = max(1, round(WINDOW * count))
    sums = np.concatenate([[0.0], values.cumsum()])
    means = (sums[width:] - sums[:-width]) / width
    first, last = int(means.argmax()), float(means[-1])
    lost, spread = means[first] - last, means[first] - means.min()
    luck = float(np.median(np.abs(np.diff(values)))) / MEDIAN_OF_DIFFERENCES * (2 / width) ** 0.5
    if lost <= max(LOST * spread, LUCK * luck, 1e-9 * abs(means[first])):
        return None
    return Fall(iterations[first + width // 2], float(means[first]), last)
