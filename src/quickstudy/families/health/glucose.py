"""Insulin for a patient whose body is unknown, on the UVA/Padova model: the artificial pancreas as a family of tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int64
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.families.health import chart
from quickstudy.families.health.uva_padova import SENSOR, VARIED, Body, at_rest, columns, lived, numbers_of, table
from quickstudy.ops.draws import normal
from quickstudy.protocol import Tasks
from quickstudy.scene import Scene
from quickstudy.tasks.figures import Figures
from quickstudy.tasks.parameters import Normal, Parameter
from quickstudy.tasks.rows import Rows

STEP, DAY = 15, 96
"""Minutes between decisions, and how many of them a day has."""
COHORTS = {"adolescents": range(0, 10), "adults": range(10, 20), "children": range(20, 30)}
"""Rows of the table: of each cohort the first seven are for training, the eighth for validation, the last two for tests."""
MEALS = {
    "chance": (0.95, 0.3, 0.95, 0.3, 0.95, 0.3),
    "earliest": (300.0, 540.0, 600.0, 840.0, 960.0, 1200.0),
    "latest": (540.0, 600.0, 840.0, 960.0, 1200.0, 1380.0),
    "time": (420.0, 570.0, 720.0, 900.0, 1080.0, 1290.0),
    "spread": (60.0, 30.0, 60.0, 30.0, 60.0, 30.0),
    "grams": (45.0, 10.0, 70.0, 10.0, 80.0, 10.0),
    "differ": (10.0, 5.0, 10.0, 5.0, 10.0, 5.0),
}
"""Breakfast, lunch, dinner and the snacks after each, as simglucose's random scenario draws them; times in minutes."""
TEENAGER, ADULT = 13, 20
"""Years from which a patient is one; age itself would give away which of the thirty it is, and groups are all that it says."""
UNITS_PER_KG, CARBS_PER_DAY_UNIT = 0.55, 500.0
"""The rule by weight: so many units a day, half of them basal, and so many grams to a unit, divided by the units a day."""
BASAL_REACH, BOLUS_REACH, CLOSED_REACH = 1.2, 1.5, 2.4
"""How far an action of 1 leads from the rule by weight, as a logarithm."""
MOST_UNITS = 30.0
"""Of a bolus."""
FADES = math.exp(-STEP / 90)
"""What is left after a step of the insulin and carbohydrates that an observation counts as still at work."""
LEAST, MOST = 10.0, 600.0
"""Glucose (mg/dl) beyond which an episode ends, as in simglucose."""
END = 25.0
"""What an end costs: more than twice the risk of a day that is left to chance, so that nobody gains by it."""
FIGURES = ("time in range", "below 70", "below 54", "above 180", "risk")


class GlucoseState(NamedTuple):
    """A patient and the pump."""

    body: Body
    step: Int64[Tensor, "*batch"]
    meals: Float[Tensor, "*batch meal 2"]
    """When each meal of the episode begins (minute), and its carbohydrates (g); 0 g where it is skipped."""
    drift: Float[Tensor, "*batch"]
    """The sensor's error, before it is skewed."""
    readings: Float[Tensor, "*batch 2"]
    """Of the sensor, now and a step ago (mg/dl)."""
    given: Float[Tensor, "*batch 4"]
    """Basal and bolus of the last step, insulin still at work (U) and carbohydrates still at work (g)."""
    lived: Float[Tensor, "*batch 5"]
    """The figures of the last step's minutes, times in percent."""
    ended: Float[Tensor, "*batch"]


@checked
@dataclass(frozen=True, kw_only=True)
class Glucose:
    """Give insulin to a patient whose body is hidden: minus the risk of each quarter of an hour, -25 for an end.

    A trial is some days of one patient, each from rest at midnight. Each step the agent sees its sensor and what is about to
    be eaten, and sets the basal rate, and the bolus for the carbohydrates of the step, each around what the rule by weight
    gives: exp(1.2 a) and exp(1.5 a) times it; basal of at most -0.95 stops the pump. A bolus where nothing is eaten is none.
    An episode ends where glucose leaves 10 to 600 mg/dl. Not for treatment.
    """

    max_episode_steps: int = DAY
    """Quarters of an hour of an episode, which begins at midnight: 96 are a day."""
    episodes_per_trial: int = 5
    """Episodes of a trial, with the same patient."""
    train_on: Literal["all", "adolescents", "adults", "children"] = "all"
    """A cohort to train and test on; the other two are then the extrapolation."""
    unannounced: bool = False
    """Nobody tells of meals, so there is no bolus for them: the action is the basal rate alone, exp(2.4 a) times the rule's."""
    basal_only: bool = False
    """Meals are told of, but there is no bolus: the action is the basal rate alone, exp(2.4 a) times the rule's."""
    blind: bool = False
    """Weight and age group aren't seen."""
    sensor_noise: float = 1.0
    """How much of the sensor's published error there is."""

    step_noise = 1

    def __post_init__(self) -> None:
        require_at_least(1, "glucose", self, "max_episode_steps", "episodes_per_trial")
        require_at_least(0, "glucose", self, "sensor_noise")

    @property
    def days(self) -> int:
        """Days that an episode lasts, the last of which may be cut."""
        return -(-self.max_episode_steps // DAY)

    @property
    def initial_noise(self) -> int:
        return self.days * 18 + 1

    @property
    def closed(self) -> bool:
        """Whether the basal rate is all there is."""
        return self.unannounced or self.basal_only

    @property
    def observation_space(self) -> spaces.Box:
        low, high = [-1.01, -18.7, *[0.0] * 4, *[-1.0] * 4], [4.6, 18.7, *[np.inf] * 4, *[1.0] * 2, 4.0, 1.0]
        return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (1 if self.closed else 2,))

    @property
    def figures(self) -> Figures:
        return {**dict.fromkeys(FIGURES, "mean"), "ends": "last"}

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        names, told = table().names, table().columns
        known = list(zip(*(told[name] for name in ("CR", "CF", "TDI", "u2ss", "Vmx", "kp3", "kabs", "kmax")), strict=True))
        used = [rows for cohort, rows in COHORTS.items() if self.train_on in ("all", cohort)]

        def part(start: int, end: int) -> tuple[int, ...]:
            return tuple(row for rows in used for row in rows[start:end])

        others = tuple(row for rows in COHORTS.values() if rows not in used for row in rows)
        patient = Rows(names, tuple(known), train=part(0, 7), validation=part(7, 8), test=part(8, 10), extrapolation=others)
        return {"patient": patient, "factors": Normal(0.0, 0.15, (len(VARIED),), VARIED)}

    def initial(self, task: Tasks, noise: Tensor) -> GlucoseState:
        p, lead = numbers_of(task["patient"], task["factors"]), noise.shape[:-1]
        body, drift = at_rest(p, lead), normal(noise[..., -1])
        shares = noise[..., :-1].unflatten(-1, (3, self.days, 6))
        m = {name: torch.tensor(values, device=noise.device) for name, values in MEALS.items()}
        low, high = (torch.special.ndtr((m[end] - m["time"]) / m["spread"]) for end in ("earliest", "latest"))
        time = (m["time"] + m["spread"] * normal(low + (high - low) * shares[..., 0, :, :])).round()
        grams = (m["grams"] + m["differ"] * normal(shares[..., 1, :, :])).round().clamp(min=0)
        grams = grams * (shares[..., 2, :, :] < m["chance"])
        starts = time + torch.arange(self.days, device=noise.device)[:, None] * DAY * STEP
        meals = torch.stack([starts.flatten(-2), grams.flatten(-2)], -1)
        zero = torch.zeros(lead, device=noise.device)
        reading = self._read(body.stocks[..., SENSOR] / p["Vg"], drift)
        none = zero[..., None]
        readings, step = torch.stack([reading, reading], -1), torch.zeros_like(zero, dtype=torch.long)
        return GlucoseState(
            body, step, meals, drift, readings, none.repeat_interleave(4, -1), none.repeat_interleave(5, -1), zero
        )

    def _read(self, glucose: Tensor, drift: Tensor) -> Tensor:
        """What the sensor says: an error of Johnson's SU distribution, as of simglucose's three sensors."""
        error = -5.47 + 15.9574 * ((drift + 0.5444) / 1.6898).sinh()
        return (glucose + self.sensor_noise * error).clamp(39.0, 600.0)

    def _served(self, state: GlucoseState) -> Tensor:
        """Carbohydrates (g) that come to the table in each minute of the coming step, (minute, *batch)."""
        due = (state.meals[..., 0] - STEP * state.step[..., None])[None]
        minute = torch.arange(STEP, device=due.device).view(-1, *[1] * (due.ndim - 1))
        return ((due == minute) * state.meals[..., 1]).sum(-1)

    def transition(self, state: GlucoseState, action: Tensor, task: Tasks, noise: Tensor) -> GlucoseState:
        p, served = numbers_of(task["patient"], task["factors"]), self._served(state)
        reach, units = CLOSED_REACH if self.closed else BASAL_REACH, UNITS_PER_KG * p["BW"]
        basal = units / 2 / DAY * (reach * action[..., 0]).exp() * (action[..., 0] > -0.95)
        share = torch.zeros_like(served) if self.closed else (BOLUS_REACH * action[..., 1]).exp() * units / CARBS_PER_DAY_UNIT
        bolus = (served * share).clamp(max=MOST_UNITS)  # with the first bite
        body, glucose = lived(state.body, p, served, bolus + basal / STEP)
        drift = 0.7 * (state.drift + normal(noise[..., 0]))
        readings = torch.stack([self._read(glucose[-1], drift), state.readings[..., 0]], -1)
        dose, carbs = bolus.sum(0), torch.zeros_like(basal) if self.unannounced else served.sum(0)
        work = FADES * state.given[..., 2:] + torch.stack([basal + dose, carbs], -1)
        ended = ((glucose < LEAST) | (glucose > MOST)).any(0)
        times = [(glucose >= 70) & (glucose <= 180), glucose < 70, glucose < 54, glucose > 180]
        minutes = torch.stack([*(100.0 * each for each in times), risk_of(glucose)], -1).mean(0)
        given = torch.cat([torch.stack([basal, dose], -1), work], -1)
        return GlucoseState(body, state.step + 1, state.meals, drift, readings, given, minutes, ended.float())

    def observation(self, state: GlucoseState, task: Tasks) -> Tensor:
        patient, reading = task["patient"], state.readings[..., 0]
        stated = columns(patient.device, reading.dtype)
        weight = stated["BW"][patient] * task["factors"][..., VARIED.index("BW")].exp()
        coming = torch.zeros_like(reading) if self.unannounced else self._served(state).sum(0)
        rule, turn = UNITS_PER_KG * weight, 2 * math.pi / DAY * state.step
        group = (stated["age"][patient] >= ADULT).float() - (stated["age"][patient] < TEENAGER).float()
        known = torch.stack([(weight - 55) / 55, group.expand(weight.shape)], -1) * (not self.blind)
        now = [
            (reading - 140) / 100,
            (reading - state.readings[..., 1]) / 30,
            20 * state.given[..., :2].sum(-1) / rule,
            10 * state.given[..., 2] / rule,
            coming / 50,
            state.given[..., 3] / 50,
            turn.sin(),
            turn.cos(),
        ]
        return torch.cat([torch.stack(now, -1), known.expand(*reading.shape, 2)], -1)

    def reward(self, state: GlucoseState, action: Tensor, arrival: GlucoseState, task: Tasks, noise: Tensor) -> Tensor:
        return -arrival.lived[..., -1] / 100 - END * arrival.ended

    def terminal(self, state: GlucoseState, task: Tasks) -> Tensor:
        return state.ended > 0

    def info(self, state: GlucoseState, task: Tasks) -> dict[str, Tensor]:
        return dict(zip(FIGURES, state.lived.unbind(-1), strict=True)) | {"ends": state.ended}

    def scene(self, state: GlucoseState, task: Tasks, action: Tensor | None) -> Scene:
        """The day so far: glucose over the hours, with the range it should keep to, meals below, and what the pump gives."""
        p = numbers_of(task["patient"], task["factors"])
        minute, day = STEP * int(state.step), DAY * STEP
        start = max(minute - 1, 0) // day * day
        meals = [((time - start) / 60, grams) for time, grams in state.meals.tolist() if start <= time < start + day]
        basal, bolus, work, _ = state.given.tolist()
        glucose = float(state.body.stocks[SENSOR] / p["Vg"])
        given, name = (basal * 60 / STEP, bolus, work), table().names[int(task["patient"])]
        return chart.day(name, (minute - start) / 60, glucose, float(state.readings[0]), given, meals)


def risk_of(glucose: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
    """The risk of a glucose in mg/dl (Kovatchev et al. 1997)."""
    return 10 * (1.509 * (glucose.clamp(LEAST, MOST).log() ** 1.084 - 5.381)) ** 2
