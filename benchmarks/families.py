"""How fast families step: decisions a second of one thread's own time, 512 lanes, random actions.

python benchmarks/families.py poker [OPTION=VALUE ...]
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch

from quickstudy.algorithms.baselines.random import UniformPolicy
from quickstudy.families import make
from quickstudy.protocol import begin_trial, counter

LANES, SECONDS = 512, 5.0
SUB_STEPS = {"glucose": 15}
"""Steps of the simulator in a decision, where there are several."""


def rate(name: str, **options: Any) -> float:
    """Decisions a second, drawing the actions included."""
    tasks = make(name, **options)
    env, luck = tasks.make(LANES, 1), counter(0, 0, "luck")
    percept = begin_trial(env.reset(tasks.sample(LANES, "train", counter(0, 0, "tasks")), luck), tasks.action_space)
    policy, steps, begun = UniformPolicy(tasks.action_space), 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        for _ in range(50):
            env.step(policy.act(percept, {}, luck)[0].action)
        steps += 50 * LANES
    return steps / (time.process_time() - begun)


def main() -> None:
    """Prints the rate of the family named first, with options behind it."""
    torch.set_num_threads(1)
    name, *words = sys.argv[1:]
    options = {key.replace("-", "_"): int(value) if value.isdigit() else value for key, value in (w.split("=") for w in words)}
    found, steps = rate(name, **options), SUB_STEPS.get(name, 1)
    print(f"{name} {' '.join(words)}: {found:,.0f} decisions a second" + f", {found * steps:,.0f} sub-steps" * (steps > 1))


if __name__ == "__main__":
    main()
