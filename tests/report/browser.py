"""Pages in a real browser that has no network: what they ask for, complain of, and draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
DRAWN = "[...document.querySelectorAll('#main .chart')].every((c) => c.plot || c.closest('details:not([open])'))"


@contextmanager
def opened(
    browser: Any, path: Path, width: int = 1440, theme: str = "light", language: str = "en"
) -> Iterator[tuple[Any, list[str]]]:
    """A page opened from its file, and the list of what went wrong: requests, console messages, policy violations."""
    wrong: list[str] = []
    options: dict[str, Any] = {"viewport": {"width": width, "height": 900}, "color_scheme": theme, "locale": language}
    context = browser.new_context(offline=True, **options)
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.add_init_script(WATCH)
    page.on("request", lambda request: None if request.url == path.as_uri() else wrong.append(f"request {request.url}"))
    page.on("console", lambda message: wrong.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error {error}"))
    page.goto(path.as_uri())
    # asked again from here: the page's policy forbids the evaluation that waiting in it takes
    for _ in range(6000):
        if page.evaluate(DRAWN):
            break
        page.wait_for_timeout(20)
    yield page, wrong
    wrong += [f"violation {violation}" for violation in page.evaluate("window.violations")]
    context.close()


def drawn(page: Any, chart: str, mark: str) -> list[list[float]]:
    """Where the marks of one kind lie in a chart, and the points of its lines, in pixels."""
    return page.evaluate(
        """([chart, mark]) => [...document.querySelectorAll(`${chart} ${mark}`)].flatMap((node) => {
            if (node.tagName === "circle") return [[Number(node.getAttribute("cx")), Number(node.getAttribute("cy"))]];
            const moved = /translate\\((.*),(.*)\\)/.exec(node.getAttribute("transform"));
            if (moved) return [[Number(moved[1]), Number(moved[2])]];
            const pieces = node.getAttribute("d").split("M").slice(1);
            return pieces.flatMap((piece) => piece.replace("Z", "").split("L").map((pair) => pair.split(",").map(Number)));
        })""",
        [chart, mark],
    )


def placed(page: Any, chart: str, points: Any) -> Any:
    """Where points belong in a chart by its own scales, in pixels; equal to what lies there to a thousandth of one."""
    pixels = page.evaluate(
        """([chart, points]) => {
            const { plot } = document.querySelector(chart);
            return points.map(([x, y]) => [plot.scale("x").apply(x), plot.scale("y").apply(y)]);
        }""",
        [chart, points],
    )
    return [pytest.approx(point, abs=2e-3) for point in pixels]
