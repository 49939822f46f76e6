"""Strategies for bandits: each gives every arm a score from what it has paid, and the arm with the highest is pulled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional

from quickstudy.protocol import Act, Memory, Percept, has_past

Payoff = Literal["bernoulli", "gaussian"]


class Record(NamedTuple):
    """What is known of the arms."""

    pulls: Float[Tensor, "task lane arm"]
    paid: Float[Tensor, "task lane arm"]
    """The sum of what each arm has paid."""


Scores = Callable[[Record, Generator | None], Float[Tensor, "task lane arm"]]


@dataclass(frozen=True)
class IndexPolicy:
    """Pulls the arm with the highest score, one of them at random where several share it (the first, without a generator)."""

    arms: int
    scores: Scores
    device: str = "cpu"

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        blank = torch.zeros(tasks, lanes, self.arms, device=self.device)
        return {"pulls": blank, "paid": blank}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        pulled = functional.one_hot(percept.action, self.arms) * has_past(percept)[..., None]
        record = Record(memory["pulls"] + pulled, memory["paid"] + pulled * percept.reward[..., None])
        scores = self.scores(record, generator)
        best = scores == scores.amax(-1, keepdim=True)
        luck = torch.ones_like(scores) if generator is None else torch.rand(scores.shape, generator=generator) + 1e-9
        return Act((best * luck).argmax(-1), None, {}), record._asdict()


def posterior_mean(record: Record, payoff: Payoff) -> Float[Tensor, "task lane arm"]:
    """The expected payoff of each arm: Beta(1, 1) prior for Bernoulli arms, N(0, 1) for Gaussian ones with noise N(0, 1)."""
    if payoff == "bernoulli":
        return (1 + record.paid) / (2 + record.pulls)
    return record.paid / (1 + record.pulls)


def greedy(payoff: Payoff) -> Scores:
    """The arm that looks best now."""
    return lambda record, generator: posterior_mean(record, payoff)


def epsilon_greedy(payoff: Payoff, epsilon: float) -> Scores:
    """The arm that looks best now, or with chance `epsilon` any arm."""

    def scores(record: Record, generator: Generator | None) -> Tensor:
        mean = posterior_mean(record, payoff)
        if generator is None:
            return mean
        stray = torch.rand(mean.shape[:-1], generator=generator)[..., None] < epsilon
        return torch.where(stray, torch.zeros_like(mean), mean)

    return scores


def thompson(payoff: Payoff) -> Scores:
    """A draw from the posterior of each arm's mean (Thompson 1933); without a generator the mean itself."""

    def scores(record: Record, generator: Generator | None) -> Tensor:
        if generator is None:
            return posterior_mean(record, payoff)
        if payoff == "gaussian":
            noise = torch.randn(record.pulls.shape, generator=generator)
            return posterior_mean(record, payoff) + noise / (1 + record.pulls).sqrt()
        draws = numpy_generator(generator).beta(1 + record.paid.numpy(), 1 + (record.pulls - record.paid).numpy())
        return torch.from_numpy(draws)

    return scores


def ucb1(exploration: float) -> Scores:
    """Mean payoff plus `exploration` times sqrt(2 ln t / pulls) (Auer et al. 2002, fig. 1, where it is 1).

    As in Duan et al. 2016, each arm starts as if it had paid once and failed once.
    """

    def scores(record: Record, generator: Generator | None) -> Tensor:
        pulls, paid = record.pulls + 2, record.paid + 1
        return paid / pulls + exploration * (2 * pulls.sum(-1, keepdim=True).log() / pulls).sqrt()

    return scores


def gittins(gamma: float, pulls: int) -> Scores:
    """The Gittins index of each arm, for the discount `gamma`: optimal where payoffs are discounted and pulls never end."""
    table = torch.from_numpy(gittins_indices(gamma, pulls))
    return lambda record, generator: table[record.paid.long(), (record.pulls - record.paid).long()]


def gittins_indices(gamma: float, pulls: int, levels: int = 400) -> np.ndarray:
    """The Gittins index of a Bernoulli arm that has paid a times and failed b times, for a + b <= pulls: an array [a, b].

    By calibration (Gittins 1979): the sure payoff for which one would as soon stop pulling the arm as go on. Where the two
    are worth the same is found by interpolating between `levels` sure payoffs; pulls beyond `pulls` + 15 / (1 - gamma) are
    taken to pay the mean of then for ever.
    """
    horizon = pulls + math.ceil(15 / (1 - gamma))
    sure = np.linspace(0, 1, levels + 1)
    stop = sure / (1 - gamma)
    paid = np.arange(horizon + 1)[:, None]
    value = np.maximum(stop, (1 + paid) / (2 + horizon) / (1 - gamma))
    indices = np.zeros((pulls + 1, pulls + 1))
    for total in range(horizon - 1, -1, -1):
        mean = ((1 + np.arange(total + 1)) / (2 + total))[:, None]
        go_on = mean * (1 + gamma * value[1:]) + (1 - mean) * gamma * value[:-1]
        value = np.maximum(stop, go_on)
        if total <= pulls:
            gain = go_on - stop
            last = (gain > 0).sum(1) - 1
            rows = np.arange(total + 1)
            here, beyond = gain[rows, last], gain[rows, last + 1]
            indices[rows, total - rows] = sure[last] + here / (here - beyond) / levels
    return indices


def numpy_generator(generator: Generator) -> np.random.Generator:
    """A NumPy generator that goes on from a PyTorch one, for distributions that PyTorch can't draw from a generator."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


@dataclass(frozen=True)
class InformedPolicy:
    """Pulls the arm whose mean payoff, which the observation tells, is highest (see `Informed`)."""

    arms: int

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        return Act(percept.observation[..., -self.arms :].argmax(-1), None, {}), memory
