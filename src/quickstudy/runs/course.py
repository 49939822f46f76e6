"""How a run's return went, meta-iteration by meta-iteration, as its folder tells."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

from quickstudy.storage import read_lines

RETURN = "rollout/ep_rew_mean"


def returns_of(folder: Path) -> dict[int, float]:
    """The return of training after each meta-iteration that tells one; lines that are no rows are passed over."""
    found: dict[int, float] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in read_lines(folder / "metrics.jsonl"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(row, dict):
                continue
            iteration, value = row.get("iteration"), row.get(RETURN)
            if type(iteration) is not int or not isinstance(value, int | float) or isinstance(value, bool):
                continue
            if abs(value) <= sys.float_info.max:
                found[iteration] = float(value)
    return found
