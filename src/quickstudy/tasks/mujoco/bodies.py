"""The bodies of Gymnasium's v5 MuJoCo environments: model, observation, health and first state, as functions of positions and
velocities in double precision."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quickstudy.errors import UsageError

Physics = Float[Tensor, "*lead _"]
"""Positions or velocities of joints, in double precision."""


def simulator() -> Any:
    """The mujoco package; UsageError with the install command where it is missing."""
    try:
        import mujoco
        import mujoco.rollout
    except ImportError as error:
        raise UsageError("these tasks need MuJoCo; install it: pip install 'quickstudy[mujoco]'") from error
    return mujoco


@dataclass(frozen=True, kw_only=True)
class Body:
    """One of the robots.

    The first joint positions say where it is on the track or plane, the next one is its height; on a track its pitch follows.
    """

    xml: str
    """A model that ships with Gymnasium."""
    frame_skip: int
    """Steps of the simulator to a step of the environment, under one action."""
    observation_size: int
    action_size: int
    action_limit: float = 1.0
    axes: int = 1
    """How many positions say where it is: 1 on a track, 2 on a plane. Observations leave them out."""
    by_mass: bool = False
    """Its velocity is that of its centre of mass, not of its first body."""
    velocity_limit: float = float("inf")
    """Velocities are clipped to this in observations."""
    reset_noise: float
    """Half the width of the noise on first positions; on velocities its standard deviation or half width, see `gaussian`."""
    gaussian: bool = False
    """First velocities are normally distributed, not uniformly."""
    height: tuple[float, float] = (-float("inf"), float("inf"))
    pitch: tuple[float, float] = (-float("inf"), float("inf"))
    state_limit: float = float("inf")
    """No velocity, and no position but where it is and its height, may leave this."""

    def read(self) -> Any:
        """The model as its file tells it, yet to be compiled."""
        return simulator().MjSpec.from_file(str(files("gymnasium") / "envs" / "mujoco" / "assets" / self.xml))

    def load(self) -> Any:
        """The compiled model; with `by_mass` its only sensor is the centre of mass."""
        mujoco, spec = simulator(), self.read()
        if self.by_mass:
            root = spec.worldbody.first_body().name
            spec.add_sensor(type=mujoco.mjtSensor.mjSENS_SUBTREECOM, objtype=mujoco.mjtObj.mjOBJ_BODY, objname=root)
        return spec.compile()

    def observation(self, positions: Physics, velocities: Physics) -> Float[Tensor, "*lead seen"]:
        """All but where it is."""
        return torch.cat([positions[..., self.axes :], velocities.clamp(-self.velocity_limit, self.velocity_limit)], -1)

    def healthy(self, positions: Physics, velocities: Physics) -> Bool[Tensor, "*lead"]:
        """Whether the episode goes on."""
        rest = torch.cat([positions[..., self.axes + 1 :], velocities], -1)
        return (
            inside(positions[..., self.axes], self.height)
            & inside(positions[..., self.axes + 1], self.pitch)
            & (rest.abs() < self.state_limit).all(-1)
        )


def inside(value: Float[Tensor, "*lead"], bounds: tuple[float, float]) -> Bool[Tensor, "*lead"]:
    """Strictly between two bounds."""
    return (bounds[0] < value) & (value < bounds[1])


HALF_CHEETAH = Body(xml="half_cheetah.xml", frame_skip=5, observation_size=17, action_size=6, reset_noise=0.1, gaussian=True)
HOPPER = Body(
    xml="hopper.xml",
    frame_skip=4,
    observation_size=11,
    action_size=3,
    velocity_limit=10.0,
    reset_noise=5e-3,
    height=(0.7, float("inf")),
    pitch=(-0.2, 0.2),
    state_limit=100.0,
)
WALKER = Body(
    xml="walker2d_v5.xml",
    frame_skip=4,
    observation_size=17,
    action_size=6,
    velocity_limit=10.0,
    reset_noise=5e-3,
    height=(0.8, 2.0),
    pitch=(-1.0, 1.0),
)
ANT = Body(
    xml="ant.xml",
    frame_skip=5,
    observation_size=27,
    action_size=8,
    axes=2,
    reset_noise=0.1,
    gaussian=True,
    height=(0.2, 1.0),
)
HUMANOID = Body(
    xml="humanoid.xml",
    frame_skip=5,
    observation_size=45,
    action_size=17,
    action_limit=0.4,
    axes=2,
    by_mass=True,
    reset_noise=1e-2,
    height=(1.0, 2.0),
)
