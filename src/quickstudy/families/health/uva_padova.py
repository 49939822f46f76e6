"""The UVA/Padova model of type-1 diabetes as of 2008, for many bodies at once, and its thirty virtual patients.

Thirteen stocks of glucose and insulin flow into each other (Dalla Man et al. 2007; Kovatchev et al. 2009). Equations and
patients are those of simglucose 0.2.11 (Jinyu Xie, MIT; see `patients.csv`), to which `tests/reference/glucose.py` holds them.
Names of parameters are those of the papers. Glucose is in mg/kg of body, insulin in pmol/kg, time in minutes.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

SOLID, LIQUID, GUT, PLASMA, TISSUE, INSULIN, ACTION, DELAY, DELAYED, LIVER, SKIN, UNDER_SKIN, SENSOR = range(13)
"""The stocks: food in the stomach (mg) and the gut, glucose in plasma and tissue, insulin in plasma, its action on use, two
delays of its action on production, insulin in the liver and on its two steps under the skin, glucose under the skin."""
STOPS = (PLASMA, TISSUE, INSULIN, LIVER, SKIN, UNDER_SKIN, SENSOR)
"""Stocks that stand still where they have fallen below zero."""
EATING = 5.0
"""Grams of carbohydrates eaten in a minute, at most."""
PMOL = 6000.0
"""In a unit of insulin."""
VARIED = ("Vmx", "kp3", "p2u", "ki", "kabs", "kmax", "ka1", "kd", "BW")
"""What may differ from the patient of the table: sensitivities of use and production, speeds of insulin's action, of
absorption in gut, stomach and skin, and body weight."""

Numbers = Mapping[str, Float[Tensor, "*batch"]]


class Table(NamedTuple):
    """The thirty patients."""

    names: tuple[str, ...]
    columns: dict[str, list[float]]


@lru_cache(maxsize=1)
def table() -> Table:
    """Ten adolescents, ten adults and ten children."""
    lines = (Path(__file__).parent / "patients.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    columns = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "name"}
    return Table(tuple(row["name"] for row in rows), columns)


@lru_cache(maxsize=8)
def columns(device: torch.device, dtype: torch.dtype) -> dict[str, Float[Tensor, "patient"]]:
    """The table's columns as tensors."""
    return {name: torch.tensor(column, dtype=dtype, device=device) for name, column in table().columns.items()}


def numbers_of(patient: Int64[Tensor, "*batch"], factors: Float[Tensor, "*batch 9"] | None = None) -> dict[str, Tensor]:
    """A patient's parameters, those in `VARIED` times e to the power of `factors`; what rests, rests at the same insulin."""
    like = torch.zeros((), dtype=torch.float64) if factors is None else factors
    numbers = {name: column[patient] for name, column in columns(patient.device, like.dtype).items()}
    if factors is None:
        return numbers
    varied = numbers | {name: numbers[name] * factor for name, factor in zip(VARIED, factors.exp().unbind(-1), strict=True)}
    varied["kp1"] = numbers["kp1"] + (varied["kp3"] - numbers["kp3"]) * numbers["Ib"]
    out, out_then = (each["ka1"] + each["kd"] for each in (numbers, varied))
    varied["isc1ss"] = numbers["isc1ss"] * out / out_then
    varied["isc2ss"] = numbers["isc2ss"] * varied["kd"] / numbers["kd"] * out / out_then
    return varied


class Body(NamedTuple):
    """A body, and the meal in it."""

    stocks: Float[Tensor, "*batch 13"]
    filled: Float[Tensor, "*batch"]
    """What was in the stomach when the last meal began, and what was eaten since (mg)."""
    plate: Float[Tensor, "*batch"]
    """Carbohydrates still to be eaten (g)."""
    eating: Bool[Tensor, "*batch"]


def at_rest(p: Numbers, lead: tuple[int, ...]) -> Body:
    """Fasting, on the basal insulin that keeps the patient's own basal glucose."""
    none = torch.zeros_like(p["BW"])
    rests = ["Gpb", "Gtb", "Ipb", None, "Ib", "Ib", "Ilb", "isc1ss", "isc2ss", "Gpb"]
    stocks = torch.stack([none, none, none, *(none if name is None else p[name] for name in rests)], -1)
    nothing = none.expand(lead)
    return Body(stocks.expand(*lead, 13), nothing, nothing, nothing > 0)


class Equations(NamedTuple):
    """The coefficients, stacked, so that a derivative takes few operations: rows of stocks, then four that aren't linear.

    The four are production and loss by the kidneys, which are cut at zero, and the two factors of use.
    """

    sources: Int64[Tensor, "34"]
    """Each row is a sum of two terms and a constant: the stocks of the first terms, then of the second ones."""
    rates: Float[Tensor, "34 *batch"]
    constants: Float[Tensor, "17 *batch"]
    appearance: Float[Tensor, "*batch"]
    absorption: Float[Tensor, "2 *batch"]
    emptying: Float[Tensor, "*batch"]
    half_range: Float[Tensor, "*batch"]
    slopes: Float[Tensor, "2 *batch"]
    offsets: Float[Tensor, "2 *batch"]
    least: Float[Tensor, "13 *batch"]
    """Below this a stock stands still."""


def equations(p: Numbers) -> Equations:
    """A patient's equations; each row is the right-hand side of one stock, as far as it is linear."""
    none, one = torch.zeros_like(p["BW"]), torch.ones_like(p["BW"])
    no = (SOLID, none)
    rows = [
        (none, (SOLID, -p["kmax"]), no),
        (none, (SOLID, p["kmax"]), no),  # less what the stomach lets go
        (none, (GUT, -p["kabs"]), no),  # and what the stomach lets go
        (-p["Fsnc"], (PLASMA, -p["k1"]), (TISSUE, p["k2"])),  # and appearance, production, kidneys
        (none, (PLASMA, p["k1"]), (TISSUE, -p["k2"])),  # less use
        (none, (INSULIN, -(p["m2"] + p["m4"])), (LIVER, p["m1"])),  # and absorption
        (-p["p2u"] * p["Ib"], (ACTION, -p["p2u"]), (INSULIN, p["p2u"] / p["Vi"])),
        (none, (DELAY, -p["ki"]), (INSULIN, p["ki"] / p["Vi"])),
        (none, (DELAYED, -p["ki"]), (DELAY, p["ki"])),
        (none, (LIVER, -(p["m1"] + p["m30"])), (INSULIN, p["m2"])),
        (none, (SKIN, -(p["ka1"] + p["kd"])), no),  # and what is injected
        (none, (UNDER_SKIN, -p["ka2"]), (SKIN, p["kd"])),
        (none, (SENSOR, -p["ksc"]), (PLASMA, p["ksc"])),
        (p["kp1"], (PLASMA, -p["kp2"]), (DELAYED, -p["kp3"])),
        (-p["ke1"] * p["ke2"], (PLASMA, p["ke1"]), no),
        (p["Vm0"], (ACTION, p["Vmx"]), no),
        (p["Km0"], (TISSUE, one), no),
    ]
    terms = [first for _, first, _ in rows] + [second for _, _, second in rows]
    least = torch.tensor([0.0 if stock in STOPS else -torch.inf for stock in range(13)], dtype=none.dtype, device=none.device)
    return Equations(
        torch.tensor([stock for stock, _ in terms], device=none.device),
        torch.stack([rate for _, rate in terms]),
        torch.stack([constant for constant, _, _ in rows]),
        p["f"] * p["kabs"] / p["BW"],
        torch.stack([p["ka1"], p["ka2"]]),
        p["kmax"],
        (p["kmax"] - p["kmin"]) / 2,
        torch.stack([2.5 / (1 - p["b"]), 2.5 / p["d"]]),
        torch.stack([-2.5 * p["b"] / (1 - p["b"]), -2.5 * one]),
        least.view(13, *[1] * none.ndim),
    )


def derivative(x: Tensor, eq: Equations, constants: Tensor, filled: Tensor) -> Tensor:
    """The right-hand side at stocks (13, *batch), in its shape.

    `constants` (17, *batch) are the equations' own and what is eaten (mg) and injected (pmol/kg) in a minute, `filled` (*batch)
    is what the meal has put into the stomach (mg), above zero.
    """
    terms = x.index_select(0, eq.sources).mul_(eq.rates)
    rows = terms[:17].add_(terms[17:]).add_(constants)
    solid, liquid, gut, _, tissue = x[: TISSUE + 1].unbind()
    change, pieces = rows[:13], rows.unbind()
    # the stomach lets go quickly where it is full and where it is almost empty, by how much of the meal is left
    full, empty = torch.addcmul(eq.offsets, eq.slopes, (solid + liquid).div_(filled)).tanh_().unbind()
    let_go = torch.addcmul(eq.emptying, eq.half_range, full.sub_(empty)).mul_(liquid)
    pieces[LIQUID].sub_(let_go)
    pieces[GUT].add_(let_go)
    rows[13:15].clamp_(min=0)
    pieces[PLASMA].add_(pieces[13]).sub_(pieces[14]).addcmul_(eq.appearance, gut)
    pieces[TISSUE].addcdiv_(pieces[15].mul_(tissue), pieces[16], value=-1)
    pieces[INSULIN].add_((eq.absorption * x[SKIN : UNDER_SKIN + 1]).sum(0))
    return change.mul_(x >= eq.least)


def after(x: Tensor, eq: Equations, constants: Tensor, filled: Tensor, time: float) -> Tensor:
    """The stocks some time later: a step of Runge and Kutta's fourth order."""
    first = derivative(x, eq, constants, filled)
    second = derivative(torch.add(x, first, alpha=time / 2), eq, constants, filled)
    third = derivative(torch.add(x, second, alpha=time / 2), eq, constants, filled)
    fourth = derivative(torch.add(x, third, alpha=time), eq, constants, filled)
    return torch.add(x, first.add_(second.add_(third), alpha=2).add_(fourth), alpha=time / 6)


def lived(
    body: Body,
    p: Numbers,
    served: Float[Tensor, "minute *batch"],
    insulin: Float[Tensor, "minute *batch"],
    steps: int = 1,
) -> tuple[Body, Float[Tensor, "minute *batch"]]:
    """The body some minutes later, and glucose under the skin after each (mg/dl).

    `served` are carbohydrates (g) that come to the table in a minute, `insulin` the units that are injected in it; `steps` are
    the integration steps of a minute.
    """
    eq, minutes = equations(p), range(len(served))
    x, filled, plate, eating = body.stocks.movedim(-1, 0), *body[1:]
    eaten, seen = [], []
    for minute in minutes:
        plate = plate + served[minute]
        eaten.append(plate.clamp(max=EATING))
        plate = plate - eaten[-1]
    bites = torch.stack(eaten)
    mouthful = bites > 0
    begins = mouthful & ~torch.cat([eating[None], mouthful[:-1]])
    constants = eq.constants.expand(len(served), -1, *x.shape[1:]).clone()
    constants[:, SOLID].add_(bites, alpha=1000.0)
    constants[:, SKIN].add_(insulin * (PMOL / p["BW"]))
    for minute in minutes:
        filled = torch.where(begins[minute], x[SOLID] + x[LIQUID], filled).add_(bites[minute], alpha=1000.0)
        stomach = filled.clamp(min=1e-9)
        for _ in range(steps):
            x = after(x, eq, constants[minute], stomach, 1 / steps)
        seen.append(x[SENSOR])
    return Body(x.movedim(0, -1).contiguous(), filled, plate, mouthful[-1]), torch.stack(seen) / p["Vg"]
