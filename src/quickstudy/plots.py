"""Pictures of results, with matplotlib, which the extra `plot` installs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Literal

from quickstudy.errors import UsageError
from quickstudy.evaluation import Evaluation

COLORS = ("#0b6e99", "#d1603d", "#6b6b6b", "#3d8b4e", "#8a5aa8", "#b08d1e")


def plot_adaptation(
    curves: Mapping[str, Evaluation], path: str | Path, title: str, against: Literal["episode", "seen"] = "episode"
) -> None:
    """Saves the adaptation curves of several agents: IQM of the return, with its 95 % interval.

    `against` the number of the episode, or the episodes of the task that were seen before it (twenty lanes are twenty).
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise UsageError("pictures need matplotlib; install it: pip install 'quickstudy[plot]'") from error
    labels = {"episode": "episode of the trial", "seen": "episodes of the task seen before"}
    figure = Figure(figsize=(7, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots()
    for (name, evaluation), color, marker in zip(curves.items(), cycle(COLORS), cycle("os^Dvp"), strict=False):
        rows = evaluation.rows
        episodes = [row[against] for row in rows]
        axes.plot(episodes, [row["iqm"] for row in rows], marker=marker, color=color, label=name)
        axes.fill_between(
            episodes, [row["low"] for row in rows], [row["high"] for row in rows], color=color, alpha=0.2, linewidth=0
        )
    axes.set(title=title, xlabel=labels[against], ylabel="return of the episode (IQM, 95 % interval)")
    if against == "seen":
        seen = sorted({row["seen"] for evaluation in curves.values() for row in evaluation.rows})
        axes.set_xscale("symlog", linthresh=5)
        axes.set_xticks(seen, [f"{value:.0f}" for value in seen])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
