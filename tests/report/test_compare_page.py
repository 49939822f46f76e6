"""The page of a comparison in a real browser: silent, inert, and what it draws is what it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import drawn, opened, placed
from made_up import HOSTILE, comparison

from quickstudy.report.page import COMPARISON, page

CASES = {
    "three runs": {},
    "two runs of one episode": {"runs": 2, "episodes": 1},
    "nothing trained": {"learnt": 0},
    "ten runs of ten episodes": {"runs": 10, "episodes": 10, "learnt": 60},
}

IN_A_HURRY = ("two runs of one episode", "ten runs of ten episodes")


def written(folder: Path, shown: Any) -> Path:
    path = folder / "compare.html"
    path.write_text(page(shown, COMPARISON))
    return path


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=() if name in IN_A_HURRY else pytest.mark.slow) for name, case in CASES.items()],
)
def test_it_asks_nobody_complains_of_nothing_and_fits_its_window(browser: Any, tmp_path: Path, case: dict[str, Any]):
    with opened(browser, written(tmp_path, comparison(**case))) as (page, wrong):
        for width in (1440, 768, 375):
            page.set_viewport_size({"width": width, "height": 900})
            page.click("#language")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not wrong


def test_what_is_drawn_is_what_was_measured(browser: Any, tmp_path: Path):
    shown = comparison()
    taus = shown["profile"]["taus"]
    with opened(browser, written(tmp_path, shown)) as (page, wrong):
        for number, run in enumerate(shown["runs"]):
            points = [[row["episode"], row["mean"]] for row in run["rows"]]
            assert drawn(page, "#curves .chart", marked(number)) == placed(page, "#curves .chart", points)
            points = [list(pair) for pair in zip(taus, shown["profile"]["runs"][number]["share"], strict=True)]
            assert drawn(page, "#profiles .chart", marked(number)) == placed(page, "#profiles .chart", points)
            assert drawn(page, "#efficiency .chart", marked(number)) == placed(page, "#efficiency .chart", run["validation"])
        assert "an earlier version measured them: 2." in page.inner_text("#efficiency .note")
        assert "over tasks only and say nothing of other seeds: 1." in page.inner_text("#standing .note")
        rows = [[run["mean"], str(number)] for number, run in enumerate(shown["runs"], 1)]
        assert across(page, "#standing .chart") == [pixel.expected[0] for pixel in placed(page, "#standing .chart", rows)]
        pairs = [[row["probability"], f"{row['x'] + 1} > {row['y'] + 1}"] for row in shown["improvement"]]
        found = [pixel.expected[0] for pixel in placed(page, "#improvement .chart", pairs)]
        assert across(page, "#improvement .chart") == found
        page.focus("#efficiency .choice button:nth-child(2)")
        page.keyboard.press("Enter")
        expected = placed(page, "#efficiency .chart", shown["runs"][1]["training"])
        assert drawn(page, "#efficiency .chart", marked(1)) == expected
        page.click("#standing summary")
        cells = page.locator("#standing td").all_inner_texts()
        assert cells[0] == "1" and cells[1].lstrip("\u2212") == f"{abs(shown['runs'][0]['mean']):.2f}"
    assert not wrong


def marked(number: int) -> str:
    """The line of a run."""
    return f'[aria-description="run {number + 1}"] path'


def across(page: Any, chart: str) -> Any:
    """How far to the right the values of a chart lie, from top to bottom, in pixels."""
    points = drawn(page, chart, "[aria-description=values] > *")
    return pytest.approx([x for x, _ in sorted(points, key=lambda point: point[1])], abs=2e-3)


def test_hostile_text_is_shown_and_does_nothing(browser: Any, tmp_path: Path):
    shown = comparison()
    # TOML has no half characters, names of folders may
    shown["title"] = "".join(HOSTILE).replace("\ud800", "")
    for run in shown["runs"]:
        run["run"] = run["algorithm"] = "".join(HOSTILE)
    with opened(browser, written(tmp_path, shown), 375) as (page, wrong):
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert "<script>window.pwned = 1</script>" in page.inner_text("#standing .legend")
    assert not wrong


@pytest.mark.parametrize(
    "theme, language",
    [
        ("light", "en"),
        ("dark", "zh"),
        pytest.param("light", "zh", marks=pytest.mark.slow),
        pytest.param("dark", "en", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_serious(browser: Any, tmp_path: Path, theme: str, language: str):
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, written(tmp_path, comparison()), theme=theme, language=language) as (page, _):
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        found = Axe().run(page).response["violations"]
    assert not [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
