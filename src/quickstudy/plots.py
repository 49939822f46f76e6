"""Pictures of results, with matplotlib, which the extra `plot` installs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quickstudy.errors import UsageError
from quickstudy.evaluation import Evaluation


def plot_adaptation(curves: Mapping[str, Evaluation], path: str | Path, title: str) -> None:
    """Saves the adaptation curves of several agents: IQM of the return by episode, with its 95 % interval."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise UsageError("pictures need matplotlib; install it: pip install 'quickstudy[plot]'") from error
    figure = Figure(figsize=(7, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots()
    for (name, evaluation), color, marker in zip(
        curves.items(), ("#0b6e99", "#d1603d", "#6b6b6b", "#3d8b4e"), "os^D", strict=False
    ):
        rows = evaluation.rows
        episodes = [row["episode"] for row in rows]
        axes.plot(episodes, [row["iqm"] for row in rows], marker=marker, color=color, label=name)
        axes.fill_between(
            episodes, [row["low"] for row in rows], [row["high"] for row in rows], color=color, alpha=0.2, linewidth=0
        )
    axes.set(title=title, xlabel="episode of the trial", ylabel="return of the episode (IQM, 95 % interval)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
