"""A teacher that is told the task: what it would do wherever its student has been (policy distillation, Rusu et al. 2016).

The student's own trials are judged, as in DAgger (Ross et al. 2011, arXiv:1011.0686), by one who knows what the student has to
find out ("privileged": Chen et al. 2019, arXiv:1912.12294).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.nets.distributions import Distribution
from quickstudy.nets.networks import Weights
from quickstudy.parts.clock import left
from quickstudy.parts.collecting import shards_of
from quickstudy.protocol import Agent, Experience, Learner, TaskDistribution, Tasks, counter
from quickstudy.tasks.informed import Informed


@runtime_checkable
class Imitating(Protocol):
    """A configuration of who has a teacher."""

    @property
    def imitate(self) -> float: ...
    @property
    def imitate_iterations(self) -> int: ...


@runtime_checkable
class Judging(Protocol):
    """A policy without a memory that tells what it would do at any observation."""

    weights: Weights
    distribution: Distribution

    def __call__(self, observation: Tensor) -> tuple[Float[Tensor, "*lead parameter"], Tensor]: ...


class Teacher:
    """The policy of an agent that is told the task; UsageError where it isn't one, or is one for other tasks than a student's.

    `sha256` is that of its weights, by which a student knows it again.
    """

    def __init__(self, agent: Agent, tasks: TaskDistribution, distribution: Distribution):
        policy, told = agent.explorer(), agent.tasks
        if not isinstance(told, Informed) or not isinstance(policy, Judging):
            raise UsageError(
                f"a teacher is one policy that is told the task, such as a run of task-informed, and no {agent.name}"
                f" on {told!r}"
            )
        here = Informed(tasks)
        for name in ("observation_space", "action_space"):
            if getattr(told, name) != getattr(here, name):
                raise UsageError(
                    f"the teacher was trained on {told!r}, whose {name} is {getattr(told, name)}; of its student's tasks,"
                    f" told, it is {getattr(here, name)}"
                )
        kind = type(policy.distribution)
        if kind is not type(distribution) or policy.distribution.size != distribution.size:
            raise UsageError(
                f"the teacher draws actions from a {kind.__name__}, its student from a {type(distribution).__name__}:"
                " how much they differ can't be told"
            )
        self.tasks, self.policy, self.sha256 = here, policy, sha256_of(policy.weights)

    @torch.no_grad()
    def told(self, experience: Experience, tasks: Tasks) -> Float[Tensor, "task lane time parameter"]:
        """The parameters of the actions that it would draw at each step of a student's trials on these tasks."""
        return self.policy(self.tasks.told(experience.percept.observation, tasks))[0]


def sha256_of(weights: Weights) -> str:
    """A checksum of weights, wherever they live."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def drawn_tasks(learner: Learner, count: int) -> Tasks:
    """The tasks on which a learner collects so many trials in this meta-iteration: their counters tell them again."""
    drawn = [
        learner.tasks.sample(shard.tasks, shard.split, counter(shard.seed, shard.iteration, "train tasks", shard.number))
        for shard in shards_of(learner, count)
    ]
    return {name: torch.cat([tasks[name] for tasks in drawn]).to(learner.device) for name in drawn[0]}


def imitation(config: Imitating, iteration: int) -> float:
    """How much imitating weighs in a meta-iteration: it falls linearly to nothing, or stays where no end is said."""
    return config.imitate * left(config.imitate_iterations, iteration, least=0.0)


def stored_teacher(state: Mapping[str, object], teacher: Teacher | None) -> str:
    """The checksum in a student's state; ValueError where it is none, or of another teacher than the student has."""
    stored = state.get("teacher")
    if not isinstance(stored, str) or len(stored) > 64:
        raise ValueError("teacher is no checksum of the weights of one")
    if teacher and stored and stored != teacher.sha256:
        raise ValueError("its teacher had other weights")
    return stored
