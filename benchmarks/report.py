"""How long a report takes to show itself in Chromium: a run of a million meta-iterations, and ten seeds on fifty tasks.

    python benchmarks/report.py

First paint is the browser's own first contentful paint; drawn is when the last picture stands. Both count from the beginning of
navigation, and are the medians of several openings, each in a window of its own. Reading is what `series` takes in Python.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from quickstudy.cli import main as quickstudy
from quickstudy.report.contents import contents
from quickstudy.report.page import page
from quickstudy.report.series import series
from quickstudy.runs.seeds import open_runs

ROWS, OPENINGS = 1_000_000, 5
METRICS = ("rollout/ep_rew_mean", "train/loss", "train/approx_kl", "train/grad_norm", "train/entropy")
SMALL = ["--size", "3", "--trials", "8", "--hidden-size", "8", "--threads", "1", "--evaluate-every", "0", "--iterations", "1"]
DRAWN = """
const watch = () => {
  const charts = [...document.querySelectorAll("#main .chart")].filter((chart) => !chart.closest("details:not([open])"));
  if (charts.length > 4 && charts.every((chart) => chart.plot)) window.drawn = performance.now();
  else requestAnimationFrame(watch);
};
addEventListener("DOMContentLoaded", watch);
"""
TIMES = "[performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null, window.drawn ?? null]"


def long_run(folder: Path) -> Any:
    """A report of a small run that claims a million meta-iterations; how long its metrics take to read."""
    quickstudy(["train", "rl2", "grid-navigation", *SMALL, "--run", str(folder)])
    values = np.random.default_rng(0).normal(size=(ROWS, len(METRICS))).round(5).tolist()
    with (folder / "metrics.jsonl").open("w") as file:
        for number, row in enumerate(values, 1):
            named = {"iteration": number, "time/total_timesteps": 1000 * number, **dict(zip(METRICS, row, strict=True))}
            file.write(json.dumps(named) + "\n")
    start = perf_counter()
    series([folder], [0])
    return perf_counter() - start, contents(folder, open_runs(folder, None))


def many_seeds(folder: Path) -> Any:
    """A report of ten seeds on fifty tasks of ten episodes."""
    quickstudy(["train", "rl2", "grid-navigation", *SMALL, "--seeds", "10", "--run", str(folder)])
    return None, contents(folder, open_runs(folder, None), options={"num_tasks": 50, "episodes": 10})


def measure(browser: Any, path: Path) -> tuple[float, float]:
    """The median first paint, and the median time until all is drawn, in milliseconds."""
    paints, drawn = [], []
    for _ in range(OPENINGS):
        context = browser.new_context(offline=True, viewport={"width": 1440, "height": 900})
        shown = context.new_page()
        shown.add_init_script(DRAWN)
        shown.goto(path.as_uri())
        while None in (times := shown.evaluate(TIMES)):
            shown.wait_for_timeout(20)
        paints.append(times[0])
        drawn.append(times[1])
        context.close()
    return statistics.median(paints), statistics.median(drawn)


def main() -> None:
    """Prints a row for each report."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if chromium is None:
        sys.exit("error: chromium isn't installed; install it: apt-get install chromium")
    rows = ["| report | size | reading | first paint | drawn |", "| --- | --- | --- | --- | --- |"]
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        made = {
            f"{ROWS:,} rows of metrics": long_run(Path(folder) / "long"),
            "50 tasks x 10 episodes x 10 seeds": many_seeds(Path(folder) / "seeds"),
        }
        for number, (name, (seconds, shown)) in enumerate(made.items()):
            path = Path(folder) / f"{number}.html"
            path.write_text(page(shown))
            paint, drawn = measure(browser, path)
            reading = "" if seconds is None else f"{seconds:.1f} s"
            rows.append(f"| {name} | {path.stat().st_size / 1e6:.2f} MB | {reading} | {paint:.0f} ms | {drawn:.0f} ms |")
        browser.close()
    print("\n".join(rows))


if __name__ == "__main__":
    main()
