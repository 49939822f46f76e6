"""Films as files: H.264 for players, GIF for pages."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.ops.tally import tracked
from quickstudy.storage import write_atomically
from quickstudy.video.film import Film
from quickstudy.video.frames import frames, lay_out, moments
from quickstudy.video.raster import pillow

SECONDS = 10.0
"""How long the longest episode lasts by default, within the bounds of `SLOWEST` and `FASTEST` frames a second."""
SLOWEST, FASTEST = 4.0, 50.0
SUFFIXES = (".mp4", ".gif")
STILL = 1.5
"""Seconds for which the last frame stays."""
MEDIAN_CUT, MAX_COVERAGE = 0, 1
"""Pillow's ways to choose a palette."""
GIF_WIDTH, GIF_FRAMES, GIF_COLORS, GIF_BYTES = 720, 150, 120, 4 * 2**20
"""What a GIF has at most; one that gets larger than so many bytes is drawn smaller."""


class Saved(NamedTuple):
    """A video that was written."""

    path: Path
    frames: int
    size: tuple[int, int]
    fps: float


def video_packages() -> Any:
    """PyAV; UsageError with the install command where it or Pillow is missing."""
    pillow()
    try:
        import av
    except ImportError as error:
        raise UsageError("videos need PyAV and Pillow; install them: pip install 'quickstudy[video]'") from error
    return av


@checked
def save_video(film: Film, path: str | Path, *, fps: float | None = None, width: int | None = None) -> Saved:
    """Writes a film as FILE.mp4 or FILE.gif, whole or not at all; UsageError for any other name.

    `fps` is how many steps of the environment a second shows; by default the longest episode lasts about ten seconds.
    `width` is that of the whole picture in pixels, by default by the number of episodes; GIFs are narrower.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is no name for a video; name it FILE.mp4 or FILE.gif")
    if (fps is not None and fps <= 0) or (width is not None and width < 1):
        raise UsageError(f"save_video: fps ({fps}) and width ({width}) must be more than 0")
    fps = usual_fps(film) if fps is None else fps
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_mp4(film, path, fps, width) if path.suffix == ".mp4" else save_gif(film, path, fps, width)


def usual_fps(film: Film) -> float:
    """Frames a second by default: a whole number."""
    return float(round(min(FASTEST, max(SLOWEST, film.steps / SECONDS))))


def save_mp4(film: Film, path: Path, fps: float, width: int | None) -> Saved:
    """H.264, or MPEG-4 where this build of FFmpeg has none."""
    av = video_packages()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    file, size, count, still = BytesIO(), lay_out(film, width).size, 0, round(STILL * fps)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height = size
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"} if codec == "libx264" else {"q:v": "2"}
        for image in tracked(frames(film, width), f"drawing {path.name}", film.steps + 1):
            for _ in range(1 + still * (count == film.steps)):
                container.mux(stream.encode(av.VideoFrame.from_image(image)))
                count += 1
        container.mux(stream.encode())
    write_atomically(path, file.getvalue())
    return Saved(path, count, size, fps)


def save_gif(film: Film, path: Path, fps: float, width: int | None) -> Saved:
    """A GIF of every so many steps, with one palette; drawn smaller until it is small enough."""
    every = max(1, -(-film.steps // GIF_FRAMES), round(fps / FASTEST * 2))
    wide = min(width or GIF_WIDTH, GIF_WIDTH)
    while True:
        images = list(tracked(frames(film, wide, every), f"drawing {path.name}", len(moments(film, every))))
        content = gif(images, every / fps)
        if len(content) <= GIF_BYTES or wide < GIF_WIDTH / 3:
            write_atomically(path, content)
            return Saved(path, len(images), images[0].size, fps / every)
        wide = round(0.75 * wide)


def gif(images: list[Any], seconds: float) -> bytes:
    """Images as an endless GIF, each shown for so many seconds, the last one longer."""
    kinds = pillow().Image
    # the colours of some moments, since a single one may lack some
    some = images[:: max(1, len(images) // 6)]
    together = kinds.new("RGB", (some[0].width, sum(image.height for image in some)))
    for index, image in enumerate(some):
        together.paste(image, (0, index * image.height))
    # the colours that fill the picture, and those, however rare, that are far from all others
    many, far = (together.quantize(GIF_COLORS, method=way).palette.colors for way in (MEDIAN_CUT, MAX_COVERAGE))
    # paper stays white: of the greys close to it, which smooth edges leave, none is kept
    kept = [color for color in dict.fromkeys([*many, *far]) if min(color) < 245]
    palette = kinds.new("P", (1, 1))
    palette.putpalette([255, 255, 255, *chain.from_iterable(kept)])
    first, *rest = [image.quantize(palette=palette, dither=kinds.Dither.NONE) for image in images]
    shown = round(1000 * seconds)
    durations = [*repeat(shown, len(rest)), shown + round(1000 * STILL)]
    file = BytesIO()
    first.save(file, "gif", save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
    return file.getvalue()
