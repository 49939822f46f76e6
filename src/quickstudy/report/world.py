"""Where the agent went: the scenes of trials as plain values, thinned out, each shape told once."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from quickstudy.report.series import short
from quickstudy.report.trials import Lived
from quickstudy.scene import YELLOW, Disc, Line, Pixels, Point, Polygon, Scene, Shape, as_png, tint

MOMENTS = 1500
"""As many moments of all trials together may be shown."""
WIDEST = 64
"""Pixels of an image on a page, along its longer side: of larger ones every so many are shown."""
HIDDEN = (YELLOW, tint(YELLOW, 0.3))
"""What the agent isn't told is drawn in these colours."""


def world(lived: Lived) -> dict[str, Any] | None:
    """The trials of the shown tasks, moment by moment; None where they can't be drawn as shapes.

    Every so many steps are shown, and the end of each episode. A moment's shapes are numbers of one table.
    """
    if not lived.scenes:
        return None
    moments = sum(len(scenes) for trial in lived.scenes for scenes in trial)
    every = -(-moments // MOMENTS)
    shapes: dict[str, tuple[int, list[Any]]] = {}

    def number_of(shape: Shape) -> int:
        told = as_list(shape)
        return shapes.setdefault(str(told), (len(shapes), told))[0]

    trials = []
    for task, films in zip(lived.shown, lived.scenes, strict=True):
        whole = [scene for scenes in films for scene in scenes]
        episodes = []
        for episode, scenes in enumerate(films):
            steps = sorted({*range(0, len(scenes), every), len(scenes) - 1})
            rewards = lived.episodes[episode].transition.reward[task, 0].double().cumsum(0).tolist()
            episodes.append(
                {
                    "steps": steps,
                    "totals": [short(rewards[step - 1]) if step else 0 for step in steps],
                    "ground": [[number_of(shape) for shape in scenes[step].ground] for step in steps],
                    "figures": [[number_of(shape) for shape in scenes[step].figures] for step in steps],
                    "trace": trace([scenes[step] for step in steps]),
                }
            )
        trials.append({"view": view(whole), "episodes": episodes})
    return {"every": every, "shapes": [told for _, told in shapes.values()], "trials": trials}


def view(scenes: Sequence[Scene]) -> list[Any]:
    """Left, lower, right and upper end of what shows all of the scenes."""
    lower = [min(scene.lower[axis] for scene in scenes) for axis in (0, 1)]
    upper = [max(scene.upper[axis] for scene in scenes) for axis in (0, 1)]
    return [short(value) for value in (*lower, *upper)]


def trace(scenes: Sequence[Scene]) -> list[list[Any]] | None:
    """Where the agent was at each moment; None where its path is not worth seeing."""
    places = [scene.trace for scene in scenes]
    return None if None in places else [flat([place]) for place in places if place is not None]


def as_list(shape: Shape) -> list[Any]:
    """A shape as its kind, whether it is hidden from the agent, its colour and its numbers; an image as PNG in base 64."""
    if isinstance(shape, Pixels):
        every = -(-max(shape.image.shape[:2]) // WIDEST)
        image = b64encode(as_png(shape.image[::every, ::every])).decode()
        return ["pixels", 0, "", flat([shape.corner]), flat([shape.size]), image]
    head = [type(shape).__name__.lower(), int(shape.color in HIDDEN), shape.color]
    if isinstance(shape, Disc):
        return [*head, flat([shape.center]), short(shape.radius, 4)]
    if isinstance(shape, Line):
        return [*head, flat(shape.points), short(shape.width, 4)]
    if isinstance(shape, Polygon):
        return [*head, flat(shape.points)]
    return [*head, flat([shape.center]), short(shape.height, 4), shape.text]


def flat(points: Sequence[Point]) -> list[Any]:
    """Points as one list, with four digits each."""
    return [short(number, 4) for point in points for number in point]
