"""The one list of algorithms and baselines. It is closed: a stored run can name only what stands here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from quickstudy.algorithms.baselines.multi_task import MultiTask
from quickstudy.algorithms.baselines.multi_task_sac import MultiTaskSAC
from quickstudy.algorithms.baselines.random import Random
from quickstudy.algorithms.belief.pearl import PEARL
from quickstudy.algorithms.belief.varibad import VariBAD
from quickstudy.algorithms.gradient.maml import MAML
from quickstudy.algorithms.memory.recurrent_sac import RecurrentSAC
from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.errors import UsageError, did_you_mean
from quickstudy.protocol import Agent, Learner
from quickstudy.tasks.informed import Informed


class Algorithm(NamedTuple):
    """What the registry knows of a learner."""

    config: type[Any]
    make: Callable[..., Learner]
    """(tasks, config, *, seed, device) -> learner."""
    summary: str


def task_informed(tasks: Any, config: Any = None, **options: Any) -> MultiTask:
    """The multi-task learner on tasks that are told."""
    return MultiTask(Informed(tasks), config, **options)


ALGORITHMS: dict[str, Algorithm] = {
    "rl2": Algorithm(RL2.Config, RL2, "a recurrent policy whose memory adapts over the episodes of a trial"),
    "recurrent-sac": Algorithm(
        RecurrentSAC.Config, RecurrentSAC, "a recurrent policy, learnt off-policy from replayed trials: SAC or TD3"
    ),
    "varibad": Algorithm(VariBAD.Config, VariBAD, "a policy on a belief that is learnt by predicting rewards of whole trials"),
    "maml": Algorithm(MAML.Config, MAML, "first weights from which a few gradient steps adapt"),
    "pearl": Algorithm(PEARL.Config, PEARL, "a belief about the task, and a soft actor-critic that acts on samples of it"),
    "multi-task": Algorithm(MultiTask.Config, MultiTask, "one memoryless policy for all tasks: the baseline to beat"),
    "multi-task-sac": Algorithm(
        MultiTaskSAC.Config, MultiTaskSAC, "one memoryless SAC policy on a shared replay, fine-tuned on the new task"
    ),
    "task-informed": Algorithm(
        MultiTask.Config, task_informed, "the multi-task policy, told each task's parameters: the upper bound"
    ),
}


def from_scratch(tasks: Any, **options: Any) -> MAML:
    """MAML before meta-training: untrained weights, the same adaptation."""
    agent = MAML(tasks, **options)
    agent.name = "from-scratch"
    return agent


BASELINES: dict[str, Callable[..., Agent]] = {"random": Random, "from-scratch": from_scratch}
"""Agents that need no training, by name: (tasks, *, device) -> agent."""


def algorithm(name: str) -> Algorithm:
    """A registered algorithm; UsageError for an unknown name."""
    if name not in ALGORITHMS:
        raise UsageError(f"unknown algorithm '{name}'; {did_you_mean(name, ALGORITHMS)}")
    return ALGORITHMS[name]
