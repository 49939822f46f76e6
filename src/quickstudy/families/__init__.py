"""Task families by name: one closed table with a line each, which imports nothing of a family until that is asked for.

A stored run can name only what stands here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from quickstudy.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from quickstudy.families.making import describe as describe
    from quickstudy.families.making import make as make


class Simulator(NamedTuple):
    """What steps families."""

    tasks: str
    """module:class of the task distribution that is made of a family's options."""
    extra: str | None = None
    """The optional extra that it needs."""


NATIVE = Simulator("tasks.native:NativeTasks")
MUJOCO = Simulator("tasks.mujoco.env:MujocoTasks", extra="mujoco")
METAWORLD = Simulator("families.metaworld.tasks:MetaWorldTasks", extra="metaworld")
MINIGRID = Simulator("families.minigrid.tasks:MiniGridTasks", extra="minigrid")


class Entry(NamedTuple):
    """What the registry knows of a family."""

    place: str
    """module:class, within this folder, of the frozen dataclass that holds the family's options and dynamics."""
    simulator: Simulator
    drawn: bool = True
    """Whether there are pictures of it."""

    @property
    def options(self) -> type[Any]:
        """The class at that place, whose docstring begins with what the task is, in a sentence."""
        return found(f"families.{self.place}")


FAMILIES = {
    "bandit": Entry("classic.bandit:Bandit", NATIVE, drawn=False),
    "tabular-mdp": Entry("classic.tabular_mdp:TabularMDP", NATIVE, drawn=False),
    "grid-navigation": Entry("classic.grid_navigation:GridNavigation", NATIVE),
    "key-door": Entry("classic.key_door:KeyDoor", NATIVE),
    "mission": Entry("classic.mission:Mission", NATIVE),
    "frozen-lake": Entry("classic.frozen_lake:FrozenLake", NATIVE),
    "point-navigation": Entry("classic.point_navigation:PointNavigation", NATIVE),
    "cart-pole": Entry("classic.cart_pole:CartPole", NATIVE),
    "mountain-car": Entry("classic.mountain_car:MountainCar", NATIVE),
    "mountain-car-continuous": Entry("classic.mountain_car:MountainCarContinuous", NATIVE),
    "pendulum": Entry("classic.pendulum:Pendulum", NATIVE),
    "poker": Entry("games.poker:Poker", NATIVE),
    "traffic-signal": Entry("traffic.signal:TrafficSignal", NATIVE),
    "glucose": Entry("health.glucose:Glucose", NATIVE),
    "half-cheetah-velocity": Entry("mujoco.robots:HalfCheetahVelocity", MUJOCO),
    "half-cheetah-direction": Entry("mujoco.robots:HalfCheetahDirection", MUJOCO),
    "half-cheetah-crippled": Entry("mujoco.robots:HalfCheetahCrippled", MUJOCO),
    "ant-direction": Entry("mujoco.robots:AntDirection", MUJOCO),
    "ant-goal": Entry("mujoco.robots:AntGoal", MUJOCO),
    "humanoid-direction": Entry("mujoco.robots:HumanoidDirection", MUJOCO),
    "hopper-parameters": Entry("mujoco.robots:HopperParameters", MUJOCO),
    "walker-parameters": Entry("mujoco.robots:WalkerParameters", MUJOCO),
    "metaworld-ml1": Entry("metaworld.benchmarks:ML1", METAWORLD),
    "metaworld-ml10": Entry("metaworld.benchmarks:ML10", METAWORLD),
    "metaworld-ml45": Entry("metaworld.benchmarks:ML45", METAWORLD),
    "minigrid": Entry("minigrid.rooms:MiniGrid", MINIGRID),
}
"""Each registered name with what is known of it."""


def family(name: str) -> type[Any]:
    """The options of a registered family; UsageError for an unknown name."""
    if name not in FAMILIES:
        raise UsageError(f"unknown tasks '{name}'; {did_you_mean(name, FAMILIES)}")
    return FAMILIES[name].options


def drawn_families() -> list[str]:
    """The registered names of those that can be drawn."""
    return [name for name, entry in FAMILIES.items() if entry.drawn]


def found(place: str) -> Any:
    """What stands at a module:name of quickstudy."""
    module, name = place.split(":")
    return getattr(import_module(f"quickstudy.{module}"), name)


def __dir__() -> list[str]:
    return ["FAMILIES", "describe", "drawn_families", "family", "make"]


def __getattr__(name: str) -> Any:
    # what they stand in imports PyTorch, so it is imported when one of them is first asked for
    if name not in ("describe", "make"):
        raise AttributeError(f"module 'quickstudy.families' has no attribute '{name}'")
    return found(f"families.making:{name}")
