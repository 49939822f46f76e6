"""Reproducible results: one function each, with tasks, a learner with settings that work, and how long to train."""

from __future__ import annotations

from typing import NamedTuple

from quickstudy.algorithms import ALGORITHMS
from quickstudy.algorithms.rl2 import RL2
from quickstudy.protocol import Learner
from quickstudy.tasks import make


class Recipe(NamedTuple):
    """A learner and the number of meta-iterations after which it has learnt."""

    learner: Learner
    iterations: int


def grid_navigation(seed: int = 0) -> Recipe:
    """RL2 on VariBAD's grid with a hidden goal: it searches in the first episode and walks straight there in the later ones."""
    config = RL2.Config(trials=256, learning_rate=1e-3)
    return Recipe(RL2(make("grid-navigation"), config, seed=seed), 300)


def bandit_10(seed: int = 0) -> Recipe:
    """RL2 on Bernoulli bandits with 5 arms and 10 pulls (Duan et al. 2016, table 1: 6.7; the exact optimum is 6.66)."""
    config = RL2.Config(trials=512, learning_rate=3e-3, gamma=1.0)
    return Recipe(RL2(make("bandit", arms=5, pulls=10), config, seed=seed), 300)


def bandit_100(seed: int = 0) -> Recipe:
    """RL2 on Bernoulli bandits with 5 arms and 100 pulls (Duan et al. 2016, table 1: 78.7; Gittins index 78.3).

    With no discount the credit of one pull drowns in the luck of the ninety after it, and nothing is learnt for long.
    """
    config = RL2.Config(trials=256, learning_rate=3e-3, gamma=0.9, gae_lambda=0.9)
    return Recipe(RL2(make("bandit", arms=5, pulls=100), config, seed=seed), 200)


def cart_pole(seed: int = 0) -> Recipe:
    """RL2 on cart-poles whose buttons may be swapped.

    Credit stops at the episode and looks a hundred steps ahead: over longer spans the advantages drown in noise, and the
    policy settles for balancing the half of the carts whose buttons it guesses.
    """
    config = RL2.Config(trials=256, learning_rate=2e-3, credit="episode", gamma=0.99, gae_lambda=0.95)
    return Recipe(RL2(make("cart-pole"), config, seed=seed), 80)


def cart_pole_informed(seed: int = 0) -> Recipe:
    """A memoryless policy on the same cart-poles that is told each cart's parameters: the upper bound."""
    return Recipe(ALGORITHMS["task-informed"].make(make("cart-pole"), seed=seed), 100)


def cart_pole_multi_task(seed: int = 0) -> Recipe:
    """A memoryless policy on the same cart-poles that is told nothing."""
    return Recipe(ALGORITHMS["multi-task"].make(make("cart-pole"), seed=seed), 100)
