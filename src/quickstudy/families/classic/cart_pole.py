"""Gymnasium's CartPole-v1 with physics that differs from task to task, and buttons that may be swapped."""

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
from quickstudy.scene import BLUE, GOLD, INK, ORANGE, PALE, Disc, Line, Scene, Shape, arrow, rectangle
from quickstudy.tasks.changes import in_force, notice, with_change
from quickstudy.tasks.parameters import Choice, Parameter, Uniform

CART_MASS = 1.0
TIME_STEP = 0.02
MAX_POSITION = 2.4
MAX_ANGLE = 12 * 2 * math.pi / 360


@checked
@dataclass(frozen=True, kw_only=True)
class CartPole:
    """Balance a pole on a cart: +1 for each step until it falls (Barto, Sutton & Anderson 1983).

    Tasks differ in half the pole's length (m), its mass (kg), gravity (m/s^2), the force of a push (N), and which button
    pushes to the right (`direction` 1: the second, as in Gymnasium; -1: the first). With `changes` a change in mid-episode, as
    of Nagabandi et al. (2019, arXiv:1803.11347): to another pole and gravity, and to a negative force, which swaps the buttons.
    The observation ends with the time then.
    """

    max_episode_steps: int = 500
    """The time limit of an episode."""
    episodes_per_trial: int = 2
    """Episodes of a trial, with the same cart."""
    changes: bool = False
    """Whether other physics and swapped buttons hold from a step of each episode on, the same in all of a trial."""

    initial_noise = 4
    step_noise = 0

    def __post_init__(self) -> None:
        require_at_least(1, "cart-pole", self, "max_episode_steps", "episodes_per_trial")

    @property
    def observation_space(self) -> spaces.Box:
        highest = [MAX_POSITION * 2, math.inf, MAX_ANGLE * 2, math.inf, 1.0][: 4 + self.changes]
        bounds = np.array(highest, dtype=np.float32)
        return spaces.Box(-bounds, bounds)

    @property
    def observes(self) -> tuple[str, ...]:
        """What each number of an observation is called."""
        return ("position", "velocity", "angle", "spin", "time")[: 4 + self.changes]

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        still = {
            "length": Uniform(0.25, 1.0),
            "pole_mass": Uniform(0.05, 0.5),
            "gravity": Uniform(5.0, 15.0),
            "force": Uniform(5.0, 20.0),
            "direction": Choice(-1.0, 1.0),
        }
        if not self.changes:
            return still
        later = {name: still[name] for name in ("length", "pole_mass", "gravity")}
        return with_change(self.max_episode_steps, still, **later, force=Uniform(-20.0, -5.0))

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.nn.functional.pad(noise * 0.1 - 0.05, (0, int(self.changes)))

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        position, velocity, angle, spin, *clock = state.unbind(-1)
        now = in_force(task, *clock)
        length, pole_mass = now["length"], now["pole_mass"]
        mass = CART_MASS + pole_mass
        force = now["force"] * now["direction"] * (2 * action - 1)
        cos, sin = angle.cos(), angle.sin()
        push = (force + pole_mass * length * spin.square() * sin) / mass
        spin_rate = (now["gravity"] * sin - cos * push) / (length * (4.0 / 3.0 - pole_mass * cos.square() / mass))
        acceleration = push - pole_mass * length * spin_rate * cos / mass
        return torch.stack(
            [
                position + TIME_STEP * velocity,
                velocity + TIME_STEP * acceleration,
                angle + TIME_STEP * spin,
                spin + TIME_STEP * spin_rate,
                *(steps + 1 for steps in clock),
            ],
            dim=-1,
        )

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        if not self.changes:
            return state
        return torch.cat([state[..., :-1], state[..., -1:] / self.max_episode_steps], dim=-1)

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return torch.ones_like(state[..., 0])

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return (state[..., 0].abs() > MAX_POSITION) | (state[..., 2].abs() > MAX_ANGLE)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}

    def scene(self, state: Tensor, task: Tasks, action: Tensor | None) -> Scene:
        """Cart and pole, which is thicker where it is heavier, the ends of the track, and the push of the last step."""
        x, angle, clock = float(state[0]), float(state[2]), state[4:]
        values = {name: float(value) for name, value in in_force(task, *clock - 1).items()}
        tip = (x + 2 * values["length"] * math.sin(angle), 0.32 + 2 * values["length"] * math.cos(angle))
        ends = (Line(((end, -0.12), (end, 0.12)), 0.05, ORANGE) for end in (-MAX_POSITION, MAX_POSITION))
        ground = (Line(((-MAX_POSITION, 0.0), (MAX_POSITION, 0.0)), 0.03, PALE), *ends)
        cart = (
            rectangle((x - 0.3, 0.08), (x + 0.3, 0.38), BLUE),
            *(Disc((x + side, 0.08), 0.08, INK) for side in (-0.18, 0.18)),
            Line(((x, 0.32), tip), 0.07 + 0.14 * values["pole_mass"], GOLD),
            Disc((x, 0.32), 0.05, INK),
        )
        push: tuple[Shape, ...] = ()
        if action is not None:
            force = values["force"] * values["direction"] * (2 * int(action) - 1)
            side = math.copysign(1.0, force)
            reach = side * (0.36 + 0.03 * abs(force))
            push = arrow(((x + 0.36 * side, 0.23), (x + reach, 0.23)), 0.06, ORANGE)
        longest = max(float(task[name]) for name in ("length", "after_length") if name in task)
        told = (notice(task, steps, (0.0, -0.2), 0.12) for steps in clock)
        return Scene((-2.8, -0.3), (2.8, max(2.5, 0.5 + 2 * longest)), (*ground, *told), (*push, *cart))
