"""Scenes as images: drawn at three times the size and scaled down, which smooths every edge."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from quickstudy.errors import UsageError
from quickstudy.scene import PAPER, Disc, Line, Pixels, Point, Polygon, Scene, Shape

OVERSAMPLING = 3


def pillow() -> Any:
    """Pillow, with the parts that are used here; UsageError with the install command where it is missing."""
    try:
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont
    except ImportError as error:
        raise UsageError("videos need PyAV and Pillow; install them: pip install 'quickstudy[video]'") from error
    return PIL


@lru_cache
def font(size: int) -> Any:
    """Pillow's own typeface, so that no file of this machine shows in a picture."""
    return pillow().ImageFont.load_default(size)


def rasterise(scene: Scene, size: tuple[int, int]) -> Any:
    """A scene as a Pillow image of so many pixels; what is left of a view of another shape stays blank."""
    image = pillow().Image.new("RGB", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING), PAPER)
    pen = pillow().ImageDraw.Draw(image)
    for shape in (*scene.ground, *scene.figures):
        stroke(image, pen, shape, scene)
    return image.resize(size, pillow().Image.Resampling.BOX)


def place(point: Point, scene: Scene, size: tuple[int, int]) -> tuple[Point, float]:
    """Where a point of the world lies in an image, in pixels from its upper left corner, and pixels to the world's unit."""
    wide, high = scene.upper[0] - scene.lower[0], scene.upper[1] - scene.lower[1]
    scale = min(size[0] / wide, size[1] / high)
    left, top = (size[0] - wide * scale) / 2, (size[1] - high * scale) / 2
    return (left + (point[0] - scene.lower[0]) * scale, top + (scene.upper[1] - point[1]) * scale), scale


def stroke(canvas: Any, pen: Any, shape: Shape, scene: Scene) -> None:
    """Draws one shape on a Pillow image, with its pen."""

    def pixel(point: Point) -> Point:
        return place(point, scene, canvas.size)[0]

    scale = place(scene.lower, scene, canvas.size)[1]
    if isinstance(shape, Disc):
        pen.circle(pixel(shape.center), shape.radius * scale, fill=shape.color)
    elif isinstance(shape, Line):
        points, width = [pixel(point) for point in shape.points], shape.width * scale
        pen.line(points, fill=shape.color, width=max(1, round(width)), joint="curve")
        for point in (points[0], points[-1]) if width > OVERSAMPLING else ():
            pen.circle(point, width / 2, fill=shape.color)
    elif isinstance(shape, Pixels):
        (left, bottom), (wide, high) = pixel(shape.corner), (scale * length for length in shape.size)
        image = pillow().Image.fromarray(shape.image)
        image = image.resize((max(1, round(wide)), max(1, round(high))), pillow().Image.Resampling.NEAREST)
        canvas.paste(image, (round(left), round(bottom - high)))
    elif isinstance(shape, Polygon):
        pen.polygon([pixel(point) for point in shape.points], fill=shape.color)
    else:
        # a capital is about seven tenths of the size of its typeface
        pen.text(pixel(shape.center), shape.text, shape.color, font(max(1, round(shape.height * scale / 0.7))), anchor="mm")
