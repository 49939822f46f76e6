"""Steps a second of Meta-World's environments, beside its own vector environments. `python benchmarks/metaworld_speed.py`

Random actions in lanes of ML1 that end no episode while they are timed. Rounds go through all rows by turns, and a row's figure
is its median, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import metaworld
import psutil
import torch

import quickstudy as qs
from quickstudy.protocol import counter

STEPS = 480


def rate(step: Callable[[], Any], lanes: int) -> float:
    """Steps a second, all lanes together."""
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    return lanes * STEPS / (time.perf_counter() - began)


def ours(environment: str, lanes: int, workers: int) -> float:
    """Stepped by quickstudy."""
    tasks = qs.tasks.make("metaworld-ml1", environment=environment, workers=workers)
    env = tasks.make(lanes, 1)
    try:
        env.reset(tasks.sample(lanes, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
        generator = counter(0, 0, "actions")
        return rate(lambda: env.step(torch.rand(lanes, 1, 4, generator=generator) * 2 - 1), lanes)
    finally:
        env.close()


def theirs(environment: str, lanes: int, strategy: Any) -> float:
    """Stepped by Meta-World's own vector environment, one process a lane where it is asynchronous."""
    envs: Any = metaworld.make_ml_envs_train(environment, seed=0, meta_batch_size=lanes, vector_strategy=strategy)
    try:
        envs.call("sample_tasks")
        envs.reset()
        envs.action_space.seed(0)
        return rate(lambda: envs.step(envs.action_space.sample()), lanes)
    finally:
        envs.close()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Steps a second beside Meta-World's own vector environments.")
    parser.add_argument("--environment", default="reach-v3")
    parser.add_argument("--lanes", type=int, default=10, help="a divisor of the 50 goals, which is what theirs can take")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Callable[[], float]] = {
        "quickstudy, in this process": lambda: ours(given.environment, given.lanes, 0),
        "Meta-World, in this process": lambda: theirs(given.environment, given.lanes, "sync"),
        "quickstudy, 2 workers": lambda: ours(given.environment, given.lanes, 2),
        f"Meta-World, {given.lanes} processes": lambda: theirs(given.environment, given.lanes, "async"),
    }
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(given.repeats):
        for name, measure in rows.items():
            found[name].append(measure())
    print(f"{given.environment}, {given.lanes} lanes, {psutil.cpu_count()} cores\n\n| | steps/s | lowest | highest |")
    print("| --- | --- | --- | --- |")
    for name, rates in found.items():
        print(f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} |")
    before = psutil.Process().memory_info().rss
    env = qs.tasks.make("metaworld-ml1", environment=given.environment).make(200, 1)
    mine = (psutil.Process().memory_info().rss - before) / 200 / 2**20
    env.close()
    before = psutil.Process().memory_info().rss
    known: Any = metaworld
    kept = [known.env_dict.ALL_V3_ENVIRONMENTS[given.environment]() for _ in range(20)]
    each = (psutil.Process().memory_info().rss - before) / len(kept) / 2**20
    print(f"\nmemory of a further lane: quickstudy {mine:.1f} MiB, an environment of its own {each:.1f} MiB")


if __name__ == "__main__":
    main()
