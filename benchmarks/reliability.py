"""What reliability is worth: the tests of tests/reliability at their full counts, written as the tables of docs/reliability.md.

python benchmarks/reliability.py           # the full counts, in hours
python benchmarks/reliability.py --quick   # the share that `make test` tries, in minutes; the page is not written
python benchmarks/reliability.py -k kill   # those whose names match; their rows of the page alone are written anew
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

from quickstudy.storage import write_atomically

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
ROWS = ROOT / "docs" / "results" / "reliability.json"
Row = dict[str, Any]
"""`what` was tried, of which `algorithm` if of one, its `count` and `result`, what else was `seen`, and the `command`."""
BEGINS = "<!-- counts -->\n"


def tallied(quick: bool, only: str, jobs: int) -> tuple[bool, list[Row]]:
    """Runs the tests; whether all passed, and what they say they saw, the same things added up."""
    with tempfile.TemporaryDirectory() as folder:
        tally = Path(folder) / "tally.jsonl"
        tally.touch()
        command = [sys.executable, "-m", "pytest", "tests/reliability", "-n", str(jobs), "-m", "slow or not slow"]
        command += [] if quick else ["--full"]
        command += ["-k", only] if only else []
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"TALLY": str(tally)})
        rows: dict[tuple[str, str], Row] = {}
        for line in map(json.loads, tally.read_text().splitlines()):
            row = line | {"count": 0, "command": f"pytest {line.pop('test')} --full"}
            rows.setdefault(key(line), row)["count"] += line["count"]
    return done.returncode == 0, list(rows.values())


def key(row: Row) -> tuple[str, str]:
    return row["what"], row["algorithm"]


def publish(rows: list[Row]) -> None:
    """Writes rows into the tables, in place of what they said before."""
    known = {key(row): row for row in (json.loads(ROWS.read_text()) if ROWS.exists() else [])}
    known |= {key(row): row for row in rows}
    together = sorted(known.values(), key=lambda row: (row["command"], *key(row)))
    write_atomically(ROWS, json.dumps(together, indent=1) + "\n")
    head, _ = PAGE.read_text().split(BEGINS)
    write_atomically(PAGE, f"{head}{BEGINS}{whole(together)}\n{by_algorithm(together)}")
    print(f"written: {PAGE}")


def whole(rows: list[Row]) -> str:
    """The table of all that was tried; what was tried of several algorithms is one row."""
    lines = ["| test | count | result | command |", "| --- | --- | --- | --- |"]
    for _, same in groupby(rows, lambda row: (row["command"], row["what"])):
        found = list(same)
        counts = sorted({row["count"] for row in found})
        count = " to ".join(f"{each:,}" for each in dict.fromkeys((counts[0], counts[-1])))
        if found[0]["algorithm"]:
            count += f" for each of {len(found)} algorithms"
        lines.append(f"| {found[0]['what']} | {count} | {found[0]['result']} | `{found[0]['command']}` |")
    return "\n".join(lines) + "\n"


def by_algorithm(rows: list[Row]) -> str:
    """The table of what was tried of each algorithm, with what was seen of it."""
    found = {key(row): row for row in rows if row["algorithm"]}
    kinds = list(dict.fromkeys(what for what, _ in found))
    lines = [f"| algorithm | {' | '.join(kinds)} |", "| --- " * (len(kinds) + 1) + "|"]
    for name in sorted({name for _, name in found}):
        lines.append(f"| {name} | {' | '.join(cell(found.get((what, name))) for what in kinds)} |")
    return "\n".join(lines) + "\n"


def cell(row: Row | None) -> str:
    """How often, and what was seen; nothing where it was not tried."""
    if row is None:
        return ""
    return f"{row['count']}: {row['seen']}" if row["seen"] else str(row["count"])


def main() -> None:
    """Runs the tests and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the quick share, without writing the page")
    parser.add_argument("-k", default="", metavar="EXPRESSION", help="which tests, as pytest's -k")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    given = parser.parse_args()
    passed, rows = tallied(given.quick, given.k, given.jobs)
    if not given.quick:
        publish(rows)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
