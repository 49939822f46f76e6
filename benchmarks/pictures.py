"""Takes the pictures of pages that the documentation shows, in Chromium, from trained runs.

    quickstudy train rl2 grid-navigation --iterations 100 --evaluate-every 10 --seeds 3 --run runs/rl2
    quickstudy train varibad grid-navigation --iterations 300 --reward-loss bernoulli --reward-reads arrival --run runs/varibad
    quickstudy train maml point-navigation --iterations 60 --run runs/maml
    python benchmarks/pictures.py [NAME ...]

Names are those of the files in docs/ without their ending: all, unless some are named. Folders are shown by the names that they
are given, so start it
where runs/ lies.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quickstudy.cli import main as quickstudy
from quickstudy.live.play import player
from quickstudy.live.server import Server
from quickstudy.live.watch import watcher
from quickstudy.runs.folder import open_run

DOCS = Path(__file__).parent.parent / "docs"
SETTLED = "[...document.querySelectorAll('#main .chart')].every((c) => c.plot || c.closest('details:not([open])'))"
PLAYED = "trial.over && trial.episode === 1 && trial.moment > 2"


def until(page: Any, expression: str) -> None:
    """Waits until something holds on a page, asking from outside, since its policy runs no text."""
    deadline = time.monotonic() + 120
    while not page.evaluate(expression):
        if time.monotonic() > deadline:
            sys.exit(f"error: the page never came to {expression}")
        page.wait_for_timeout(50)


def served(browser: Any, server: Server, take: Callable[[Any], None]) -> None:
    """Opens a live page while it is served."""
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        looked_at(browser, server.url, 1160, take)
    finally:
        server.close()
        thread.join()


def looked_at(browser: Any, url: str, width: int, take: Callable[[Any], None]) -> None:
    """Opens a page, light and in English, and takes its picture once all of it is drawn."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="light", locale="en")
    page = context.new_page()
    page.goto(url)
    until(page, SETTLED)
    take(page)
    context.close()


def pictures(browser: Any, runs: Path, folder: Path) -> dict[str, Callable[[], None]]:
    """What takes each picture, by its name."""

    @cache
    def report(run: str) -> str:
        path = folder / f"{run}.html"
        quickstudy(["report", str(runs / run), "-o", str(path)])
        return path.as_uri()

    def part(name: str, run: str, section: str, width: int = 1160) -> Callable[[], None]:
        path = str(DOCS / f"{name}.png")
        return lambda: looked_at(browser, report(run), width, lambda page: page.locator(f"#{section}").screenshot(path=path))

    def compare() -> None:
        path = folder / "compare.html"
        quickstudy(["compare", str(runs / "rl2"), str(runs / "varibad"), "-o", str(path)])
        looked_at(browser, path.as_uri(), 900, lambda page: page.screenshot(path=DOCS / "compare.png", full_page=True))

    def play() -> None:
        def take(page: Any) -> None:
            until(page, PLAYED)
            page.click("#play")
            page.screenshot(path=DOCS / "play.png", full_page=True)

        served(browser, player(open_run(runs / "varibad", None).learner, "varibad", "quickstudy play runs/varibad"), take)

    def watch() -> None:
        served(browser, watcher(runs / "rl2"), lambda page: page.screenshot(path=DOCS / "watch.png"))

    def figures() -> None:
        quickstudy(["compare", str(runs / "rl2"), str(runs / "varibad"), "--figure", str(DOCS / "figures.png")])

    return {
        "report": part("report", "rl2", "adaptation", 940),
        "report-tasks": part("report-tasks", "rl2", "taskmap"),
        "report-mind": part("report-mind", "rl2", "mind"),
        "report-trial": part("report-trial", "varibad", "trial"),
        "report-world": part("report-world", "maml", "world"),
        "report-gradients": part("report-gradients", "maml", "mind"),
        "compare": compare,
        "play": play,
        "watch": watch,
        "figures": figures,
    }


def main() -> None:
    """Takes the pictures that are named, or all."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description="Takes the pictures of docs/ again.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER")
    given = parser.parse_args()
    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if chromium is None:
        sys.exit("error: chromium isn't installed; install it: apt-get install chromium")
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        takes = pictures(browser, given.runs, Path(folder))
        unknown = set(given.names) - takes.keys()
        if unknown:
            sys.exit(f"error: no picture is called {', '.join(sorted(unknown))}; there are {', '.join(takes)}")
        for name in given.names or takes:
            takes[name]()
            print(DOCS / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
