"""Trials that a page looks at closely: the first ones of an evaluation, lived once more by its own loop, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from quickstudy.data.filming import Studio
from quickstudy.data.rollout import Lifetime, collect_lives, draw_tasks
from quickstudy.evaluation import shards_of
from quickstudy.insight import Trial
from quickstudy.protocol import Agent, Experience, Policy, Split, Tasks
from quickstudy.scene import Drawn, Picture, Scene
from quickstudy.tasks.encoded import Encoded
from quickstudy.tasks.entries import as_rows
from quickstudy.tasks.informed import Informed
from quickstudy.tasks.repeated import Repeated
from quickstudy.tasks.shifted import Shifted
from quickstudy.tasks.without import Without
from quickstudy.work import LocalSite, run_unit, threads

SHOWN = 6
"""Tasks that are looked at one by one."""


class Lived(NamedTuple):
    """A trial on each task of an evaluation's first batch."""

    agent: Agent
    tasks: Tasks
    shown: list[int]
    """The tasks that are looked at one by one: the first ones that differ."""
    policies: Sequence[Policy]
    """With which each episode was lived, and at the end what they led to."""
    episodes: Sequence[Experience]
    scenes: list[list[list[Scene]]]
    """By shown task and episode, in the first lane: its start and what each step led to. Empty where there are none."""

    @property
    def trial(self) -> Trial:
        """What agents are asked about."""
        return Trial(self.policies, self.episodes)


def live_trials(
    agent: Agent,
    *,
    batch: int,
    episodes: int | None = None,
    num_tasks: int = 100,
    split: Split = "test",
    seed: int = 0,
    greedy: bool = False,
) -> Lived:
    """Lives the first `batch` tasks of the evaluation that has the same arguments."""
    shard = shards_of(num_tasks, batch, split, seed)[0]
    site = LocalSite(agent.tasks, agent.device)
    tasks = draw_tasks(site, shard)
    shown = first_different(tasks, shard.tasks)
    policies = [agent.explorer()]

    def adapt(policy: Policy, experience: Experience) -> Policy:
        policies.append(agent.adapt(policy, experience))
        return policies[-1]

    life = Lifetime(policies[0], adapt, agent.lanes, episodes or agent.tasks.episodes_per_trial, greedy)
    studio = Studio(site, shown if has_scenes(agent.tasks) else [], as_scene)
    try:
        with threads(1), torch.no_grad():
            lived = run_unit(collect_lives, studio, life, shard)
            adapt(policies[-1], lived[-1])
    finally:
        site.close()
    return Lived(agent, tasks, shown, policies, lived, studio.films)


def first_different(tasks: Tasks, count: int) -> list[int]:
    """The numbers of the first tasks that no earlier one equals, at most `SHOWN`."""
    first: dict[tuple[float, ...], int] = {}
    for index, row in enumerate(as_rows(tasks, count)[1]):
        first.setdefault(tuple(row), index)
    return list(first.values())[:SHOWN]


def has_scenes(tasks: Any) -> bool:
    """Whether tasks are drawn as shapes; those of simulators that draw themselves are images, if anything."""
    return isinstance(dynamics_of(tasks), Drawn) or getattr(untold(tasks), "drawn_as_seen", False)


def dynamics_of(tasks: Any) -> Any:
    """What makes the tasks, where they are torch-native."""
    return getattr(untold(tasks), "dynamics", None)


def untold(tasks: Any) -> Any:
    """The tasks themselves, which are shown otherwise (told, encoded, shifted, without some senses), or repeated."""
    while isinstance(tasks, Informed | Encoded | Repeated | Shifted | Without):
        tasks = tasks.tasks
    return tasks


def as_scene(picture: Picture | None) -> Scene:
    """What is drawn of tasks that have scenes."""
    assert isinstance(picture, Scene)
    return picture
