"""How much each member of a library is trusted, from what has happened so far: weights that live in a memory.

A rule looks at each percept once, before it is acted on. Whatever it keeps has leading axes (task, lane).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.libraries.foresight import Foresight
from quickstudy.ops.tree import under, within
from quickstudy.protocol import Memory, Percept, has_past

Weights = Float[Tensor, "task lane member"]


class Played(NamedTuple):
    """How likely the action of the step before was."""

    by_member: Float[Tensor, "task lane member"]
    """log pi_i(a), for each member."""
    mixed: Float[Tensor, "task lane"]
    """log pi_meta(a)."""


@runtime_checkable
class Rule(Protocol):
    """Weighs members."""

    @property
    def best_only(self) -> bool:
        """Whether the action of the greatest weighted sum is taken in place of one drawn from the mixture."""
        ...

    def initial_memory(self, tasks: int, lanes: int) -> Memory: ...
    def weigh(self, percept: Percept, played: Played, memory: Memory) -> tuple[Weights, Memory]: ...


def floored(weights: Weights, floor: float) -> Weights:
    """The share `floor` is dealt out evenly, so that no member is ever given up."""
    return (1 - floor) * weights + floor / weights.shape[-1]


def only_past(percept: Percept, values: Weights) -> Weights:
    """Nothing where no step came before: the numbers there mean nothing."""
    return torch.where(has_past(percept)[..., None], values, torch.zeros_like(values))


@dataclass(frozen=True)
class Bayes:
    """The posterior over families, each as likely as any other at first: log w_i grows by log p_i(reward, arrival | action).

    With `floor` each step mixes in so much of the uniform: a task may turn into another, and no likelihood of 0 is for ever.
    What no family thinks possible tells nothing.
    """

    foresights: tuple[Foresight, ...]
    floor: float = 0.0
    device: str = "cpu"
    best_only = False

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        count = len(self.foresights)
        memory = {"log_weights": torch.full((tasks, lanes, count), -math.log(count), device=self.device)}
        for number, foresight in enumerate(self.foresights):
            memory |= under(f"{number} ", foresight.initial_memory(tasks, lanes))
        return memory

    def weigh(self, percept: Percept, played: Played, memory: Memory) -> tuple[Weights, Memory]:
        told, kept = [], {}
        for number, foresight in enumerate(self.foresights):
            log_prob, after = foresight.surprise(percept, within(f"{number} ", memory))
            told.append(log_prob)
            kept |= under(f"{number} ", after)
        before = memory["log_weights"]
        sums = before + only_past(percept, torch.stack(told, -1))
        impossible = sums.isneginf().all(-1, keepdim=True)
        log_weights = torch.where(impossible, before, sums).log_softmax(-1)
        if self.floor:
            log_weights = floored(log_weights.exp(), self.floor).log()
        return log_weights.exp(), kept | {"log_weights": log_weights}


@dataclass(frozen=True)
class Exp4:
    """Weights by reward: log w_i grows by eta x pi_i(a) / pi_meta(a), x the reward on a scale from `low` to `high`.

    Exp4 (Auer et al. 2002, fig. 4) with eta = floor / members. The ratio makes what is added an unbiased estimate of what the
    member would have earned. `floor` is dealt out among members, where the paper deals it among actions: so the regret is at
    most 2.63 sqrt(g N ln N), N members of which the best earns no more than g, whatever the actions are.
    """

    members: int
    floor: float = 0.1
    low: float = 0.0
    high: float = 1.0
    device: str = "cpu"
    best_only = False

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"gain": torch.zeros(tasks, lanes, self.members, device=self.device)}

    def weigh(self, percept: Percept, played: Played, memory: Memory) -> tuple[Weights, Memory]:
        scaled = ((percept.reward - self.low) / (self.high - self.low)).clamp(0, 1)
        ratio = (played.by_member - played.mixed[..., None]).exp()
        gain = memory["gain"] + only_past(percept, scaled[..., None] * ratio)
        return floored((self.floor / self.members * gain).softmax(-1), self.floor), {"gain": gain}


@dataclass(frozen=True)
class Praise:
    """The literal meta-policy: a = argmax_a sum_i R_i pi_i(a), R_i the sum of r pi_i(a) over the steps so far.

    All members are alike until something pays. Nobody explores, and who agrees with what was played is praised for it.
    """

    members: int
    device: str = "cpu"
    best_only = True

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"praise": torch.zeros(tasks, lanes, self.members, device=self.device)}

    def weigh(self, percept: Percept, played: Played, memory: Memory) -> tuple[Weights, Memory]:
        praise = memory["praise"] + only_past(percept, percept.reward[..., None] * played.by_member.exp())
        total = praise.abs().sum(-1, keepdim=True)
        alike = torch.full_like(praise, 1 / self.members)
        return torch.where(total > 0, praise / total.clamp(min=1e-30), alike), {"praise": praise}
