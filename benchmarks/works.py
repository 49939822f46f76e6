"""What a table of docs/results.md is made of: tasks, who is trained on them, and what stands beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator

from quickstudy.algorithms import BASELINES
from quickstudy.algorithms.baselines.multi_task_sac import MultiTaskSAC
from quickstudy.evaluation import batch_of
from quickstudy.families import make
from quickstudy.protocol import Agent, Learner, Split, Splits, TaskDistribution, Tasks
from quickstudy.tasks.parameters import parameters_of
from quickstudy.wrappers.forgetful import Forgetful
from quickstudy.wrappers.normalised import Normalised


def alone(learner: Learner) -> dict[str, Agent]:
    """Nothing stands beside it."""
    return {}


def wiped(every: Literal["episode", "step"]) -> Callable[[Learner], dict[str, Agent]]:
    """The same learner with its memory wiped."""
    return lambda learner: {f"RL2, memory wiped every {every}": Forgetful(learner, every)}


def from_scratch(learner: Learner) -> dict[str, Agent]:
    """The same learner before meta-training, adapting in the same way."""
    plain = learner.learner if isinstance(learner, Normalised) else learner
    return {"from-scratch": BASELINES["from-scratch"].make(plain.tasks, config=plain.config)}


def not_fine_tuned(learner: Learner) -> dict[str, Agent]:
    """The same weights, left as they are on every task."""
    frozen = MultiTaskSAC(learner.tasks, replace(learner.config, fine_tune_steps=0), seed=learner.seed)
    frozen.load_state_dict(learner.state_dict())
    return {"multi-task-SAC, not fine-tuned": frozen}


class Trained(NamedTuple):
    """A learner to be trained."""

    recipe: str
    """The name of its settings."""
    seeds: int
    others: Callable[[Learner], dict[str, Agent]] = alone
    """Agents made from it, that need no training of their own."""
    extrapolates: bool = False
    """Score it on tasks beyond the intervals of training as well."""


class Work(NamedTuple):
    """One table of the page."""

    says: str
    family: str
    options: Mapping[str, Any]
    num_tasks: int
    untrained: tuple[str, ...]
    """Oracles and baselines, with an option where one is needed."""
    trained: Mapping[str, Trained]
    best: str
    """The row that the others are a share of: the best possible, or the best there is."""
    published: Mapping[str, float] = {}
    """Rows with a published figure, and rows that stand for nothing but one."""
    reach: Mapping[str, float] = {}
    """The figure that a row is to reach."""
    lanes: int = 1
    """The most lanes of its agents: tasks are drawn in batches that hold as many lanes, so that all meet the same ones."""
    tried: str = ""
    """What was tried where a figure is missed, or on the way to it."""
    by: str = ""
    """A parameter with few values, by which the last episode is told apart."""
    success: bool = False
    """Show in which share of episodes any step succeeded."""
    frozen: int = 0
    """Episodes that follow a trial, each from where adaptation ended (Meta-World's protocol)."""
    each: int = 0
    """Trials of every value of the one parameter, which is listed, in place of tasks that are drawn."""
    picture: str = ""
    """The title of a picture of return by episode; none without."""

    def tasks(self) -> TaskDistribution:
        return make(self.family, **self.options)

    def batch(self) -> int:
        """How many tasks are drawn and lived at once; as often each, where it is each."""
        size = batch_of(self.lanes)
        values = self.num_tasks // self.each if self.each else 1
        return max(1, size // values) * values


class Each:
    """The same tasks, of which as many are met of every value of their one parameter, in turn."""

    def __init__(self, tasks: TaskDistribution):
        self.observation_space, self.action_space = tasks.observation_space, tasks.action_space
        self.max_episode_steps, self.episodes_per_trial = tasks.max_episode_steps, tasks.episodes_per_trial
        self.splits: Splits = tasks.splits
        self.parameters = parameters_of(tasks)
        self.normalise, self.make, self.encode, self.decode = tasks.normalise, tasks.make, tasks.encode, tasks.decode

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        [(name, parameter)] = self.parameters.items()
        return {name: parameter.table[torch.arange(count) % len(parameter.table)]}
