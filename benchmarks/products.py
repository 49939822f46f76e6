"""Which commands run on which products: every family with every learner, as a table. `python benchmarks/products.py`

It runs tests/test_products.py whole, in about twenty minutes on one core, and prints what its tally says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
Results = dict[str, str]
"""What became of each command."""


def tallied() -> tuple[int, dict[tuple[str, str], Results]]:
    """Runs the tests; their exit status, and for each family and learner what became of each command."""
    with tempfile.TemporaryDirectory() as folder:
        tally = Path(folder) / "tally.jsonl"
        tally.touch()
        command = [sys.executable, "-m", "pytest", "tests/test_products.py", "-n", "0", "-m", "slow"]
        done = subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, env=os.environ | {"TALLY": str(tally)})
        found: dict[tuple[str, str], Results] = defaultdict(dict)
        for row in map(json.loads, tally.read_text().splitlines()):
            found[row["seen"], row["algorithm"]][row["what"]] = row["result"]
    return done.returncode, found


def cell(results: Results) -> str:
    """How many commands passed, and which did not."""
    passed = sum(result == "passed" for result in results.values())
    others = [f"{name} {result}" for name, result in results.items() if result != "passed"]
    return "; ".join([str(passed), *others])


def table(found: dict[tuple[str, str], Results]) -> str:
    """A row for each family, a column for each learner."""
    families, learners = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    lines = [f"| tasks | {' | '.join(learners)} |", "| --- " * (len(learners) + 1) + "|"]
    for family in families:
        cells = [cell(found[family, learner]) if (family, learner) in found else "" for learner in learners]
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the table; leaves with the tests' own status."""
    status, found = tallied()
    if found:
        commands = dict.fromkeys(name for results in found.values() for name in results)
        print(f"how many of {', '.join(commands)} passed, and what else became of them\n")
        print(table(found))
    return status


if __name__ == "__main__":
    sys.exit(main())
