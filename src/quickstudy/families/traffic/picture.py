"""A crossing from above, as shapes: queues as rows of cars, lights at the stop lines, in orange what no detector sees."""

from __future__ import annotations

from collections.abc import Sequence

from quickstudy.scene import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PAPER,
    Disc,
    Line,
    Point,
    Polygon,
    Scene,
    Shape,
    Text,
    arrow,
    rectangle,
    tint,
)

PHASE_NAMES = ("north-south", "north-south left", "east-west", "east-west left")
SIDES = ((0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0))
"""Where each approach comes from: north, south, east, west."""
HALF, CAR, REACH = 3.0, 0.72, 15.0
"""Half the crossing, the length of a car with its gap, and the end of the roads."""
SHOWN = 14
"""Cars of a lane for which there is room; what is longer ends in its number."""
ROAD, DEAD = tint(PALE, 0.5), tint(ORANGE, 0.75)


def scene_of(
    queue: Sequence[float],
    phase: int,
    asked: int | None,
    hourly: Sequence[float],
    dead: Sequence[bool],
    minute: float,
    green: float,
    delay: float,
) -> Scene:
    """The crossing with so many vehicles queueing in each movement."""
    ground: list[Shape] = [rectangle((-REACH, -HALF), (REACH, HALF), ROAD), rectangle((-HALF, -REACH), (HALF, REACH), ROAD)]
    ground += [Line(((x * HALF, y * HALF), (x * REACH, y * REACH)), 0.12, PAPER) for x, y in SIDES]
    figures: list[Shape] = []
    for movement, vehicles in enumerate(queue):
        street, left, side = movement // 4, movement // 2 % 2, movement % 2
        approach, goes = 2 * street + side, phase == movement // 2
        figures += lanes(approach, bool(left), vehicles, goes, dead[movement])
        beside = at(approach, 5.4, REACH - 0.6 - left) if street == 0 else at(approach, 3.7 + left, REACH - 1.7)
        figures += [Text(beside, f"{'left' if left else 'through'} {hourly[movement]:.0f}/h", 0.42, GREY)]
        if goes:
            figures += course(approach, bool(left))
    waits = "" if asked is None or asked == phase else f", asked for {PHASE_NAMES[asked]}"
    says = f"minute {minute:.1f}: {PHASE_NAMES[phase]}, {green:.0f} s of green{waits}"
    told = f"{sum(queue):.0f} vehicles wait, {delay:.0f} s of delay a vehicle so far"
    figures += [Text((0.0, REACH + 1.9), says, 0.5, INK), Text((0.0, REACH + 0.8), told, 0.5, INK)]
    return Scene((-REACH - 0.5, -REACH - 0.5), (REACH + 0.5, REACH + 2.8), tuple(ground), tuple(figures))


def at(approach: int, across: float, out: float) -> Point:
    """A place of an approach: so far to the driver's right of the middle line, and out from the middle of the crossing."""
    x, y = SIDES[approach]
    return (out * x - across * y, out * y + across * x)


def lanes(approach: int, left: bool, vehicles: float, goes: bool, dead: bool) -> list[Shape]:
    """A movement's lanes: light, cars up to as many as wait, and a cross where the detector is dead."""
    middles, shapes = ((0.5,) if left else (1.5, 2.5)), []
    for middle in middles:
        cars = vehicles / len(middles)
        for car in range(min(SHOWN, round(cars))):
            near = HALF + 0.7 + car * CAR
            shapes.append(box(approach, middle - 0.3, middle + 0.3, near, near + 0.8 * CAR, DEAD if dead else BLUE))
        if cars > SHOWN:
            shapes.append(Text(at(approach, middle, HALF + 1.2 + SHOWN * CAR), f"{cars:.0f}", 0.4, INK))
        shapes.append(Disc(at(approach, middle, HALF + 0.25), 0.27, GREEN if goes else tint(ORANGE, 0.9)))
    if dead:
        ends = ((middles[0] - 0.3, middles[-1] + 0.3), (middles[-1] + 0.3, middles[0] - 0.3))
        shapes += [Line((at(approach, one, HALF + 0.6), at(approach, other, HALF + 1.3)), 0.09, INK) for one, other in ends]
    return shapes


def course(approach: int, left: bool) -> tuple[Shape, ...]:
    """Where a movement with green goes across the crossing."""
    if left:
        return arrow((at(approach, 0.5, HALF - 0.3), at(approach, 0.3, 0.3), at(approach, -HALF + 1.0, -0.6)), 0.14, GREEN)
    return arrow((at(approach, 2.0, HALF - 0.3), at(approach, 2.0, -HALF + 0.9)), 0.14, GREEN)


def box(approach: int, right: float, wide: float, near: float, far: float, color: str) -> Polygon:
    """An upright rectangle of an approach."""
    return Polygon(
        (at(approach, right, near), at(approach, wide, near), at(approach, wide, far), at(approach, right, far)), color
    )
