"""How large exported agents are, and how long a step takes in PyTorch and in ONNX Runtime. `python benchmarks/export.py`

Agents are untrained, with default settings. A step is `act` and `feedback` of a session, on one thread, without the
environment's own time; an adaptation is the step that ends the last of the episodes that it pools. Medians.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import quickstudy as qs
from quickstudy import runtime
from quickstudy.algorithms import algorithm

CASES = (
    ("rl2", "grid-navigation"),
    ("varibad", "point-navigation"),
    ("recurrent-sac", "point-navigation"),
    ("multi-task", "point-navigation"),
    ("maml", "point-navigation"),
)
STEPS = 3000


class Times(NamedTuple):
    """Medians over a session."""

    step: float
    """Microseconds."""
    adaptation: float
    """Milliseconds of the step after which a policy has other weights; NaN where there is none."""


def times(session: Any, agent: Any, gradient: bool) -> Times:
    """What a session takes, the first hundred steps left out."""
    shape, limit = agent.tasks.observation_space.shape, agent.tasks.max_episode_steps
    observation: Any = np.zeros(shape, np.float32) if shape else 0
    pooled, steps, adaptations = limit * agent.lanes, [], []
    for step in range(1, max(STEPS, 3 * pooled) + 1):
        ends, adapts = step % limit == 0, gradient and step % pooled == 0
        began = time.perf_counter()
        session.act(observation)
        session.feedback(float(step % 3), truncated=ends, observation=observation)
        (adaptations if adapts else steps).append(time.perf_counter() - began)
    return Times(1e6 * float(np.median(steps[100:])), 1e3 * float(np.median(adaptations)) if adaptations else float("nan"))


def main() -> None:
    """Prints a row for each case."""
    torch.set_num_threads(1)
    print(
        "| agent | tasks | KiB | step, PyTorch | step, ONNX Runtime | adaptation, PyTorch | adaptation, ONNX Runtime | apart |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, family in CASES:
        agent: Any = algorithm(name).make(qs.tasks.make(family))
        with tempfile.TemporaryDirectory() as folder:
            saved = qs.export(agent, Path(folder) / "agent.onnx")
            exported = runtime.load(saved.paths[0])
        gradient = exported.contents.adapts == "gradient"
        ours, theirs = (times(each.session(seed=0), agent, gradient) for each in (agent, exported))
        sizes = " + ".join(f"{size / 1024:.0f}" for size in saved.sizes)
        adapting = [f"{each.adaptation:.1f} ms" if gradient else "" for each in (ours, theirs)]
        row = [f"`{name}`", f"`{family}`", sizes, f"{ours.step:.0f} us", f"{theirs.step:.0f} us", *adapting]
        print(f"| {' | '.join(row)} | {saved.departure:.0e} |", flush=True)


if __name__ == "__main__":
    main()
