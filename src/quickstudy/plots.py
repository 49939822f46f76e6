"""Pictures of results, with matplotlib, which the extra `plot` installs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.looks import Look, looks_of
from quickstudy.ops.statistics import Interval, performance_profile, profile_intervals, spaced_taus
from quickstudy.scores import Evaluation, told_alike
from quickstudy.storage import write_atomically

KINDS = (".pdf", ".svg", ".png")
"""What figures can be written as."""
MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "star": "*", "cross": "P", "wye": "v"}
COLUMN = {1: 3.5, 2: 7.16}
"""Inches of one and of two columns of a paper."""
PRINTED: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # letters stay letters, as publishers ask
    "svg.fonttype": "none",
    "svg.hashsalt": "quickstudy",
    "savefig.dpi": 300,
}
"""How a figure for a paper is set: in letters that can be read at its printed width."""


@runtime_checkable
class Learnt(Protocol):
    """A run's return by environment steps of training, each seed by itself: (seed, point), NaN where there is none."""

    @property
    def label(self) -> str: ...
    @property
    def steps(self) -> NDArray[np.floating]: ...
    @property
    def returns(self) -> NDArray[np.floating]: ...


@runtime_checkable
class Learned(Protocol):
    """Ways to learn the same tasks (`transferring/outcome.py`)."""

    @property
    def tasks(self) -> str: ...
    @property
    def arms(self) -> Sequence[Any]: ...
    @property
    def steps(self) -> NDArray[np.floating]: ...
    @property
    def threshold(self) -> float: ...
    @property
    def random(self) -> NDArray[np.floating]: ...
    def bands(self, arm: Any) -> list[Interval]: ...
    def all_steps(self, arm: Any, count: int) -> float | None:
        """Environment steps, meta-training's own included, until so many tasks are at the threshold; None: never."""
        ...


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
    figure = new_figure((7, 4.6), dpi=130)
    axes = figure.subplots()
    draw_adaptation(axes, curves, against, score)
    axes.set(title=title, xlabel=labels[against], ylabel=scores[score])
    if against == "seen":
        seen = sorted({row["seen"] for evaluation in curves.values() for row in evaluation.rows})
        axes.set_xscale("symlog", linthresh=5)
        axes.set_xticks(seen, [f"{value:.0f}" for value in seen])
        axes.minorticks_off()
    else:
        axes.locator_params(axis="x", integer=True)
    finish(figure, [axes])
    save(figure, path)


def plot_profiles(evaluations: Mapping[str, Evaluation], path: str | Path, title: str) -> None:
    """Saves the performance profiles of several agents: the share of trials with a return above tau, with 95 % intervals."""
    figure = new_figure((7, 4.6), dpi=130)
    axes = figure.subplots()
    draw_profiles(axes, evaluations)
    axes.set(title=title, xlabel="tau, a return of the trial", ylabel=f"share of trials above tau{overs(evaluations)}")
    finish(figure, [axes])
    save(figure, path)


def plot_comparison(
    evaluations: Mapping[str, Evaluation], learnt: Mapping[str, Learnt], path: str | Path, columns: int = 2
) -> None:
    """Saves a figure for a paper, one or two `columns` wide: adaptation, learning curves and performance profiles.

    Learning curves have a thin line for each seed and a thick one for their mean; runs without one are left out there, and the
    picture as well where there is none. The file's kind, by its name: PDF or SVG, whose text stays text, or PNG.
    """
    from matplotlib import rc_context

    looks = dict(zip(evaluations, looks_of([each.algorithm for each in evaluations.values()]), strict=True))
    learnt = {name: each for name, each in learnt.items() if np.isfinite(each.returns).any()}
    count = 2 + bool(learnt)
    with rc_context(PRINTED):
        wide = columns == 2
        figure = new_figure((COLUMN[columns], 2.3 if wide else 1.9 * count + 0.3))
        first, *middle, last = figure.subplots(*((1, count) if wide else (count, 1)))
        draw_adaptation(first, evaluations)
        first.set(xlabel="episode of the trial", ylabel="return of the episode")
        first.locator_params(axis="x", integer=True)
        for axes in middle:
            draw_learning(axes, learnt, looks)
        draw_profiles(last, evaluations)
        last.set(xlabel=r"$\tau$, a return of the trial", ylabel=r"share of trials above $\tau$", ylim=(-0.02, 1.02))
        finish(figure, [first, *middle, last], columns=4 if wide else 2)
        save(figure, path)


def plot_transfer(found: Learned, path: str | Path) -> None:
    """Saves the curves of several ways to learn the same tasks, with 95 % intervals; and beside them, where any way reaches
    the threshold, all steps that it takes to bring so many tasks there, those of meta-training included.
    """
    counts = np.unique(np.geomspace(1, 1000, 40).round())
    total = {arm.name: [found.all_steps(arm, int(count)) for count in counts] for arm in found.arms}
    total = {name: steps for name, steps in total.items() if steps[0] is not None}
    figure = new_figure((11 if total else 7, 4.6), dpi=130)
    first, *beside = np.atleast_1d(figure.subplots(1, 2 if total else 1))
    kinds = {"fine-tune": "-", "from-scratch": "-", "adapt": ":"}
    began = {arm.run: arm.algorithm for arm in found.arms}
    looks = dict(zip(began, looks_of(list(began.values())), strict=True))
    for arm in found.arms:
        style = {"color": looks[arm.run].light, "linestyle": kinds[arm.kind]}
        first.plot(found.steps, arm.curve.mean((0, 1)), label=arm.name, **style)
        for axes in beside if arm.name in total else ():
            axes.plot(counts, total[arm.name], **style)
    reach = first.get_ylim()
    for arm in found.arms:
        fill_between(first, found.steps, found.bands(arm), looks[arm.run].light)
    first.axhline(found.random.mean(), color="#8a8a8a", linestyle=(0, (1, 2)), linewidth=1, label="random")
    first.axhline(found.threshold, color="#1b1b1b", linestyle=(0, (1, 4)), linewidth=1, label="threshold")
    # a band that is wide, of few seeds, would leave the curves no room
    first.set(ylim=(1.3 * reach[0] - 0.3 * reach[1], 1.3 * reach[1] - 0.3 * reach[0]))
    first.set(title=found.tasks, xlabel="environment steps on the task", ylabel="return of an episode\n(95 % interval)")
    first.xaxis.set_major_formatter(lambda value, place: thousands(value))
    for axes in beside:
        axes.set(
            xscale="log", yscale="log", xlabel="tasks that are learnt", ylabel="steps to the threshold, with meta-training"
        )
    finish(figure, [first, *beside])
    save(figure, path)


def draw_adaptation(
    axes: Any,
    curves: Mapping[str, Evaluation],
    against: Literal["episode", "seen"] = "episode",
    score: Literal["mean", "success"] = "mean",
) -> None:
    """A score by episode, of several agents, each with its interval."""
    for (name, evaluation), look in looked(curves):
        rows = evaluation.rows
        episodes = [row[against] for row in rows]
        axes.plot(episodes, [row[score] for row in rows], label=name, marker=MARKERS[look.symbol], **line_of(look))
        fill_between(axes, episodes, [(row[f"{score}_low"], row[f"{score}_high"]) for row in rows], look.light)


def draw_profiles(axes: Any, evaluations: Mapping[str, Evaluation]) -> None:
    """The share of trials with a return above each of a hundred taus, of several agents, each with its intervals."""
    taus = spaced_taus([evaluation.trials for evaluation in evaluations.values()], 101)
    for (name, evaluation), look in looked(evaluations):
        axes.plot(taus, performance_profile(evaluation.trials, taus), label=name, **line_of(look))
        fill_between(axes, taus, profile_intervals(evaluation.trials, taus), look.light)


def draw_learning(axes: Any, learnt: Mapping[str, Learnt], looks: Mapping[str, Look]) -> None:
    """Return by environment steps: each seed thin, their mean thick, as far as all of them came."""
    for name, each in learnt.items():
        look, returns = looks[name], each.returns
        if len(returns) > 1:
            for steps, line in zip(each.steps, returns, strict=True):
                told = np.isfinite(line)
                axes.plot(steps[told], line[told], color=look.light, alpha=0.45, linewidth=0.5)
        told = np.isfinite(returns).all(0)
        marker = MARKERS[look.symbol] if told.sum() == 1 else None
        axes.plot(each.steps.mean(0)[told], returns.mean(0)[told], label=name, marker=marker, **line_of(look))
    labels = dict.fromkeys(each.label for each in learnt.values())
    axes.set(xlabel="environment steps of a seed", ylabel="\n".join(labels))
    axes.xaxis.set_major_formatter(lambda value, place: thousands(value))
    axes.locator_params(axis="x", nbins=4)


def thousands(steps: float) -> str:
    """Steps as an axis has room for them."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(steps) >= size:
            return f"{steps / size:g}{unit}"
    return f"{steps:g}"


def looked(evaluations: Mapping[str, Evaluation]) -> list[tuple[tuple[str, Evaluation], Look]]:
    """Evaluations by name, each with the look of its agent."""
    return list(zip(evaluations.items(), looks_of([each.algorithm for each in evaluations.values()]), strict=True))


def line_of(look: Look) -> dict[str, Any]:
    """A line's colour and dashes."""
    return {"color": look.light, "linestyle": (0, look.dash) if look.dash else "-"}


def overs(evaluations: Mapping[str, Evaluation]) -> str:
    """What the intervals of a picture are over, as the end of an axis' name; nothing where there are none."""
    found = sorted({evaluation.interval_over for evaluation in evaluations.values() if evaluation.interval_over})
    return f"\n(95 % interval over {' or '.join(found)})" if found else ""


def fill_between(axes: Any, along: Any, intervals: Sequence[Interval], color: str) -> None:
    """A band of intervals, with gaps where there are none."""
    low, high = np.array(intervals, float).T
    axes.fill_between(along, low, high, color=color, alpha=0.2, linewidth=0)


def require_matplotlib() -> None:
    """UsageError where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("pictures need matplotlib; install it: pip install 'quickstudy[plot]'") from error


def require_kind(path: Path) -> None:
    """UsageError where a figure can't be written under a name, before anything is measured for it."""
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"{path} can't be drawn: a figure is a .pdf, .svg or .png; name it {path.stem or 'curves'}.pdf")
    require_matplotlib()


def new_figure(size: tuple[float, float], dpi: float | None = None) -> Any:
    """An empty figure, its size in inches; UsageError where matplotlib is missing."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=dpi, layout="constrained")


def finish(figure: Any, pictures: Sequence[Any], columns: int = 3) -> None:
    """The grid of each picture, and below all of them one legend, with a line for each name."""
    for axes in pictures:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    # the first picture has everybody
    figure.legend(*pictures[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)


def save(figure: Any, path: str | Path) -> None:
    """Writes a picture, whole or not at all; UsageError where the file's name ends in no kind of picture."""
    path, content = Path(path), BytesIO()
    kind = path.suffix.lower().lstrip(".") or "png"
    # without the date the same figures are the same bytes
    dated = {"pdf": "CreationDate", "svg": "Date"}.get(kind)
    try:
        figure.savefig(content, format=kind, metadata={dated: None} if dated else None)
    except ValueError as error:
        raise UsageError(f"{path} can't be drawn ({error}); name it FILE.png") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
