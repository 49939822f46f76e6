"""Learning from replay: the recurrent actor-critic, and the memoryless one that is fine-tuned on a new task."""

from __future__ import annotations

from quickstudy.algorithms.baselines.multi_task_sac import MultiTaskSAC
from quickstudy.algorithms.memory.recurrent_sac import RecurrentSAC
from quickstudy.families import make
from quickstudy.recipes import Recipe


def frozen_lake_recurrent_sac(seed: int = 0) -> Recipe:
    """Recurrent SAC on lakes whose holes are hidden, over about as many steps as AMAGO's figure.

    Success is rare at first and its worth spread over a long trial: targets that mix in the steps that followed carry it back
    in tens of updates where those of one step take thousands.
    """
    config = RecurrentSAC.Config(
        trials=128,
        updates=8,
        buffer_trials=8192,
        shared_encoder=True,
        hidden_size=96,
        gamma=0.95,
        trace=0.8,
        tau=0.05,
        temperature=0.01,
        entropy_share=0.4,
        anneal_iterations=460,
    )
    return Recipe(RecurrentSAC(make("frozen-lake"), config, seed=seed), 460)


def point_navigation_multi_task_sac(seed: int = 0) -> Recipe:
    """Multi-task SAC on goals in a square, fine-tuned on its own transitions after each episode."""
    config = MultiTaskSAC.Config(updates=24, gamma=0.95)
    return Recipe(MultiTaskSAC(make("point-navigation", episodes_per_trial=4), config, seed=seed), 100)
