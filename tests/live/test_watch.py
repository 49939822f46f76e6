"""`quickstudy watch` in a real browser: it follows a training through the trainer's death, and is quiet and fits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from served import looking, serving, until

from quickstudy.live.watch import watcher
from quickstudy.report.page import page as html
from quickstudy.runs.trainer import MARK, leave_mark, remove_mark, trainer_of
from quickstudy.storage import read_json, to_json

SMALL = ["--trials", "64", "--hidden-size", "32", "--threads", "1", "--evaluate-every", "5", "--evaluate-tasks", "4"]


def begin(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "quickstudy", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def done(page: Any) -> int:
    return page.evaluate("document.querySelector('#training progress').value")


def wait_until_more(page: Any, count: int) -> int:
    until(page, "(count) => document.querySelector('#training progress').value > count", count)
    return done(page)


@pytest.mark.slow
def test_it_follows_a_run_through_the_death_of_its_trainer(browser: Any, tmp_path: Path):
    run = tmp_path / "run"
    training = begin("train", "rl2", "grid-navigation", "--iterations", "100000", "--run", str(run), *SMALL)
    try:
        while not (run / "timing.jsonl").exists():
            assert training.poll() is None
            time.sleep(0.05)
        with serving(watcher(run)) as server, looking(browser, server) as (page, wrong), looking(browser, server) as (other, _):
            until(page, "document.getElementById('says').textContent === 'In training.'")
            wait_until_more(page, 6)
            wait_until_more(other, wait_until_more(page, done(page)))
            page.wait_for_selector("#byEpisode [aria-description=chosen] circle")
            line = "document.querySelector('#learning [aria-description=bold] path')?.getAttribute('d').split('L').length ?? 0"
            points = page.evaluate(line)
            until(page, f"(count) => ({line}) > count", points)
            assert re.search(r"about \d+", page.inner_text("#doing"))
            training.kill()
            for each in (page, other):
                each.wait_for_selector("#training[data-state=dead]")
                assert each.inner_text("#type") == f"quickstudy resume {run}"
            training.wait()
            at = done(page)
            training = begin("resume", str(run))
            page.wait_for_selector("#training[data-state=alive]")
            wait_until_more(page, at + 1)
            training.send_signal(signal.SIGTERM)
            page.wait_for_selector("#training[data-state=stopped]")
            assert page.is_visible("#type")
        assert not wrong
    finally:
        training.kill()
        training.wait()
    assert trainer_of(run) == "none"


def test_it_is_quiet_fits_its_window_and_axe_finds_nothing_serious(browser: Any, small_run: Path):
    from axe_playwright_python.sync_playwright import Axe

    with serving(watcher(small_run)) as server:
        for theme, language in (("light", "en"), ("dark", "zh")):
            with looking(browser, server, theme=theme, language=language) as (page, wrong):
                until(page, "[...document.querySelectorAll('#learning > .chart')].every((chart) => chart.plot)")
                for width in (1440, 768, 375):
                    page.set_viewport_size({"width": width, "height": 900})
                    assert page.evaluate("document.documentElement.scrollWidth") <= width
                page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
                found = Axe().run(page).response["violations"]
                assert not [
                    (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
                ]
            assert not wrong


def test_what_the_reader_opened_and_chose_stays_when_news_come(browser: Any, small_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.toml", "metrics.jsonl", "timing.jsonl"):
        (run / name).write_bytes((small_run / name).read_bytes())
    with serving(watcher(run)) as server, looking(browser, server) as (page, wrong):
        page.select_option("#learning select", "train/loss")
        page.click("#health summary")
        with (run / "metrics.jsonl").open("a") as file:
            file.write((run / "metrics.jsonl").read_text().replace('"iteration": 1,', '"iteration": 2,'))
        until(page, "document.getElementById('doing').textContent.startsWith('2 of')")
        assert page.input_value("#learning select") == "train/loss"
        assert page.evaluate("document.querySelector('#health details').open")
        page.focus("#language")
        page.keyboard.press("Enter")
        assert page.inner_text("#says").startswith("已完成。")
    assert not wrong


@pytest.mark.slow
def test_it_says_that_the_trainer_died_how_to_go_on_and_when_it_does(browser: Any, small_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.toml", "metrics.jsonl", "timing.jsonl"):
        (run / name).write_bytes((small_run / name).read_bytes())
    leave_mark(run)
    with serving(watcher(run)) as server, looking(browser, server) as (page, wrong), looking(browser, server) as (other, _):
        page.wait_for_selector("#training[data-state=alive]")
        gone = read_json(run / MARK) | {"began": 0}
        (run / MARK).write_text(to_json(gone))
        for each in (page, other):
            each.wait_for_selector("#training[data-state=dead]")
            assert each.inner_text("#type") == f"quickstudy resume {run}"
        leave_mark(run)
        page.wait_for_selector("#training[data-state=alive]")
        assert not page.is_visible("#type")
        remove_mark(run)
        page.wait_for_selector("#training[data-state=finished]")
    assert not wrong


def test_a_page_whose_server_is_gone_says_how_to_start_it(browser: Any, small_run: Path):
    server = watcher(small_run)
    thread = threading.Thread(target=server.serve)
    thread.start()
    with looking(browser, server) as (page, wrong):
        server.close()
        thread.join()
        page.wait_for_selector("#training[data-state=lost]")
        assert page.inner_text("#type") == f"quickstudy watch {small_run}"
    assert all("ERR_CONNECTION_REFUSED" in each for each in wrong)


def test_its_policy_adds_the_server_that_it_came_from_and_nothing_else(small_run: Path):
    from quickstudy.live.watch import WATCH

    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html({"title": "", "a": 1}, WATCH))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("connect-src") == "'self'"
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    assert rules.keys() == {"script-src", "style-src"}
    assert all(source.startswith("'sha256-") for sources in rules.values() for source in sources.split())


def test_ctrl_c_ends_it_at_once(small_run: Path):
    watching = subprocess.Popen(
        [sys.executable, "-m", "quickstudy", "watch", str(small_run)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert watching.stdout is not None
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/  \(Ctrl-C ends it\)\n", watching.stdout.readline())
    os.kill(watching.pid, signal.SIGINT)
    assert watching.wait(30) == 0  # a busy machine takes its time to end a process
    assert watching.communicate() == ("", f"reading {small_run} ...\n")
