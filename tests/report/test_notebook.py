"""A report in a notebook is drawn in a frame that can reach nothing around it."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from browser import WATCH

import quickstudy as qs


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a cell of a notebook ends with, after a training of one meta-iteration."""
    run = tmp_path_factory.mktemp("runs") / "grid & <bandit>"
    learner = qs.RL2(qs.tasks.make("bandit", arms=2, pulls=4), qs.RL2.Config(trials=4, hidden_size=8))
    qs.train(learner, iterations=1, run=run, quiet=True, threads=1, evaluate_every=0)
    return qs.show(run, num_tasks=4, height=700)


def test_a_notebook_shows_the_page_that_is_saved(shown: Any, tmp_path: Path):
    framed = shown._repr_html_()
    [page] = re.findall(r'srcdoc="([^"]*)"', framed)
    shown.save(tmp_path / "report.html")
    assert unescape(page) == shown.html == (tmp_path / "report.html").read_text()
    assert 'height="700"' in framed and "<bandit>" not in framed
    assert repr(shown).startswith("Report(run=") and len(repr(shown)) < 300


def test_it_is_drawn_in_its_frame_without_a_sound(browser: Any, shown: Any, tmp_path: Path):
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><title>notebook</title><p id=mine>mine</p>{shown._repr_html_()}")
    page = browser.new_page()
    wrong: list[str] = []
    page.add_init_script(WATCH)
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    frame = page.frame_locator("iframe")
    assert frame.locator("#adaptation > .chart svg").first.get_attribute("viewBox")
    assert frame.locator("h1").inner_text() == "rl2 on bandit"
    inside = page.frames[1]
    assert inside.evaluate("window.violations") == []
    assert inside.evaluate("(() => { try { return parent.document.title } catch { return null } })()") is None
    page.close()
    assert not wrong


def test_no_run_is_said_in_a_line(tmp_path: Path):
    with pytest.raises(qs.UsageError, match="is no run"):
        qs.show(tmp_path)
