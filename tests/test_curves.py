"""Short trainings of each algorithm, number by number: a change of any of them is seen in review.

On a task of continuous actions and one-step episodes, and on one whose episodes end by a fall or a time limit, with both kinds
of credit where an algorithm has them. After a change that is meant: `python tests/test_curves.py` stores the curves anew, and
the diff of curves.json is reviewed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from probes import HiddenButton, HiddenLedge, HiddenSide
from small import SMALL

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.work import InProcess

STORED = Path(__file__).parent / "curves.json"
ITERATIONS = 4
CREDITED = "recurrent-sac", "rl2", "varibad"
NUMBERED = {name for name, entry in ALGORITHMS.items() if entry.observations == "discrete"}
"""Who takes numbered observations alone: on hidden buttons, and on a ledge whose places have numbers."""
SETTINGS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    **{f"{name}, side": (name, HiddenSide(), {}) for name in sorted(ALGORITHMS) if name not in NUMBERED},
    **{f"{name}, buttons": (name, HiddenButton(), {}) for name in sorted(NUMBERED)},
    **{f"{name}, ledge": (name, HiddenLedge(numbered=name in NUMBERED), {}) for name in sorted(ALGORITHMS)},
    **{f"{name}, ledge, credit by episode": (name, HiddenLedge(), {"credit": "episode"}) for name in CREDITED},
}
"""What is trained: an algorithm, on which task, and with what beside its small settings."""


def curve(setting: str) -> list[dict[str, float]]:
    """The metrics of a few meta-iterations on one thread, to the sixth digit."""
    name, dynamics, options = SETTINGS[setting]
    entry = ALGORITHMS[name]
    learner = entry.make(qs.NativeTasks(dynamics), entry.config(**SMALL[name] | options), seed=3)
    torch.set_num_threads(1)
    work = InProcess(learner.tasks, "cpu")
    rows = [learner.train_step(work) for _ in range(ITERATIONS)]
    return [{key: float(f"{value:.6g}") for key, value in row.items()} for row in rows]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_numbers_are_the_stored_ones(setting: str):
    """Another processor rounds otherwise, and training magnifies it: a thousandth is let pass, a changed formula isn't."""
    stored = json.loads(STORED.read_text())[setting]
    for iteration, (now, then) in enumerate(zip(curve(setting), stored, strict=True)):
        assert now == pytest.approx(then, rel=1e-3, abs=1e-4), f"meta-iteration {iteration}"


if __name__ == "__main__":
    STORED.write_text(json.dumps({setting: curve(setting) for setting in SETTINGS}, indent=1) + "\n")
