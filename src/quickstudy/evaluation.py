"""How well an agent adapts: one loop for every method, on held-out tasks, counted in episodes of the task itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.data.rollout import Lifetime, draw_tasks, live
from quickstudy.errors import UsageError
from quickstudy.ops.statistics import bootstrap_interval, interquartile_mean
from quickstudy.protocol import Agent, Shard, Site, Split, Splits, TaskDistribution, Tasks
from quickstudy.tasks import describe
from quickstudy.work import open_work

LANES_AT_ONCE = 1024
"""The lanes of a batch of tasks: part of the result, since each batch draws its own tasks, and since the size of a matrix
product can change its last bit."""


class Scores(NamedTuple):
    """What one evaluation measured, lanes averaged."""

    returns: Float[Tensor, "task episode"]
    success: Float[Tensor, "task episode"] | None
    """The share of lanes in which any step of the episode succeeded; None where the tasks don't define success."""
    drawn: Tasks
    """The tasks."""


def score(site: Site, life: Lifetime, shard: Shard) -> Scores:
    """A unit of work: one trial on each task of a shard, every episode scored."""
    returns, success, told = [], [], False
    for experience in live(site, life, shard):
        transition, valid = experience.transition, experience.valid
        returns.append((transition.reward * valid).sum(-1))
        says = transition.info.get("success", torch.full_like(valid, -1, dtype=torch.int8))
        told = told or bool((says >= 0).any())
        success.append(((says > 0) & valid).any(-1).float())
    drawn = {name: value.cpu() for name, value in draw_tasks(site, shard).items()}
    return Scores(torch.stack(returns, -1).mean(1).cpu(), torch.stack(success, -1).mean(1).cpu() if told else None, drawn)


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
    frozen: int = 0
    """How many of the episodes, the last ones, began where adaptation had ended, without adapting on one another."""

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

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        """One row an episode: how many episodes of the task had been adapted on before it, and the statistics of its return.

        `low` and `high` are the 95 % bootstrap interval of the interquartile mean, seeds and tasks resampled.
        """
        rows = []
        for index in range(self.returns.shape[1]):
            scores = self.by_seed(self.returns[:, index])
            low, high = bootstrap_interval(scores)
            row = {
                "episode": index + 1,
                "seen": min(index, self.returns.shape[1] - self.frozen) * self.lanes,
                "iqm": float(interquartile_mean(scores.ravel())),
                "mean": float(scores.mean()),
                "low": low,
                "high": high,
            }
            if self.success is not None:
                row["success"] = float(self.success[:, index].mean())
            rows.append(row)
        return rows

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
            **by_seed,
            **({"frozen": self.frozen, "after_adapting": self.after_adapting} if self.frozen else {}),
            "episodes": self.rows,
        }

    @property
    def after_adapting(self) -> dict[str, float]:
        """Over the frozen episodes: the mean return, and the share of them in which any step succeeded."""
        found = {"mean": float(self.returns[:, -self.frozen :].double().mean())}
        if self.success is not None:
            found["success"] = float(self.success[:, -self.frozen :].double().mean())
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
            found = ", ".join(f"{name} {value:.2f}" for name, value in self.after_adapting.items())
            notes += [f"adapted on {adapted} episodes, then frozen for {self.frozen}: {found}"]
        return notes

    def __str__(self) -> str:
        rows, heads = self.rows, ["episode", "seen", "IQM", "mean", "95 % interval of the IQM"]
        lines = [
            [f"{r['episode']}", f"{r['seen']}", f"{r['iqm']:.2f}", f"{r['mean']:.2f}", f"[{r['low']:.2f}, {r['high']:.2f}]"]
            for r in rows
        ]
        if self.success is not None:
            heads.append("success")
            for line, row in zip(lines, rows, strict=True):
                line.append(f"{row['success']:.2f}")
        title, notes = f"{self.algorithm} on {self.tasks}", self.notes
        if self.seeds:
            title += f", {len(self.seeds)} seeds"
            means = [f"{mean:.2f} (seed {seed})" for seed, mean in zip(self.seeds, self.trials.mean(1), strict=True)]
            notes = [f"mean return of a trial by seed: {', '.join(means)}", *notes]
        return "\n".join([f"{title}: {self.how}", *table([heads, *lines]), *notes])


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of text, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def pool(evaluations: Sequence[Evaluation], seeds: Sequence[int]) -> Evaluation:
    """One evaluation of several learners, of one configuration and the given seeds, that met the same tasks."""
    success = [evaluation.success for evaluation in evaluations if evaluation.success is not None]
    return replace(
        evaluations[0],
        returns=torch.cat([evaluation.returns for evaluation in evaluations]),
        success=torch.cat(success) if success else None,
        drawn=joined([evaluation.drawn for evaluation in evaluations]),
        seeds=tuple(seeds),
    )


def evaluate(
    agent: Agent,
    tasks: TaskDistribution | None = None,
    *,
    episodes: int | None = None,
    num_tasks: int = 100,
    split: Split = "test",
    seed: int = 0,
    greedy: bool = False,
    batch: int | None = None,
    adapt_episodes: int | None = None,
    frozen_episodes: int = 0,
    workers: int | str = 0,
    deadline: float = 600.0,
) -> Evaluation:
    """Adapts an agent to each of `num_tasks` tasks it has not seen, and scores every episode of its trials.

    `tasks` defaults to the distribution that the agent was made for, `episodes` to the trial's length. Actions are sampled
    as in training; `greedy` takes the most likely ones. The return of a task's episode is the mean over its lanes.

    Agents meet the same tasks where `num_tasks`, `split`, `seed` and `batch` are the same. `batch` is how many tasks are drawn
    and lived at once; by default that depends on the agent's lanes.

    With `adapt_episodes` and `frozen_episodes`, the agent adapts on so many episodes of each task, counted over its lanes, and
    then lives so many in which what it has learnt is frozen: each begins where adaptation ended. 10 and 3 are Meta-World's.

    `workers` processes, or Ray actors (`"ray"`, see `Training`), share the batches; they change the speed, never the result.
    One that is at a batch for more than `deadline` seconds is taken for hung.
    """
    tasks = tasks or agent.tasks
    if adapt_episodes is not None:
        episodes = folds_of(adapt_episodes, agent, episodes)
    episodes = episodes or tasks.episodes_per_trial
    life = Lifetime(agent.explorer(), agent.adapt, agent.lanes, episodes, greedy, frozen_episodes)
    work = open_work(tasks, agent.device, workers, deadline=deadline)
    try:
        scores = work.map(score, life, shards_of(num_tasks, batch or batch_of(agent.lanes), split, seed))
    finally:
        work.close()
    described = describe(tasks)
    return Evaluation(
        algorithm=agent.name,
        tasks=described[0] if described else repr(tasks),
        split=split,
        seed=seed,
        lanes=agent.lanes,
        greedy=greedy,
        trained_episodes=tasks.episodes_per_trial,
        splits=tasks.splits,
        returns=torch.cat([score.returns for score in scores]),
        success=None
        if scores[0].success is None
        else torch.cat([score.success for score in scores if score.success is not None]),
        drawn=joined([score.drawn for score in scores]),
        frozen=frozen_episodes,
    )


def folds_of(adapt_episodes: int, agent: Agent, episodes: int | None) -> int:
    """How often an agent adapts to see so many episodes of a task; UsageError where that isn't a whole number of times."""
    if episodes is not None:
        raise UsageError("say either how many episodes a trial has or how many to adapt on, not both")
    if adapt_episodes < 1 or adapt_episodes % agent.lanes:
        raise UsageError(
            f"{agent.name} adapts on {agent.lanes} episodes of a task at once, so it can't adapt on {adapt_episodes};"
            f" take a multiple of {agent.lanes}, or train it with other lanes"
        )
    return adapt_episodes // agent.lanes


def joined(batches: Sequence[Tasks]) -> Tasks:
    """Batches of tasks as one."""
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def batch_of(lanes: int) -> int:
    """How many tasks are drawn and lived at once by an agent with so many lanes."""
    return max(1, LANES_AT_ONCE // lanes)


def shards_of(num_tasks: int, batch: int, split: Split, seed: int) -> list[Shard]:
    """Divides an evaluation into batches of one size, the last one smaller."""
    sizes = [min(batch, num_tasks - start) for start in range(0, num_tasks, batch)]
    return [Shard(seed, 0, number, count, split) for number, count in enumerate(sizes)]
