"""Axes and types of every annotated function are checked while the tests of parts run; `--full` asks for the full counts."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jaxtyping
import matplotlib
import pytest
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)  # tests run side by side
jaxtyping.install_import_hook("quickstudy", "typechecker.checked")


WHOLE = (
    *("test_contract", "test_planted", "test_readme", "test_extending", "test_learning", "test_products"),
    *("test_cli", "test_training", "test_runs", "test_timing", "test_stops", "test_report", "test_command"),
    *("test_hostile", "test_hostile_files", "test_altered"),
    *("test_parity", "test_export"),
)
"""Tests of whole trainings and commands. What they call is called, and checked, by the tests of each part; here that would take
a third of the time."""


TOGETHER = (
    "tests/test_training.py",
    "tests/work/test_runs.py",
    "tests/reliability/test_stops.py",
    "tests/report/test_report.py",
)
"""Files whose tests share what takes long to make, and so run in one process."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out tests one by one, and those of a file in `TOGETHER` at once.

    The marks that are meant for this, `xdist_group`, do nothing under pytest 9.2: it tells xdist names without them.
    """
    from xdist.scheduler import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda name: file if (file := name.split("::")[0]) in TOGETHER else name
    return scheduler


@pytest.fixture(autouse=True)
def annotations(request: pytest.FixtureRequest) -> None:
    """Whether axes and types of annotated functions are checked in a test."""
    jaxtyping.config.update("jaxtyping_disable", request.module.__name__ in WHOLE)


@pytest.fixture(autouse=True)
def same_luck() -> None:
    """Where a test draws from the global generator, it draws the same in every run, whichever tests came before."""
    torch.manual_seed(0)


Thing = TypeVar("Thing")


class Share:
    """How much of a count is tried: with `--full` all of it; a tally of what was seen goes to the file named in TALLY."""

    def __init__(self, full: bool, test: str):
        self.full, self._test = full, test

    def of(self, full: int, quick: int) -> int:
        """The full count, or a quick share of it."""
        return full if self.full else quick

    def some(self, things: Iterable[Thing], quick: int) -> list[Thing]:
        """All things, or so many from evenly through them."""
        found = list(things)
        return found if self.full else found[:: max(1, len(found) // quick)][:quick]

    def says(self, what: str, count: int, result: str, algorithm: str = "", seen: str = "") -> None:
        """Notes how often what was tried with which result, and what was seen of one algorithm, as a line of JSON."""
        if "TALLY" in os.environ:
            row = {"what": what, "algorithm": algorithm, "count": count, "result": result, "seen": seen, "test": self._test}
            with Path(os.environ["TALLY"]).open("a") as file:
                file.write(json.dumps(row) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the full counts of the reliability tests, which take hours")


@pytest.fixture
def share(request: pytest.FixtureRequest) -> Share:
    """The share of a count that this run of the tests tries."""
    return Share(request.config.getoption("--full"), request.node.nodeid.split("[")[0])


@pytest.fixture
def one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants of a learner keep its contract on one kind of task, with episodes of many lengths; itself it does on all."""
    monkeypatch.setattr(
        "quickstudy.check.learner.SMALL_TASKS", {"cart-pole": {"max_episode_steps": 12, "episodes_per_trial": 3}}
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, one for all pages; tests that need it are skipped where it isn't installed."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium isn't installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one meta-iteration, to be read."""
    from quickstudy.cli import main

    run = tmp_path_factory.mktemp("small") / "run"
    small = ["--iterations", "1", "--trials", "4", "--hidden-size", "8", "--threads", "1", "--evaluate-every", "0"]
    assert main(["train", "rl2", "bandit", "--run", str(run), *small]) == 0
    return run
