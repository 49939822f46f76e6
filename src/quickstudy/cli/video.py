"""`quickstudy video`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quickstudy.cli.evaluate import add_agent, add_trial_options, one_agent, options_of
from quickstudy.cli.options import add_own_algorithm, file_name, name_next, natural, positive
from quickstudy.cli.words import Parser, read
from quickstudy.display import following
from quickstudy.errors import UsageError
from quickstudy.printed import say, tell

EXAMPLES = """\
examples:
  quickstudy video runs/grid --episodes 3                     # into runs/grid/video/
  quickstudy video runs/grid --task 7 -o seven.gif            # another of the held-out tasks, one file
  quickstudy video bayes-optimal grid-navigation              # the best that any agent can do, into runs/video/

Each panel shows an episode of the same task: in the first the agent knows nothing of it, before each later one it has adapted.
The goal, or what else the agent isn't told, is drawn in yellow. The returns are those that quickstudy evaluate counts for this
task with the same --split, --seed and --num-tasks; of methods that pool several lanes the first one is shown.
"""


def video(arguments: list[str]) -> int:
    """`quickstudy video`."""
    parser = Parser(
        prog="quickstudy video",
        description="Films the episodes of one trial on a held-out task, side by side, as mp4 and GIF. Needs no display.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_agent(parser)
    add_trial_options(parser)
    parser.add_argument("--task", type=natural, default=0, metavar="N", help="which of the tasks, counted from 0 (default 0)")
    parser.add_argument("--fps", type=rate, metavar="F", help="steps a second (default: the longest episode takes about 10 s)")
    parser.add_argument("--width", type=wide, metavar="W", help="pixels (default 360 an episode; a GIF has up to 720)")
    parser.add_argument(
        "-o", "--output", type=file_name, metavar="FILE", help="FILE.mp4 or .gif (default: both, in RUN/video/)"
    )
    add_own_algorithm(parser)
    given, rest = parser.parse_known_args(arguments)
    load = one_agent(given, rest, parser)

    with following(f"filming {given.run}"):
        return filmed(given, load)


def filmed(given: argparse.Namespace, load: Callable[[], Any]) -> int:
    """Films what the arguments say, and prints where it is."""
    from quickstudy.runs.folder import stored_config
    from quickstudy.video.files import SUFFIXES, save_video, usual_fps, video_packages
    from quickstudy.video.film import film
    from quickstudy.work import threads

    if given.output and given.output.suffix not in SUFFIXES:
        raise UsageError(f"{given.output} is no name for a video; name it FILE.mp4 or FILE.gif")
    video_packages()
    agent = load()
    name, folder = "", Path(given.run) / "video"
    if given.baseline_tasks:
        name, folder = f"{given.run}-{Path(given.baseline_tasks).name.replace(':', '-')}-", Path("runs") / "video"
    with threads(1):
        shown = film(agent, task=given.task, **options_of(given))
    stem = f"{name}{given.split}-task{given.task}-seed{given.seed}{'-greedy' if given.greedy else ''}"
    paths = [given.output] if given.output else [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
    for path in paths:
        saved = save_video(shown, path, fps=given.fps or usual_fps(shown), width=given.width)
        tell(f"{saved.path}  {saved.size[0]} x {saved.size[1]}, {saved.frames} frames, {saved.fps:g} a second")
    say(f"return by episode: {', '.join(f'{episode[-1].total:.2f}' for episode in shown.episodes)}")
    flags = "" if given.baseline_tasks else stored_config(Path(given.run)).own_flags
    name_next("play", given.run, *([given.baseline_tasks] if given.baseline_tasks else []), flags=flags)
    return 0


def wide(text: str) -> int:
    """A width that a title and its panels fit into."""
    value = positive(text)
    if not 160 <= value <= 7680:
        raise argparse.ArgumentTypeError(f"{value} pixels are not from 160 to 7680")
    return value


def rate(text: str) -> float:
    """Frames a second."""
    value = read(float, text)
    if not 0.1 <= value <= 120:
        raise argparse.ArgumentTypeError(f"{text} frames a second are not from 0.1 to 120")
    return value
