"""What reliability is worth: the tests of tests/reliability at their full counts, written as the table of docs/reliability.md.

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
from pathlib import Path
from typing import Any

from quickstudy.storage import write_atomically

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
ROWS = ROOT / "docs" / "results" / "reliability.json"


def tallied(quick: bool, only: str, jobs: int) -> tuple[bool, list[dict[str, Any]]]:
    """Runs the tests; whether all passed, and what they say they saw, the same things added up."""
    with tempfile.TemporaryDirectory() as folder:
        tally = Path(folder) / "tally.jsonl"
        tally.touch()
        command = [sys.executable, "-m", "pytest", "tests/reliability", "-n", str(jobs), "-m", "slow or not slow"]
        command += [] if quick else ["--full"]
        command += ["-k", only] if only else []
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"TALLY": str(tally)})
        rows: dict[str, dict[str, Any]] = {}
        for line in map(json.loads, tally.read_text().splitlines()):
            row = rows.setdefault(line["what"], {**line, "count": 0})
            row["count"] += line["count"]
    return done.returncode == 0, sorted(rows.values(), key=lambda row: (row["test"], row["what"]))


def page(rows: list[dict[str, Any]]) -> str:
    """The page, with a row for each thing that was tried."""
    head, _ = PAGE.read_text().split("| test |")
    lines = ["| test | count | result | command |", "| --- | --- | --- | --- |"]
    for row in rows:
        lines.append(f"| {row['what']} | {row['count']:,} | {row['result']} | `pytest {row['test']} --full` |")
    return head + "\n".join(lines) + "\n"


def main() -> None:
    """Runs the tests and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the quick share, without writing the page")
    parser.add_argument("-k", default="", metavar="EXPRESSION", help="which tests, as pytest's -k")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    given = parser.parse_args()
    passed, rows = tallied(given.quick, given.k, given.jobs)
    if not given.quick:
        known = {row["what"]: row for row in (json.loads(ROWS.read_text()) if ROWS.exists() else [])}
        rows = sorted({**known, **{row["what"]: row for row in rows}}.values(), key=lambda row: (row["test"], row["what"]))
        write_atomically(ROWS, json.dumps(rows, indent=1) + "\n")
        write_atomically(PAGE, page(rows))
        print(f"written: {PAGE}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
