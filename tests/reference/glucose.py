"""The UVA/Padova model in tensors against simglucose, in an environment of its own: `make reference`."""

from __future__ import annotations

import importlib.util
import sys
import types
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from quickstudy.families.health import uva_padova
from quickstudy.families.health.uva_padova import at_rest, derivative, equations, lived, numbers_of, table

MEALS = {60: 45.0, 300: 70.0, 660: 80.0}
"""Minutes at which they begin, and grams."""


def stand_in() -> None:
    """What simglucose asks of two packages that it can do without: where its own files lie."""
    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda package, path: str(  # type: ignore[attr-defined]
        Path(importlib.util.find_spec(package).origin).parent / path  # type: ignore[union-attr, arg-type]
    )
    registration = types.ModuleType("gym.envs.registration")
    registration.register = lambda *_, **__: None  # type: ignore[attr-defined]
    names = {"gym": types.ModuleType("gym"), "gym.envs": types.ModuleType("gym.envs"), "gym.envs.registration": registration}
    sys.modules.update({"pkg_resources": resources, **names})


stand_in()
from simglucose.patient.t1dpatient import Action, T1DPatient  # noqa: E402  # type: ignore[import-not-found]


def patient(number: int) -> T1DPatient:
    """One of theirs, its parameters as a namespace, which their model reads ten times as fast."""
    theirs = T1DPatient.withID(number + 1)
    theirs._params = types.SimpleNamespace(
        **{name: theirs._params[name] for name in theirs._params.index if name.isidentifier()}
    )
    return theirs


def right_hand_sides(states: int = 1000) -> float:
    """The largest relative difference over random states, eating and injections, of all thirty."""
    draw, worst = np.random.default_rng(0), 0.0
    for number in range(30):
        theirs, p = patient(number), numbers_of(torch.tensor(number))
        rest = at_rest(p, ()).stocks.numpy()
        scale = np.where(rest > 0, rest, 1.0) * np.array([5e4, 5e4, 5e4, 1, 1, 1, 100, 1, 1, 1, 1, 1, 1])
        x = scale * draw.uniform(-0.1, 3.0, (states, 13))
        x[:, :3] = np.abs(x[:, :3])
        carbs = np.where(draw.random(states) < 0.5, 0.0, draw.uniform(0, 5, states))
        filled = np.where(draw.random(states) < 0.1, 0.0, draw.uniform(1e3, 2e5, states))
        insulin = draw.uniform(0, 20, states)
        expected = [
            T1DPatient.model(0.0, *given)
            for given in zip(
                x, (Action(*pair) for pair in zip(carbs, insulin, strict=True)), [theirs._params] * states, filled, carbs * 0,
                strict=True,
            )
        ]  # fmt: skip
        ours = equations({name: value.expand(states) for name, value in p.items()})
        constants = ours.constants.clone()
        constants[uva_padova.SOLID] += torch.tensor(1000 * carbs)
        constants[uva_padova.SKIN] += torch.tensor(insulin) * uva_padova.PMOL / p["BW"]
        got = derivative(torch.tensor(x).T, ours, constants, torch.tensor(filled).clamp(min=1e-9)).T.numpy()
        size = np.abs(np.array(expected)) + 1e-6 * scale  # a derivative near zero is a difference of numbers of this size
        worst = max(worst, float((np.abs(got - np.array(expected)) / size).max()))
    return worst


@lru_cache(maxsize=1)
def theirs_lived() -> np.ndarray:
    """Glucose under the skin of each of theirs after each minute of a day, on their own basal rate and boluses."""
    ratios, days = table().columns["CR"], []
    for number in range(30):
        theirs, seen = patient(number), []
        rate = float(theirs._params.u2ss * theirs._params.BW / uva_padova.PMOL)
        for minute in range(1440):
            grams = MEALS.get(minute, 0.0)
            theirs.step(Action(CHO=grams, insulin=rate + grams / ratios[number]))
            seen.append(theirs.observation.Gsub)
        days.append(seen)
    return np.array(days).T


def trajectories(steps: int, dtype: torch.dtype = torch.float64) -> np.ndarray:
    """The largest difference of each patient's glucose over a day (mg/dl), while it has stayed above 20."""
    p = numbers_of(torch.arange(30), torch.zeros(30, 9, dtype=dtype))
    served = torch.zeros(1440, 30, dtype=dtype)
    for minute, grams in MEALS.items():
        served[minute] = grams
    bolus = served / torch.tensor(table().columns["CR"], dtype=dtype)
    _, glucose = lived(at_rest(p, (30,)), p, served, p["u2ss"] * p["BW"] / uva_padova.PMOL + bolus, steps)
    above = np.minimum.accumulate(theirs_lived(), 0) > 20
    return (np.abs(glucose.double().numpy() - theirs_lived()) * above).max(0)


def main() -> None:
    found = right_hand_sides()
    print(f"right-hand side, 30 patients, 1,000 states each: largest relative difference {found:.1e}")
    assert found < 1e-9
    for steps, dtype, within, largest in (
        (1, torch.float64, 28, 0.2),
        (1, torch.float32, 28, 0.2),
        (2, torch.float64, 30, 0.05),
        (4, torch.float64, 30, 0.005),
    ):
        differ = trajectories(steps, dtype)
        near = int((differ < 0.05).sum())
        print(
            f"a day of each, {steps} step(s) a minute, {dtype}: {near} of 30 within 0.05 mg/dl, median {np.median(differ):.4f},"
            f" largest {differ.max():.4f} ({table().names[differ.argmax()]})"
        )
        assert near >= within and differ.max() < largest


if __name__ == "__main__":
    main()
