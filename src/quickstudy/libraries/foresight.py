"""What is to be expected next if a task is of a member's family: the likelihoods by which Bayes weighs members."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from quickstudy.families.classic.bandit import Bandit
from quickstudy.nets.ensemble import gaussian_error
from quickstudy.protocol import Memory, Percept, TaskDistribution, has_past
from quickstudy.tasks.native import NativeTasks


@runtime_checkable
class Foresight(Protocol):
    """Foretells rewards and arrivals of a family's tasks from what a trial has shown so far."""

    def initial_memory(self, tasks: int, lanes: int) -> Memory: ...
    def surprise(self, percept: Percept, memory: Memory) -> tuple[Float[Tensor, "task lane"], Memory]:
        """log p(reward, arrival | trial before, action) of the step that the percept tells of, and the memory with it.

        Where no step came before, what it says isn't looked at.
        """
        ...


@dataclass(frozen=True)
class Payoffs:
    """Foretells what independent arms pay, from what they have paid, on a family's prior.

    `log_prob` says it of a reward, given how often its arm was pulled before, the sum of what that paid, and which arm it is.
    """

    arms: int
    log_prob: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    device: str = "cpu"

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        blank = torch.zeros(tasks, lanes, self.arms, device=self.device)
        return {"pulls": blank, "paid": blank}

    def surprise(self, percept: Percept, memory: Memory) -> tuple[Float[Tensor, "task lane"], Memory]:
        arm = percept.action[..., None]
        pulls, paid = (memory[name].gather(-1, arm)[..., 0] for name in ("pulls", "paid"))
        pulled = functional.one_hot(percept.action, self.arms) * has_past(percept)[..., None]
        after = {"pulls": memory["pulls"] + pulled, "paid": memory["paid"] + pulled * percept.reward[..., None]}
        return self.log_prob(percept.reward, pulls, paid, percept.action), after


def beta_arms(priors: tuple[tuple[float, float], ...], device: str = "cpu") -> Payoffs:
    """Bernoulli arms whose chances to pay are drawn from Beta(a, b), an (a, b) for each arm."""
    a, b = torch.tensor(priors, dtype=torch.float32, device=device).unbind(-1)

    def log_prob(reward: Tensor, pulls: Tensor, paid: Tensor, arm: Tensor) -> Tensor:
        chance = (a[arm] + paid) / (a[arm] + b[arm] + pulls)
        never = torch.full_like(reward, -math.inf)
        return torch.where(reward == 1, chance.log(), torch.where(reward == 0, (1 - chance).log(), never))

    return Payoffs(len(priors), log_prob, device)


def gaussian_arms(arms: int, device: str = "cpu") -> Payoffs:
    """Arms that pay N(mean, 1), their means drawn from N(0, 1)."""

    def log_prob(reward: Tensor, pulls: Tensor, paid: Tensor, arm: Tensor) -> Tensor:
        variance = 1 + 1 / (1 + pulls)
        density = -gaussian_error(paid / (1 + pulls), variance.log(), reward)
        # beside arms that pay 0 or 1 with a chance, a density has no mass there
        return torch.where((reward == 0) | (reward == 1), torch.full_like(reward, -math.inf), density)

    return Payoffs(arms, log_prob, device)


def of_bandit(family: Bandit, device: str) -> Foresight:
    """As the family draws its arms."""
    if family.payoff == "gaussian":
        return gaussian_arms(family.arms, device)
    return beta_arms(((1.0, 1.0),) * family.arms, device)


FORESIGHTS: dict[type[Any], Callable[[Any, str], Foresight]] = {Bandit: of_bandit}
"""By family, what makes its foresight of the family's options, on a device."""


def foresight_of(tasks: TaskDistribution, device: str) -> Foresight | None:
    """What can be foretold of these tasks; None where nobody has reckoned it."""
    find = FORESIGHTS.get(type(tasks.dynamics)) if isinstance(tasks, NativeTasks) else None
    return find(tasks.dynamics, device) if find else None  # pyright: ignore[reportAttributeAccessIssue]
