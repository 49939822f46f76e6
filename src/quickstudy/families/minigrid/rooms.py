"""MiniGrid's environments as a family: the layout of walls and things is hidden, and the same in all episodes of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.protocol import Splits

LAYOUTS = 2**20
"""Layouts are those of the seeds below this, dealt out to the splits."""


@checked
@dataclass(frozen=True, kw_only=True)
class MiniGrid:
    """MiniGrid: find the way through rooms of which only what lies ahead is seen; their layout is the task."""

    env_id: str = "MiniGrid-DoorKey-5x5-v0"
    """One of MiniGrid's environments, such as MiniGrid-SimpleCrossingS9N1-v0 or BabyAI-GoToObj-v0."""
    max_episode_steps: int = 100
    """Steps of an episode; MiniGrid's reward is 1 less 0.9 of the share of them that were taken."""
    episodes_per_trial: int = 3
    """Episodes of a trial, in the same layout, from the same place."""
    workers: int = 0
    """Processes that step the lanes side by side, with the same bits; 0 steps them in this one."""

    parameters: ClassVar[Mapping[str, str]] = {"layout": f"one of {LAYOUTS:,} seeds"}
    splits: ClassVar[Splits] = "partitioned"

    def __post_init__(self) -> None:
        require_at_least(1, "minigrid", self, "max_episode_steps", "episodes_per_trial")
        require_at_least(0, "minigrid", self, "workers")
