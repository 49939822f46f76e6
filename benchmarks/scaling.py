"""What worker processes are worth, and what they cost. `python benchmarks/scaling.py`

Variants take turns, meta-iteration by meta-iteration, so that what else the machine does falls on all of them; the table has
medians. Seconds of the processor, which no other process changes much, stand beside seconds of the clock.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import quickstudy as qs
from quickstudy.data.rollout import Lifetime, Plan, collect, collect_lives
from quickstudy.ops.tally import counted
from quickstudy.protocol import Shard, Site
from quickstudy.work import LocalSite, open_work, threads
from quickstudy.work.parcel import seal

SHARDS = 4


def rl2() -> Any:
    """RL2 on VariBAD's grid: an update ten times as dear as collecting."""
    return qs.RL2(qs.tasks.make("grid-navigation"), qs.RL2.Config(trials=256, shards=SHARDS))


def maml() -> Any:
    """MAML on 2-D navigation: adapting is part of collecting."""
    return qs.MAML(qs.tasks.make("point-navigation"), qs.MAML.Config(meta_batch_size=20, shards=SHARDS))


def nothing(site: Site, shared: Any, shard: Shard) -> None:
    """A unit of work that costs nothing but its way there and back."""


def unit_of(learner: Any) -> tuple[Callable[..., Any], Any, int]:
    """What the learner collects with, what its shards share, and the tasks of one."""
    tasks = learner.tasks
    if isinstance(learner, qs.RL2):
        episodes = tasks.episodes_per_trial
        plan = Plan(learner.explorer(), 1, episodes * tasks.max_episode_steps, episodes)
        return collect, plan, learner.config.trials // SHARDS
    life = Lifetime(learner.explorer(), learner.adapt, learner.lanes, learner.config.inner_steps + 1)
    return collect_lives, life, learner.config.meta_batch_size // SHARDS


def size_of(value: Any, known: Any) -> float:
    """The size of a parcel in KiB."""
    parcel = seal(value, known)
    try:
        return os.fstat(parcel).st_size / 1024
    finally:
        os.close(parcel)


def took(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the clock, and of this process on the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def medians(variants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """The median of each variant's seconds, each run in turn; the first turn warms up."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, call in variants.items():
            measured = took(call)
            if turn:
                found[name].append(measured)
    return {
        name: (statistics.median(c for c, _ in rows), statistics.median(p for _, p in rows)) for name, rows in found.items()
    }


def measure(name: str, make: Callable[[], Any], repeats: int) -> None:
    """Prints what there is to know of one algorithm."""
    learner = make()
    works = {f"{count} workers": open_work(learner.tasks, workers=count) for count in (0, 1, 2)}
    learners = {label: make() for label in works}
    function, shared, tasks = unit_of(learner)
    shards = [Shard(0, 0, number, tasks, "train") for number in range(SHARDS)]
    site = LocalSite(learner.tasks)

    trained = medians({label: lambda label=label: learners[label].train_step(works[label]) for label in works}, repeats)
    collected = medians({label: lambda work=work: work.map(function, shared, shards) for label, work in works.items()}, repeats)
    empty = medians({label: lambda work=work: work.map(nothing, shared, shards) for label, work in works.items()}, 5 * repeats)
    counted()
    for label, (clock, processor) in trained.items():
        rates = f"{trained['0 workers'][0] / clock:.2f} | {collected['0 workers'][0] / collected[label][0]:.2f}"
        print(
            f"| {name}, {label} | {clock:.3f} | {processor:.3f} | {rates} | {1000 * empty[label][0] / SHARDS:.2f} |", flush=True
        )
    update = trained["0 workers"][1] - collected["0 workers"][1]
    result = function(site, shared, shards[0])
    sizes = size_of((function, shared), learner.tasks), SHARDS * size_of(result, learner.tasks)

    def on(count: int) -> None:
        with threads(count):
            for shard in shards:
                function(site, shared, shard)

    cores = os.cpu_count() or 1
    priced = medians({"one": lambda: on(1), "all": lambda: on(cores)}, repeats)
    for work in works.values():
        work.close()
    serial = update / trained["0 workers"][1]
    print(f"  serial fraction {serial:.0%}; to each worker go {sizes[0]:,.0f} KiB, {sizes[1]:,.0f} KiB come back in all")
    price = priced["one"][0] / priced["all"][0]
    print(
        f"  collecting on one thread takes {price:.2f} times the time of {cores} threads: the price of equal bits", flush=True
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="What worker processes are worth, and what they cost.")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, {SHARDS} shards, updates on one thread")
    print("| | s a meta-iteration | s of the parent's processor | speed-up | of collecting | ms a call of nothing |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, make in (("RL2", rl2), ("MAML", maml)):
        measure(name, make, given.repeats)


if __name__ == "__main__":
    main()
