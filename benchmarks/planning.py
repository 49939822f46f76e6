"""How fast plans are tried in a model, beside the arithmetic floor of its products, measured in the same run.

    python benchmarks/planning.py [--lanes 16] [--candidates 500] [--steps 20] [--repeats 5]

One step of a policy with one round of candidates (random shooting) on the pendulum, in one network of 2 x 128 units, or in one
for each lane, which adapted to 16 steps (GrBAL, whose gradient is in it). The rate is candidates x steps of a plan, over all
lanes, in a second; the floor is that of the network's matrix products alone, before and after. By processor time, since other
work on the machine would tell otherwise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from speed import multiply_seconds, seconds

from quickstudy.algorithms import algorithm
from quickstudy.data.rollout import start_trials
from quickstudy.families import make
from quickstudy.protocol import Shard, counter
from quickstudy.work import LocalSite


def floor(rows: int, sizes: Sequence[int], steps: int) -> float:
    """Seconds of the products of a plan's steps."""
    return steps * sum(multiply_seconds(rows, *pair, repeats=10, clock=time.process_time) for pair in pairwise(sizes))


def measure(name: str, lanes: int, candidates: int, steps: int, repeats: int) -> None:
    """Prints the row of one method."""
    tasks, entry = make("pendulum"), algorithm(name)
    settings: dict[str, Any] = {"hidden_size": 128, "planner": "random", "candidates": candidates, "plan_steps": steps}
    settings |= {"activation": "relu"} | ({"members": 1, "particles": 1} if name in ("mpc", "cadm") else {})
    policy = entry.make(tasks, entry.config(**settings)).explorer()
    env, percept = start_trials(LocalSite(tasks), 1, Shard(0, 0, 0, lanes, "train"))
    generator, memory = counter(0, 0, "actions"), policy.initial_memory(lanes, 1)

    def act() -> None:
        with torch.no_grad():
            policy.act(percept, memory, generator)

    beside = {"cadm": 10, "rebal": 128}.get(name, 0)
    shape = lanes * candidates, (4 + beside, 128, 128, 5), steps
    least = floor(*shape) / 2
    taken = seconds(act, repeats, time.process_time)
    least += floor(*shape) / 2
    tried = lanes * candidates * steps
    print(
        f"| {name} | {tried / taken / 1e6:.2f} M | {tried / least / 1e6:.2f} M | {least / taken:.0%} | {1000 * taken:.0f} |",
        flush=True,
    )
    env.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("lanes", 16), ("candidates", 500), ("steps", 20), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    print(f"{given.lanes} lanes x {given.candidates} candidates x {given.steps} steps, {torch.get_num_threads()} threads")
    print("\n| method | tried a second | floor | share of the floor | ms a step |")
    print("| --- | --- | --- | --- | --- |")
    for name in ("mpc", "grbal", "rebal", "cadm"):
        measure(name, given.lanes, given.candidates, given.steps, given.repeats)


if __name__ == "__main__":
    main()
