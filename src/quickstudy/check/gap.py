"""What knowing the task is worth: the first question about a family of tasks, before anything is meta-learnt on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quickstudy.algorithms import algorithm
from quickstudy.algorithms.baselines.random import Random
from quickstudy.arguments import checked
from quickstudy.errors import UsageError, require_counts
from quickstudy.evaluation import batch_of, evaluate
from quickstudy.ops.statistics import students_t
from quickstudy.ops.tally import begins
from quickstudy.oracles import practitioner
from quickstudy.protocol import Agent, Learner, Split, TaskDistribution
from quickstudy.scores import Evaluation, ends, table, with_ends
from quickstudy.work import open_work

ENOUGH = 0.2
"""Of what told agents do better than chance, the share that knowing the task must be worth."""


@dataclass(frozen=True)
class Gap:
    """Three agents on the same held-out tasks: chance, who knows the population, and who is told the task."""

    random: Evaluation
    population: Evaluation
    told: Evaluation
    trained_steps: int
    """How long the latter two were trained; 0 where they are a rule."""

    @property
    def agents(self) -> dict[str, Evaluation]:
        """Each by what it is."""
        return {"random": self.random, "population": self.population, "told": self.told}

    @cached_property
    def _gains(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """On each task, what being told is worth, and what it is worth more than chance."""
        told = self.told.trials[0]
        return told - self.population.trials[0], told - self.random.trials[0]

    @property
    def share(self) -> float | None:
        """Told less population, as a share of told less random; None where being told is no better than chance."""
        gained, above = (float(gains.mean()) for gains in self._gains)
        return gained / above if above > 0 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the share over tasks: that of a ratio of paired means, to first order."""
        if self.share is None or self.random.num_tasks < 2:
            return None
        gained, above = self._gains
        spread = (gained - self.share * above).std(ddof=1) / above.mean() / np.sqrt(len(gained))
        reach = students_t(len(gained) - 1) * float(spread)
        return self.share - reach, self.share + reach

    @property
    def verdict(self) -> Literal["a gap", "no gap", "undecided", "nothing learnt"]:
        """Whether the share is at least `ENOUGH`, beyond its interval."""
        if self.share is None:
            return "nothing learnt"
        low, high = self.interval or (self.share, self.share)
        return "a gap" if low >= ENOUGH else "no gap" if high < ENOUGH else "undecided"

    @property
    def says(self) -> str:
        """The verdict in words."""
        trained = f" in {self.trained_steps:,} steps" if self.trained_steps else ""
        share = "" if self.share is None else f"{self.share:.2f}"
        where = f" [{self.interval[0]:.2f}, {self.interval[1]:.2f}]" if self.interval else ""
        advice = {
            "a gap": "who knows the task does better: there is something to find out, and to meta-learn",
            "no gap": "who knows the task does hardly better than who knows the population: one policy for all tasks will do,"
            " or what differs must matter more",
            "undecided": f"whether that is {ENOUGH:g} or more isn't decided; take more tasks (--num-tasks)",
            "nothing learnt": f"who is told the task does no better than chance{trained}: the figure says nothing;"
            + (" train longer (--steps)" if trained else " the rule is wrong for these tasks"),
        }[self.verdict]
        return f"{self.verdict}: told less population is {share}{where} of told less random; {advice}" if share else advice

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        first, (low, high) = self.random, self.interval or (None, None)
        return {
            "tasks": first.tasks,
            "split": first.split,
            "num_tasks": first.num_tasks,
            "seed": first.seed,
            "trained_steps": self.trained_steps,
            "agents": [{"who": who, "algorithm": each.algorithm, **each.summary} for who, each in self.agents.items()],
            "share": self.share,
            "share_low": low,
            "share_high": high,
            "verdict": self.verdict,
            "says": self.says,
        }

    def __str__(self) -> str:
        rows = [["who", "agent", "return of a trial", "95 % interval", *self.random.figures]]
        for who, each in self.agents.items():
            found = each.summary
            figured = map(with_ends, found.get("figures", {}).values())
            rows.append([who, each.algorithm, f"{found['mean']:.2f}", ends(found, "mean"), *figured])
        first = self.random
        how = f"{first.num_tasks} {first.split} tasks, the same for all"
        if self.trained_steps:
            how += f"; population and told are one policy, without and with the task, after {self.trained_steps:,} steps each"
        return "\n".join([f"{first.tasks}: {how}", *table(rows), self.says])


@checked
def gap(
    tasks: TaskDistribution,
    *,
    population: Agent | None = None,
    told: Agent | None = None,
    num_tasks: int = 500,
    split: Split = "test",
    seed: int = 0,
    steps: int = 300_000,
    settings: Mapping[str, Any] | None = None,
) -> Gap:
    """What knowing the task is worth: held-out tasks lived by chance, by who knows the population, and by who is told the task.

    The latter two are the rule of the family's field at its two settings; agents of your own, where you give both; else the
    multi-task policy and the one that is told the task, trained for `steps` environment steps each with `settings` in place of
    their defaults. UsageError where one agent of the two is given.
    """
    require_counts("gap", 1, num_tasks=num_tasks, steps=steps)
    if (population is None) != (told is None):
        raise UsageError("gap: give both population and told, or neither")
    trained = 0
    if population is None or told is None:
        population, told = practitioner(tasks, "population"), practitioner(tasks, "told")
    if population is None or told is None:
        population, told = (trained_for(name, tasks, steps, seed, settings or {}) for name in ("multi-task", "task-informed"))
        trained = steps
    chance = Random(tasks)
    batch = min(batch_of(agent.lanes) for agent in (chance, population, told))
    options: dict[str, Any] = {"num_tasks": num_tasks, "split": split, "seed": seed, "batch": batch}
    return Gap(evaluate(chance, **options), evaluate(population, **options), evaluate(told, **options), trained)


def trained_for(name: str, tasks: TaskDistribution, steps: int, seed: int, settings: Mapping[str, Any]) -> Learner:
    """A learner that was trained for at least so many steps; nothing of it is kept."""
    entry = algorithm(name)
    learner = entry.make(tasks, entry.config(**settings), seed=seed)
    begins(f"training {name}", steps, "steps")
    work, lived = open_work(learner.tasks, learner.device, 0), 0.0
    try:
        while lived < steps:
            lived += learner.train_step(work)["rollout/timesteps"]
    finally:
        work.close()
    return learner
