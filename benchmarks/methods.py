"""Writes README's table of methods from the registry: `python benchmarks/methods.py`."""

from __future__ import annotations

from pathlib import Path

from quickstudy.algorithms import ALGORITHMS, BASELINES

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- methods, by benchmarks/methods.py -->", "<!-- end of methods -->"


def table() -> str:
    """A row for each algorithm and baseline, with a link to its page where it has one."""
    rows = ["| method | what it is |", "| --- | --- |"]
    for name, entry in (ALGORITHMS | BASELINES).items():
        page = f"docs/algorithms/{name}.md"
        rows.append(f"| {f'[`{name}`]({page})' if (ROOT / page).exists() else f'`{name}`'} | {entry.summary} |")
    return "\n".join(rows)


def written(text: str) -> str:
    """README with today's table in it."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(written(readme.read_text()))
