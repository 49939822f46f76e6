"""A transfer as a page: one file that asks nobody for anything."""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path

from quickstudy.plots import plot_transfer
from quickstudy.storage import write_atomically
from quickstudy.transferring.outcome import Transfer

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
figure { margin: 1.5rem 0; background: #fff; overflow-x: auto } svg { max-width: 100%; height: auto }
div { overflow-x: auto } table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600 }
td, th { padding: .25rem .75rem; border-bottom: 1px solid #8886; text-align: right }
td:first-child, th:first-child { text-align: left }
"""


def write_page(found: Transfer, path: Path) -> None:
    """Writes the picture, the tables and what is said of them, whole or not at all."""
    tables = "".join(html_table(caption, rows) for caption, rows in found.tables)
    said = "".join(f"<li>{escape(line)}</li>" for line in found.said)
    title = escape(f"What runs are worth on {found.tasks}")
    body = f"<h1>{title}</h1><p>{escape(found.about)}</p>{picture(found)}<ul>{said}</ul>{tables}"
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}</style>'
    )
    policy = (
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f'<!doctype html><html lang="en"><head>{policy}{head}</head><body>{body}</body></html>\n')


def picture(found: Transfer) -> str:
    """The curves, drawn into the page."""
    with tempfile.TemporaryDirectory() as folder:
        plot_transfer(found, Path(folder) / "curves.svg")
        drawn = (Path(folder) / "curves.svg").read_text()
    alt = "Return of an episode by environment steps on the new tasks, for each way to learn; the tables have the figures."
    return f'<figure role="img" aria-label="{alt}">{drawn[drawn.index("<svg") :]}</figure>'


def html_table(caption: str, rows: list[list[str]]) -> str:
    """Rows, their heads first."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows[1:]
    )
    return f'<div tabindex="0"><table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table></div>'
