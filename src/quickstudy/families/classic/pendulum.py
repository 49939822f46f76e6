"""Gymnasium's Pendulum-v1 with physics that differs from task to task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.protocol import Tasks
from quickstudy.scene import BLUE, INK, ORANGE, PALE, YELLOW, Disc, Line, Scene, Shape, arc, arrow, ring
from quickstudy.tasks.changes import in_force, notice, with_change
from quickstudy.tasks.parameters import Parameter, Uniform

TIME_STEP = 0.05
MAX_SPEED = 8.0
MAX_TORQUE = 2.0


@checked
@dataclass(frozen=True, kw_only=True)
class Pendulum:
    """Swing a pendulum up and hold it there; tasks differ in gravity (m/s^2), mass (kg) and length (m).

    The reward is minus the squared angle (rad), a tenth of the squared speed and a thousandth of the squared torque asked for.
    With `changes` a change in mid-episode, as of Nagabandi et al. (2019, arXiv:1803.11347): to another gravity, mass, length,
    and to a reversed motor: `after_motor` is what becomes of each N m asked for. The observation ends with the time then.
    """

    max_episode_steps: int = 200
    """The time limit of an episode."""
    episodes_per_trial: int = 2
    """Episodes of a trial, with the same pendulum."""
    changes: bool = False
    """Whether other physics and a reversed motor hold from a step of each episode on, the same in all of a trial."""

    initial_noise = 2
    step_noise = 0

    def __post_init__(self) -> None:
        require_at_least(1, "pendulum", self, "max_episode_steps", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Box:
        bounds = np.array([1.0, 1.0, MAX_SPEED, 1.0][: 3 + self.changes], dtype=np.float32)
        return spaces.Box(-bounds, bounds)

    @property
    def observes(self) -> tuple[str, ...]:
        """What each number of an observation is called."""
        return ("cosine", "sine", "spin", "time")[: 3 + self.changes]

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,))

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        still = {"gravity": Uniform(5.0, 15.0), "mass": Uniform(0.5, 1.5), "length": Uniform(0.5, 1.5)}
        return with_change(self.max_episode_steps, still, **still, motor=Uniform(-1.5, -0.5)) if self.changes else still

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        first = (2 * noise - 1) * torch.tensor([math.pi, 1.0], device=noise.device)
        return torch.nn.functional.pad(first, (0, int(self.changes)))

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        angle, speed, *clock = state.unbind(-1)
        now = self.physics(task, *clock)
        torque, mass, length = now.get("motor", 1.0) * action[..., 0].clamp(-MAX_TORQUE, MAX_TORQUE), now["mass"], now["length"]
        push = 3 * now["gravity"] / (2 * length) * angle.sin() + 3 / (mass * length**2) * torque
        speed = (speed + push * TIME_STEP).clamp(-MAX_SPEED, MAX_SPEED)
        return torch.stack([angle + speed * TIME_STEP, speed, *(steps + 1 for steps in clock)], dim=-1)

    def physics(self, task: Tasks, *clock: Tensor) -> Tasks:
        """What holds after so many steps of an episode."""
        return in_force({**task, "motor": torch.ones_like(task["mass"])}, *clock) if clock else task

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        angle, speed, *clock = state.unbind(-1)
        return torch.stack([angle.cos(), angle.sin(), speed, *(steps / self.max_episode_steps for steps in clock)], dim=-1)

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        angle, speed, *_ = state.unbind(-1)
        upright = (angle + math.pi) % (2 * math.pi) - math.pi
        torque = action[..., 0].clamp(-MAX_TORQUE, MAX_TORQUE)
        return -(upright.square() + 0.1 * speed.square() + 0.001 * torque.square())

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros(state.shape[:-1], dtype=torch.bool, device=state.device)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}

    def scene(self, state: Tensor, task: Tasks, action: Tensor | None) -> Scene:
        """The pendulum, thicker where it is heavier, a ring where it should stand, and the torque of the last step."""
        clock = state[2:]
        lived = {name: float(value) for name, value in self.physics(task, *clock - 1).items()}
        angle, length, mass = float(state[0]), lived["length"], lived["mass"]
        tip = (-length * math.sin(angle), length * math.cos(angle))
        torque = 0.0 if action is None else lived.get("motor", 1.0) * float(action[0])
        turn: tuple[Shape, ...] = ()
        if abs(torque) > 0.05 * MAX_TORQUE:
            turn = arrow(arc((0.0, 0.0), 0.32, math.pi / 2, math.pi / 2 + 0.6 * math.pi * torque / MAX_TORQUE), 0.05, ORANGE)
        ground = (ring((0.0, 0.0), length, 0.012, PALE), ring((0.0, length), 0.15, 0.035, YELLOW))
        rod = (Line(((0.0, 0.0), tip), 0.06 + 0.09 * mass, BLUE), Disc((0.0, 0.0), 0.05, INK))
        told = (notice(task, steps, (0.0, -1.75), 0.12) for steps in clock)
        return Scene((-1.9, -1.9), (1.9, 1.9), (*ground, *told), (*rod, *turn))
