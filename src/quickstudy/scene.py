"""Pictures as data: flat shapes in the world's own units, for whatever draws them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from quickstudy.protocol import Tasks

BLUE, ORANGE, GREY, GREEN, PURPLE, GOLD = "#0b6e99", "#d1603d", "#6b6b6b", "#3d8b4e", "#8a5aa8", "#b08d1e"
PINK, INK = "#c2478b", "#1b1b1b"
YELLOW, PALE, PAPER = "#e5a50a", "#c3ccd1", "#ffffff"

Point = tuple[float, float]
"""x to the right, y upwards."""


class Disc(NamedTuple):
    """A filled circle."""

    center: Point
    radius: float
    color: str


class Line(NamedTuple):
    """A line through points, with round joints and ends."""

    points: tuple[Point, ...]
    width: float
    color: str


class Polygon(NamedTuple):
    """A filled polygon."""

    points: tuple[Point, ...]
    color: str


class Text(NamedTuple):
    """A line of text, its middle at `center`."""

    center: Point
    text: str
    height: float
    """Of its letters, about that of a capital."""
    color: str


class Pixels(NamedTuple):
    """An image, its lower left corner at `corner`; its pixels are squares with edges, not smoothed."""

    corner: Point
    side: float
    """Of a pixel."""
    image: UInt8[np.ndarray, "height width 3"]

    @property
    def size(self) -> Point:
        """How wide and how high it is."""
        height, width, _ = self.image.shape
        return self.side * width, self.side * height


Shape = Disc | Line | Polygon | Text | Pixels


class Scene(NamedTuple):
    """What one lane looks like: shapes, later ones over earlier ones, in a view of the world."""

    lower: Point
    """The left and lower end of the view."""
    upper: Point
    """Its right and upper end."""
    ground: tuple[Shape, ...]
    figures: tuple[Shape, ...]
    """What stands on the ground; a trail runs between the two."""
    trace: Point | None = None
    """Where the agent is, in families in which the path of an episode is worth seeing."""

    def with_trail(self, trail: Sequence[Point]) -> Scene:
        """The same scene with a faint line along the places where the agent was."""
        if not trail:
            return self
        width, color = 0.012 * (self.upper[0] - self.lower[0]), tint(BLUE, 0.45)
        marks = (Disc(place, width, color) for place in dict.fromkeys(trail))
        return self._replace(ground=(*self.ground, Line(tuple(trail), width, color), *marks))


Picture = Scene | UInt8[np.ndarray, "height width 3"]
"""What one lane looks like: as data where it can be told so, as an image from a simulator's own camera."""


@runtime_checkable
class Drawable(Protocol):
    """What a BatchEnv may offer besides: a picture of a lane."""

    def draw(self, task: int, lane: int) -> Picture | None:
        """What the last reset, restart or step led to in a lane, where an episode ended its end; None: can't be drawn."""
        ...


@runtime_checkable
class Drawn(Protocol):
    """What torch-native dynamics may offer besides: the picture of one lane."""

    def scene(self, state: Any, task: Tasks, action: Tensor | None) -> Scene:
        """A state of one lane as a picture, with the action that led there, None where an episode begins; no batch axes."""
        ...


@runtime_checkable
class Aimed(Protocol):
    """What dynamics that are drawn may offer besides: tasks that are picked in the picture."""

    def task_at(self, place: Point) -> Tasks:
        """The task whose goal lies nearest to a place in the picture; no batch axes."""
        ...


def as_png(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """An image as PNG (ISO/IEC 15948), without Pillow, which pages don't ask for."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    height, width, _ = image.shape
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))  # eight bits, three colours
    rows = np.pad(image.reshape(height, -1), ((0, 0), (1, 0)))  # each row begins with its filter, which is none
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + chunk(b"IEND", b"")


def tint(color: str, share: float) -> str:
    """A colour mixed with white: `share` of it is left."""
    parts = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * share):02x}" for part in parts)


def rectangle(lower: Point, upper: Point, color: str) -> Polygon:
    """An upright rectangle between two corners."""
    (left, bottom), (right, top) = lower, upper
    return Polygon((lower, (right, bottom), upper, (left, top)), color)


def arc(center: Point, radius: float, start: float, end: float) -> tuple[Point, ...]:
    """Points along a circle between two angles, in radians from the right, counter-clockwise."""
    count = max(2, round(abs(end - start) * 12))
    angles = (start + (end - start) * index / count for index in range(count + 1))
    return tuple((center[0] + radius * math.cos(angle), center[1] + radius * math.sin(angle)) for angle in angles)


def ring(center: Point, radius: float, width: float, color: str) -> Line:
    """A circle that is not filled."""
    return Line(arc(center, radius, 0.0, 2 * math.pi), width, color)


def star(center: Point, radius: float, color: str) -> Polygon:
    """A star with five points: the goal."""
    corners = ((math.pi / 2 + index * math.pi / 5, radius if index % 2 == 0 else 0.45 * radius) for index in range(10))
    return Polygon(tuple((center[0] + r * math.cos(angle), center[1] + r * math.sin(angle)) for angle, r in corners), color)


def arrow(path: Sequence[Point], width: float, color: str) -> tuple[Shape, ...]:
    """A line with a head: along `path`, the head beyond its last point."""
    (before, tip) = path[-2:]
    length = math.dist(before, tip) or 1.0
    along = ((tip[0] - before[0]) / length, (tip[1] - before[1]) / length)
    size = 1.9 * width
    across = (-along[1] * size, along[0] * size)
    head = (
        (tip[0] + across[0], tip[1] + across[1]),
        (tip[0] - across[0], tip[1] - across[1]),
        (tip[0] + along[0] * 1.7 * size, tip[1] + along[1] * 1.7 * size),
    )
    return Line(tuple(path), width, color), Polygon(head, color)


def agent(center: Point, radius: float) -> tuple[Shape, ...]:
    """The agent as a disc with a light rim, so that it stands out from its trail and from the goal."""
    return Disc(center, radius, PAPER), Disc(center, 0.84 * radius, BLUE)


def grid(size: int, line: str) -> tuple[Shape, ...]:
    """The lines between square cells of side 1, the middle of the first at (0, 0)."""
    low, high = -0.5, size - 0.5
    places = [index - 0.5 for index in range(size + 1)]
    lines = [Line(((place, low), (place, high)), 0.025, line) for place in places]
    return (*lines, *(Line(((low, place), (high, place)), 0.025, line) for place in places))
