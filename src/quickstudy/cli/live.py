"""`quickstudy watch` and `quickstudy play`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from quickstudy.cli.evaluate import add_agent, one_agent
from quickstudy.cli.options import add_own_algorithm, add_own_tasks, positive, require_run, whole
from quickstudy.cli.words import Parser
from quickstudy.printed import say

WATCH_EXAMPLES = """\
examples:
  quickstudy watch runs/grid            # prints an address: open it in a browser on this machine
  quickstudy watch runs/five            # a folder of seeds

The page may be opened several times. It listens on 127.0.0.1 alone; to look from elsewhere, forward the port by ssh.
"""


PLAY_EXAMPLES = """\
examples:
  quickstudy play runs/grid                            # prints an address: open it in a browser on this machine
  quickstudy play runs/grid --episodes 8 --greedy      # more episodes than in training, most likely actions
  quickstudy play bayes-optimal grid-navigation        # the best that any agent can do

A goal in a grid or in the plane is picked by a click, other parameters by sliders. The evaluator's own loop lives the episodes.
"""


def add_port(parser: argparse.ArgumentParser) -> None:
    """Where the page is."""
    parser.add_argument("--port", type=port, default=0, metavar="P", help="of the page's address (default: a free one)")


def port(text: str) -> int:
    """A number of a port; 0 takes a free one."""
    value = whole(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"{value} is no port: 1 to 65535")
    return value


def watch(arguments: list[str]) -> int:
    """`quickstudy watch`."""
    parser = Parser(
        prog="quickstudy watch",
        description="Follows a training in the browser: validation by episode, learning curves, health; says when the trainer"
        " has died, and how to go on.",
        epilog=WATCH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run or of seeds, in training or not")
    add_port(parser)
    given = parser.parse_args(arguments)
    require_run(given.run)
    say(f"reading {given.run} ...")

    from quickstudy.live.server import serve
    from quickstudy.live.watch import watcher

    serve(watcher(given.run, given.port))
    return 0


def play(arguments: list[str]) -> int:
    """`quickstudy play`."""
    parser = Parser(
        prog="quickstudy play",
        description="Picks tasks in the browser and shows how an agent adapts to them, episode by episode, and what it knows.",
        epilog=PLAY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_agent(parser)
    parser.add_argument("--episodes", type=positive, metavar="K", help="episodes of a trial (default: as in training)")
    parser.add_argument("--greedy", action="store_true", help="take the most likely action instead of sampling as in training")
    parser.add_argument("--device", metavar="D", help="where a run's agent lives: cpu, cuda, cuda:1 ... (default cpu)")
    add_own_tasks(parser)
    add_own_algorithm(parser)
    add_port(parser)
    given, rest = parser.parse_known_args(arguments)
    load = one_agent(given, rest, parser)
    say(f"loading {given.run} ...")

    from quickstudy.live.play import player
    from quickstudy.live.server import serve
    from quickstudy.work import threads

    agent = load()
    command = shlex.join(["quickstudy", "play", *arguments])
    with threads(1):
        serve(player(agent, given.run, command, given.port, given.episodes, given.greedy))
    return 0
