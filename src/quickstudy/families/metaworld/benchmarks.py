"""Meta-World's benchmarks of meta-learning with a robot arm: their environments, and the seeds of their goals.

Goals and protocol are those of Yu et al. 2019 and of the maintained package (McLean et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.families.metaworld.tasks import Benchmark, package
from quickstudy.protocol import Split, Splits


@checked
@dataclass(frozen=True, kw_only=True)
class ML1:
    """Meta-World's ML1: a robot arm in one environment, where the goal is hidden anew in each trial."""

    environment: str = "reach-v3"
    """One of Meta-World's fifty environments, such as push-v3 or pick-place-v3."""
    goals_seed: int = 0
    """Seed of the goals: they are those of metaworld.ML1(environment, seed)."""
    max_episode_steps: int = 500
    """Steps of an episode, 12.5 milliseconds each; the benchmark has 500."""
    episodes_per_trial: int = 10
    """Episodes of a trial, with the same goal; the benchmark adapts on 10."""
    workers: int = 0
    """Processes that step the lanes side by side, with the same bits; 0 steps them in this one."""

    parameters: ClassVar[Mapping[str, str]] = {"goal": "one of 50 in each split"}
    splits: ClassVar[Splits] = "partitioned"

    def __post_init__(self) -> None:
        require_valid("metaworld-ml1", self)

    def environments(self, split: Split) -> list[str]:
        return [self.environment]

    def seed_of(self, split: Split) -> int:
        return self.goals_seed + {"train": 0, "test": 1}.get(split, 2)


@checked
@dataclass(frozen=True, kw_only=True)
class ML10:
    """Meta-World's ML10: a robot arm in ten environments with hidden goals, tested in five others."""

    goals_seed: int = 0
    """Seed of the goals: they are those of metaworld.ML10(seed)."""
    max_episode_steps: int = 500
    """Steps of an episode, 12.5 milliseconds each; the benchmark has 500."""
    episodes_per_trial: int = 10
    """Episodes of a trial, in the same environment with the same goal; the benchmark adapts on 10."""
    workers: int = 0
    """Processes that step the lanes side by side, with the same bits; 0 steps them in this one."""

    parameters: ClassVar[Mapping[str, str]] = {"goal": "one of 50 in each of 10 environments, in 5 others for tests"}
    splits: ClassVar[Splits] = "partitioned"

    def __post_init__(self) -> None:
        require_valid("metaworld-ml10", self)

    def environments(self, split: Split) -> list[str]:
        return list(package().env_dict.ML10_V3["test" if split == "test" else "train"])

    def seed_of(self, split: Split) -> int:
        return self.goals_seed + (2 if split == "validation" else 0)


@checked
@dataclass(frozen=True, kw_only=True)
class ML45:
    """Meta-World's ML45: a robot arm in forty-five environments with hidden goals, tested in five others."""

    goals_seed: int = 0
    """Seed of the goals: they are those of metaworld.ML45(seed)."""
    max_episode_steps: int = 500
    """Steps of an episode, 12.5 milliseconds each; the benchmark has 500."""
    episodes_per_trial: int = 10
    """Episodes of a trial, in the same environment with the same goal; the benchmark adapts on 10."""
    workers: int = 0
    """Processes that step the lanes side by side, with the same bits; 0 steps them in this one."""

    parameters: ClassVar[Mapping[str, str]] = {"goal": "one of 50 in each of 45 environments, in 5 others for tests"}
    splits: ClassVar[Splits] = "partitioned"

    def __post_init__(self) -> None:
        require_valid("metaworld-ml45", self)

    def environments(self, split: Split) -> list[str]:
        return list(package().env_dict.ML45_V3["test" if split == "test" else "train"])

    def seed_of(self, split: Split) -> int:
        return self.goals_seed + (2 if split == "validation" else 0)


def require_valid(name: str, options: Benchmark) -> None:
    """Raises UsageError for an option that no benchmark can have."""
    require_at_least(1, name, options, "max_episode_steps", "episodes_per_trial")
    require_at_least(0, name, options, "goals_seed", "workers")
