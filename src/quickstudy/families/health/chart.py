"""A day of glucose as clinics draw it: the curve over the hours, the range it should keep to, meals and insulin below."""

from __future__ import annotations

from collections.abc import Sequence

from quickstudy.scene import (
    BLUE,
    GOLD,
    GREY,
    INK,
    ORANGE,
    PALE,
    PAPER,
    PURPLE,
    Disc,
    Line,
    Scene,
    Shape,
    Text,
    rectangle,
    ring,
    tint,
)

HEIGHT, TOP = 0.035, 400.0
"""Of a mg/dl, in hours; and the highest glucose that fits."""
MEAL = 0.03
"""Of a gram, in hours."""


def level(glucose: float) -> float:
    """How high a glucose lies in the picture."""
    return HEIGHT * min(max(glucose, 0.0), TOP)


GROUND: tuple[Shape, ...] = (
    rectangle((0.0, level(0)), (24.0, level(TOP)), tint(GOLD, 0.12)),
    rectangle((0.0, level(70)), (24.0, level(180)), tint("#3d8b4e", 0.22)),
    rectangle((0.0, level(0)), (24.0, level(70)), tint(ORANGE, 0.22)),
    *(Line(((0.0, level(mark)), (24.0, level(mark))), 0.04, PALE) for mark in (54, 70, 180, 250)),
    *(Text((-1.5, level(mark)), str(mark), 0.75, GREY) for mark in (70, 180, 250, 400)),
    *(Line(((hour, level(0)), (hour, level(TOP))), 0.03, PALE) for hour in (6.0, 12.0, 18.0)),
    *(Text((hour, -0.8), f"{hour:g} h", 0.75, GREY) for hour in (0.0, 6.0, 12.0, 18.0, 24.0)),
)


def day(
    patient: str,
    hour: float,
    glucose: float,
    reading: float,
    given: Sequence[float],
    meals: Sequence[tuple[float, float]],
) -> Scene:
    """One moment of a day: basal (U/h), bolus (U) and insulin at work (U) are `given`, meals are hours and grams.

    The filled mark is glucose itself, whose trail is the curve; the ring is what the sensor says of it. Meals to come are pale.
    """
    basal, bolus, work = given
    eaten = [(time, grams) for time, grams in meals if grams > 0]
    plates = []
    for time, grams in eaten:
        color = GOLD if time <= hour else tint(GOLD, 0.35)
        plates += [rectangle((time - 0.25, -1.7 - MEAL * grams), (time + 0.25, -1.7), color)]
        plates += [Text((time, -2.3 - MEAL * grams), f"{grams:.0f} g", 0.65, color)]
    says = f"{int(hour):02d}:{round(hour % 1 * 60):02d}   {glucose:.0f} mg/dl   {basal:.2f} U/h"
    dose = (Text((12.0, -6.3), f"bolus {bolus:.1f} U", 0.8, PURPLE),) if bolus > 0 else ()
    texts = (
        Text((12.0, level(TOP) + 0.9), says, 1.0, INK),
        Text((3.2, -6.3), patient, 0.8, GREY),
        Text((20.0, -6.3), f"{work:.1f} U at work", 0.8, PURPLE),
    )
    here = (hour, level(glucose))
    now = (Disc(here, 0.34, PAPER), Disc(here, 0.26, BLUE), ring((hour, level(reading)), 0.3, 0.07, INK))
    return Scene((-2.8, -7.0), (25.2, level(TOP) + 2.0), (*GROUND, *plates), (*dose, *texts, *now), here)
