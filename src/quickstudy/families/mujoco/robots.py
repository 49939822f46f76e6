"""Families of robot tasks, with the definitions and ranges of MAML (Finn et al. 2017) and PEARL (Rakelly et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.protocol import Tasks
from quickstudy.tasks.changes import with_change
from quickstudy.tasks.mujoco.bodies import ANT, HALF_CHEETAH, HOPPER, HUMANOID, WALKER
from quickstudy.tasks.mujoco.family import Mark, Motion
from quickstudy.tasks.parameters import Choice, LogUniform, Parameter, Uniform


def direction_mark(angle: float) -> Mark:
    """The arrow at an angle."""
    return Mark("direction", (math.cos(angle), math.sin(angle)))


def effort(action: Float[Tensor, "*lead actuator"]) -> Float[Tensor, "*lead"]:
    """The sum of squared actions."""
    return action.square().sum(-1)


def towards(angle: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead 2"]:
    """The unit vector at an angle."""
    return torch.stack([angle.cos(), angle.sin()], -1)


def speed_towards(angle: Float[Tensor, "*#lead"], motion: Motion) -> Float[Tensor, "*lead"]:
    """The part of the velocity that goes at an angle."""
    return (motion.velocity * towards(angle)).sum(-1)


@checked
@dataclass(frozen=True, kw_only=True)
class HalfCheetahVelocity:
    """Run at a speed that is hidden anew in each trial: the reward is minus the distance to it, less 0.05 of the effort."""

    max_speed: float = 3.0
    """Speeds are uniform up to this, in metres a second; 3 in PEARL and VariBAD, 2 in MAML."""
    max_episode_steps: int = 200
    """Steps of an episode, a twentieth of a second each."""
    episodes_per_trial: int = 2
    """Episodes of a trial, at the same speed."""

    body = HALF_CHEETAH

    def __post_init__(self) -> None:
        require_at_least(1, "half-cheetah-velocity", self, "max_episode_steps", "episodes_per_trial")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"speed": Uniform(0.0, self.max_speed)}

    def reward(self, motion: Motion, action: Tensor, task: Tasks) -> Tensor:
        return -(motion.velocity[..., 0] - task["speed"]).abs() - 0.05 * effort(action)

    def marks(self, task: Tasks, seconds: float) -> tuple[Mark, ...]:
        return (Mark("pacer", (float(task["speed"]) * seconds, 0.0)),)


@checked
@dataclass(frozen=True, kw_only=True)
class HalfCheetahDirection:
    """Run forward or backward, which way is hidden in each trial: the reward is the speed that way, less 0.05 of the effort."""

    max_episode_steps: int = 200
    """Steps of an episode, a twentieth of a second each; 100 or 200 in the papers."""
    episodes_per_trial: int = 2
    """Episodes of a trial, in the same direction."""

    body = HALF_CHEETAH

    def __post_init__(self) -> None:
        require_at_least(1, "half-cheetah-direction", self, "max_episode_steps", "episodes_per_trial")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"direction": Choice(-1.0, 1.0)}

    def reward(self, motion: Motion, action: Tensor, task: Tasks) -> Tensor:
        return task["direction"] * motion.velocity[..., 0] - 0.05 * effort(action)

    def marks(self, task: Tasks, seconds: float) -> tuple[Mark, ...]:
        return (Mark("direction", (float(task["direction"]), 0.0)),)


STEP_SECONDS = 0.05
"""Of a step of the half-cheetah."""
JOINTS = ("back thigh", "back shin", "back foot", "front thigh", "front shin", "front foot")
"""Of the half-cheetah, in the order of its motors."""
GEARS = {
    "joint": [tuple(float(joint != failed) for joint in range(len(JOINTS))) for failed in range(len(JOINTS))],
    "signs": [signs for signs in product((1.0, -1.0), repeat=len(JOINTS)) if min(signs) < 0],
}
"""What becomes of the torques of its motors: one of them gives none, or some are reversed."""


@checked
@dataclass(frozen=True, kw_only=True)
class HalfCheetahCrippled:
    """Run forward though a joint fails on the way: the reward is the speed in metres a second, less 0.05 of the effort.

    From a step of each episode on, the same in all of a trial, one motor gives no torque, as in Nagabandi et al. (2019,
    arXiv:1803.11347). Effort is of what is asked of the motors. The observation ends with the share of the episode's time.
    """

    change: Literal["joint", "signs", "slope"] = "joint"
    """A motor fails, the torques of some motors are reversed, or the track goes up or down by at most 15 degrees."""
    max_episode_steps: int = 200
    """Steps of an episode, a twentieth of a second each; 1,000 in the paper."""
    episodes_per_trial: int = 2
    """Episodes of a trial, with the same change."""

    body = HALF_CHEETAH

    def __post_init__(self) -> None:
        require_at_least(1, "half-cheetah-crippled", self, "max_episode_steps", "episodes_per_trial")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        if self.change == "slope":
            return with_change(self.max_episode_steps, {}, slope=Uniform(-15.0, 15.0))
        return with_change(self.max_episode_steps, {}, gear=Choice(*GEARS[self.change], entries=JOINTS))

    def reward(self, motion: Motion, action: Tensor, task: Tasks) -> Tensor:
        return motion.velocity[..., 0] - 0.05 * effort(action)

    def marks(self, task: Tasks, seconds: float) -> tuple[Mark, ...]:
        if seconds / STEP_SECONDS < float(task["change_step"].ceil()) + 0.5:
            return ()
        if self.change == "slope":
            return (Mark("direction", (-math.copysign(1.0, float(task["after_slope"])), 0.0)),)
        gears = task["after_gear"].tolist()
        return tuple(Mark("joint", (float(joint), 0.0)) for joint, gear in enumerate(gears) if gear != 1)


@checked
@dataclass(frozen=True, kw_only=True)
class AntDirection:
    """Walk in a direction that is hidden anew in each trial: the reward is the speed that way, and 1, less half the effort.

    The 1 is for not having fallen; contact forces cost nothing.
    """

    directions: Literal["two", "any"] = "two"
    """Forward or backward, as in MAML, or any angle, as in PEARL."""
    max_episode_steps: int = 200
    """Steps of an episode, a twentieth of a second each; a fall ends it."""
    episodes_per_trial: int = 2
    """Episodes of a trial, in the same direction."""

    body = ANT

    def __post_init__(self) -> None:
        require_at_least(1, "ant-direction", self, "max_episode_steps", "episodes_per_trial")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        whole = Uniform(-math.pi, math.pi, extrapolates=False)
        return {"angle": whole if self.directions == "any" else Choice(0.0, math.pi)}

    def reward(self, motion: Motion, action: Tensor, task: Tasks) -> Tensor:
        return (
            speed_towards(task["angle"], motion) + self.body.healthy(motion.positions, motion.velocities) - 0.5 * effort(action)
        )

    def marks(self, task: Tasks, seconds: float) -> tuple[Mark, ...]:
        return (direction_mark(float(task["angle"])),)


@checked
@dataclass(frozen=True, kw_only=True)
class HumanoidDirection:
    """Walk at an angle hidden anew in each trial: the reward is 1.25 of the speed that way, and 5, less 0.1 of the effort.

    The 5 are for not having fallen; contact forces cost nothing.
    """

    max_episode_steps: int = 200
    """Steps of an episode, 15 milliseconds each; a fall ends it."""
    episodes_per_trial: int = 2
    """Episodes of a trial, in the same direction."""

    body = HUMANOID

    def __post_init__(self) -> None:
        require_at_least(1, "humanoid-direction", self, "max_episode_steps", "episodes_per_trial")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"angle": Uniform(-math.pi, math.pi, extrapolates=False)}

    def reward(self, motion: Motion, action: Tensor, task: Tasks) -> Tensor:
        healthy = self.body.healthy(motion.positions, motion.velocities)
        return 1.25 * speed_towards(task["angle"], motion) + 5 * healthy - 0.1 * effort(action)

    def marks(self, task: Tasks, seconds: float) -> tuple[Mark, ...]:
        return (direction_mark(float(task["angle"])),)


@checked
@dataclass(frozen=True, kw_only=True)
class AntGoal:
    """Walk to a goal in a disc of radius 3, hidden in each trial: the reward is minus the distance, less 0.1 of the effort.

    The distance is the sum of those along both axes, as in PEARL; a fall ends nothing.
    """

    max_episode_steps: int = 200
    """Steps of an episode, a twentieth of a second each."""
    episodes_per_trial: int = 2
    """Episodes of a trial, with the same goal."""

    body = replace(ANT, height=(-float("inf"), float("inf")))

    def __post_init__(self) -> None:
        require_at_least(1, "ant-goal", self, "max_episode_steps", "episodes_per_trial")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"angle": Uniform(-math.pi, math.pi, extrapolates=False), "area": Uniform(0.0, 1.0)}

    def reward(self, motion: Motion, action: Tensor, task: Tasks) -> Tensor:
        return -(motion.place - self.goal(task)).abs().sum(-1) - 0.1 * effort(action)

    def goal(self, task: Tasks) -> Float[Tensor, "*lead 2"]:
        """Where the goal lies, in metres."""
        return 3 * task["area"].sqrt()[..., None] * towards(task["angle"])

    def marks(self, task: Tasks, seconds: float) -> tuple[Mark, ...]:
        x, y = self.goal(task).tolist()
        return (Mark("goal", (x, y)),)


LEG = ("thigh", "leg", "foot")


def varied(*links: str) -> Mapping[str, Parameter]:
    """Factors on the physics, with the ranges of PEARL's families of random parameters (Rakelly et al. 2019, appendix).

    A body is a tree of links, named in the order of its model: each but the first hangs on a joint of its own, and each is one
    shape beside the floor. Each link's inertia goes with its mass.
    """
    joints, shapes = links[1:], ("floor", *links)
    return {
        "mass": LogUniform(1.5**-3, 1.5**3, (len(links),), entries=links),
        "damping": LogUniform(1.3**-3, 1.3**3, (len(joints),), entries=joints),
        "friction": LogUniform(1.5**-3, 1.5**3, (len(shapes),), entries=shapes),
        "gravity": Uniform(0.75, 1.25),
    }


@checked
@dataclass(frozen=True, kw_only=True)
class WalkerParameters:
    """Walk with masses, damping, friction and gravity scaled anew in each trial; the reward is Gymnasium's."""

    max_episode_steps: int = 200
    """Steps of an episode, 8 milliseconds each; a fall ends it."""
    episodes_per_trial: int = 2
    """Episodes of a trial, with the same physics."""

    body = WALKER

    def __post_init__(self) -> None:
        require_at_least(1, "walker-parameters", self, "max_episode_steps", "episodes_per_trial")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return varied("torso", *LEG, *(f"left {link}" for link in LEG))

    def reward(self, motion: Motion, action: Tensor, task: Tasks) -> Tensor:
        healthy = self.body.healthy(motion.positions, motion.velocities)
        return motion.velocity[..., 0] + healthy - 1e-3 * effort(action)

    def marks(self, task: Tasks, seconds: float) -> tuple[Mark, ...]:
        return ()


@checked
@dataclass(frozen=True, kw_only=True)
class HopperParameters:
    """Hop with masses, damping, friction and gravity scaled anew in each trial; the reward is Gymnasium's."""

    max_episode_steps: int = 200
    """Steps of an episode, 8 milliseconds each; a fall ends it."""
    episodes_per_trial: int = 2
    """Episodes of a trial, with the same physics."""

    body = HOPPER

    def __post_init__(self) -> None:
        require_at_least(1, "hopper-parameters", self, "max_episode_steps", "episodes_per_trial")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return varied("torso", *LEG)

    def reward(self, motion: Motion, action: Tensor, task: Tasks) -> Tensor:
        healthy = self.body.healthy(motion.positions, motion.velocities)
        return motion.velocity[..., 0] + healthy - 1e-3 * effort(action)

    def marks(self, task: Tasks, seconds: float) -> tuple[Mark, ...]:
        return ()
