"""Task families by name. The registry is closed: a stored run can name only what stands here."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from quickstudy.arguments import checked
from quickstudy.errors import UsageError, did_you_mean
from quickstudy.families.classic.bandit import Bandit
from quickstudy.families.classic.cart_pole import CartPole
from quickstudy.families.classic.frozen_lake import FrozenLake
from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.families.classic.mountain_car import MountainCar
from quickstudy.families.classic.pendulum import Pendulum
from quickstudy.families.classic.point_navigation import PointNavigation
from quickstudy.families.classic.tabular_mdp import TabularMDP
from quickstudy.families.metaworld.benchmarks import ML1, ML10, ML45, Benchmark, MetaWorldTasks
from quickstudy.families.mujoco.robots import (
    AntDirection,
    AntGoal,
    HalfCheetahDirection,
    HalfCheetahVelocity,
    HopperParameters,
    HumanoidDirection,
    WalkerParameters,
)
from quickstudy.protocol import TaskDistribution
from quickstudy.scene import Drawn
from quickstudy.tasks.informed import Informed
from quickstudy.tasks.mujoco.env import MujocoTasks
from quickstudy.tasks.mujoco.family import Family
from quickstudy.tasks.native import NativeTasks

FAMILIES: dict[str, type[Any]] = {
    "bandit": Bandit,
    "tabular-mdp": TabularMDP,
    "grid-navigation": GridNavigation,
    "frozen-lake": FrozenLake,
    "point-navigation": PointNavigation,
    "cart-pole": CartPole,
    "mountain-car": MountainCar,
    "pendulum": Pendulum,
    "half-cheetah-velocity": HalfCheetahVelocity,
    "half-cheetah-direction": HalfCheetahDirection,
    "ant-direction": AntDirection,
    "ant-goal": AntGoal,
    "humanoid-direction": HumanoidDirection,
    "hopper-parameters": HopperParameters,
    "walker-parameters": WalkerParameters,
    "metaworld-ml1": ML1,
    "metaworld-ml10": ML10,
    "metaworld-ml45": ML45,
}
"""Each registered name with the frozen dataclass that holds the family's options and dynamics."""


def family(name: str) -> type[Any]:
    """The options of a registered family; UsageError for an unknown name."""
    if name not in FAMILIES:
        raise UsageError(f"unknown tasks '{name}'; {did_you_mean(name, FAMILIES)}")
    return FAMILIES[name]


@checked
def make(name: str, **options: Any) -> NativeTasks | MujocoTasks | MetaWorldTasks:
    """A task distribution by name, with the family's options; UsageError for an unknown name or option, or a missing extra."""
    options_of = family(name)
    known = [field.name for field in fields(options_of)]
    for key in options:
        if key not in known:
            raise UsageError(f"{name} has no option '{key}'; {did_you_mean(key, known)}")
    dynamics = options_of(**options)
    if isinstance(dynamics, Benchmark):
        return MetaWorldTasks(dynamics)
    return MujocoTasks(dynamics) if isinstance(dynamics, Family) else NativeTasks(dynamics)


def drawn_families() -> list[str]:
    """The registered names of those that can be drawn."""
    return [name for name, options in FAMILIES.items() if isinstance(options(), Drawn | Family | Benchmark)]


def describe(tasks: TaskDistribution) -> tuple[str, dict[str, Any]] | None:
    """The registered name and options that `make` would build these tasks from; None for tasks of one's own.

    Tasks that are told are described by what they tell of.
    """
    if isinstance(tasks, Informed):
        return describe(tasks.tasks)
    if isinstance(tasks, NativeTasks | MujocoTasks | MetaWorldTasks):
        for name, options in FAMILIES.items():
            if type(tasks.dynamics) is options:
                return name, asdict(tasks.dynamics)  # pyright: ignore[reportArgumentType]
    return None
