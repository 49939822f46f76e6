"""PEARL: goals in a square, goals that only pay nearby, and half-cheetahs on a fiftieth of the steps that others take."""

from __future__ import annotations

from quickstudy.algorithms.pearl import PEARL
from quickstudy.recipes import Recipe
from quickstudy.tasks import make


def point_navigation_pearl(seed: int = 0) -> Recipe:
    """PEARL on goals in a square, in trials of four episodes of 20 steps.

    The weight of the KL is small: what a belief says of the goal is worth little of a return, and a larger one rubs it out.
    """
    config = PEARL.Config(
        num_train_tasks=200, trials=20, updates=50, batch_size=64, context_size=80, kl_weight=0.01, gamma=0.95
    )
    return Recipe(PEARL(make("point-navigation", max_episode_steps=20, episodes_per_trial=4), config, seed=seed), 150)
