"""VariBAD's reproducible results."""

from __future__ import annotations

from quickstudy.algorithms.belief.varibad import VariBAD
from quickstudy.families import make
from quickstudy.recipes import Recipe


def grid_navigation_varibad(seed: int = 0, iterations: int = 240) -> Recipe:
    """VariBAD on its own grid with a hidden goal: a set of cells to hold in mind takes a larger latent than a goal does.

    With half the passes and a smaller entropy bonus some policies never go back to cells of which their belief is sure.
    """
    config = VariBAD.Config(
        trials=512,
        learning_rate=2e-3,
        gamma=0.98,
        n_epochs=8,
        ent_coef=0.08,
        anneal_iterations=iterations,
        belief_rate=1e-2,
        belief_updates=4,
        early_iterations=30,
        belief_batch=128,
        reward_loss="bernoulli",
        reward_reads="arrival",
    )
    return Recipe(VariBAD(make("grid-navigation"), config, seed=seed), iterations)


def sparse_navigation_varibad(seed: int = 0) -> Recipe:
    """VariBAD with HyperX's bonuses on a half-circle of goals that pay only near them: 599,040 steps."""
    tasks = make("point-navigation", layout="half-circle", payoff="sparse", max_episode_steps=20, episodes_per_trial=6)
    config = VariBAD.Config(
        trials=64,
        learning_rate=2e-3,
        ent_coef=0.005,
        anneal_iterations=78,
        belief_rate=3e-3,
        belief_updates=3,
        belief_batch=32,
        reward_reads="arrival",
        novelty_weight=3.0,
        error_weight=1.0,
        bonus_iterations=60,
    )
    return Recipe(VariBAD(tasks, config, seed=seed), 78)
