"""Pictures of results, with matplotlib, which the extra `plot` installs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.evaluation import Evaluation, told_alike
from quickstudy.ops.statistics import Interval, performance_profile, profile_intervals, spaced_taus
from quickstudy.scene import BLUE, GOLD, GREEN, GREY, INK, ORANGE, PINK, PURPLE
from quickstudy.storage import in_place_of

COLORS = (BLUE, ORANGE, GREY, GREEN, PURPLE, GOLD, PINK, INK)


@checked
def plot_adaptation(
    curves: Mapping[str, Evaluation],
    path: str | Path,
    title: str,
    against: Literal["episode", "seen"] = "episode",
    score: Literal["mean", "success"] = "mean",
) -> None:
    """Saves the adaptation curves of several agents: the mean return, or the share of successes, with its 95 % interval.

    `against` the number of the episode, or the episodes of the task that were seen before it (twenty lanes are twenty).
    """
    if not curves:
        raise UsageError("plot_adaptation: curves is empty; name evaluations, as in {'rl2': quickstudy.evaluate(learner)}")
    curves = told_alike(curves)
    if score == "success" and next(iter(curves.values())).success is None:
        raise UsageError("plot_adaptation: score is 'success', of which nobody said anything; take 'mean'")
    over = overs(curves)
    scores = {"mean": f"mean return of the episode{over}", "success": f"share of episodes that succeed{over}"}
    labels = {"episode": "episode of the trial", "seen": "episodes of the task seen before"}
    figure, axes = new_axes()
    for (name, evaluation), color, marker in zip(curves.items(), cycle(COLORS), cycle("os^DvpXP"), strict=False):
        rows = evaluation.rows
        episodes = [row[against] for row in rows]
        axes.plot(episodes, [row[score] for row in rows], marker=marker, color=color, label=name)
        fill_between(axes, episodes, [(row[f"{score}_low"], row[f"{score}_high"]) for row in rows], color)
    axes.set(title=title, xlabel=labels[against], ylabel=scores[score])
    if against == "seen":
        seen = sorted({row["seen"] for evaluation in curves.values() for row in evaluation.rows})
        axes.set_xscale("symlog", linthresh=5)
        axes.set_xticks(seen, [f"{value:.0f}" for value in seen])
        axes.minorticks_off()
    else:
        axes.locator_params(axis="x", integer=True)
    save(figure, axes, path)


def plot_profiles(evaluations: Mapping[str, Evaluation], path: str | Path, title: str) -> None:
    """Saves the performance profiles of several agents: the share of trials with a return above tau, with 95 % intervals."""
    figure, axes = new_axes()
    taus = spaced_taus([evaluation.trials for evaluation in evaluations.values()], 101)
    for (name, evaluation), color in zip(evaluations.items(), cycle(COLORS), strict=False):
        axes.plot(taus, performance_profile(evaluation.trials, taus), color=color, label=name)
        fill_between(axes, taus, profile_intervals(evaluation.trials, taus), color)
    axes.set(title=title, xlabel="tau, a return of the trial", ylabel=f"share of trials above tau{overs(evaluations)}")
    save(figure, axes, path)


def overs(evaluations: Mapping[str, Evaluation]) -> str:
    """What the intervals of a picture are over, as the end of an axis' name; nothing where there are none."""
    found = sorted({evaluation.interval_over for evaluation in evaluations.values() if evaluation.interval_over})
    return f"\n(95 % interval over {' or '.join(found)})" if found else ""


def fill_between(axes: Any, along: Any, intervals: Sequence[Interval], color: str) -> None:
    """A band of intervals, with gaps where there are none."""
    low, high = np.array(intervals, float).T
    axes.fill_between(along, low, high, color=color, alpha=0.2, linewidth=0)


def new_axes() -> tuple[Any, Any]:
    """A figure and its axes; UsageError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("pictures need matplotlib; install it: pip install 'quickstudy[plot]'") from error
    figure = Figure(figsize=(7, 4.6), dpi=130, layout="constrained")
    return figure, figure.subplots()


def save(figure: Any, axes: Any, path: str | Path) -> None:
    """Finishes a picture and writes it; UsageError where the file's name ends in no kind of picture."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with in_place_of(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:])
    except ValueError as error:
        raise UsageError(f"{path} can't be drawn ({error}); name it FILE.png") from error
