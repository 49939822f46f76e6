"""A crossing with traffic lights: point queues, protected phases, lost time, and detectors that may be dead.

Vehicles are a fluid that arrives evenly within the five seconds of a decision (as many as a Poisson draw says), waits in a
queue of its movement and leaves at saturation flow in green: store and forward, integrated exactly within a step. The tests
hold it against both terms of Webster's delay (1958), the uniform and the random one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least, require_share
from quickstudy.families.traffic.detectors import Dead
from quickstudy.families.traffic.picture import scene_of
from quickstudy.ops.draws import poisson
from quickstudy.protocol import Tasks
from quickstudy.scene import Scene
from quickstudy.tasks.parameters import Dirichlet, Parameter, Uniform

MOVEMENTS = tuple(f"{side} {way}" for street in ("NS", "EW") for way in ("through", "left") for side in street)
"""Two of the same way from opposite sides are a phase: NS through, NS left, EW through, EW left."""
PHASES = 4
SATURATION_FLOW = 0.5
"""Vehicles a second and lane in green: 1,800 an hour."""
DECISION = 5.0
"""Seconds between decisions."""
LOST_TIME = 4.0
"""Seconds of a change in which nobody goes: yellow 3, all red 1."""
MINIMUM_GREEN = 10.0
LONGEST, PATIENCE = 240.0, 120.0
"""Seconds to which a controller counts green, and silence of a detector or red of a phase."""
MINUTE, HOUR = 60.0, 3600.0
IN_SIGHT = 20.0
"""Vehicles of a movement that a detector can count."""
MOST_REPORTED = 10.0
"""Of what is told of a report: vehicles that waited on average, in units of `IN_SIGHT`."""
MOST_ARRIVALS = 24
"""Of a movement in a step; the busiest has 6 on average."""


class SignalState(NamedTuple):
    """Queues and lights, and what has come together in the episode."""

    queue: Float[Tensor, "*batch movement"]
    phase: Int64[Tensor, "*batch"]
    green: Float[Tensor, "*batch"]
    """Seconds for which the phase has been green."""
    since: Float[Tensor, "*batch phase"]
    """Seconds since each phase was green."""
    silent: Float[Tensor, "*batch movement"]
    """Seconds since each detector saw a vehicle wait."""
    clock: Float[Tensor, "*batch"]
    """Seconds since the episode began."""
    waited: Float[Tensor, "*batch"]
    """Vehicle seconds."""
    reported: Float[Tensor, "*batch"]
    """Those that have been paid for."""
    report: Float[Tensor, "*batch"]
    """Those of the last report."""
    arrived: Float[Tensor, "*batch"]
    stopped: Float[Tensor, "*batch"]
    """Vehicles that met a red light or a queue."""
    longest: Float[Tensor, "*batch"]
    """The longest queue so far."""


@checked
@dataclass(frozen=True, kw_only=True)
class TrafficSignal:
    """Time the lights of a crossing of hidden demand, saturation flow and dead detectors: -1 for an hour that a vehicle waits.

    Actions: the phase to be green next, north-south through and left, east-west through and left. Another phase costs four
    seconds in which nobody goes. One that has been green for less than ten seconds stays, whatever is asked.
    """

    dead: float = 0.5
    """The chance of each detector to be dead, and then to read zero."""
    report_every: int = 12
    """Decisions between two reports of waiting, which is paid when it is reported; the last one is at the end."""
    change_point: bool = False
    """At a hidden time of each episode the demand turns to another hidden split."""
    through_lanes: int = 2
    """Lanes of each through movement; left turns have one."""
    bay: int = 0
    """Vehicles that a left-turn bay holds; more of them close one of the through lanes. 0: bays are long enough."""
    max_episode_steps: int = 360
    """Decisions of an episode, five seconds each: half an hour."""
    episodes_per_trial: int = 4
    """Episodes of a trial, at the same crossing; each begins with empty roads."""

    initial_noise = 0
    step_noise = len(MOVEMENTS)

    def __post_init__(self) -> None:
        name = "traffic-signal"
        require_at_least(1, name, self, "report_every", "through_lanes", "max_episode_steps", "episodes_per_trial")
        require_at_least(0, name, self, "bay")
        require_share(name, self, "dead", zero=True)

    @property
    def observation_space(self) -> spaces.Box:
        highest = [1.0] * 2 * (len(MOVEMENTS) + PHASES) + [LONGEST / MINUTE, 1.0, 1.0, MOST_REPORTED]
        return spaces.Box(np.zeros(len(highest), np.float32), np.array(highest, np.float32))

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(PHASES)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        split = Dirichlet((1.5, 1.5, 0.75, 0.75) * 2, entries=MOVEMENTS)
        return {
            "split": split,
            "load": Uniform(0.4, 0.9),
            "saturation": Uniform(0.7, 1.1),
            "dead": Dead(self.dead, MOVEMENTS),
            **({"later": split, "change": Uniform(0.25, 0.75, extrapolates=False)} if self.change_point else {}),
        }

    @property
    def figures(self) -> Mapping[str, Literal["mean", "sum", "last"]]:
        return {"delay per vehicle": "last", "stops per vehicle": "last", "longest queue": "last", "throughput": "last"}

    def initial(self, task: Tasks, noise: Tensor) -> SignalState:
        lead = noise.shape[:-1]
        zero = torch.zeros(lead, dtype=noise.dtype, device=noise.device)
        queue, since = (zero[..., None].expand(*lead, size) for size in (len(MOVEMENTS), PHASES))
        return SignalState(queue, torch.zeros_like(zero, dtype=torch.long), zero, since, queue, *[zero] * 7)

    def demand(self, clock: Tensor, task: Tasks) -> Float[Tensor, "*batch movement"]:
        """Vehicles a second of each movement: of the task's split, so many that the critical flow ratio is its load."""
        now = self._demand_of(task["split"], task)
        if not self.change_point:
            return now
        changed = clock >= task["change"] * self.max_episode_steps * DECISION
        return torch.where(changed[..., None], self._demand_of(task["later"], task), now)

    def _demand_of(self, split: Float[Tensor, "*batch movement"], task: Tasks) -> Float[Tensor, "*batch movement"]:
        return split * (task["load"] / self.flow_ratios(split, task).sum(-1))[..., None]

    def saturation_flow(self, task: Tasks) -> Float[Tensor, "*batch movement"]:
        """Vehicles a second of each movement in green."""
        factor, through = task["saturation"], float(self.through_lanes)
        lanes = torch.tensor((through, through, 1.0, 1.0) * 2, device=factor.device)
        return SATURATION_FLOW * lanes * factor[..., None]

    def flow_ratios(self, rate: Float[Tensor, "*batch movement"], task: Tasks) -> Float[Tensor, "*batch phase"]:
        """What share of the time each phase would have to be green: that of the busier of its movements."""
        return (rate / self.saturation_flow(task)).unflatten(-1, (PHASES, 2)).amax(-1)

    def transition(self, state: SignalState, action: Tensor, task: Tasks, noise: Tensor) -> SignalState:
        expected = DECISION * self.demand(state.clock, task).expand(noise.shape)
        return self.moved(state, action, task, poisson(noise, expected, MOST_ARRIVALS).to(noise.dtype))

    def moved(self, state: SignalState, action: Tensor, task: Tasks, arrivals: Tensor) -> SignalState:
        """A decision later, in which so many vehicles came, evenly."""
        phase = torch.where(state.green >= MINIMUM_GREEN, action, state.phase)
        changes, of_phase = phase != state.phase, torch.nn.functional.one_hot(phase, PHASES).bool()
        lost, rate = LOST_TIME * changes[..., None], arrivals / DECISION
        flow = self.saturation_flow(task) * served(phase) * self.open_lanes(state.queue)
        at_green = state.queue + rate * lost
        growth = rate - flow  # while there is a queue
        until_empty = torch.where(growth < 0, at_green / -growth, torch.inf).minimum(DECISION - lost)
        queue = (at_green + growth * until_empty).clamp(min=0)
        waited = (state.queue + at_green) / 2 * lost + (at_green + queue) / 2 * until_empty
        total, clock = state.waited + waited.sum(-1), state.clock + DECISION
        decisions = (clock / DECISION).round()
        report = (decisions % self.report_every == 0) | (decisions >= self.max_episode_steps)
        return SignalState(
            queue,
            phase,
            torch.where(changes, DECISION - LOST_TIME, state.green + DECISION),
            (state.since + DECISION) * ~of_phase,
            (state.silent + DECISION) * ((queue == 0) | task["dead"]),
            clock,
            total,
            torch.where(report, total, state.reported),
            torch.where(report, total - state.reported, state.report),
            state.arrived + arrivals.sum(-1),
            state.stopped + (rate * (lost + until_empty)).sum(-1),
            state.longest.maximum(queue.amax(-1)),
        )

    def open_lanes(self, queue: Float[Tensor, "*batch movement"]) -> Float[Tensor, "*batch movement"]:
        """The share of each movement's lanes that no overfull left-turn bay closes."""
        if not self.bay:
            return torch.ones_like(queue)
        lefts = queue.unflatten(-1, (2, 2, 2))[..., 1, :]
        through = 1 - (lefts > self.bay).to(queue.dtype) / self.through_lanes
        return torch.stack([through, torch.ones_like(through)], -2).flatten(-3)

    def observation(self, state: SignalState, task: Tasks) -> Float[Tensor, "*batch entry"]:
        """Queues that detectors see, the phase, for how long detectors were silent and phases red, and other clocks."""
        seen = state.queue.clamp(max=IN_SIGHT) / IN_SIGHT * ~task["dead"]
        phase = torch.nn.functional.one_hot(state.phase, PHASES)
        clocks = [
            state.green.clamp(max=LONGEST) / MINUTE,
            state.green >= MINIMUM_GREEN,
            state.clock / (DECISION * self.max_episode_steps),
            (state.report / (DECISION * self.report_every * IN_SIGHT)).clamp(max=MOST_REPORTED),
        ]
        now = torch.stack([clock.to(seen.dtype) for clock in clocks], -1)
        past = torch.cat([state.silent, state.since], -1).clamp(max=PATIENCE) / PATIENCE
        return torch.cat([seen, phase, past, now], -1).float()

    def reward(self, state: SignalState, action: Tensor, arrival: SignalState, task: Tasks, noise: Tensor) -> Tensor:
        return (state.reported - arrival.reported) / HOUR

    def terminal(self, state: SignalState, task: Tasks) -> Tensor:
        return torch.zeros_like(state.phase, dtype=torch.bool)

    def info(self, state: SignalState, task: Tasks) -> dict[str, Tensor]:
        vehicles, left = state.arrived.clamp(min=1), state.arrived - state.queue.sum(-1)
        return {
            "delay per vehicle": state.waited / vehicles,
            "stops per vehicle": state.stopped / vehicles,
            "longest queue": state.longest,
            "throughput": left / state.clock.clamp(min=DECISION) * HOUR,
        }

    def scene(self, state: SignalState, task: Tasks, action: Tensor | None) -> Scene:
        """The crossing from above, with what is hidden: demand in vehicles an hour, and a cross where a detector is dead."""
        hourly = (self.demand(state.clock, task) * HOUR).tolist()
        asked = None if action is None else int(action)
        delay = float(self.info(state, task)["delay per vehicle"])
        minute, green = float(state.clock) / MINUTE, float(state.green)
        return scene_of(state.queue.tolist(), int(state.phase), asked, hourly, task["dead"].tolist(), minute, green, delay)


def served(phase: Int64[Tensor, "*batch"]) -> Bool[Tensor, "*batch movement"]:
    """Which movements have green."""
    return torch.arange(len(MOVEMENTS), device=phase.device) // 2 == phase[..., None]
