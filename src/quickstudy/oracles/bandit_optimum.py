"""The best that any agent can do on a Bernoulli bandit of few arms and pulls: dynamic programming over what it may know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from quickstudy.errors import UsageError
from quickstudy.oracles.bandits import Record

MOST_STATES = 400_000

Arm = tuple[int, int]
"""How often an arm has paid, and failed."""
State = tuple[Arm, ...]
"""What is known, arms sorted: which is which makes no difference to the return."""


@dataclass(frozen=True)
class Optimum:
    """The Bayes-optimal return of `pulls` pulls, and in every state that can be reached the arm to pull."""

    value: float
    best: dict[State, Arm]


def solve(arms: int, pulls: int) -> Optimum:
    """Backward induction over the posteriors of `arms` Bernoulli arms, each uniform on [0, 1] at first.

    UsageError where there are more states than can be gone through.
    """
    if number_of_states(arms, pulls) > MOST_STATES:
        raise UsageError(
            f"the exact optimum of {arms} arms and {pulls} pulls has more than {MOST_STATES:,} states to go through; take fewer"
            f" arms or pulls, or gittins, which comes close: quickstudy evaluate gittins bandit --arms {arms} --pulls {pulls}"
        )
    layers: list[set[State]] = [{((0, 0),) * arms}]
    for _ in range(pulls - 1):
        layers.append({after for state in layers[-1] for arm in set(state) for after in outcomes(state, arm)})
    value: dict[State, float] = {}
    best: dict[State, Arm] = {}
    for layer in reversed(layers):
        here = {}
        for state in layer:
            worth = {arm: worth_of(state, arm, value) for arm in set(state)}
            best[state] = max(sorted(worth), key=worth.__getitem__)
            here[state] = worth[best[state]]
        value = here
    return Optimum(next(iter(value.values())), best)


def number_of_states(arms: int, pulls: int) -> int:
    """How many states `solve` goes through: the ways to spread fewer than `pulls` pulls over arms that look alike."""
    ways = np.zeros((arms + 1, pulls))  # by how many arms were pulled, and pulls in all
    ways[0, 0] = 1
    for of_one_arm in range(1, pulls):
        for _ in range(of_one_arm + 1):  # as many outcomes as it may have paid
            for pulled in range(arms):
                ways[pulled + 1, of_one_arm:] += ways[pulled, :-of_one_arm]
    return int(ways.sum())


def outcomes(state: State, arm: Arm) -> Iterable[State]:
    """What is known after the arm has paid, and after it has not."""
    rest = list(state)
    rest.remove(arm)
    paid, failed = arm
    for learnt in ((paid + 1, failed), (paid, failed + 1)):
        yield tuple(sorted([*rest, learnt]))


def worth_of(state: State, arm: Arm, value: dict[State, float]) -> float:
    """The expected return of pulling an arm now and the best arms after; `value` is empty at the last pull."""
    chance = (1 + arm[0]) / (2 + sum(arm))
    paid, failed = (value.get(after, 0.0) for after in outcomes(state, arm))
    return chance * (1 + paid) + (1 - chance) * failed


@dataclass(frozen=True)
class OptimalScores:
    """Scores an arm 1 where it is as the best one, and 0 elsewhere."""

    optimum: Optimum

    def __call__(self, record: Record, generator: Generator | None) -> Float[Tensor, "task lane arm"]:
        arms = torch.stack([record.paid, record.pulls - record.paid], -1).long().numpy()
        lanes, index = np.unique(arms.reshape(-1, *arms.shape[-2:]), axis=0, return_inverse=True)
        states = [tuple(sorted(map(tuple, lane))) for lane in lanes.tolist()]
        # after the last pull that was planned for there is nothing left to choose
        best = np.array([self.optimum.best.get(state, state[0]) for state in states])
        chosen = (lanes == best[:, None]).all(-1)
        return torch.from_numpy(chosen[index.reshape(-1)].reshape(arms.shape[:-1])).float()
