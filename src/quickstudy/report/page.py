"""The page itself: styles, scripts and data in one file, which its content security policy lets do nothing but draw."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from quickstudy.looks import variables
from quickstudy.printed import printable

WEB = Path(__file__).parent / "web"
LIBRARIES = ("vendor/d3.min.js", "vendor/plot.umd.min.js")


class Kind(NamedTuple):
    """A kind of page: files of this room by name, of others by path."""

    scripts: tuple[str | Path, ...]
    """In the order in which they are read: each may use those before it. They name the page's parts, see `main.js`."""
    styles: tuple[str | Path, ...] = ()
    connects: bool = False
    """Whether the page may ask the server that it came from."""


REPORT = Kind(
    (
        "adaptation.js",
        "taskmap.js",
        "world.js",
        "steps.js",
        "foreseen.js",
        "mind.js",
        "learning.js",
        "facts.js",
        "report.js",
    )
)
TURNING = re.compile(r"(?<!\\)((?:\\\\)*)\\u(202[a-e]|206[6-9]|200[ef]|061c|00[01][0-9a-f]|00[7-9][0-9a-f])")
"""Characters, as JSON writes them, that are not seen and change what is: they are shown as they are written here."""
COMPARISON = Kind(("compare.js",))
PLOT_STYLE = """\
:where(.plot) {
  --plot-background: white;
  display: block;
  height: auto;
  height: intrinsic;
  max-width: 100%;
}
:where(.plot text),
:where(.plot tspan) {
  white-space: pre;
}"""
"""What the plotting library writes into each of its pictures of the class `plot`: the policy knows it by its hash."""


def page(contents: dict[str, Any], kind: Kind = REPORT) -> str:
    """The contents of a kind of page as HTML that opens anywhere, from a file as well, and asks nobody for anything."""
    style = "\n".join([variables(), *map(read, ["page.css", *kind.styles])])
    own = ["words.js", "parts.js", *kind.scripts, "main.js"]
    scripts = [*map(read, LIBRARIES), '"use strict";\n' + "\n".join(map(read, own))]
    policy = (
        f"default-src 'none'; script-src {' '.join(map(digest, scripts))}; style-src {digest(style)} {digest(PLOT_STYLE)};"
        " base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if kind.connects else "")
        + ("; img-src data:" if "world.js" in kind.scripts else "")
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(printable(contents['title']))} - quickstudy</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            read("page.html").strip(),
            f'<script type="application/json" id="contents">{data(contents)}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body>",
            "</html>",
            "",
        ]
    )


def read(name: str | Path) -> str:
    """One of the page's own files, or another room's."""
    return (WEB / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """How a content security policy names a script or a style."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def data(contents: dict[str, Any]) -> str:
    """Contents as JSON in which no text can end the element that holds it, or turn the direction of what is beside it."""
    text = json.dumps(contents, allow_nan=False, separators=(",", ":"))
    return TURNING.sub(r"\1\\\\u\2", text).replace("<", "\\u003c")
