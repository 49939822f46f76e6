"""A short training of each algorithm, number by number: a change of any of them is seen in review.

After a change that is meant: `python tests/test_curves.py` stores the curves anew, and the diff of curves.json is reviewed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from probes import HiddenSide
from small import SMALL

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.work import InProcess

STORED = Path(__file__).parent / "curves.json"
ITERATIONS = 4


def curve(name: str) -> list[dict[str, float]]:
    """The metrics of a few meta-iterations on one thread, to the sixth digit."""
    entry, tasks = ALGORITHMS[name], qs.NativeTasks(HiddenSide())
    learner = entry.make(tasks, entry.config(**SMALL[name]), seed=3)
    torch.set_num_threads(1)
    work = InProcess(learner.tasks, "cpu")
    rows = [learner.train_step(work) for _ in range(ITERATIONS)]
    return [{key: float(f"{value:.6g}") for key, value in row.items()} for row in rows]


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_the_numbers_are_the_stored_ones(name: str):
    """Another processor rounds otherwise, and training magnifies it: a thousandth is let pass, a changed formula isn't."""
    stored = json.loads(STORED.read_text())[name]
    for iteration, (now, then) in enumerate(zip(curve(name), stored, strict=True)):
        assert now == pytest.approx(then, rel=1e-3, abs=1e-4), f"meta-iteration {iteration}"


if __name__ == "__main__":
    STORED.write_text(json.dumps({name: curve(name) for name in sorted(ALGORITHMS)}, indent=1) + "\n")
