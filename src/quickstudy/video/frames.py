"""The frames of a video: a panel for each episode, all on one clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

from torch import Tensor

from quickstudy.scene import BLUE, GREY, INK, PALE, PAPER, Point, Scene
from quickstudy.video.film import Film, Frame
from quickstudy.video.raster import font, pillow, rasterise

COLUMNS = 5
"""As many panels stand side by side before a new row begins."""
PANEL, LEAST = 360, 560
"""How wide a panel is by default, and the whole at least, in pixels."""
MARGIN, GAP, TITLE, HEADER, CLOCK = 20, 16, 58, 30, 4
FADED = 0.6
"""How much of an episode's last picture is left once it is over."""


class Layout(NamedTuple):
    """Where all stands, in pixels from the upper left corner."""

    size: tuple[int, int]
    panel: tuple[int, int]
    places: list[tuple[int, int]]
    """The upper left corner of each panel's picture."""
    headings: tuple[list[str], str]
    """What stands above each panel, and what before its return."""


def lay_out(film: Film, width: int | None) -> Layout:
    """Divides a picture of at most `width` pixels; both its sides are even, which video formats ask for."""
    count = len(film.episodes)
    rows = -(-count // COLUMNS)
    columns = -(-count // rows)
    whole = width or max(LEAST, columns * PANEL + (columns - 1) * GAP + 2 * MARGIN)
    whole -= whole % 2
    wide = min(1.5 * PANEL if width is None else whole, (whole - 2 * MARGIN - (columns - 1) * GAP) / columns)
    panel = (max(16, int(wide)), max(16, round(int(wide) / aspect(film.episodes[0][0]))))
    left = (whole - columns * panel[0] - (columns - 1) * GAP) // 2
    places = [
        (
            left + index % columns * (panel[0] + GAP),
            TITLE + HEADER + MARGIN + index // columns * (panel[1] + HEADER + GAP),
        )
        for index in range(count)
    ]
    high = places[-1][1] + panel[1] + MARGIN + CLOCK
    return Layout((whole, high + high % 2), panel, places, headings(film, panel[0]))


def aspect(frame: Frame) -> float:
    """How much wider than high a picture is."""
    if isinstance(frame.picture, Scene):
        (left, bottom), (right, top) = frame.picture.lower, frame.picture.upper
        return (right - left) / (top - bottom)
    width, height = pillow().Image.open(BytesIO(frame.picture)).size
    return width / height


def frames(film: Film, width: int | None = None, every: int = 1) -> Iterator[Any]:
    """The frames as Pillow images, one for each moment, or for every so many and the last."""
    layout = lay_out(film, width)
    panels = [Panel(episode, layout.panel) for episode in film.episodes]
    for step in moments(film, every):
        yield compose(film, layout, panels, step)


def moments(film: Film, every: int) -> list[int]:
    """The steps that a film of every so many shows: the first, the last, and those between."""
    return sorted({*range(0, film.steps, every), film.steps})


def compose(film: Film, layout: Layout, panels: Sequence[Panel], step: int) -> Any:
    """One frame: a title, the panels under their headers, and a line below that tells the time."""
    image = pillow().Image.new("RGB", layout.size, PAPER)
    pen = pillow().ImageDraw.Draw(image)
    names, before = layout.headings
    (width, height), (panel_width, panel_height) = layout.size, layout.panel
    left, right = layout.places[0][0], max(x for x, _ in layout.places) + panel_width
    clock = f"step {step} of {film.steps}"
    room = right - left - 24 - pen.textlength(clock, font(16))
    pen.text((right, MARGIN + 18), clock, GREY, font(16), anchor="rs")
    pen.text((left, MARGIN + 18), shortened(f"{film.tasks}, {film.algorithm}", room, 20), INK, font(20), anchor="ls")
    task = f"{film.split} task {film.task}: {told(film.parameters, film.words)}"
    pen.text((left, MARGIN + 42), shortened(task, right - left, 14), GREY, font(14), anchor="ls")
    for number, (panel, (x, y)) in enumerate(zip(panels, layout.places, strict=True)):
        draw_header(pen, (x, y), panel_width, names[number], f"{before}{panel.total(step):.2f}", step >= panel.last)
        image.paste(panel.image(step), (x, y))
        pen.rectangle((x - 1, y - 1, x + panel_width, y + panel_height), outline=PALE)
    pen.rectangle((0, height - CLOCK, round(width * step / max(1, film.steps)), height), fill=BLUE)
    return image


def headings(film: Film, width: int) -> tuple[list[str], str]:
    """What stands above each panel, and before its return, in the first way that has room for all panels at all times."""
    length = font(15).getlength
    numbers = [f"{index + 1}" for index in range(len(film.episodes))]
    names = [f"episode {number}" for number in numbers]
    seen = [f"{name}, {index * film.lanes} seen" if film.lanes > 1 else name for index, name in enumerate(names)]
    widest = max(length(f"{frame.total:.2f}") for episode in film.episodes for frame in episode)
    ways = ((seen, "return "), (seen, ""), (names, ""), (numbers, ""))
    fit = (way for way in ways if max(map(length, way[0])) + length(way[1]) + widest + 10 <= width)
    return next(fit, ways[-1])


def draw_header(pen: Any, corner: Point, width: int, left: str, right: str, ended: bool) -> None:
    """Above a panel: which episode, its return so far, and whether it is over, where there is room."""
    (x, y), length = (corner[0], corner[1] - 10), font(15).getlength
    pen.text((x, y), left, INK, font(15), anchor="ls")
    pen.text((x + width, y), right, INK, font(15), anchor="rs")
    if ended and length(f"{left}over{right}") + 18 <= width:
        pen.text((x + length(left) + 8, y), "over", GREY, font(15), anchor="ls")


class Panel:
    """The pictures of one episode, which are asked for one after another."""

    def __init__(self, episode: Sequence[Frame], size: tuple[int, int]):
        self._episode, self._size = episode, size
        self._trail = [frame.picture.trace for frame in episode if isinstance(frame.picture, Scene) and frame.picture.trace]
        self.last = len(episode) - 1
        self._shown: tuple[int, Any] = (-1, None)

    def total(self, step: int) -> float:
        """The return so far."""
        return self._episode[min(step, self.last)].total

    def image(self, step: int) -> Any:
        """The picture of a step; once the episode is over its last one, faded."""
        step = min(step, self.last)
        if self._shown[0] != step:
            image = self._drawn(step)
            if step == self.last:
                image = pillow().Image.blend(pillow().Image.new("RGB", self._size, PAPER), image, FADED)
            self._shown = step, image
        return self._shown[1]

    def _drawn(self, step: int) -> Any:
        picture = self._episode[step].picture
        if isinstance(picture, Scene):
            return rasterise(picture.with_trail(self._trail[: step + 1]), self._size)
        image = pillow().Image.open(BytesIO(picture)).convert("RGB")
        return image.resize(self._size, pillow().Image.Resampling.LANCZOS)


def told(parameters: dict[str, Tensor], words: Mapping[str, str]) -> str:
    """A task's parameters in words: those of many numbers by how many there are."""
    return ", ".join(f"{name.replace('_', ' ')} {words.get(name) or in_words(value)}" for name, value in parameters.items())


def in_words(value: Tensor) -> str:
    """One parameter in words."""
    if value.dtype.is_floating_point or value.numel() <= 3:
        digits = ".3g" if value.dtype.is_floating_point else "d"
        shown = ", ".join(f"{number:{digits}}" for number in value.flatten()[:3].tolist())
        if value.dim():
            return f"({shown})" if value.numel() <= 3 else f"({shown}, ... {value.numel()} in all)"
        return shown
    return f"{int(value.bool().sum())} of {value.numel()}"


def shortened(text: str, room: float, size: int) -> str:
    """A text, cut where it has no room."""
    if font(size).getlength(text) <= room:
        return text
    while text and font(size).getlength(text + "...") > room:
        text = text[:-1]
    return text.rstrip(" ,:") + "..." if text else ""
