"""What clinics do with an unknown patient: a basal rate and boluses by a rule, a rule that is mended day by day, a controller.

Settings of a pump are shares of the rule by weight (`families/health/glucose.py`), which is what actions of zero give.
Constants are those that score best on training patients, found by `benchmarks/population_glucose.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.families.health.glucose import (
    BASAL_REACH,
    BOLUS_REACH,
    CARBS_PER_DAY_UNIT,
    CLOSED_REACH,
    COHORTS,
    DAY,
    UNITS_PER_KG,
    Glucose,
)
from quickstudy.families.health.uva_padova import VARIED, columns
from quickstudy.oracles.agent import Oracle, ruled
from quickstudy.protocol import Act, Memory, Percept, Tasks, has_past
from quickstudy.tasks.native import NativeTasks
from quickstudy.tasks.told import Told

By = Literal["population", "weight", "cohort", "told"]
CORRECTED, TOWARDS, CORRECTION_RULE = 150.0, 140.0, 1800.0
"""A meal's bolus is corrected above the first (mg/dl), towards the second; 1800 by the units of a day is what a unit lowers."""
NIGHT = 20
"""Quarters of an hour from midnight to the earliest breakfast."""


class Shares(NamedTuple):
    """Settings of a pump, each a share of what the rule by weight gives; numbers, or tensors (task, lane)."""

    basal: Tensor | float
    """Units an hour."""
    bolus: Tensor | float
    """Units for a gram."""
    correction: Tensor | float
    """Units for a mg/dl too much, given with a meal."""

    def times(self, other: Shares) -> Shares:
        return Shares(*(own * factor for own, factor in zip(self, other, strict=True)))


BY_WEIGHT = Shares(1.2, 0.8, 1.0)
"""Of the rule by weight."""
BY_COHORT = (Shares(1.1, 0.5, 1.0), Shares(1.2, 0.8, 1.0), Shares(1.1, 0.6, 0.5))
"""Of the mean settings of a cohort's training patients: adolescents, adults, children."""
TITRATED = (
    Shares(1.6, 0.5, 0.5),  # adolescent-1
    Shares(1.2, 1.4, 0.5),  # adolescent-2
    Shares(1.2, 0.8, 1.0),  # adolescent-3
    Shares(1.45, 0.65, 0.5),  # adolescent-4
    Shares(1.2, 1.0, 1.0),  # adolescent-5
    Shares(1.45, 1.0, 1.0),  # adolescent-6
    Shares(1.45, 1.0, 1.0),  # adolescent-7
    Shares(1.8, 1.2, 0.5),  # adolescent-8
    Shares(1.3, 1.0, 1.0),  # adolescent-9
    Shares(1.2, 1.0, 1.0),  # adolescent-10
    Shares(1.6, 0.5, 1.0),  # adult-1
    Shares(1.2, 1.0, 1.0),  # adult-2
    Shares(1.3, 0.8, 1.0),  # adult-3
    Shares(1.2, 0.8, 1.0),  # adult-4
    Shares(1.6, 0.65, 1.0),  # adult-5
    Shares(1.1, 1.0, 1.0),  # adult-6
    Shares(1.1, 0.8, 0.5),  # adult-7
    Shares(1.45, 0.4, 0.5),  # adult-8
    Shares(1.8, 0.8, 0.5),  # adult-9
    Shares(1.8, 0.8, 1.0),  # adult-10
    Shares(1.1, 0.65, 0.5),  # child-1
    Shares(1.3, 0.8, 1.0),  # child-2
    Shares(1.1, 1.2, 1.0),  # child-3
    Shares(1.0, 0.5, 0.5),  # child-4
    Shares(1.2, 0.5, 1.0),  # child-5
    Shares(1.2, 0.8, 0.5),  # child-6
    Shares(1.2, 0.65, 0.5),  # child-7
    Shares(1.6, 0.65, 0.5),  # child-8
    Shares(1.1, 0.65, 0.5),  # child-9
    Shares(1.2, 0.8, 0.5),  # child-10
)
"""Of each patient's own settings in simglucose's table: what a long titration of that very patient finds."""
POPULATION: By = "cohort"
"""Which of the rules by weight and by cohort scores better on training patients."""


class Seen(NamedTuple):
    """An observation in the units of a clinic, (task, lane) each."""

    reading: Tensor
    change: Tensor
    coming: Tensor
    """Carbohydrates that are about to be eaten (g)."""
    quarter: Tensor
    """Quarters of an hour since midnight."""
    weight: Tensor
    group: Tensor
    """-1 for children, 0 for adolescents, 1 for adults."""


def seen(observation: Float[Tensor, "*lead 10"]) -> Seen:
    """What the numbers of an observation say."""
    reading, change, _, _, coming, _, sin, cos, weight, group = observation.unbind(-1)
    quarter = (torch.atan2(sin, cos) * (DAY / 2 / torch.pi)).round().long() % DAY
    return Seen(reading * 100 + 140, change * 30, coming * 50, quarter, weight * 55 + 55, group.round().long())


def shares_of(basal: Tensor, ratio: Tensor, factor: Tensor, weight: Tensor) -> Shares:
    """Units an hour, grams to a unit and mg/dl that a unit lowers as shares of the rule for a weight (kg)."""
    day = UNITS_PER_KG * weight
    return Shares(basal / (day / 48), CARBS_PER_DAY_UNIT / ratio / day, CORRECTION_RULE / factor / day)


def stated(patient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of patients of the table: units an hour for a kg, grams to a unit, mg/dl that a unit lowers."""
    told = columns(patient.device, torch.float32)
    return told["u2ss"][patient] / 100, told["CR"][patient], told["CF"][patient]


def picked(table: tuple[Shares, ...], index: Tensor) -> Shares:
    """A row of a table of settings for each lane."""
    return Shares(*torch.tensor(table, device=index.device)[index].unbind(-1))


@dataclass(frozen=True)
class Pump:
    """Where settings come from: what the rule by weight gives, the means of a cohort, or the patient's own."""

    family: Glucose
    told: Told | None
    """What takes an observation and the task that it carries apart; None where it carries none."""
    by: By
    times: Shares | None = None
    """What the stated settings are multiplied by, where that isn't what scores best."""

    def read(self, observation: Tensor) -> tuple[Seen, Shares]:
        """What is seen, and the settings for it."""
        task: Tasks = {}
        if self.told:
            observation, task = self.told.parted(observation)
        now = seen(observation)
        by = POPULATION if self.by == "population" else self.by
        if by == "told":
            return now, self._own(task).times(self.times or picked(TITRATED, task["patient"]))
        if by == "weight" or self.family.blind:  # who isn't told of a group knows no cohort
            return now, self.times or BY_WEIGHT
        cohort = now.group % 3  # adolescents, adults, children
        rows = torch.tensor([list(rows)[:7] for rows in COHORTS.values()], device=cohort.device)
        per_kg, ratio, factor = stated(rows)
        weights = columns(cohort.device, torch.float32)["BW"][rows]
        basal, ratio, factor = (each.mean(-1)[cohort] for each in (per_kg * weights, ratio, factor))
        return now, shares_of(basal, ratio, factor, now.weight).times(self.times or picked(BY_COHORT, cohort))

    def _own(self, task: Tasks) -> Shares:
        per_kg, ratio, factor = stated(task["patient"])
        weight = columns(ratio.device, torch.float32)["BW"][task["patient"]] * task["factors"][..., VARIED.index("BW")].exp()
        return shares_of(per_kg * weight, ratio, factor, weight)

    def act(self, now: Seen, shares: Shares) -> Act:
        """The action that gives these shares."""
        like = now.reading
        basal = torch.as_tensor(shares.basal, dtype=like.dtype, device=like.device).expand_as(like).clamp(min=1e-3).log()
        if self.family.closed:
            return Act((basal / CLOSED_REACH).clamp(-1, 1)[..., None], None, {})
        high = (now.reading - TOWARDS).clamp(min=0) * (now.reading > CORRECTED)
        units = CARBS_PER_DAY_UNIT / CORRECTION_RULE * shares.correction * high / now.coming.clamp(min=1)
        bolus = (shares.bolus + units).clamp(min=1e-3).log()
        return Act(torch.stack([basal / BASAL_REACH, bolus / BOLUS_REACH], -1).clamp(-1, 1), None, {})


@dataclass(frozen=True)
class BasalBolus:
    """The same basal rate all day, and with each meal a bolus for its carbohydrates and for what glucose is too high."""

    pump: Pump

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        return self.pump.act(*self.pump.read(percept.observation)), memory


class Titration(NamedTuple):
    """How a rule is mended after each day."""

    start: Shares
    """What the settings are multiplied by on the first day."""
    basal_step: float
    bolus_step: float
    fasting: float
    """Above this before breakfast (mg/dl) the basal rate rises."""
    mean: float
    """Above this mean of the day's readings (mg/dl) boluses rise."""


TITRATION = Titration(Shares(0.9, 1.2, 1.2), 0.1, 0.2, 120.0, 140.0)


@dataclass(frozen=True)
class RunToRun:
    """Basal-bolus whose settings a nurse mends after each day, as run-to-run control does (Palerm et al. 2007, 2008).

    The basal rate: less by a step after a reading below 70 in the night, else more by a step where glucose was high before
    breakfast. Boluses: less after a reading below 70 by day, else more where the day's mean was high.
    """

    pump: Pump
    how: Titration = TITRATION

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        one = torch.ones(tasks, lanes)
        return {"basal": one, "bolus": one} | self._new_day(one)

    def _new_day(self, one: Tensor) -> Memory:
        return {"night": 1000 * one, "fasting": 0 * one, "lowest": 1000 * one, "sum": 0 * one, "count": 0 * one}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        now, shares = self.pump.read(percept.observation)
        past, begins = has_past(percept), now.quarter == 0
        then, _ = self.pump.read(percept.arrival)  # where a day begins, this ended the day before
        lived = read_on(memory, then, past)
        mended = self._mended(lived)
        kept = {name: torch.where(begins & past, mended[name], lived[name]) for name in lived}
        factors = Shares(kept["basal"], kept["bolus"], kept["bolus"])
        return self.pump.act(now, shares.times(self.how.start).times(factors)), kept

    def _mended(self, day: Memory) -> Memory:
        how = self.how
        rises, falls = day["fasting"] > how.fasting, day["night"] < 70
        basal = day["basal"] * torch.where(falls, 1 - how.basal_step, 1 + how.basal_step * rises)
        high, low = day["sum"] / day["count"].clamp(min=1) > how.mean, day["lowest"] < 70
        bolus = day["bolus"] * torch.where(low, 1 - how.bolus_step, 1 + how.bolus_step * high)
        return {"basal": basal, "bolus": bolus} | self._new_day(torch.ones_like(basal))


def read_on(day: Memory, then: Seen, past: Tensor) -> Memory:
    """One more reading of the day; none where there is no past."""
    quarter = torch.where(then.quarter == 0, DAY, then.quarter)
    night = past & (quarter <= NIGHT)
    by_day = past & (quarter > NIGHT)
    return {
        "basal": day["basal"],
        "bolus": day["bolus"],
        "night": torch.where(night, torch.minimum(day["night"], then.reading), day["night"]),
        "fasting": torch.where(past & (quarter == NIGHT), then.reading, day["fasting"]),
        "lowest": torch.where(by_day, torch.minimum(day["lowest"], then.reading), day["lowest"]),
        "sum": day["sum"] + by_day * then.reading,
        "count": day["count"] + by_day,
    }


class Gains(NamedTuple):
    """Of a controller: what the settings are multiplied by, and how the basal rate answers to the sensor."""

    start: Shares
    target: float
    proportional: float
    """For 100 mg/dl."""
    integral: float
    """For 100 mg/dl over an hour."""
    derivative: float
    """For 100 mg/dl an hour."""


GAINS = Gains(Shares(0.85, 1.0, 1.0), 110.0, 0.5, 0.1, 0.5)


@dataclass(frozen=True)
class PID:
    """A controller of the basal rate (Steil et al. 2006), beside boluses by the rule where meals are told of."""

    pump: Pump
    gains: Gains = GAINS

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"sum": torch.zeros(tasks, lanes)}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        now, shares = self.pump.read(percept.observation)
        gains, error = self.gains, (now.reading - self.gains.target) / 100
        kept = {"sum": (memory["sum"] * ~percept.first + error / 4).clamp(-6, 6)}
        answer = 1 + gains.proportional * error + gains.integral * kept["sum"] + gains.derivative * now.change / 25
        shares = shares.times(gains.start)
        return self.pump.act(now, shares._replace(basal=shares.basal * answer.clamp(min=0))), kept


@checked
@dataclass(frozen=True, kw_only=True)
class BasalBolusOptions:
    """What basal-bolus can be told."""

    settings: Literal["population", "told", "weight", "cohort"] = "population"
    """Whose settings: those that score best on training patients, the patient's own, by weight, or the mean of the cohort."""


@checked
@dataclass(frozen=True, kw_only=True)
class SettingsOptions:
    """What a rule that goes on from such settings can be told."""

    settings: Literal["population", "told"] = "population"
    """Whose settings: those that score best on training patients, or the patient's own."""


def basal_bolus(tasks: NativeTasks, family: Glucose, options: BasalBolusOptions) -> Oracle:
    """The rule that most patients live by."""
    return ruled("basal-bolus", tasks, options.settings, lambda told: BasalBolus(Pump(family, told, options.settings)))


def run_to_run(tasks: NativeTasks, family: Glucose, options: SettingsOptions) -> Oracle:
    """That rule, mended after each day."""
    return ruled("run-to-run", tasks, options.settings, lambda told: RunToRun(Pump(family, told, options.settings)))


def pid(tasks: NativeTasks, family: Glucose, options: SettingsOptions) -> Oracle:
    """That rule under a controller."""
    return ruled("pid", tasks, options.settings, lambda told: PID(Pump(family, told, options.settings)))
