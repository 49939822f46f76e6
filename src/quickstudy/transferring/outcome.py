"""What was found: curves of return by environment steps on the new tasks, and the figures of transfer (Taylor & Stone 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from quickstudy.ops.statistics import Interval, mean_interval
from quickstudy.protocol import Split
from quickstudy.scores import figures, table

Returns = Float[NDArray[np.floating], "seed task"]
Kind = Literal["fine-tune", "from-scratch", "adapt"]
FIGURES = "jump_start", "asymptote", "area"
"""The return before any update, that over the last tenth of the budget, and that over all of it."""
SHORT = 0.1
"""The share of the budget that a short fine-tune takes, and that the asymptote is the mean of."""


@dataclass(frozen=True)
class Arm:
    """One way to learn the tasks: who, and what it earned."""

    name: str
    kind: Kind
    algorithm: str
    run: str | None
    """The run that it begins from."""
    trained_steps: float | None
    """Environment steps of that run's own training, where they are known; None for scratch."""
    start: Returns
    """The return of an episode before any update, or of the first episode."""
    curve: Float[NDArray[np.floating], "seed task point"]
    """The mean return of an episode over each stretch of the budget, while the task is learnt."""
    forgotten: Returns | None = None
    """What the run's policy returned on its own test tasks before, less what the fine-tuned one does."""

    @property
    def tail(self) -> int:
        """Points in a tenth of the budget, at least one."""
        return max(1, round(SHORT * self.curve.shape[-1]))

    def figure(self, name: str) -> Returns:
        """One of FIGURES, of this arm alone."""
        if name == "jump_start":
            return self.start
        return self.curve[..., -self.tail :].mean(-1) if name == "asymptote" else self.curve.mean(-1)

    @property
    def soon(self) -> Returns:
        """The return after a tenth of the budget."""
        return self.curve[..., min(self.tail, self.curve.shape[-1] - 1)]


@dataclass(frozen=True)
class Transfer:
    """Ways to learn the same tasks at equal environment steps; printing it gives tables."""

    tasks: str
    split: Split
    seed: int
    budget: int
    """Environment steps on each task."""
    length: int
    """Steps of a stretch of the curves."""
    threshold: float
    """The return that is to be reached."""
    random: Returns
    """What acting at random returns on each task, (1, task)."""
    arms: tuple[Arm, ...]
    notes: tuple[str, ...]

    @cached_property
    def scratch(self) -> Arm:
        """The arm that begins from nothing."""
        return next(arm for arm in self.arms if arm.kind == "from-scratch")

    @property
    def steps(self) -> Float[NDArray[np.floating], "point"]:
        """Environment steps at the end of each stretch."""
        return (1 + np.arange(self.scratch.curve.shape[-1])) * float(self.length)

    def more(self, arm: Arm, name: str) -> dict[str, float | None]:
        """A figure of an arm less scratch's, paired by seed and task: mean and 95 % interval."""
        return figures("mean", arm.figure(name) - self.scratch.figure(name), mean_interval)

    def ratio(self, arm: Arm) -> dict[str, float | None]:
        """(area - scratch's) / (scratch's - random's): what an arm earns more, in units of what scratch earns above chance.

        The interval is that of a ratio of paired means, to first order. None where scratch earns nothing above chance.
        """
        gained, above = arm.figure("area") - self.scratch.figure("area"), self.scratch.figure("area") - self.random
        if above.mean() <= 0:
            return {"mean": None, "mean_low": None, "mean_high": None}
        ratio = float(gained.mean() / above.mean())
        low, high = mean_interval((gained - ratio * above) / above.mean())
        ends = (None, None) if low is None or high is None else (ratio + low, ratio + high)
        return {"mean": ratio, "mean_low": ends[0], "mean_high": ends[1]}

    def bands(self, arm: Arm) -> list[Interval]:
        """The 95 % interval of an arm's mean return in each stretch."""
        return [mean_interval(each) for each in np.moveaxis(arm.curve, -1, 0)]

    def reached(self, arm: Arm) -> float | None:
        """Environment steps after which the mean return's lower bound stays above the threshold; None where it never does."""
        bounds = [
            float(mean) if low is None else low for mean, (low, _) in zip(arm.curve.mean((0, 1)), self.bands(arm), strict=True)
        ]
        below = np.flatnonzero(np.array(bounds) < self.threshold)
        first = 0 if not len(below) else int(below[-1]) + 1
        return None if first == len(bounds) else float(first * self.length)

    def hurts(self, arm: Arm) -> bool:
        """Negative transfer: whether an arm earns less than scratch beyond chance."""
        high = self.more(arm, "area")["mean_high"]
        return high is not None and high < 0

    def paid(self, arm: Arm) -> float | None:
        """How many target tasks it takes until meta-training has paid for itself in steps to the threshold.

        Where scratch never got there it needs more than the budget, so that it may be fewer. None where the arm never gets
        there, is no quicker, or nobody knows how long the run was trained.
        """
        mine, theirs = self.reached(arm), self.reached(self.scratch)
        saved = (self.budget if theirs is None else theirs) - (np.inf if mine is None else mine)
        return None if arm.trained_steps is None or saved <= 0 else float(np.ceil(arm.trained_steps / saved))

    def all_steps(self, arm: Arm, count: int) -> float | None:
        """Environment steps, those of the run's own training included, until so many tasks are at the threshold.

        None where it is never reached, or nobody knows how long the run was trained.
        """
        reached, before = self.reached(arm), 0.0 if arm is self.scratch else arm.trained_steps
        return None if reached is None or before is None else before + count * reached

    @property
    def ranked(self) -> list[Arm]:
        """The fine-tuned runs, the one that is related most first: by the return before any step."""
        tuned = [arm for arm in self.arms if arm.kind == "fine-tune"]
        return sorted(tuned, key=lambda arm: -float(arm.start.mean()))

    def row(self, arm: Arm) -> dict[str, Any]:
        """An arm in figures."""
        return {
            "name": arm.name,
            "kind": arm.kind,
            "algorithm": arm.algorithm,
            "run": arm.run,
            "trained_steps": arm.trained_steps,
            **{name: figures("mean", arm.figure(name), mean_interval) for name in FIGURES},
            "short": figures("mean", arm.soon, mean_interval),
            "steps_to_threshold": self.reached(arm),
            **({} if arm is self.scratch else {"more_than_scratch": self.compared(arm)}),
            **({} if arm.forgotten is None else {"forgotten": figures("mean", arm.forgotten, mean_interval)}),
            "curve": {
                "mean": arm.curve.mean((0, 1)).tolist(),
                "low": [low for low, _ in self.bands(arm)],
                "high": [high for _, high in self.bands(arm)],
            },
        }

    def compared(self, arm: Arm) -> dict[str, Any]:
        """An arm beside scratch."""
        return {
            **{name: self.more(arm, name) for name in FIGURES},
            "transfer_ratio": self.ratio(arm),
            "negative_transfer": self.hurts(arm),
            "tasks_until_paid": self.paid(arm),
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        seeds, tasks = self.scratch.start.shape
        about = {"tasks": self.tasks, "split": self.split, "seed": self.seed, "num_tasks": tasks, "seeds": seeds}
        return {
            **about,
            "budget": self.budget,
            "steps": self.steps.tolist(),
            "threshold": self.threshold,
            "random": float(self.random.mean()),
            "arms": [self.row(arm) for arm in self.arms],
            "relatedness": [arm.name for arm in self.ranked],
            "notes": list(self.notes),
        }

    @property
    def others(self) -> list[Arm]:
        """All arms but scratch."""
        return [arm for arm in self.arms if arm is not self.scratch]

    def says(self, arm: Arm) -> str:
        """Whether an arm earns more than scratch."""
        area = self.more(arm, "area")
        told, low = f"{arm.name} earns {interval(area, signed=True)} an episode against from-scratch", area["mean_low"]
        if self.hurts(arm):
            return f"{told}: negative transfer"
        return f"{told}: {'positive transfer' if low is not None and low > 0 else 'no difference beyond chance'}"

    @property
    def about(self) -> str:
        """What was learnt, in a line."""
        seeds, tasks = self.scratch.start.shape
        about = f"{self.tasks}: {tasks} {self.split} tasks, {seeds} seed{'s' if seeds > 1 else ''}"
        return f"{about}, {self.budget:,} environment steps on each; random returns {self.random.mean():.4g}"

    @property
    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """What was found in rows, their heads first, each table behind what it shows."""
        heads = [
            ["way to learn", "first return", "last tenth", "area", f"steps to {self.threshold:.4g}"],
            ["way to learn", "jump-start", "asymptote", "area", "transfer ratio"],
            ["way to learn", "meta-training steps", "tasks until paid", "forgotten of its own"],
        ]
        beside = "less from-scratch's, paired; the transfer ratio's zero is from-scratch, its unit from-scratch less random"
        found = [
            ("what each way earns", [heads[0], *map(self.alone, self.arms)]),
            (beside, [heads[1], *map(self.beside, self.others)]),
            ("what it took, and what it cost", [heads[2], *map(self.costs, self.others)]),
        ]
        if len(self.ranked) > 1:
            related = "most related first, by the return before any step; and after a tenth of the budget"
            found.append((related, [["run", "before", "short"], *map(ranks, self.ranked)]))
        return found

    @property
    def said(self) -> list[str]:
        """What is to be said of it in words."""
        return [*map(self.says, self.others), *self.notes]

    def __str__(self) -> str:
        lines = [self.about]
        for caption, rows in self.tables:
            lines += [f"\n{caption}", *table(rows)]
        return "\n".join([*lines, "", *self.said])

    def alone(self, arm: Arm) -> list[str]:
        """An arm by itself."""
        reached = self.reached(arm)
        told = [interval(figures("mean", arm.figure(name), mean_interval)) for name in FIGURES]
        return [arm.name, *told, f">{self.budget:,}" if reached is None else f"{reached:,.0f}"]

    def beside(self, arm: Arm) -> list[str]:
        """An arm beside scratch."""
        return [arm.name, *(interval(self.more(arm, name), signed=True) for name in FIGURES), interval(self.ratio(arm))]

    def costs(self, arm: Arm) -> list[str]:
        """What an arm's run took, when that has paid for itself, and what it has lost."""
        paid, steps = self.paid(arm), arm.trained_steps
        lost = "" if arm.forgotten is None else interval(figures("mean", arm.forgotten, mean_interval))
        most = "at most " if self.reached(self.scratch) is None else ""
        after = "never" if paid is None else f"{most}{paid:,.0f}"
        return [arm.name, "unknown" if steps is None else f"{steps:,.0f}", after, lost]


def ranks(arm: Arm) -> list[str]:
    """A run in the table of relatedness."""
    return [arm.run or "", *(interval(figures("mean", each, mean_interval)) for each in (arm.start, arm.soon))]


def interval(figure: dict[str, float | None], signed: bool = False) -> str:
    """A figure with its interval, in four digits; nothing where there is none."""
    if figure["mean"] is None:
        return "none"
    sign = "+" if signed else ""
    low, high = figure["mean_low"], figure["mean_high"]
    told = f"{figure['mean']:{sign}.4g}"
    return told if low is None else f"{told} [{low:.4g}, {high:.4g}]"


def best_tail(arms: Sequence[Arm]) -> float:
    """The asymptote of the best arm."""
    return max(float(arm.figure("asymptote").mean()) for arm in arms)
