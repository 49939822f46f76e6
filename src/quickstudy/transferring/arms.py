"""How one task is learnt: what each way earns, episode by episode, in the environment steps that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from quickstudy.evaluation import evaluate
from quickstudy.ops.tally import count
from quickstudy.parts.collecting import trial_steps
from quickstudy.protocol import Agent, Learner, Split, TaskDistribution, Tasks
from quickstudy.tasks.given import Given
from quickstudy.transferring.start import seen_by
from quickstudy.work import open_work

LEARNT = "steps of learning"
"""What is counted of who learns by PPO, for who listens how far it is."""


class Pieces(NamedTuple):
    """A curve in steps: the mean return of an episode in each piece, and the environment steps that the piece took."""

    steps: Sequence[float]
    returns: Sequence[float]


def round_steps(learner: Learner) -> int:
    """The most environment steps that an update learns from."""
    config, tasks = learner.config, learner.tasks
    return config.trials * trial_steps(tasks) if hasattr(config, "trials") else config.n_envs * tasks.max_episode_steps


def learnt(learner: Learner, budget: int) -> Pieces:
    """Trains a learner on its tasks for as many updates as the budget pays: what it earned in each, before that update."""
    most, work = round_steps(learner), open_work(learner.tasks, learner.device)
    steps: list[float] = []
    returns: list[float] = []
    try:
        while sum(steps) + most <= budget:
            metrics = learner.train_step(work)
            steps.append(metrics["rollout/timesteps"])
            returns.append(metrics["rollout/ep_rew_mean"])
            count({LEARNT: steps[-1]})
        count({LEARNT: budget - sum(steps)})
    finally:
        work.close()
    return Pieces(steps, returns)


def episodes_paid(agent: Agent, tasks: TaskDistribution, budget: int) -> int:
    """How many times the budget pays an episode in each of an agent's lanes."""
    return budget // (agent.lanes * tasks.max_episode_steps)


def adapted(agent: Agent, tasks: TaskDistribution, drawn: Tasks, budget: int, split: Split, seed: int) -> list[Pieces]:
    """An agent's own adaptation to each task, for as many episodes as the budget pays; an episode counts at its longest."""
    number, episodes = number_of(drawn), episodes_paid(agent, tasks, budget)
    options: dict[str, Any] = {"num_tasks": number, "split": split, "seed": seed, "batch": number}
    returns = evaluate(agent, seen_by(agent, Given(tasks, drawn)), episodes=episodes, **options).returns
    steps = [float(agent.lanes * tasks.max_episode_steps)] * episodes
    return [Pieces(steps, each) for each in returns.double().tolist()]


def number_of(tasks: Tasks) -> int:
    """How many tasks these are."""
    return len(next(iter(tasks.values())))


def one_of(tasks: Tasks, place: int) -> Tasks:
    """One of several tasks."""
    return {name: value[place : place + 1] for name, value in tasks.items()}


def on_grid(pieces: Pieces, points: int, length: float) -> Float[NDArray[np.floating], "point"]:
    """A curve as its means over `points` stretches of so many steps; beyond its end it stays what it was."""
    ends = np.cumsum(pieces.steps)
    earned = np.cumsum(np.multiply(pieces.steps, pieces.returns))
    edges = np.arange(points + 1) * length
    if ends[-1] < edges[-1]:
        earned = np.append(earned, earned[-1] + (edges[-1] - ends[-1]) * pieces.returns[-1])
        ends = np.append(ends, edges[-1])
    return np.diff(np.interp(edges, [0.0, *ends], [0.0, *earned])) / length
