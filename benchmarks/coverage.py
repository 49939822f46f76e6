"""How often a 95 % interval holds what it is an interval of: simulated scores of seeds on tasks, whose truth is known.

    python benchmarks/coverage.py                  # tables in Markdown, about two minutes

A score is the sum of a seed's part, a task's part and noise. Shown are the library's intervals of the mean, of the
probability of improvement and of a performance profile, and beside them the percentile bootstrap, seeds and tasks resampled.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from math import erf, nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.ops.statistics import Interval, improvement_interval, interquartile_mean, mean_interval, profile_intervals

Scores = NDArray[np.floating]
SEEDS = (2, 3, 5, 10)
HIGHEST_FIFTH = 0.8416212335729143
"""A fifth of a standard normal lies above."""


class Population(NamedTuple):
    """Where scores come from: deviations over seeds, over tasks and of the noise, and the shape of all three."""

    seeds: float
    tasks: float = 3.0
    noise: float = 3.0
    shape: str = "normal"
    """normal; skewed: exponential; success: 1 where a normal sum is among its highest fifth, else 0."""

    def draw(self, generator: np.random.Generator, seeds: int, tasks: int) -> Scores:
        """Scores, (seed, task)."""
        skewed = self.shape == "skewed"

        def part(deviation: float, *shape: int) -> Scores:
            return deviation * (generator.exponential(size=shape) - 1 if skewed else generator.normal(size=shape))

        total = part(self.seeds, seeds, 1) + part(self.tasks, 1, tasks) + part(self.noise, seeds, tasks)
        deviation = sqrt(self.seeds**2 + self.tasks**2 + self.noise**2)
        return (total > HIGHEST_FIFTH * deviation).astype(float) if self.shape == "success" else total

    @property
    def mean(self) -> float:
        """What the mean of scores is in truth."""
        return 0.2 if self.shape == "success" else 0.0


def bootstrap(table: Scores, generator: np.random.Generator, resamples: int = 400) -> Interval:
    """The percentile bootstrap interval of the mean."""
    seeds, tasks = (draws(generator, count, resamples) for count in table.shape)
    low, high = np.quantile((seeds @ table * tasks).sum(1) / table.size, [0.025, 0.975])
    return float(low), float(high)


def draws(generator: np.random.Generator, count: int, times: int) -> Scores:
    """How often each of `count` things comes in `count` draws with replacement, so many times: (time, thing)."""
    drawn = generator.integers(count, size=(times, count)) + count * np.arange(times)[:, None]
    return np.bincount(drawn.ravel(), minlength=times * count).reshape(times, count).astype(float)


def bootstrap_of_middle(table: Scores, generator: np.random.Generator, resamples: int = 100) -> Interval:
    """The percentile bootstrap interval of the interquartile mean of all scores."""
    middles = []
    for _ in range(resamples):
        seeds, tasks = (generator.integers(count, size=count) for count in table.shape)
        middles.append(interquartile_mean(table[seeds][:, tasks].ravel()))
    low, high = np.quantile(middles, [0.025, 0.975])
    return float(low), float(high)


def covered(interval: Interval, truth: float) -> float:
    """1 where an interval holds the truth, else 0; not a number where there is no interval."""
    low, high = interval
    return nan if low is None or high is None else float(low - 1e-12 <= truth <= high + 1e-12)


def coverage(trial: Callable[..., list[float]], *about: object, repeats: int) -> list[str]:
    """The means of what a trial finds over so many trials; `about` is what each is told."""
    generator = np.random.default_rng(0)
    return [f"{value:.3f}" for value in np.mean([trial(generator, *about) for _ in range(repeats)], axis=0)]


def row(*cells: object) -> None:
    """Prints a row of a table."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def heads(*cells: object) -> None:
    """Prints the head of a table."""
    print()
    row(*cells)
    row(*["---"] * len(cells))


def both(generator: np.random.Generator, population: Population, seeds: int, tasks: int) -> list[float]:
    """Whether the interval of the mean and the bootstrap's hold the truth."""
    table = population.draw(generator, seeds, tasks)
    return [covered(interval, population.mean) for interval in (mean_interval(table), bootstrap(table, generator))]


def means(repeats: int) -> None:
    """Intervals of the mean, with several seeds."""
    heads("scores", "tasks", "deviation over seeds", *(f"{seeds} seeds (bootstrap)" for seeds in SEEDS))
    for shape, tasks, deviation in product(("normal", "skewed", "success"), (100, 10), (0.0, 0.3, 1.0, 3.0)):
        population = Population(deviation, shape=shape)
        found = [coverage(both, population, seeds, tasks, repeats=repeats) for seeds in SEEDS]
        row(shape, tasks, deviation, *(f"{new} ({old})" for new, old in found))


def alone(generator: np.random.Generator) -> list[float]:
    """Whether the interval of one seed holds what that seed would get on all tasks, and what seeds get on average."""
    own = generator.normal()
    interval = mean_interval(own + Population(0.0).draw(generator, 1, 100))
    return [covered(interval, own), covered(interval, 0.0)]


def one_seed(repeats: int) -> None:
    """The interval of one seed."""
    heads("one seed, deviation over seeds 1", "mean of this seed", "mean of all seeds")
    row("over tasks only", *coverage(alone, repeats=repeats))


def middle(generator: np.random.Generator, seeds: int) -> list[float]:
    """Whether the bootstrap of the interquartile mean holds the truth."""
    return [covered(bootstrap_of_middle(Population(1.0).draw(generator, seeds, 100), generator), 0.0)]


def middles(repeats: int) -> None:
    """The bootstrap of the interquartile mean, which tables once had."""
    heads("bootstrap of the interquartile mean", *(f"{seeds} seeds" for seeds in (1, *SEEDS)))
    row("deviation over seeds 1", *(coverage(middle, seeds, repeats=repeats)[0] for seeds in (1, *SEEDS)))


def better(generator: np.random.Generator, population: Population, shift: float, truth: float, seeds: int) -> list[float]:
    """Whether the interval of the probability of improvement holds the truth; each method has parts of tasks of its own."""
    x, y = (population.draw(generator, seeds, 100) for _ in range(2))
    return [covered(improvement_interval(x + shift, y), truth)]


def higher(generator: np.random.Generator, population: Population, tau: float, truth: float, seeds: int) -> list[float]:
    """Whether the interval of a performance profile at tau holds the truth."""
    [interval] = profile_intervals(population.draw(generator, seeds, 100), np.array([tau]))
    return [covered(interval, truth)]


def comparisons(repeats: int) -> None:
    """Intervals of the probability of improvement and of a performance profile, 100 tasks."""
    heads("what", "deviation over seeds", *(f"{seeds} seeds" for seeds in SEEDS))
    for deviation in (0.0, 1.0, 3.0):
        population, spread = Population(deviation), sqrt(deviation**2 + 18)
        for shift in (0.0, 3.0):
            truth = 0.5 * (1 + erf(shift / (2 * spread)))
            found = [coverage(better, population, shift, truth, seeds, repeats=repeats)[0] for seeds in SEEDS]
            row(f"P(X > Y) = {truth:.2f}", deviation, *found)
        for truth, quantile in ((0.5, 0.0), (0.2, HIGHEST_FIFTH)):
            found = [coverage(higher, population, quantile * spread, truth, seeds, repeats=repeats)[0] for seeds in SEEDS]
            row(f"share above tau = {truth}", deviation, *found)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000, metavar="N", help="simulated studies a figure (default 1000)")
    repeats = parser.parse_args().repeats
    print("Deviation over tasks 3, of the noise 3.")
    for part in (means, one_seed, middles, comparisons):
        part(repeats)


if __name__ == "__main__":
    main()
