"""A training that is followed in the browser."""

from __future__ import annotations

import shlex
import threading
from importlib.metadata import version
from pathlib import Path

from quickstudy.live.follow import Follower
from quickstudy.live.server import Answer, Server
from quickstudy.report.page import Kind, data, page

WEB = Path(__file__).parent / "web"
WATCH = Kind(("adaptation.js", "learning.js", "facts.js", WEB / "watch.js"), (WEB / "live.css",), connects=True)


def watcher(folder: Path, port: int = 0) -> Server:
    """A server of the page of a run or of a folder of seeds, for any number of browsers; UsageError where it is neither."""
    follower, lock = Follower(folder), threading.Lock()
    # what a long run has written so far takes a while to read, and no browser should wait for it
    follower.look()
    about = follower.about | {
        "version": version("quickstudy"),
        "made": "",
        "again": f"quickstudy watch {shlex.quote(str(folder))}",
    }

    def whole(query: dict[str, str]) -> Answer:
        with lock:
            follower.look()
            return Answer("text/html", [page(about | follower.figures(), WATCH)])

    def news(query: dict[str, str]) -> Answer:
        with lock:
            follower.look()
            seen = query.get("looks") == str(follower.looks)
            return Answer("application/json", ["null" if seen else data(follower.figures())])

    return Server({"": whole, "figures": news}, {}, port)
