"""Trials of members on training tasks, from which a library learns before it acts."""

from __future__ import annotations

from contextlib import closing

from quickstudy.data.rollout import Lifetime, collect_lives
from quickstudy.protocol import Agent, Experience, Shard, TaskDistribution
from quickstudy.work import LocalSite


def trials_on(agent: Agent, tasks: TaskDistribution, num_tasks: int, seed: int) -> list[Experience]:
    """An agent's trial on each of so many training tasks, in all its lanes, an experience an episode."""
    life = Lifetime(agent.explorer(), agent.adapt, agent.lanes, tasks.episodes_per_trial)
    with closing(LocalSite(tasks, agent.device)) as site:
        return collect_lives(site, life, Shard(seed, 0, 0, num_tasks, "train"))
