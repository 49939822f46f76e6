"""Reproducible results: one function each, with tasks, a learner with settings that work, and how long to train."""

from __future__ import annotations

from typing import NamedTuple

from quickstudy.algorithms import ALGORITHMS
from quickstudy.algorithms.baselines.multi_task import MultiTask
from quickstudy.algorithms.gradient.maml import MAML
from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.families import make
from quickstudy.protocol import Learner


class Recipe(NamedTuple):
    """A learner and the number of meta-iterations after which it has learnt."""

    learner: Learner
    iterations: int


def grid_navigation(seed: int = 0, iterations: int = 300) -> Recipe:
    """RL2 on VariBAD's grid with a hidden goal: it searches in the first episode and walks straight there in the later ones.

    Without the large entropy bonus some seeds settle for a search that misses part of the grid.
    """
    config = RL2.Config(trials=512, learning_rate=2e-3, gamma=0.98, ent_coef=0.05, anneal_iterations=iterations)
    return Recipe(RL2(make("grid-navigation"), config, seed=seed), iterations)


def bandit_10_pulls(arms: int, seed: int = 0) -> Recipe:
    """RL2 on Bernoulli bandits with 10 pulls (Duan et al. 2016, table 1)."""
    config = RL2.Config(trials=1024, learning_rate=3e-3, gamma=1.0, ent_coef=0.01, anneal_iterations=400)
    return Recipe(RL2(make("bandit", arms=arms, pulls=10), config, seed=seed), 400)


def bandit_100_pulls(arms: int, seed: int = 0) -> Recipe:
    """RL2 on Bernoulli bandits with 100 pulls (Duan et al. 2016, table 1).

    The gain of trying an arm shows over the rest of the trial, far below the luck of the pulls: it takes large batches, a
    long horizon, and an entropy bonus that keeps the agent trying until it has learnt when that pays.
    """
    config = RL2.Config(
        trials=1024,
        hidden_size=96,
        learning_rate=3e-3,
        gamma=0.98,
        ent_coef=0.02,
        n_epochs=3,
        minibatches=3,
        anneal_iterations=500,
    )
    return Recipe(RL2(make("bandit", arms=arms, pulls=100), config, seed=seed), 500)


def tabular_mdp(episodes: int, seed: int = 0) -> Recipe:
    """RL2 on random MDPs of 10 states and 5 actions (Duan et al. 2016, table 2).

    Rewards and transitions are noisy: with a larger entropy bonus or a longer horizon nothing is learnt for millions of steps.
    """
    config = RL2.Config(
        trials=10240 // episodes,
        hidden_size=128,
        learning_rate=2e-3,
        gamma=0.95,
        gae_lambda=0.9,
        ent_coef=0.004,
        anneal_iterations=350,
    )
    return Recipe(RL2(make("tabular-mdp", episodes_per_trial=episodes), config, seed=seed), 350)


def frozen_lake(seed: int = 0) -> Recipe:
    """RL2 on lakes whose holes are hidden, 15 episodes a trial (AMAGO's MetaFrozenLake)."""
    config = RL2.Config(trials=256, hidden_size=128, learning_rate=1e-3, gamma=0.99, ent_coef=0.02, anneal_iterations=400)
    return Recipe(RL2(make("frozen-lake"), config, seed=seed), 400)


def cart_pole(seed: int = 0) -> Recipe:
    """RL2 on cart-poles whose buttons may be swapped.

    Credit stops at the episode and looks a hundred steps ahead: over longer spans the advantages drown in noise, and the
    policy settles for balancing the half of the carts whose buttons it guesses.
    """
    config = RL2.Config(trials=256, learning_rate=2e-3, credit="episode", gamma=0.99, ent_coef=0.01)
    return Recipe(RL2(make("cart-pole"), config, seed=seed), 80)


def cart_pole_informed(seed: int = 0) -> Recipe:
    """A memoryless policy on the same cart-poles that is told each cart's parameters: the upper bound."""
    return Recipe(ALGORITHMS["task-informed"].make(make("cart-pole"), seed=seed), 100)


def cart_pole_multi_task(seed: int = 0) -> Recipe:
    """A memoryless policy on the same cart-poles that is told nothing."""
    return Recipe(MultiTask(make("cart-pole"), seed=seed), 100)


def cart_pole_maml(seed: int = 0) -> Recipe:
    """MAML on the same cart-poles, with episodes of at most 200 steps."""
    tasks = make("cart-pole", max_episode_steps=200)
    return Recipe(MAML(tasks, MAML.Config(inner_rate=1.0, max_kl=0.02), seed=seed), 40)


def point_navigation_rl2(seed: int = 0) -> Recipe:
    """RL2 on goals in a square, over trials of four episodes."""
    config = RL2.Config(trials=128, learning_rate=1e-3, gamma=0.95, ent_coef=0.0)
    return Recipe(RL2(make("point-navigation", episodes_per_trial=4), config, seed=seed), 250)


def point_navigation_maml(seed: int = 0) -> Recipe:
    """MAML on the same goals, meta-trained for three inner steps of 20 episodes each."""
    tasks = make("point-navigation", episodes_per_trial=4)
    return Recipe(MAML(tasks, MAML.Config(inner_steps=3), seed=seed), 100)


def point_navigation_informed(seed: int = 0) -> Recipe:
    """A memoryless policy that is told the goal: the upper bound."""
    tasks, config = make("point-navigation", episodes_per_trial=4), MultiTask.Config(gamma=0.95, ent_coef=0.0)
    return Recipe(ALGORITHMS["task-informed"].make(tasks, config, seed=seed), 200)


def point_navigation_multi_task(seed: int = 0) -> Recipe:
    """A memoryless policy that is told nothing: it can do no better than to stay in the middle."""
    tasks, config = make("point-navigation", episodes_per_trial=4), MultiTask.Config(gamma=0.95, ent_coef=0.0)
    return Recipe(MultiTask(tasks, config, seed=seed), 200)
