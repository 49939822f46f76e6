"""Learners with one fault each: what `quickstudy check FILE.py:CLASS` must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from small import TINY
from torch import Generator

import quickstudy as qs
from quickstudy.check.learner import CLAUSES, Subject, check_learner
from quickstudy.check.report import judge
from quickstudy.parts.recurrent import RecurrentPolicy
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, Policy, State, Work

CONFIG = qs.RL2.Config(**TINY["rl2"])
FAULTS: list[tuple[str, type[Any]]] = []


def planted(check: str) -> Callable[[type[Any]], type[Any]]:
    """Lists a faulty learner with the check that must find it."""

    def listed(learner: type[Any]) -> type[Any]:
        FAULTS.append((check, learner))
        return learner

    return listed


@planted("metrics")
class ForgetsToCount(qs.RL2):
    def train_step(self, work: Work) -> Metrics:
        metrics = super().train_step(work)
        self.iteration = 0
        return metrics


@planted("metrics")
class MeasuresNaN(qs.RL2):
    def train_step(self, work: Work) -> Metrics:
        return super().train_step(work) | {"train/odd": float("nan")}


@planted("metrics")
class HidesItsSteps(qs.RL2):
    def train_step(self, work: Work) -> Metrics:
        return {name: value for name, value in super().train_step(work).items() if name != "rollout/timesteps"}


@planted("seeds")
class IgnoresItsSeed(qs.RL2):
    def __init__(self, tasks: Any, config: Any = None, *, seed: int = 0, device: str = "cpu"):
        super().__init__(tasks, config, seed=0, device=device)


@planted("seeds")
class DrawsAtLarge(qs.RL2):
    def train_step(self, work: Work) -> Metrics:
        with torch.no_grad():
            self.weights["value.bias"] += float(np.random.default_rng().normal())
        return super().train_step(work)


@planted("global randomness")
class GlobalWeights(qs.RL2):
    def __init__(self, tasks: Any, config: Any = None, *, seed: int = 0, device: str = "cpu"):
        super().__init__(tasks, config, seed=seed, device=device)
        with torch.no_grad():
            self.weights["value.bias"] += torch.randn(1)


@planted("resuming")
class ForgetsItsOptimiser(qs.RL2):
    def state_dict(self) -> State:
        return {name: value for name, value in super().state_dict().items() if name != "optimiser"}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({"optimiser": {}, **state})


@planted("resuming")
class ForgetsWhereItWas(qs.RL2):
    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.iteration = 0


@planted("purity")
class LearnsWhileTested(qs.RL2):
    def adapt(self, policy: RecurrentPolicy, experience: Experience) -> RecurrentPolicy:
        with torch.no_grad():
            self.weights["policy.bias"] += 0.1
        return super().adapt(policy, experience)


@planted("purity")
class LendsItsWeights(qs.RL2):
    def explorer(self) -> RecurrentPolicy:
        return replace(super().explorer(), weights={name: weight.detach() for name, weight in self.weights.items()})


@dataclass(frozen=True)
class Misshapen:
    """Acts for one lane of each task only."""

    policy: Policy

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return self.policy.initial_memory(tasks, lanes)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        act, memory = self.policy.act(percept, memory, generator)
        return act._replace(action=act.action[:, :1]), memory


@planted("protocol")
class ActsInOneLane(qs.RL2):
    def explorer(self) -> Any:
        return Misshapen(super().explorer())


@planted("protocol")
class HasNoDataclass(qs.RL2):
    def explorer(self) -> Any:
        policy = super().explorer()

        class Plain:
            initial_memory, act, start = policy.initial_memory, policy.act, None

        return Plain()


@dataclass(frozen=True)
class Hidden:
    """Keeps what it remembers in a place that no session sees."""

    policy: Policy
    seen: list[int]

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return self.policy.initial_memory(tasks, lanes)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        self.seen.append(1)
        act, memory = self.policy.act(percept, memory, generator)
        shift = len(self.seen) % 3
        return act._replace(action=act.action * 0 + shift if not act.action.is_floating_point() else act.action + shift), memory


@planted("session")
class RemembersInSecret(qs.RL2):
    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.seen: list[int] = []

    def explorer(self) -> Any:
        return Hidden(super().explorer(), self.seen)

    def adapt(self, policy: Any, experience: Experience) -> Any:
        return replace(policy, policy=super().adapt(policy.policy, experience))


@dataclass(frozen=True, kw_only=True)
class OddConfig(qs.RL2.Config):
    """Holds what no file can."""

    activation: Any = torch.tanh


@planted("configuration")
class Unwritable(qs.RL2):
    Config = OddConfig


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("check", "learner"), FAULTS, ids=[learner.__name__ for _, learner in FAULTS])
def test_a_faulty_learner_is_found(check: str, learner: type[Any]):
    config = OddConfig(trials=8) if learner is Unwritable else CONFIG
    finding = judge(check, lambda: CLAUSES[check](Subject(learner, config)))
    assert finding.passed is False, finding.detail


@pytest.mark.slow  # test_contract takes every clause, and test_cli the command
def test_a_sound_learner_passes_and_the_report_reads_well():
    report = check_learner(qs.RL2, CONFIG)
    assert not report.failed and "9 passed, 0 failed" in str(report)
    assert report.as_json()["findings"][0]["passed"] is True
