"""`quickstudy watch`."""

from __future__ import annotations

import argparse
from pathlib import Path

WATCH_EXAMPLES = """\
examples:
  quickstudy watch runs/grid            # prints an address: open it in a browser on this machine
  quickstudy watch runs/five --open     # a folder of seeds, in the usual browser

The page may be opened several times. It listens on 127.0.0.1 alone; to look from elsewhere, forward the port by ssh.
"""


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Where the page is."""
    parser.add_argument("--port", type=port, default=0, metavar="P", help="of the page's address (default: a free one)")
    parser.add_argument("--open", action="store_true", help="open the page in the usual browser")


def port(text: str) -> int:
    """A number of a port; 0 takes a free one."""
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"{value} is no port: 1 to 65535")
    return value


def watch(arguments: list[str]) -> int:
    """`quickstudy watch`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy watch",
        description="Follows a training in the browser: validation by episode, learning curves, health; says when the trainer"
        " has died, and how to go on.",
        epilog=WATCH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run or of seeds, in training or not")
    add_server_options(parser)
    given = parser.parse_args(arguments)

    from quickstudy.live.server import serve
    from quickstudy.live.watch import watcher

    serve(watcher(given.run, given.port), given.open)
    return 0
