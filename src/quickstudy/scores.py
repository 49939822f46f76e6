"""What an evaluation measured: returns, success and figures of a field by task and episode, with intervals, as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.ops.statistics import Interval, interquartile_mean, mean_interval, share_interval
from quickstudy.protocol import Split, Splits, Tasks
from quickstudy.tables import as_frame
from quickstudy.tasks.choices import FAMILY, Choice
from quickstudy.tasks.entries import named_values


class Scores(NamedTuple):
    """What one evaluation measured, lanes averaged."""

    returns: Float[Tensor, "task episode"]
    success: Float[Tensor, "task episode"] | None
    """The share of lanes in which any step of the episode succeeded; None where nothing was said of success."""
    figures: dict[str, Float[Tensor, "task episode"]]
    """The figures that the tasks name (`tasks/figures.py`)."""
    drawn: Tasks
    """The tasks."""


@dataclass(frozen=True)
class Evaluation:
    """Scores on held-out tasks, episode by episode; printing it gives a table."""

    algorithm: str
    tasks: str
    split: Split
    seed: int
    lanes: int
    greedy: bool
    trained_episodes: int
    """Episodes of a trial in training: what comes after them is extrapolation."""
    splits: Splits
    """Whether the splits share no task, or are separate draws."""
    returns: Float[Tensor, "task episode"]
    success: Float[Tensor, "task episode"] | None
    drawn: Tasks
    """The tasks' parameters, (task, ...), in the order of the scores."""
    seeds: tuple[int, ...] = ()
    """Seeds of the learners that were pooled, whose tasks, the same for each, follow one another; empty for one agent."""
    agent_seed: int | None = None
    """Seed of the learner, where it was one."""
    frozen: int = 0
    """How many of the episodes, the last ones, began where adaptation had ended, without adapting on one another."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the task distribution knows of its parameters, which may name their entries."""
    figures: Mapping[str, Float[Tensor, "task episode"]] = field(default_factory=dict)
    """The figures of their field that the tasks name (`tasks/figures.py`), as returns."""

    @property
    def num_tasks(self) -> int:
        """How many tasks each learner met."""
        return len(self.returns) // max(1, len(self.seeds))

    @property
    def trials(self) -> NDArray[np.floating]:
        """The return of each trial, the sum over its episodes: (seed, task), with one row for one agent."""
        return self.by_seed(self.returns.double().sum(1))

    def by_seed(self, scores: Float[Tensor, "task"]) -> NDArray[np.floating]:
        """Scores of all tasks as (seed, task)."""
        return scores.double().reshape(-1, self.num_tasks).numpy()

    @property
    def interval_over(self) -> str | None:
        """What the intervals speak of: new seeds and new tasks, or new tasks only; None where there are no intervals."""
        seeds, tasks = len(self.seeds) > 1, self.num_tasks > 1
        return {(True, True): "seeds and tasks", (False, True): "tasks only", (True, False): "seeds only"}.get((seeds, tasks))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One row an episode: how many episodes of the task had been adapted on before it, and the statistics of its return.

        `mean` is over seeds and tasks, `mean_low` and `mean_high` are its 95 % interval, and `iqm` is the interquartile mean of
        the seeds' own means. `success` has an interval as well, and so has each of `figures`, by name.
        """
        return [
            {
                "episode": index + 1,
                "seen": min(index, self.returns.shape[1] - self.frozen) * self.lanes,
                **return_figures(self.by_seed(self.returns[:, index])),
                **({} if self.success is None else success_figures(self.by_seed(self.success[:, index]))),
                **({"figures": self.figured(slice(index, index + 1))} if self.figures else {}),
            }
            for index in range(self.returns.shape[1])
        ]

    def figured(self, episodes: slice) -> dict[str, dict[str, float | None]]:
        """The figures that the tasks name, each the mean over some episodes of a trial, with its 95 % interval."""
        return {
            name: figures("mean", self.by_seed(values[:, episodes].double().mean(1)), mean_interval)
            for name, values in self.figures.items()
        }

    @property
    def summary(self) -> dict[str, Any]:
        """The return of a trial, and the figures that the tasks name, the mean over its episodes; with intervals."""
        return return_figures(self.trials) | ({"figures": self.figured(slice(None))} if self.figures else {})

    @property
    def gain(self) -> dict[str, float | None] | None:
        """What the last episode of a trial returns more than the first, task by task: mean and 95 % interval over the same as
        that of means. None for trials of one episode.

        Paired, since tasks differ by more than episodes do: intervals of two means may overlap where every task gains.
        """
        if self.returns.shape[1] < 2:
            return None
        return figures("mean", self.by_seed((self.returns[:, -1] - self.returns[:, 0]).double()), mean_interval)

    @property
    def adapts(self) -> Literal["up", "down", "not seen"] | None:
        """Whether returns rise or fall from the first to the last episode by more than chance: whether zero lies outside the
        interval of the gain. None where no interval says anything."""
        if self.gain is None or self.gain["mean_low"] is None or self.gain["mean_high"] is None:
            return None
        return "up" if self.gain["mean_low"] > 0 else "down" if self.gain["mean_high"] < 0 else "not seen"

    @property
    def records(self) -> list[dict[str, Any]]:
        """A row for each episode of each task: who lived it on which task, and what came of it.

        `seed` is the learner's, `task` counts from 1, and between that and `episode` stand the task's
        parameters by name. `seen` is how many episodes of the task had been adapted on.
        """
        tasks, count = named_values(self.drawn, self.parameters), self.num_tasks
        seen = [row["seen"] for row in self.rows]
        found = []
        for index in range(len(self.returns)):
            about = {"algorithm": self.algorithm, "tasks": self.tasks, "split": self.split}
            about |= {"seed": self.seeds[index // count] if self.seeds else self.agent_seed, "task": index % count + 1}
            for episode, before in enumerate(seen):
                row = about | (tasks[index] if tasks else {}) | {"episode": episode + 1, "seen": before}
                row["return"] = float(self.returns[index, episode])
                if self.success is not None:
                    row["success"] = float(self.success[index, episode])
                row |= {name: float(values[index, episode]) for name, values in self.figures.items()}
                found.append({name: shortest(value) for name, value in row.items()})
        return found

    def to_frame(self) -> Any:
        """The rows of `records` as a pandas.DataFrame; UsageError where that is missing."""
        return as_frame(self.records)

    def as_json(self) -> dict[str, Any]:
        """The evaluation as plain values."""
        by_seed = {"seeds": list(self.seeds), "mean_by_seed": self.trials.mean(1).tolist()} if self.seeds else {}
        return {
            "algorithm": self.algorithm,
            "tasks": self.tasks,
            "split": self.split,
            "splits": self.splits,
            "num_tasks": self.num_tasks,
            "seed": self.seed,
            "greedy": self.greedy,
            "trained_episodes": self.trained_episodes,
            "interval_over": self.interval_over,
            **({"gain": self.gain} if self.gain else {}),
            **by_seed,
            **({"frozen": self.frozen, "after_adapting": self.after_adapting} if self.frozen else {}),
            "episodes": self.rows,
            **({"families": self.families} if self.families else {}),
        }

    @cached_property
    def families(self) -> dict[str, dict[str, Any]]:
        """Of tasks of several families (`qs.Union`), each family's by its name: its tasks, and the statistics of their trials.

        `mean` is the mean return of a trial with its 95 % interval, `by_episode` the mean return of each episode.
        """
        chosen = self.parameters.get(FAMILY)
        if FAMILY not in self.drawn or not isinstance(chosen, Choice) or not chosen.by_place:
            return {}
        found = {}
        for place, name in enumerate(chosen.values):
            own = self.drawn[FAMILY][: self.num_tasks].long() == place
            if bool(own.any()):
                trials = self.trials[:, own.numpy()]
                episodes = [self.by_seed(self.returns[:, episode])[:, own.numpy()].mean() for episode in range(len(self.rows))]
                found[name] = {"tasks": int(own.sum()), **return_figures(trials), "by_episode": list(map(float, episodes))}
        return found

    @property
    def family_lines(self) -> list[str]:
        """Each family's trials, as lines; none where tasks are all of one."""
        if not self.families:
            return []
        heads = ["family", "tasks", "mean of a trial", "95 % interval", "by episode"]
        rows = [
            [name, f"{row['tasks']}", f"{row['mean']:.2f}", ends(row, "mean"), ", ".join(f"{e:.2f}" for e in row["by_episode"])]
            for name, row in self.families.items()
        ]
        return ["", *table([heads, *rows]), ""]

    @property
    def after_adapting(self) -> dict[str, float | None]:
        """Over the frozen episodes: the mean return and the share of them in which any step succeeded, with intervals."""
        found = return_figures(self.by_seed(self.returns[:, -self.frozen :].double().mean(1)))
        if self.success is not None:
            found |= success_figures(self.by_seed(self.success[:, -self.frozen :].double().mean(1)))
        return found

    @property
    def how(self) -> str:
        """Which tasks, and how actions were chosen."""
        return f"{self.num_tasks} {self.split} tasks, {'most likely' if self.greedy else 'sampled'} actions"

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures must know, a line each."""
        notes = (
            [] if self.splits == "partitioned" else ["iid: tasks are drawn anew for each split, and some were met in training"]
        )
        if self.split == "extrapolation":
            notes = ["extrapolation: every interval is left by up to a quarter of its width"]
        if self.returns.shape[1] - self.frozen > self.trained_episodes:
            notes += [f"episodes after {self.trained_episodes} extrapolate: trials in training had no more"]
        if self.frozen:
            adapted = (self.returns.shape[1] - self.frozen) * self.lanes
            found = self.after_adapting
            told = ", ".join(f"{name} {found[name]:.2f} {ends(found, name)}" for name in ("mean", "success") if name in found)
            notes += [f"adapted on {adapted} episodes, then frozen for {self.frozen}: {told}"]
        return notes

    @property
    def gained(self) -> list[str]:
        """What the last episode returns more than the first, in a line; none for trials of one episode."""
        if self.gain is None:
            return []
        what = "the last episode returns {mean:+.2f} more than the first, task by task".format(**self.gain)
        says = {"not seen": ": no adaptation to be seen", "down": ": it falls", "up": "", None: ""}
        return [" ".join(filter(None, [what, ends(self.gain, "mean")])) + says[self.adapts]]

    def __str__(self) -> str:
        over = f"95 % interval over {self.interval_over}" if self.interval_over else "no interval"
        heads = ["episode", "seen", "mean", over]
        lines = [[f"{r['episode']}", f"{r['seen']}", f"{r['mean']:.2f}", ends(r, "mean")] for r in self.rows]
        columns = [heads, *lines]
        if len(self.seeds) > 1:
            add(columns, "IQM of seeds", [f"{row['iqm']:.2f}" for row in self.rows])
        if self.success is not None:
            add(columns, "success", [f"{row['success']:.2f}" for row in self.rows])
            add(columns, "95 % interval", [ends(row, "success") for row in self.rows])
        title, notes = f"{self.algorithm} on {self.tasks}", [*self.gained, *self.notes]
        if self.seeds:
            title += f", {len(self.seeds)} seeds"
            means = [f"{mean:.2f} (seed {seed})" for seed, mean in zip(self.seeds, self.trials.mean(1), strict=True)]
            notes = [f"mean return of a trial by seed: {', '.join(means)}", *notes]
        return "\n".join([f"{title}: {self.how}", *table(columns), *self.family_lines, *self.figure_lines, *notes])

    @property
    def figure_lines(self) -> list[str]:
        """The figures that the tasks name by episode, each with its interval, as lines; none where they name none."""
        if not self.figures:
            return []
        rows = [(str(row["episode"]), row["figures"]) for row in self.rows]
        cells = [[episode, *(with_ends(figure) for figure in each.values())] for episode, each in rows]
        return ["", *table([["episode", *self.figures], *cells]), ""]


def return_figures(scores: NDArray[np.floating]) -> dict[str, float | None]:
    """The mean of returns (seed, task) with its 95 % interval, and the interquartile mean of the seeds' own means."""
    return figures("mean", scores, mean_interval) | {"iqm": float(interquartile_mean(scores.mean(1)))}


def success_figures(scores: NDArray[np.floating]) -> dict[str, float | None]:
    """The mean of shares of success (seed, task) with its 95 % interval."""
    return figures("success", scores, share_interval)


def figures(
    name: str, scores: NDArray[np.floating], interval: Callable[[NDArray[np.floating]], Interval]
) -> dict[str, float | None]:
    """A mean by its name, and the ends of its interval, which are None for a single score."""
    low, high = interval(scores)
    return {name: float(scores.mean()), f"{name}_low": low, f"{name}_high": high}


def shortest(value: Any) -> Any:
    """A number that float32 holds, as few digits as tell it from its neighbours there; anything else as it is."""
    if isinstance(value, float) and float(np.float32(value)) == value:
        return float(str(np.float32(value)))
    return value


def ends(row: Mapping[str, Any], name: str) -> str:
    """The interval of a figure of a row, as text."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f"[{low:.2f}, {high:.2f}]"


def with_ends(figure: Mapping[str, Any]) -> str:
    """A figure in four digits, with its interval where it has one."""
    low, high = figure["mean_low"], figure["mean_high"]
    told = f"{figure['mean']:.4g}"
    return told if low is None else f"{told} [{low:.4g}, {high:.4g}]"


def add(rows: Sequence[list[str]], head: str, cells: Sequence[str]) -> None:
    """Adds a column to rows of cells, the first of which are heads."""
    for row, cell in zip(rows, [head, *cells], strict=True):
        row.append(cell)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of text, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def pool(evaluations: Sequence[Evaluation], seeds: Sequence[int]) -> Evaluation:
    """One evaluation of several learners, of one configuration and the given seeds, that met the same tasks."""
    first = evaluations[0]
    if any(not same_tasks(first.drawn, other.drawn) for other in evaluations):
        raise UsageError("pool takes evaluations on the same tasks: of one num_tasks, split, seed and batch")
    return replace(
        first,
        returns=torch.cat([evaluation.returns for evaluation in evaluations]),
        success=joined_success(evaluations),
        figures=joined([evaluation.figures for evaluation in evaluations]),
        drawn=joined([evaluation.drawn for evaluation in evaluations]),
        seeds=tuple(seeds),
    )


def same_tasks(some: Tasks, others: Tasks) -> bool:
    """Whether these are the same tasks in the same order."""
    return some.keys() == others.keys() and all(torch.equal(value, others[name]) for name, value in some.items())


def told_alike(evaluations: Mapping[str, Evaluation]) -> dict[str, Evaluation]:
    """Evaluations to be set beside one another: all of them tell of success where any does."""
    found = successes(list(evaluations.values())) or [None] * len(evaluations)
    return {
        name: replace(evaluation, success=success)
        for (name, evaluation), success in zip(evaluations.items(), found, strict=True)
    }


def joined_success(parts: Sequence[Scores] | Sequence[Evaluation]) -> Float[Tensor, "task episode"] | None:
    """The success of several parts, one after another; None where nothing was said of it in any."""
    found = successes(parts)
    return torch.cat(found) if found else None


def successes(parts: Sequence[Scores] | Sequence[Evaluation]) -> list[Float[Tensor, "task episode"]] | None:
    """The success of each of several parts, none of it where a part says nothing and another does; None where none does.

    Many environments speak of success only at the step that succeeds: left out, those that never did would raise the rate.
    """
    if all(part.success is None for part in parts):
        return None
    return [torch.zeros_like(part.returns) if part.success is None else part.success for part in parts]


def joined(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Batches of tasks, or of figures of theirs, as one."""
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
