"""Tasks one after another: what is earned on the way, and what learning the later ones takes from the earlier ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from quickstudy.arguments import checked
from quickstudy.errors import require_counts
from quickstudy.evaluation import evaluate
from quickstudy.families.making import called
from quickstudy.ops.statistics import mean_interval
from quickstudy.ops.tally import begins
from quickstudy.protocol import Agent, Learner, Split, TaskDistribution
from quickstudy.scores import figures, table
from quickstudy.tasks.given import Given
from quickstudy.transferring.arms import LEARNT, adapted, learnt, on_grid, one_of
from quickstudy.transferring.ground import Ground, Runs, ground
from quickstudy.transferring.outcome import SHORT, Kind, interval
from quickstudy.transferring.start import FineTuning, seen_by
from quickstudy.transferring.transfer import alone

LOOKS = 20
"""Trials in which it is looked at what a learner can do on a task, beside the budget."""
Returns = Float[NDArray[np.floating], "seed place"]


@dataclass(frozen=True)
class Course:
    """One way through the tasks, by their place in the order of each seed."""

    name: str
    kind: Kind
    algorithm: str
    run: str | None
    curve: Float[NDArray[np.floating], "seed place point"]
    """The mean return of an episode over each stretch of a task's budget, while it is learnt."""
    after: Returns
    """What is returned on each task as soon as it is learnt."""
    end: Returns
    """What is returned on it when all of them are."""

    @property
    def earned(self) -> Returns:
        """The mean return of an episode while each task is learnt."""
        return self.curve.mean(-1)

    @property
    def forgotten(self) -> Returns:
        """What the end has less than there was, of all tasks but the last."""
        return (self.after - self.end)[:, :-1]


@dataclass(frozen=True)
class Sequence:
    """Ways through the same tasks at equal environment steps; printing it gives a table."""

    tasks: str
    split: Split
    seed: int
    budget: int
    """Environment steps on each task."""
    courses: tuple[Course, ...]
    notes: tuple[str, ...]

    @property
    def scratch(self) -> Course:
        """The one that begins from nothing."""
        return next(course for course in self.courses if course.kind == "from-scratch")

    def row(self, course: Course) -> dict[str, Any]:
        """One way in figures."""
        more = {} if course is self.scratch else {"more_than_scratch": means(course.earned - self.scratch.earned)}
        return {
            "name": course.name,
            "kind": course.kind,
            "algorithm": course.algorithm,
            "run": course.run,
            "area_by_place": [means(each[:, None]) for each in course.earned.T],
            "area": means(course.earned),
            **more,
            "end": means(course.end),
            "forgotten": means(course.forgotten),
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        seeds, count = self.scratch.end.shape
        about = {"tasks": self.tasks, "split": self.split, "seed": self.seed, "num_tasks": count, "seeds": seeds}
        return {**about, "budget": self.budget, "ways": [self.row(each) for each in self.courses], "notes": list(self.notes)}

    def __str__(self) -> str:
        seeds, count = self.scratch.end.shape
        rows = [["way to learn", *(f"area of task {place + 1}" for place in range(count)), "area of all", "- scratch's"]]
        rows[0] += ["all at the end", "forgotten of earlier ones"]
        for course in self.courses:
            row = self.row(course)
            told = [interval(each) for each in [*row["area_by_place"], row["area"]]]
            more = interval(row["more_than_scratch"], signed=True) if "more_than_scratch" in row else ""
            rows.append([course.name, *told, more, interval(row["end"]), interval(row["forgotten"])])
        about = f"{self.tasks}: {count} {self.split} tasks one after another, {seeds} seed{'s' if seeds > 1 else ''}"
        return "\n".join([f"{about}, {self.budget:,} environment steps on each", *table(rows), "", *self.notes])


def means(scores: Returns) -> dict[str, float | None]:
    """A mean over seeds and places, with its 95 % interval."""
    return figures("mean", scores, mean_interval)


@checked
def transfer_sequence(
    runs: Agent | Runs,
    tasks: TaskDistribution,
    how: FineTuning | None = None,
    *,
    budget: int = 50_000,
    num_tasks: int = 3,
    seeds: int = 3,
    split: Split = "test",
    seed: int = 0,
) -> Sequence:
    """Learns new tasks one after another, `budget` environment steps each, in the ways of `transfer`.

    Who learns by PPO goes on with its weights and its optimiser from task to task, from a run's policy or from nothing. Each
    seed begins with another task. A run that adapts itself begins each task anew and forgets nothing, since it isn't changed.
    UsageError as `transfer`, and for fewer than two tasks.
    """
    require_counts("transfer_sequence", 2, num_tasks=num_tasks)
    found = ground(runs, tasks, how or FineTuning(), budget, num_tasks, seeds, split, seed)
    ways = (None, *found.tuned)
    begins(f"learning {num_tasks} tasks in {len(ways)} ways", budget * num_tasks * seeds * len(ways), LEARNT)
    courses = [learnt_course(found, name) for name in ways] + [adapted_course(found, name) for name in found.adapting]
    return Sequence(called(tasks), split, seed, budget, tuple(courses), (*found.notes, *alone(found)))


def order_of(found: Ground, number: int) -> list[int]:
    """The order in which a seed meets the tasks: each begins one further."""
    return [(number + place) % found.num_tasks for place in range(found.num_tasks)]


def learnt_course(found: Ground, name: str | None) -> Course:
    """Who learns by PPO, from a run or from nothing."""
    curves, afters, ends = [], [], []
    for number in range(found.seeds):
        order, learners, curve = order_of(found, number), [], []
        for place in order:
            learner = found.begun(name, place, number)
            if learners:
                learner.load_state_dict(learners[-1].state_dict())
            curve.append(on_grid(learnt(learner, found.budget), found.points, float(found.length)))
            learners.append(learner)
        curves.append(curve)
        afters.append([able(found, learner, place) for learner, place in zip(learners, order, strict=True)])
        ends.append([able(found, learners[-1], place) for place in order])
    source = found.source(name, 0)
    kind: Kind = "fine-tune" if source else "from-scratch"
    algorithm = source.name if source else "from-scratch"
    told = np.array(curves), np.array(afters), np.array(ends)
    return Course(f"fine-tune {name}" if name else "from-scratch", kind, algorithm, name, *told)


def adapted_course(found: Ground, name: str) -> Course:
    """A run that adapts itself: what it can do on a task is what it comes to in the last tenth of the budget."""
    curves = []
    for number in range(found.seeds):
        agent = found.runs[name][number % len(found.runs[name])]
        pieces = adapted(agent, found.tasks, found.drawn, found.budget, found.split, found.seed + number)
        curves.append([on_grid(pieces[place], found.points, float(found.length)) for place in order_of(found, number)])
    curve = np.array(curves)
    able = curve[..., -max(1, round(SHORT * found.points)) :].mean(-1)
    return Course(f"adapt {name}", "adapt", found.runs[name][0].name, name, curve, able, able)


def able(found: Ground, learner: Learner, place: int) -> float:
    """The mean return of a learner on one of the tasks."""
    one = Given(found.tasks, one_of(found.drawn, place))
    told = seen_by(learner, one)
    return float(evaluate(learner, told, num_tasks=LOOKS, seed=found.seed, split=found.split).returns.double().mean())
