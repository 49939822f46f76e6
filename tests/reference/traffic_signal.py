"""SUMO's crossing and the family's: who is told waits least, and each rule waits about as long in both.

Run by `make reference`, in an environment that has sumo-rl and libsumo.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

from sumo import RULES, compared, prepared

TASKS = 3

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        prepared(Path(folder))
        found = list(compared(TASKS))
    for name, sumo, ours in found:
        print(f"{name:18} {sumo:7.1f} {ours:7.1f}")
    delays = {name: rest for name, *rest in found}
    for rule in RULES:
        plain, told = delays[f"{rule} population"], delays[f"{rule} told"]
        assert told[0] < plain[0] and told[1] < plain[1], rule
    for name, (sumo, ours) in delays.items():
        assert 0.6 < sumo / ours < 1.6, name
