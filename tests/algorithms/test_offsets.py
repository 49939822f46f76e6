"""A constant added to every reward changes nothing that is learnt: advantages and value targets are about their means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from probes import HiddenSide
from small import TINY
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.protocol import Tasks
from quickstudy.work import InProcess


@dataclass(frozen=True, kw_only=True)
class Salaried(HiddenSide):
    """One step a trial, so that nobody's memory reads the reward; all of them are raised by the same amount."""

    episodes_per_trial: int = 1
    salary: float = 0.0

    def reward(self, *arguments: Any) -> Tensor:
        return super().reward(*arguments) + self.salary

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return ~super().terminal(state, task)


UNREAD: dict[str, dict[str, Any]] = {"rl2": {}, "multi-task": {}, "maml": {"inner_steps": 1}, "varibad": {"belief_updates": 0}}
"""Learners that scale their values or fit a baseline, with what keeps the reward itself from being read."""


@pytest.mark.parametrize("name", UNREAD)
def test_a_constant_in_every_reward_cancels(name: str):
    def curve(salary: float) -> list[float]:
        entry, tasks = ALGORITHMS[name], qs.NativeTasks(Salaried(salary=salary))
        learner = entry.make(tasks, entry.config(**TINY[name] | UNREAD[name]), seed=0)
        work = InProcess(learner.tasks)
        return [learner.train_step(work)["rollout/ep_rew_mean"] - salary for _ in range(6)]

    plain, raised = curve(0.0), curve(128.0)
    assert raised == pytest.approx(plain, abs=2e-3)
