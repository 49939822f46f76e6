"""Six task distributions that no default of quickstudy was chosen on, as somebody might bring them: two of Gymnasium's classics
with physics that vary, a shop whose observation is a Dict, MultiDiscrete and continuous actions, and episodes that end early.

They are written as tensors, which is quicker than an environment for each lane. `benchmarks/defaults.py` trains every learner
on them as it comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, flatten_space
from torch import Tensor

import quickstudy as qs
from quickstudy.protocol import TaskDistribution, Tasks
from quickstudy.tasks.native import NativeTasks
from quickstudy.tasks.parameters import Choice, LogUniform, Parameter, Uniform

FASTEST, GRAVITY, TIME_STEP = (4 * math.pi, 9 * math.pi), 9.8, 0.2
"""Of Gymnasium's acrobot."""
MOST_STOCK, MOST_ORDER, SLOWEST = 60, 15, 4
"""What a shop has room for, can order a day, and for how many days at most it waits."""


class Links(NamedTuple):
    """Angles (rad) and speeds (rad/s) of an acrobot's links, each (*batch)."""

    angle: Tensor
    bend: Tensor
    speed: Tensor
    bending: Tensor


@dataclass(frozen=True)
class Acrobot:
    """Gymnasium's Acrobot-v1, step for step: swing the lower of two links above a bar. The masses of both are hidden.

    They are light enough for a random agent to get there now and then.
    """

    max_episode_steps: int = 200
    episodes_per_trial: int = 2
    initial_noise: int = 4
    step_noise: int = 0

    @property
    def observation_space(self) -> Box:
        bounds = np.array([1.0, 1.0, 1.0, 1.0, *FASTEST], np.float32)
        return Box(-bounds, bounds)

    @property
    def action_space(self) -> Discrete:
        return Discrete(3)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"LINK_MASS_1": LogUniform(0.2, 0.8), "LINK_MASS_2": LogUniform(0.2, 0.8)}

    def initial(self, task: Tasks, noise: Tensor) -> Links:
        return Links(*(0.2 * noise - 0.1).unbind(-1))

    def transition(self, state: Links, action: Tensor, task: Tasks, noise: Tensor) -> Links:
        def after(slopes: Links, share: float) -> Links:
            return Links(*(value + share * TIME_STEP * slope for value, slope in zip(state, slopes, strict=True)))

        torque = action - 1.0
        first = slopes_of(state, torque, task)
        second = slopes_of(after(first, 0.5), torque, task)
        third = slopes_of(after(second, 0.5), torque, task)
        fourth = slopes_of(after(third, 1.0), torque, task)
        weighed = Links(*((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True)))
        angle, bend, *speeds = after(weighed, 1.0)
        turned = [(value + math.pi) % (2 * math.pi) - math.pi for value in (angle, bend)]
        return Links(*turned, *(speed.clamp(-most, most) for speed, most in zip(speeds, FASTEST, strict=True)))

    def observation(self, state: Links, task: Tasks) -> Tensor:
        angle, bend, *speeds = state
        return torch.stack([angle.cos(), angle.sin(), bend.cos(), bend.sin(), *speeds], -1)

    def reward(self, state: Links, action: Tensor, arrival: Links, task: Tasks, noise: Tensor) -> Tensor:
        return -(~self.terminal(arrival, task)).float()

    def terminal(self, state: Links, task: Tasks) -> Tensor:
        return -state.angle.cos() - (state.angle + state.bend).cos() > 1.0

    def info(self, state: Links, task: Tasks) -> dict[str, Tensor]:
        return {}


def slopes_of(links: Links, torque: Tensor, task: Tasks) -> Links:
    """How an acrobot's angles and speeds change, as in Gymnasium's source (Sutton & Barto 1998): both links 1 long."""
    angle, bend, speed, bending = links
    upper, lower = task["LINK_MASS_1"], task["LINK_MASS_2"]
    inertia = upper / 4 + lower * (1.25 + bend.cos()) + 2
    shared = lower * (0.25 + bend.cos() / 2) + 1
    below = lower / 2 * GRAVITY * (angle + bend - math.pi / 2).cos()
    above = (upper / 2 + lower) * GRAVITY * (angle - math.pi / 2).cos() + below
    above = above - lower / 2 * bend.sin() * (bending.square() + 2 * bending * speed)
    pull = torque + shared / inertia * above - lower / 2 * speed.square() * bend.sin() - below
    second = pull / (lower / 4 + 1 - shared.square() / inertia)
    return Links(speed, bending, -(shared * second + above) / inertia, second)


class Goods(NamedTuple):
    """What a shop has, has ordered of late (..., the latest first), and whether somebody left with empty hands."""

    stock: Tensor
    ordered: Tensor
    missed: Tensor
    earned: Tensor
    """Of the last day."""


@dataclass(frozen=True)
class Shop:
    """Order goods day by day: how many customers come, and how many days an order takes, is hidden.

    A thing sold earns 1, one that was asked for and isn't there loses 1, and one that lies in stock overnight costs 0.1. The
    observation is a Dict, flattened as Gymnasium does.
    """

    max_episode_steps: int = 30
    episodes_per_trial: int = 2
    initial_noise: int = 1
    step_noise: int = 1

    @property
    def seen(self) -> Dict:
        """What somebody would see who looks at it as at an environment of Gymnasium's."""
        parts = {"stock": Box(0.0, MOST_STOCK, (1,)), "ordered": Box(0.0, MOST_ORDER, (SLOWEST,)), "missed": Discrete(2)}
        return Dict(parts)

    @property
    def observation_space(self) -> Box:
        return cast(Box, flatten_space(self.seen))

    @property
    def action_space(self) -> Discrete:
        return Discrete(MOST_ORDER + 1)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"customers": Uniform(1.0, 10.0), "days": Choice(*range(1, SLOWEST + 1))}

    def initial(self, task: Tasks, noise: Tensor) -> Goods:
        none = torch.zeros(noise.shape[:-1])
        return Goods((noise[..., 0] * 11).floor(), none[..., None].repeat(*[1] * none.dim(), SLOWEST), none, none)

    def transition(self, state: Goods, action: Tensor, task: Tasks, noise: Tensor) -> Goods:
        ordered = torch.cat([action[..., None].float(), state.ordered[..., :-1]], -1)
        days = (task["days"].long() - 1).expand(action.shape)
        stock = (state.stock + ordered.gather(-1, days[..., None])[..., 0]).clamp(max=MOST_STOCK)
        wanted = poisson(task["customers"], noise[..., 0])
        sold = torch.minimum(wanted, stock)
        earned = sold - (wanted - sold) - 0.1 * (stock - sold)
        return Goods(stock - sold, ordered, (wanted > sold).float(), earned)

    def observation(self, state: Goods, task: Tasks) -> Tensor:
        missed = torch.stack([1 - state.missed, state.missed], -1)
        return torch.cat([missed, state.ordered, state.stock[..., None]], -1)

    def reward(self, state: Goods, action: Tensor, arrival: Goods, task: Tasks, noise: Tensor) -> Tensor:
        return arrival.earned

    def terminal(self, state: Goods, task: Tasks) -> Tensor:
        return torch.zeros(state.stock.shape, dtype=torch.bool)

    def info(self, state: Goods, task: Tasks) -> dict[str, Tensor]:
        return {}


def poisson(mean: Tensor, noise: Tensor) -> Tensor:
    """A Poisson number, at most 39, from one that is uniform: how many counts are together less likely than that."""
    counts = torch.arange(40.0)
    chance = (counts * mean[..., None].log() - mean[..., None] - (counts + 1).lgamma()).exp()
    return (chance.cumsum(-1) < noise[..., None]).sum(-1).clamp(max=39).float()


class Climate(NamedTuple):
    """What a greenhouse is like, on scales of about 1."""

    warmth: Tensor
    moisture: Tensor


@dataclass(frozen=True)
class Greenhouse:
    """Keep a greenhouse as its plants like it, which is hidden: a dial for warmth and one for moisture, three places each.

    Also hidden are how far a dial moves it and how fast it leaks. The reward is minus the distance from what is liked.
    """

    max_episode_steps: int = 30
    episodes_per_trial: int = 2
    initial_noise: int = 2
    step_noise: int = 2

    @property
    def observation_space(self) -> Box:
        return Box(-5.0, 5.0, (2,), np.float32)

    @property
    def action_space(self) -> MultiDiscrete:
        return MultiDiscrete([3, 3])

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"liked": Uniform(-1.0, 1.0, shape=(2,)), "power": Uniform(0.1, 0.4), "leak": Uniform(0.0, 0.1)}

    def initial(self, task: Tasks, noise: Tensor) -> Climate:
        return Climate(*(2 * noise - 1).unbind(-1))

    def transition(self, state: Climate, action: Tensor, task: Tasks, noise: Tensor) -> Climate:
        pushes, shakes = (action - 1).unbind(-1), (0.05 * (2 * noise - 1)).unbind(-1)
        kept = 1 - task["leak"]
        moved = [kept * value + task["power"] * push + shake for value, push, shake in zip(state, pushes, shakes, strict=True)]
        return Climate(*(value.clamp(-5.0, 5.0) for value in moved))

    def observation(self, state: Climate, task: Tasks) -> Tensor:
        return torch.stack(state, -1)

    def reward(self, state: Climate, action: Tensor, arrival: Climate, task: Tasks, noise: Tensor) -> Tensor:
        return -(torch.stack(arrival, -1) - task["liked"]).square().sum(-1).sqrt()

    def terminal(self, state: Climate, task: Tasks) -> Tensor:
        return torch.zeros(state.warmth.shape, dtype=torch.bool)

    def info(self, state: Climate, task: Tasks) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class Market:
    """Set a price and what is spent on being known; how many would buy, and how dear is too dear, is hidden.

    Fame grows with what is spent and fades. The reward is the profit of a day, about a thousand.
    """

    max_episode_steps: int = 30
    episodes_per_trial: int = 2
    initial_noise: int = 1
    step_noise: int = 1

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 2.0, (1,), np.float32)

    @property
    def action_space(self) -> Box:
        return Box(-1.0, 1.0, (2,), np.float32)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"buyers": Uniform(100.0, 300.0), "thrift": Uniform(0.05, 0.3), "effect": Uniform(0.05, 0.3)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return 0.5 + noise[..., 0]

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return (0.9 * state + task["effect"] * (1 + action[..., 1]) / 2).clamp(0.0, 2.0)

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state[..., None]

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        price, spent = 13 + 12 * action[..., 0], 400 * (1 + action[..., 1]) / 2
        luck = 0.8 + 0.4 * noise[..., 0]
        sold = task["buyers"] * (0.2 + arrival) * luck * (-task["thrift"] * price).exp()
        return sold * (price - 2) - spent

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros(state.shape, dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}


class Boat(NamedTuple):
    """How deep a boat is, and whether it still is one."""

    depth: Tensor
    crushed: Tensor


@dataclass(frozen=True)
class Dive:
    """Dive: the deeper, the more each step pays, but below a hidden depth the hull may give way, which ends the episode."""

    max_episode_steps: int = 30
    episodes_per_trial: int = 4
    initial_noise: int = 0
    step_noise: int = 1
    deepest: int = 10

    @property
    def observation_space(self) -> Discrete:
        return Discrete(self.deepest + 1)

    @property
    def action_space(self) -> Discrete:
        return Discrete(3)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"safe": Uniform(1.0, 9.0), "hazard": Uniform(0.1, 0.5)}

    def initial(self, task: Tasks, noise: Tensor) -> Boat:
        return Boat(torch.zeros(noise.shape[:-1], dtype=torch.long), torch.zeros(noise.shape[:-1], dtype=torch.bool))

    def transition(self, state: Boat, action: Tensor, task: Tasks, noise: Tensor) -> Boat:
        depth = (state.depth + action - 1).clamp(0, self.deepest)
        return Boat(depth, noise[..., 0] < task["hazard"] * (depth - task["safe"]))

    def observation(self, state: Boat, task: Tasks) -> Tensor:
        return state.depth

    def reward(self, state: Boat, action: Tensor, arrival: Boat, task: Tasks, noise: Tensor) -> Tensor:
        return 0.1 * arrival.depth * ~arrival.crushed

    def terminal(self, state: Boat, task: Tasks) -> Tensor:
        return state.crushed

    def info(self, state: Boat, task: Tasks) -> dict[str, Tensor]:
        return {}


class Unseen(NamedTuple):
    """A task distribution, and what it is, in a line."""

    says: str
    make: Callable[[], TaskDistribution]


UNSEEN: dict[str, Unseen] = {
    "acrobot": Unseen(
        "Gymnasium's Acrobot-v1, both masses hidden; 2 episodes of at most 200 steps", lambda: NativeTasks(Acrobot())
    ),
    "pendulum": Unseen(
        "Gymnasium's Pendulum-v1, gravity, mass and length hidden; 2 episodes of 100 steps",
        lambda: qs.tasks.make("pendulum", max_episode_steps=100),
    ),
    "shop": Unseen("a Dict: what to order, demand and lead time hidden; 2 episodes of 30 steps", lambda: NativeTasks(Shop())),
    "greenhouse": Unseen(
        "MultiDiscrete actions: two dials, and a hidden climate to reach; 2 episodes of 30 steps",
        lambda: NativeTasks(Greenhouse()),
    ),
    "market": Unseen(
        "continuous actions, rewards of a thousand: price and advertising, demand hidden; 2 episodes of 30 steps",
        lambda: NativeTasks(Market()),
    ),
    "dive": Unseen(
        "episodes that end early: deeper pays more, until the hull gives way at a hidden depth; 4 episodes of at most 30 steps",
        lambda: NativeTasks(Dive()),
    ),
}
"""Each by its name."""
