"""Robots: half-cheetahs that learn to adapt to a direction or a speed within some ten million steps, and an arm that reaches.

All see normalised observations. An entropy bonus would keep the deviation of continuous actions from falling, so there is none.
"""

from __future__ import annotations

from typing import Literal

from quickstudy.algorithms import ALGORITHMS
from quickstudy.algorithms.baselines.multi_task import MultiTask
from quickstudy.algorithms.gradient.maml import MAML
from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.families import make
from quickstudy.protocol import Learner, TaskDistribution
from quickstudy.recipes import Recipe
from quickstudy.wrappers.normalised import Normalisation, Normalised

Hidden = Literal["direction", "velocity"]
"""What the task hides."""


def half_cheetah(hidden: Hidden) -> TaskDistribution:
    """Episodes of 100 steps for directions, as RLlib's MAML had, of 200 for speeds up to 3 m/s, as in PEARL."""
    if hidden == "direction":
        return make("half-cheetah-direction", max_episode_steps=100)
    return make("half-cheetah-velocity")


def half_cheetah_rl2(hidden: Hidden, seed: int = 0) -> Recipe:
    """RL2 on 25,600 steps a meta-iteration."""
    tasks = half_cheetah(hidden)
    trials = 25_600 // (tasks.episodes_per_trial * tasks.max_episode_steps)
    config = RL2.Config(trials=trials, hidden_size=128, learning_rate=1e-3, gamma=0.99, ent_coef=0.0)
    return scaled(RL2(tasks, config, seed=seed), 360)


def half_cheetah_maml(hidden: Hidden, seed: int = 0) -> Recipe:
    """MAML with 20 tasks of 20 lanes, on about as many steps; four times TRPO's usual step learns some four times as fast."""
    config = MAML.Config(max_kl=0.04, gae_lambda=0.97)
    return scaled(MAML(half_cheetah(hidden), config, seed=seed), 120 if hidden == "direction" else 60)


def meta_world_reach(seed: int = 0) -> Recipe:
    """RL2 on Meta-World's ML1, reaching for a hidden place, in trials of three episodes of 60 steps."""
    tasks = make("metaworld-ml1", max_episode_steps=60, episodes_per_trial=3)
    config = RL2.Config(trials=64, learning_rate=2e-3, gamma=0.98, ent_coef=0.0, anneal_iterations=180)
    return scaled(RL2(tasks, config, seed=seed), 180)


def half_cheetah_informed(hidden: Hidden, seed: int = 0) -> Recipe:
    """A memoryless policy that is told the task: the upper bound."""
    return scaled(ALGORITHMS["task-informed"].make(half_cheetah(hidden), memoryless(hidden), seed=seed), 360)


def half_cheetah_multi_task(hidden: Hidden, seed: int = 0) -> Recipe:
    """A memoryless policy that is told nothing."""
    return scaled(MultiTask(half_cheetah(hidden), memoryless(hidden), seed=seed), 360)


def memoryless(hidden: Hidden) -> MultiTask.Config:
    """PPO on as many steps a meta-iteration as RL2's."""
    return MultiTask.Config(n_envs=25_600 // half_cheetah(hidden).max_episode_steps, ent_coef=0.0)


def scaled(learner: Learner, iterations: int) -> Recipe:
    """The learner on normalised observations."""
    return Recipe(Normalised(learner, Normalisation(normalise_observation=True)), iterations)
