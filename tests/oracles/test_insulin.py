"""Rules of clinics by hand, and what knowing the patient is worth to them."""

from __future__ import annotations

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy import families
from quickstudy.families.health.glucose import Glucose
from quickstudy.families.health.uva_padova import numbers_of, table
from quickstudy.oracles import PRACTITIONERS, oracle
from quickstudy.oracles.glucose import (
    BY_WEIGHT,
    TITRATED,
    BasalBolusOptions,
    Pump,
    RunToRun,
    SettingsOptions,
    Shares,
    Titration,
    seen,
)
from quickstudy.protocol import Percept, begin_trial, counter


def percept(reading: float, quarter: int, *, first: bool = False, carbs: float = 0.0, before: float = 140.0) -> Percept:
    """One lane's percept of an adult of 70 kg."""
    turn = torch.tensor(2 * torch.pi * quarter / 96)
    numbers = [(reading - 140) / 100, 0.0, 0.0, 0.0, carbs / 50, 0.0, float(turn.sin()), float(turn.cos()), 15 / 55, 1.0]
    observation = torch.tensor(numbers).view(1, 1, 10)
    arrival = observation.clone()
    arrival[..., 0] = (before - 140) / 100
    lead, no = torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.bool)
    return Percept(observation, no | first, torch.zeros(1, 1, 2), lead, arrival, no, no | first)


def doses(action: Tensor, carbs: float) -> tuple[float, float]:
    """Units an hour and units of a bolus that an action gives an adult of 70 kg."""
    basal, bolus = action.flatten().tolist()
    return 0.55 * 70 / 48 * 2.718281828 ** (1.2 * basal), carbs * 0.55 * 70 / 500 * 2.718281828 ** (1.5 * bolus)


def test_an_observation_reads_in_the_units_of_a_clinic():
    for quarter in (0, 1, 33, 48, 95):
        now = seen(percept(163.0, quarter, carbs=45.0).observation)
        assert abs(float(now.reading) - 163) < 1e-3 and int(now.quarter) == quarter and abs(float(now.coming) - 45) < 1e-3
        assert abs(float(now.weight) - 70) < 1e-3 and int(now.group) == 1


def test_a_bolus_is_for_what_is_eaten_and_for_what_is_too_high():
    """50 g at 240 mg/dl by the rule by weight: 50 / 13 units, and 100 mg/dl by 1800 / 38.5 mg/dl a unit."""
    pump = Pump(Glucose(), None, "weight", Shares(0.9, 1.2, 0.5))
    for reading, correction in ((240.0, 100 * 38.5 / 1800), (150.0, 0.0), (100.0, 0.0)):
        act = pump.act(*pump.read(percept(reading, 30, carbs=50.0).observation))
        basal, bolus = doses(act.action, 50.0)
        assert abs(basal - 0.9 * 38.5 / 48) < 1e-4 and abs(bolus - 1.2 * 50 * 38.5 / 500 - 0.5 * correction) < 1e-3


def test_told_settings_are_the_patients_own():
    tasks = families.make("glucose")
    agent = oracle("basal-bolus", tasks, BasalBolusOptions(settings="told"))
    drawn = tasks.sample(40, "test", counter(0, 0, "tasks"))
    env = agent.tasks.make(40, 1)
    act, _ = agent.explorer().act(begin_trial(env.reset(drawn, counter(0, 0, "env")), agent.tasks.action_space), {}, None)
    p, rows = numbers_of(drawn["patient"], drawn["factors"]), drawn["patient"].tolist()
    basal = 0.55 * p["BW"] / 48 * (1.2 * act.action[:, 0, 0]).exp()
    own = p["u2ss"] * p["BW"] / 100 * torch.tensor([TITRATED[row].basal for row in rows])
    torch.testing.assert_close(basal, own, rtol=1e-4, atol=1e-5)
    assert all(table().names[row].split("-")[1] in ("9", "10") for row in rows)


def test_a_nurse_mends_settings_after_each_day():
    """Low in the night: less basal. High before breakfast: more. Low by day: smaller boluses. High by day: larger ones."""
    pump = Pump(Glucose(), None, "weight", Shares(1.0, 1.0, 0.0))
    rule = RunToRun(pump, Titration(Shares(1.0, 1.0, 1.0), 0.1, 0.2, 140.0, 160.0))
    days = [  # a reading at night, before breakfast, by day; then basal and bolus as shares of the rule by weight
        ((100.0, 150.0, 200.0), (1.1, 1.2)),
        ((60.0, 150.0, 100.0), (1.1 * 0.9, 1.2)),
        ((100.0, 100.0, 65.0), (1.1 * 0.9, 1.2 * 0.8)),
        ((100.0, 100.0, 100.0), (1.1 * 0.9, 1.2 * 0.8)),
    ]
    memory, last = rule.initial_memory(1, 1), 140.0
    act, memory = rule.act(percept(140.0, 0, first=True)._replace(truncated=torch.zeros(1, 1, dtype=torch.bool)), memory, None)
    for (night, fasting, by_day), (basal, bolus) in days:
        for quarter in range(1, 96):
            last = night if quarter < 20 else fasting if quarter == 20 else by_day
            now = percept(last, quarter)
            _, memory = rule.act(now._replace(arrival=now.observation), memory, None)
        begun = percept(140.0, 0, first=True, carbs=50.0)
        arrival = percept(last, 0).observation
        act, memory = rule.act(begun._replace(arrival=arrival), memory, None)
        got = doses(act.action, 50.0)
        assert abs(got[0] - basal * 38.5 / 48) < 1e-4 and abs(got[1] - bolus * 50 * 38.5 / 500) < 1e-3


def test_knowing_the_patient_is_worth_a_fifth_of_what_is_better_than_chance():
    """On held-out patients; `quickstudy gap glucose` tells it with intervals."""
    assert PRACTITIONERS["glucose"] == "basal-bolus"
    tasks = families.make("glucose", episodes_per_trial=1)
    told, population = (
        qs.evaluate(oracle("basal-bolus", tasks, BasalBolusOptions(settings=settings)), num_tasks=300)
        for settings in ("told", "population")
    )
    chance = qs.evaluate(qs.Random(tasks), num_tasks=300)
    means = [float(each.returns.mean()) for each in (told, population, chance)]
    assert means[0] - means[1] > 0.2 * (means[0] - means[2]), means
    assert float(told.figures["time in range"].mean()) > float(population.figures["time in range"].mean()) + 5


def test_rules_stand_for_every_kind_of_the_family():
    for options in ({}, {"unannounced": True}, {"basal_only": True}, {"blind": True}):
        tasks = families.make("glucose", episodes_per_trial=1, **options)
        for name in ("run-to-run", "pid"):
            for settings in ("population", "told"):
                agent = oracle(name, tasks, SettingsOptions(settings=settings))
                env = agent.tasks.make(2, 1)
                drawn = agent.tasks.sample(2, "train", counter(0, 0, "tasks"))
                start = begin_trial(env.reset(drawn, counter(0, 0, "env")), tasks.action_space)
                act, _ = agent.explorer().act(start, agent.explorer().initial_memory(2, 1), None)
                assert tuple(act.action.shape) == (2, 1, *tasks.action_space.shape)
    assert BY_WEIGHT.basal > 0
