"""What a family of robot tasks says: its body, its parameters, its reward; and how parameters change a body's physics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from quickstudy.protocol import Tasks
from quickstudy.tasks.mujoco.bodies import Body, Physics
from quickstudy.tasks.parameters import Parameter


class Motion(NamedTuple):
    """What a step of the environment did, in double precision."""

    before: Float[Tensor, "*lead axis"]
    """Where the robot was."""
    place: Float[Tensor, "*lead axis"]
    """Where it is now."""
    positions: Physics
    velocities: Physics
    seconds: float
    """How long a step takes."""

    @property
    def velocity(self) -> Float[Tensor, "*lead axis"]:
        """Mean velocity in metres a second, along the track or in the plane.

        Of where the robot is when the step is over. Gymnasium takes ant and humanoid as its simulator last computed them,
        within the last of its inner steps.
        """
        return (self.place - self.before) / self.seconds


class Mark(NamedTuple):
    """Something of a task that a viewer is shown and the agent doesn't see."""

    kind: Literal["direction", "goal", "pacer", "joint"]
    """An arrow from the robot, a disc on the ground, a post beside the track that runs as fast as wanted, a ball at a joint."""
    where: tuple[float, float]
    """In metres on the ground; of a direction its unit vector, of a joint the number of its motor, and 0."""


@runtime_checkable
class Family(Protocol):
    """A family of tasks for one body. Parameters named in `SCALES` change its physics, all others the reward alone.

    `after_` one of those, as of `with_change`, it is what holds from `change_step` of each episode on.
    """

    @property
    def body(self) -> Body: ...
    @property
    def max_episode_steps(self) -> int: ...
    @property
    def episodes_per_trial(self) -> int: ...
    @property
    def parameters(self) -> Mapping[str, Parameter]: ...
    def reward(self, motion: Motion, action: Tensor, task: Tasks) -> Float[Tensor, "*lead"]: ...
    def marks(self, task: Tasks, seconds: float) -> tuple[Mark, ...]:
        """What a viewer is shown of one task, without task axis, so many seconds into an episode."""
        ...


SCALES = ("mass", "damping", "friction", "gravity", "gear", "slope")


def shape(model: Any, task: Mapping[str, Tensor]) -> None:
    """Scales the physics of a model in place by the parameters of one task that are about physics.

    Bodies are counted without the world, joints are those that are actuated, geoms include the floor. The gear is that of each
    motor; the slope is in degrees, by which gravity is turned against who goes forward.
    """
    if "mass" in task:
        model.body_mass[1:] *= task["mass"].numpy()
        model.body_inertia[1:] *= task["mass"].numpy()[:, None]
    if "damping" in task:
        model.dof_damping[-len(task["damping"]) :] *= task["damping"].numpy()
    if "friction" in task:
        model.geom_friction *= task["friction"].numpy()[:, None]
    if "gravity" in task:
        model.opt.gravity[:] *= float(task["gravity"])
    if "gear" in task:
        model.actuator_gear[:, 0] *= task["gear"].numpy()
    if "slope" in task:
        angle, down = math.radians(float(task["slope"])), float(model.opt.gravity[2])
        model.opt.gravity[:] = math.sin(angle) * down, 0.0, math.cos(angle) * down
