"""PEARL on goals in a square, on goals that pay only nearby, and on half-cheetahs; beside it RL2 and MAML on as many steps."""

from __future__ import annotations

from dataclasses import replace

from quickstudy.algorithms.belief.pearl import PEARL
from quickstudy.algorithms.gradient.maml import MAML
from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.families import make
from quickstudy.protocol import TaskDistribution
from quickstudy.recipes import Recipe
from quickstudy.recipes.robots import half_cheetah, scaled

IN_THE_PLANE = PEARL.Config(
    updates=100,
    meta_batch_size=64,
    batch_size=16,
    context_size=40,
    hidden_size=64,
    learning_rate=3e-3,
    gamma=0.8,
    tau=0.02,
    temperature=0.01,
)
"""What does for a point in the plane, where a step nearer pays at once."""


def point_navigation_pearl(seed: int = 0) -> Recipe:
    """PEARL on goals in a square, in trials of four episodes of 20 steps.

    Many tasks in an update, with few transitions of each, teach the encoder faster than few with many. The weight of the KL is
    small, since rewards are: what a belief says of the goal is worth little of a squared return.
    """
    config = replace(IN_THE_PLANE, num_train_tasks=200, kl_weight=0.0005)
    return Recipe(PEARL(make("point-navigation", max_episode_steps=20, episodes_per_trial=4), config, seed=seed), 80)


def sparse_navigation() -> TaskDistribution:
    """Goals on a half-circle that pay only nearby, in trials of six episodes of 20 steps (Rakelly et al. 2019, sec. 6.3)."""
    return make("point-navigation", layout="half-circle", payoff="sparse", max_episode_steps=20, episodes_per_trial=6)


def sparse_navigation_pearl(seed: int = 0) -> Recipe:
    """PEARL on 600,000 steps; policy and critics are trained on the dense reward, as in the paper, which it alone may do."""
    config = replace(IN_THE_PLANE, trials=50, kl_weight=0.001, dense_training=True)
    return Recipe(PEARL(sparse_navigation(), config, seed=seed), 100)


def sparse_navigation_rl2(seed: int = 0) -> Recipe:
    """RL2 on 600,000 steps."""
    config = RL2.Config(trials=50, learning_rate=1e-3, gamma=0.98, ent_coef=0.0)
    return Recipe(RL2(sparse_navigation(), config, seed=seed), 100)


def sparse_navigation_maml(seed: int = 0) -> Recipe:
    """MAML on 608,000 steps, meta-trained for one inner step of 20 episodes."""
    return Recipe(MAML(sparse_navigation(), MAML.Config(), seed=seed), 38)


def half_cheetah_velocity_pearl(seed: int = 0) -> Recipe:
    """PEARL on 200,000 steps of half-cheetahs."""
    config = PEARL.Config(
        num_train_tasks=20, trials=10, updates=150, batch_size=64, context_size=64, gamma=0.97, tau=0.01, kl_weight=0.1
    )
    return Recipe(PEARL(half_cheetah("velocity"), config, seed=seed), 50)


def half_cheetah_velocity_rl2(seed: int = 0) -> Recipe:
    """RL2 on 198,400 steps, in smaller batches than it has over millions."""
    config = RL2.Config(trials=16, hidden_size=128, learning_rate=1e-3, gamma=0.99, ent_coef=0.0)
    return scaled(RL2(half_cheetah("velocity"), config, seed=seed), 31)


def half_cheetah_velocity_maml(seed: int = 0) -> Recipe:
    """MAML on 200,000 steps, in smaller batches than it has over millions."""
    config = MAML.Config(meta_batch_size=10, lanes=5, max_kl=0.04, gae_lambda=0.97)
    return scaled(MAML(half_cheetah("velocity"), config, seed=seed), 10)
