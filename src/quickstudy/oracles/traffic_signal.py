"""Rules by which crossings are run: a fixed plan (Webster 1958), actuated phases (NEMA), and max-pressure (Varaiya 2013).

A rule with population settings sees what detectors tell, and its settings are the best of a search over training tasks
(`benchmarks/population_traffic_signal.py`). A rule that is told knows demand, saturation flow and which detectors are dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.families.traffic.signal import (
    DECISION,
    IN_SIGHT,
    LOST_TIME,
    MINIMUM_GREEN,
    MINUTE,
    MOVEMENTS,
    PHASES,
    TrafficSignal,
    served,
)
from quickstudy.oracles.agent import Oracle, ruled
from quickstudy.protocol import Act, Memory, Percept, TaskDistribution, Tasks
from quickstudy.tasks.told import Told

Settings = Literal["population", "told"]
CALL = 0.5
"""Vehicles that call a phase."""
CYCLES_LOST = PHASES * LOST_TIME


@checked
@dataclass(frozen=True, kw_only=True)
class WebsterOptions:
    """What the fixed plan can be told."""

    settings: Settings = "population"
    """One plan for all crossings, the best on training tasks, or Webster's for the demand and saturation flow of each."""
    through_green: float = 36.0
    """Seconds of green of through phases, where there is one plan for all."""
    left_green: float = 26.0
    """The same of left-turn phases."""


@checked
@dataclass(frozen=True, kw_only=True)
class ActuatedOptions:
    """What the actuated controller can be told."""

    settings: Settings = "population"
    """The same for all crossings, or maxima by the true demand, and queues of dead detectors reckoned from it."""
    through_maximum: float = 200.0
    """Seconds of green at most of through phases."""
    left_maximum: float = 120.0
    """The same of left-turn phases."""
    cleared: float = 1.0
    """Vehicles of the longer queue of a phase with which it gaps out."""
    silence: float = 1.0
    """Minutes without a vehicle after which a detector is taken for dead (NTCIP 1202: no activity)."""
    through_recall: float = 26.0
    """Seconds for which a dead detector of a through movement keeps its phase green (NTCIP 1202: fail time)."""
    left_recall: float = 16.0
    """The same of left turns."""


@checked
@dataclass(frozen=True, kw_only=True)
class MaxPressureOptions:
    """What max-pressure can be told."""

    settings: Settings = "population"
    """Queues of dead detectors reckoned from one demand for all crossings, or from the true one."""
    hysteresis: float = 8.0
    """A phase takes over where its pressure is 1 + this times that of the present one; 0 ignores what a change costs."""
    silence: float = 1.0
    """Minutes without a vehicle after which a detector is taken for dead."""
    through_rate: float = 540.0
    """Vehicles an hour that a dead detector of a through movement is taken to miss."""
    left_rate: float = 270.0
    """The same of left turns."""


class Seen(NamedTuple):
    """What a controller knows at a decision."""

    queue: Float[Tensor, "*lead movement"]
    phase: Int64[Tensor, "*lead"]
    green: Float[Tensor, "*lead"]
    """Seconds of green so far."""
    share: Float[Tensor, "*lead"]
    """Of the episode that is over."""
    task: Tasks
    """Empty where the controller isn't told."""


def seen(percept: Percept, told: Told | None) -> Seen:
    """An observation in vehicles and seconds."""
    own, task = (percept.observation, {}) if told is None else told.parted(percept.observation)
    queue, phase, _, clocks = own.split((len(MOVEMENTS), PHASES, len(MOVEMENTS) + PHASES, 4), -1)
    return Seen(queue * IN_SIGHT, phase.argmax(-1), clocks[..., 0] * MINUTE, clocks[..., 2], task)


def of_phase(values: Shaped[Tensor, "*lead phase"], phase: Int64[Tensor, "*lead"]) -> Tensor:
    """What holds of the phase that is green."""
    return values.gather(-1, phase[..., None])[..., 0]


def by_way(through: float, left: float, of: int) -> Float[Tensor, "entry"]:
    """One number for through and one for left, for phases or movements."""
    return torch.tensor([through, left]).repeat_interleave(of // PHASES).repeat(2)


def webster(family: TrafficSignal, now: Seen, longest: float = 150.0) -> Float[Tensor, "*lead phase"]:
    """Greens of Webster's plan: a cycle of (1.5 L + 5) / (1 - Y), what isn't lost shared out by flow ratios."""
    ratios = family.flow_ratios(demand(family, now), now.task)
    load = ratios.sum(-1, keepdim=True)
    cycle = ((1.5 * CYCLES_LOST + 5) / (1 - load).clamp(min=0.05)).clamp(max=longest)
    return ((cycle - CYCLES_LOST) * ratios / load).clamp(min=MINIMUM_GREEN)


@dataclass(frozen=True)
class FixedPlan:
    """Each phase for its seconds of green, to the nearest decision, in turn."""

    family: TrafficSignal
    options: WebsterOptions
    told: Told | None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        now = seen(percept, self.told)
        greens = by_way(self.options.through_green, self.options.left_green, PHASES).expand(*now.phase.shape, PHASES)
        if self.told is not None:
            greens = webster(self.family, now)
        ends = now.green >= of_phase(greens, now.phase) - DECISION / 2
        return Act(torch.where(ends, (now.phase + 1) % PHASES, now.phase), None, {}), memory


@dataclass(frozen=True)
class Actuated:
    """Serves phases in turn that have a call, each until its queue has cleared (gap-out) or its maximum is over.

    A detector that has been silent for too long is taken for dead: its phase is called always, and kept green for its recall.
    Who is told reckons the queues that dead detectors don't see, and takes twice Webster's greens for maxima.
    """

    family: TrafficSignal
    options: ActuatedOptions
    told: Told | None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return watching(tasks, lanes)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        now, own = seen(percept, self.told), self.options
        memory = watched(
            self.family, percept, now, memory, demand(self.family, now) if self.told else torch.zeros(len(MOVEMENTS))
        )
        if self.told is None:
            dead = memory["silent"] >= own.silence
            queue, maxima = now.queue, by_way(own.through_maximum, own.left_maximum, PHASES).expand(*now.phase.shape, PHASES)
        else:
            dead = torch.zeros_like(now.task["dead"])
            queue = torch.where(now.task["dead"], memory["reckoned"], now.queue)
            maxima = 2 * webster(self.family, now)
        longest, recalled = queue.unflatten(-1, (PHASES, 2)).amax(-1), dead.unflatten(-1, (PHASES, 2)).any(-1)
        recall = by_way(own.through_recall, own.left_recall, PHASES) * recalled
        over = now.green >= of_phase(maxima, now.phase) - DECISION / 2
        gap = (of_phase(longest, now.phase) <= own.cleared) & (now.green >= of_phase(recall, now.phase) - DECISION / 2)
        following = next_called((longest > CALL) | recalled, now.phase)
        return Act(torch.where(over | gap, following, now.phase), None, {}), memory


@dataclass(frozen=True)
class MaxPressure:
    """The phase whose queues press most (vehicles x saturation flow), where that is enough more than the present one's."""

    family: TrafficSignal
    options: MaxPressureOptions
    told: Told | None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return watching(tasks, lanes)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        now, own = seen(percept, self.told), self.options
        task = now.task or {"saturation": torch.ones_like(now.share)}
        assumed = by_way(own.through_rate, own.left_rate, len(MOVEMENTS)) / 3600
        memory = watched(self.family, percept, now, memory, demand(self.family, now) if self.told else assumed)
        dead = now.task["dead"] if self.told else memory["silent"] >= own.silence
        queue = torch.where(dead, memory["reckoned"], now.queue)
        pressure = (queue * self.family.saturation_flow(task)).unflatten(-1, (PHASES, 2)).sum(-1)
        most, busiest = pressure.max(-1)
        turns = most > (1 + own.hysteresis) * of_phase(pressure, now.phase)
        return Act(torch.where(turns, busiest, now.phase), None, {}), memory


def demand(family: TrafficSignal, now: Seen) -> Float[Tensor, "*lead movement"]:
    """Vehicles a second of each movement, for who is told."""
    return family.demand(now.share * family.max_episode_steps * DECISION, now.task)


def watching(tasks: int, lanes: int) -> Memory:
    """The memory of one who has seen nothing: minutes of silence of each detector, and queues that are reckoned."""
    nothing = torch.zeros(tasks, lanes, len(MOVEMENTS))
    return {"silent": nothing, "reckoned": nothing}


def watched(
    family: TrafficSignal, percept: Percept, now: Seen, memory: Memory, rate: Float[Tensor, "*lead movement"]
) -> Memory:
    """Five seconds more of silence, where a detector tells of nobody, and of queues that grow at a rate and leave in green."""
    task = now.task or {"saturation": torch.full_like(now.share, 0.9)}
    went = now.green.clamp(max=DECISION)[..., None] * family.saturation_flow(task) * served(now.phase)
    reckoned = (memory["reckoned"] + DECISION * rate - went).clamp(min=0)
    silent = torch.where(now.queue > 0, 0.0, memory["silent"] + DECISION / MINUTE)
    return {"silent": silent, "reckoned": torch.where(percept.first[..., None], 0.0, reckoned)}


def next_called(called: Bool[Tensor, "*lead phase"], phase: Int64[Tensor, "*lead"]) -> Int64[Tensor, "*lead"]:
    """The next phase in turn that is called, the present one where no other is."""
    ahead = (phase[..., None] + torch.arange(1, PHASES, device=phase.device)) % PHASES
    calls = called.gather(-1, ahead)
    return torch.where(calls.any(-1), of_phase(ahead, calls.int().argmax(-1)), phase)


def rule(name: str, policy: Any) -> Any:
    """What makes a rule's agent of tasks, the family's options and its own."""

    def make(tasks: TaskDistribution, family: TrafficSignal, options: Any) -> Oracle:
        return ruled(name, tasks, options.settings, lambda told: policy(family, options, told))

    return {"traffic-signal": make}
