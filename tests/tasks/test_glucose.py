"""The glucose family against numbers of simglucose, against what flows must add up to, and against its own words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from quickstudy import families
from quickstudy.families.health import uva_padova
from quickstudy.families.health.glucose import COHORTS, END, FADES, MEALS, STEP, Glucose
from quickstudy.families.health.uva_padova import (
    GUT,
    LIQUID,
    PMOL,
    SENSOR,
    SKIN,
    SOLID,
    UNDER_SKIN,
    at_rest,
    derivative,
    equations,
    lived,
    numbers_of,
    table,
)
from quickstudy.protocol import counter

SLOPES = {
    (1, 60000.0, 4.0, 3.0): [3308.54, 579.3277303, -1010.43773, 12.42332209, 7.064391152, -1.746608408, 1.39998158,
        0.6049791324, 0.4033194216, 2.517619715, 347.2282249, 2.537860319, 18.41152274],
    (15, 0.0, 0.0, 0.02): [-590.3, 147.575, -4790.865, 57.60816792, 12.45058263, -3.223079804, 5.21690448,
        0.989829624, 0.659886416, 3.652733419, -6.011772335, 4.371081735, 7.017297421],
    (26, 90000.0, 0.0, 8.0): [-1327.31838, 1207.096804, -175.5479802, -4.427563428, 9.352697477, -1.239560602, 2.775520014,
        0.7190765691, 0.4793843794, 1.436290067, 1050.946085, 1.690966051, 0.0],
}  # fmt: skip
"""What simglucose 0.2.11 says of a patient, the meal so far (mg), carbohydrates (g) and insulin (U) of the minute."""
HOURS = (60, 120, 360, 420, 720)
DAYS = {
    4: [139.03, 202.245, 212.692, 231.985, 196.051],
    13: [150.689, 201.35, 198.867, 147.743, 194.237],
    21: [143.393, 176.275, 178.235, 163.529, 129.192],
    29: [136.415, 248.972, 262.965, 212.666, 272.434],
}
"""And of four patients' glucose after so many minutes of a day with 45, 70 and 80 g, on their own basal rate and boluses."""


def patients(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return numbers_of(torch.arange(30), torch.zeros(30, 9, dtype=dtype))


def slopes(x: Tensor, p: dict[str, Tensor], filled: float, carbs: float, insulin: float) -> Tensor:
    """The right-hand side at stocks (13, *batch)."""
    eq = equations(p)
    constants = eq.constants.clone()
    constants[SOLID] += 1000 * carbs
    constants[SKIN] += insulin * PMOL / p["BW"]
    return derivative(x, eq, constants, torch.tensor(filled, dtype=x.dtype).clamp(min=1e-9))


@pytest.mark.parametrize("given", SLOPES)
def test_the_right_hand_side_is_simglucoses(given: tuple[int, float, float, float]):
    patient, *inputs = given
    p = numbers_of(torch.tensor(patient))
    some = (1.0, 1.0, 1.0, 1.5, 0.8, 2.0, 1.0, 1.4, 1.0, 0.6, 3.0, 1.0, 1.0)
    x = at_rest(p, ()).stocks.clone()
    x[:3] = torch.tensor([2e4, 1.5e4, 9e3])
    x *= torch.tensor(some, dtype=torch.float64)
    x[6] = 40.0
    x[12] = -1.0 if patient == 26 else x[12]
    torch.testing.assert_close(slopes(x, p, *inputs), torch.tensor(SLOPES[given], dtype=torch.float64), rtol=1e-8, atol=1e-9)


def test_a_day_is_simglucoses():
    dtype = torch.float32
    p, served = patients(dtype), torch.zeros(720, 30, dtype=dtype)
    for minute, grams in ((60, 45.0), (300, 70.0), (660, 80.0)):
        served[minute] = grams
    bolus = served / torch.tensor(table().columns["CR"], dtype=dtype)
    _, glucose = lived(at_rest(p, (30,)), p, served, p["u2ss"] * p["BW"] / PMOL + bolus)
    for patient, expected in DAYS.items():
        got = glucose[[minute - 1 for minute in HOURS], patient].double()
        torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), atol=0.05, rtol=0)


def test_whoever_fasts_on_the_basal_rate_stays_where_they_are_whatever_the_factors():
    factors = 0.3 * torch.randn(30, 9, dtype=torch.float64, generator=counter(0, 0, "factors"))
    p = numbers_of(torch.arange(30), factors)
    rest = at_rest(p, (30,))
    rate = (p["u2ss"] * p["BW"] / PMOL).expand(60, 30)
    body, glucose = lived(rest, p, torch.zeros(60, 30, dtype=torch.float64), rate)
    torch.testing.assert_close(body.stocks, rest.stocks, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(glucose[0], glucose[-1])


def test_what_is_eaten_and_injected_goes_somewhere():
    """Food leaves for the blood alone, and insulin under the skin too."""
    p, draw = patients(), counter(0, 0, "states")
    x = at_rest(p, (30,)).stocks.T * (0.5 + torch.rand(13, 30, dtype=torch.float64, generator=draw))
    x[:3] = 1e4 * torch.rand(3, 30, dtype=torch.float64, generator=draw)
    change = slopes(x, p, 4e4, 3.0, 0.5)
    torch.testing.assert_close(change[[SOLID, LIQUID, GUT]].sum(0), 3000 - p["kabs"] * x[GUT])
    out = p["ka1"] * x[SKIN] + p["ka2"] * x[UNDER_SKIN]
    torch.testing.assert_close(change[[SKIN, UNDER_SKIN]].sum(0), 0.5 * PMOL / p["BW"] - out)


def test_a_meal_is_eaten_at_five_grams_a_minute():
    p = patients()
    served = torch.zeros(12, 30, dtype=torch.float64)
    served[2] = 32.0
    body, _ = lived(at_rest(p, (30,)), p, served, torch.zeros_like(served))
    assert body.plate.eq(0).all() and not body.eating.any()
    torch.testing.assert_close(body.filled, torch.full((30,), 32000.0, dtype=torch.float64))


class Lived:
    """Steps of the family in lanes of a few tasks."""

    def __init__(self, actions: Any, steps: int, count: int = 32, split: Any = "train", **options: Any):
        self.tasks = families.make("glucose", **options)
        self.drawn = self.tasks.sample(count, split, counter(0, 0, "tasks"))
        env = self.tasks.make(count, 1)
        first = env.reset(self.drawn, counter(0, 0, "env"))
        action = torch.tensor(actions).expand(count, 1, -1)
        self.states, self.seen, self.steps = [env._state], [first], []
        for _ in range(steps):
            self.steps.append(env.step(action))
            self.states.append(env._reached)
            self.seen.append(self.steps[-1].arrival)

    @property
    def weight(self) -> Tensor:
        return numbers_of(self.drawn["patient"], self.drawn["factors"])["BW"][:, None]


def test_meals_come_as_in_simglucoses_scenario():
    family = Glucose(max_episode_steps=192)
    drawn = families.make("glucose").sample(1, "train", counter(0, 0, "tasks"))
    noise = torch.rand(20_000, family.initial_noise, generator=counter(0, 0, "noise"))
    meals = family.initial({name: value.expand(20_000, *value.shape[1:]) for name, value in drawn.items()}, noise).meals
    assert meals.shape == (20_000, 12, 2)
    for place in range(12):
        time, grams = meals[:, place].unbind(-1)
        time, meal = time - 1440 * (place // 6), place % 6
        assert time.min() >= MEALS["earliest"][meal] and time.max() <= MEALS["latest"][meal]
        assert abs(float((grams > 0).float().mean()) - MEALS["chance"][meal]) < 0.03
        assert abs(float(grams[grams > 0].mean()) - MEALS["grams"][meal]) < 1


def test_an_action_of_zero_gives_what_the_rule_by_weight_does_and_the_lowest_stops_the_pump():
    calm = Lived([0.0, 0.0], 36)
    for before, seen, after in zip(calm.states, calm.seen, calm.states[1:], strict=False):
        torch.testing.assert_close(after.given[..., 0], 0.55 * calm.weight / 48 / 4)
        torch.testing.assert_close(after.given[..., 1], seen[..., 4] * 50 * 0.55 * calm.weight / 500, atol=1e-4, rtol=1e-4)
        total = FADES * before.given[..., 2] + after.given[..., :2].sum(-1)
        torch.testing.assert_close(after.given[..., 2], total)
    assert sum(float(state.given[..., 1].sum()) for state in calm.states) > 0
    stopped = Lived([-1.0, 1.0], 1)
    assert stopped.states[-1].given[..., 0].eq(0).all()


def test_closed_loops_have_no_bolus_and_the_unannounced_see_no_meals():
    for options, told in (({"unannounced": True}, False), ({"basal_only": True}, True)):
        closed = Lived([0.0], 36, **options)
        assert all(bool(state.given[..., 1].eq(0).all()) for state in closed.states)
        assert any(bool(seen[..., 4:6].gt(0).any()) for seen in closed.seen) == told
    blind, sighted = (Lived([0.0, 0.0], 1, blind=blind).seen[0][..., 8:] for blind in (True, False))
    assert blind.eq(0).all() and set(sighted[..., 1].flatten().tolist()) == {-1.0, 0.0, 1.0}


def test_figures_and_reward_are_those_of_the_minutes_lived():
    """Each step lived once more from the state before, minute by minute."""
    day = Lived([0.1, 0.2], 44, count=8)
    task = {name: value[:, None] for name, value in day.drawn.items()}
    p = numbers_of(task["patient"], task["factors"])
    for before, after, step in zip(day.states, day.states[1:], day.steps, strict=False):
        served = day.tasks.dynamics._served(before)
        dose = after.given[..., 0] / STEP + served * after.given[..., 1] / served.sum(0).clamp(min=1)
        _, glucose = lived(before.body, p, served, dose)
        inside = ((glucose >= 70) & (glucose <= 180)).float().mean(0) * 100
        torch.testing.assert_close(step.info["time in range"], inside, atol=7.0, rtol=0)  # a minute at the edge
        shares = step.info["time in range"] + step.info["below 70"] + step.info["above 180"]
        torch.testing.assert_close(shares, torch.full_like(shares, 100.0))
        risk = (10 * (1.509 * (glucose.log() ** 1.084 - 5.381)) ** 2).mean(0)
        torch.testing.assert_close(step.reward, -risk / 100, atol=1e-4, rtol=1e-3)
        assert (step.info["below 54"] <= step.info["below 70"]).all() and not step.terminated.any()


def test_too_much_insulin_ends_the_episode_and_costs():
    flood = Lived([1.0, 1.0], 56, count=64)
    ended = torch.stack([step.terminated for step in flood.steps])
    assert 0.1 < float(ended.any(0).float().mean()) < 1
    for step in flood.steps:
        assert (step.reward[step.terminated] < -END).all() and (step.reward[~step.terminated] > -3).all()
        assert torch.equal(step.info["ends"] > 0, step.terminated)


def test_the_sensors_error_is_johnsons():
    """Its quantiles are those of the normal one, which is of order one with 0.7."""
    nights = Lived([0.0, 0.0], 32, count=1024)
    p = numbers_of(nights.drawn["patient"], nights.drawn["factors"])
    drift = torch.stack([state.drift[:, 0] for state in nights.states[12:]])
    correlation = torch.corrcoef(torch.stack([drift[:-1].flatten(), drift[1:].flatten()]))[0, 1]
    assert abs(float(correlation) - 0.7) < 0.02 and abs(float(drift.var()) - 0.49 / 0.51) < 0.05
    for state in nights.states:
        error = state.readings[:, 0, 0] - state.body.stocks[:, 0, SENSOR] / p["Vg"]
        expected = -5.47 + 15.9574 * ((state.drift[:, 0] + 0.5444) / 1.6898).sinh()
        inside = (state.readings[:, 0, 0] > 39) & (state.readings[:, 0, 0] < 600)
        torch.testing.assert_close(error[inside], expected[inside], atol=1e-3, rtol=1e-3)


def test_patients_belong_to_one_split_and_other_cohorts_are_the_extrapolation():
    for train_on, beyond in (("all", None), ("adults", {"adolescents", "children"})):
        tasks = families.make("glucose", train_on=train_on)
        met = {
            split: set(tasks.sample(500, split, counter(0, 0, split))["patient"].tolist())
            for split in ("train", "validation", "test")
        }
        assert not met["train"] & met["test"] and not met["train"] & met["validation"] and not met["validation"] & met["test"]
        used = [rows for name, rows in COHORTS.items() if train_on in ("all", name)]
        assert met["train"] == {row for rows in used for row in rows[:7]}
        assert met["test"] == {row for rows in used for row in rows[8:]}
        if beyond:
            others = set(tasks.sample(500, "extrapolation", counter(0, 0, "e"))["patient"].tolist())
            assert others == {row for name in beyond for row in COHORTS[name]}
    assert uva_padova.table().names[8] == "adolescent-9"
