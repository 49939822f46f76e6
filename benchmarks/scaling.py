"""What worker processes and Ray actors are worth, and what they cost. `python benchmarks/scaling.py`

Variants take turns, meta-iteration by meta-iteration, so that what else the machine does falls on all of them; the table has
medians, and goes into docs/scaling.md. Without Ray (pip install 'quickstudy[ray]') its rows are left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import quickstudy as qs
from quickstudy.data.rollout import Lifetime, Plan, collect, collect_lives
from quickstudy.ops.tally import counted
from quickstudy.protocol import Shard, Site
from quickstudy.storage import write_atomically
from quickstudy.work import LocalSite, Place, open_work, threads
from quickstudy.work.parcel import pack

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
BEGINS, ENDS = "<!-- scaling -->\n", "<!-- scaling end -->\n"
SHARDS = 4
PLACES: dict[str, int | str] = {"this process": 0, "1 process": 1, "2 processes": 2, "2 Ray actors": "ray:2"}


def rl2() -> Any:
    """RL2 on VariBAD's grid, whose update is dear."""
    return qs.RL2(qs.tasks.make("grid-navigation"), qs.RL2.Config(trials=128, shards=SHARDS))


def maml() -> Any:
    """MAML on 2-D navigation: adapting is part of collecting."""
    return qs.MAML(qs.tasks.make("point-navigation"), qs.MAML.Config(meta_batch_size=4, shards=SHARDS))


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


def medians(variants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median of each variant's seconds, each run in turn; the first turn warms up."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, call in variants.items():
            began = time.perf_counter()
            call()
            if turn:
                found[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def called(places: dict[str, Place], function: Callable[..., Any], shared: Any, shards: list[Shard]) -> dict[str, Any]:
    """One call of each place's `map`."""
    return {name: lambda place=place: place.map(function, shared, shards) for name, place in places.items()}


def measure(name: str, make: Callable[[], Any], repeats: int) -> tuple[list[str], str]:
    """An algorithm's rows, and what there is to say besides."""
    learner, wanted = make(), {name: at for name, at in PLACES.items() if not isinstance(at, str) or find_spec("ray")}
    places = {label: open_work(learner.tasks, workers=at) for label, at in wanted.items()}
    learners = {label: make() for label in places}
    function, shared, tasks = unit_of(learner)
    shards = [Shard(0, 0, number, tasks, "train") for number in range(SHARDS)]

    trained = medians({label: lambda label=label: learners[label].train_step(places[label]) for label in places}, repeats)
    collected = medians(called(places, function, shared, shards), repeats)
    empty = medians(called(places, nothing, shared, shards), 3 * repeats)
    counted()
    steps = learner.train_step(places["this process"])["rollout/timesteps"]
    rows = []
    for label in places:
        cells = f"{steps / trained[label]:,.0f} | {trained['this process'] / trained[label]:.2f}"
        alone = f"{collected['this process'] / collected[label]:.2f} | {1000 * empty[label] / SHARDS:.2f}"
        rows.append(f"| {name}, {label} | {cells} | {alone} |")
    site = LocalSite(learner.tasks)
    going = pack((function, shared), learner.tasks).nbytes / 1024
    coming = SHARDS * pack(function(site, shared, shards[0]), learner.tasks).nbytes / 1024

    def on(count: int) -> None:
        with threads(count):
            for shard in shards:
                function(site, shared, shard)

    priced = medians({"one": lambda: on(1), "two": lambda: on(2)}, repeats)
    for place in reversed(places.values()):
        place.close()
    serial = 1 - collected["this process"] / trained["this process"]
    price = priced["one"] / priced["two"] - 1
    said = (
        f"{name}: in a meta-iteration {going:,.0f} KiB go to each worker and {coming:,.0f} KiB come back from all. The update,"
        f" which no worker makes faster, is {serial:.0%} of it, so workers never make it {1 / serial:.1f} times as fast."
        f" On one thread units of work take {1 + price:.2f} times as long as on two: equal bits cost {price:+.0%}."
    )
    print(*rows, said, sep="\n", flush=True)
    return rows, said


def main() -> None:
    """Measures, and writes the table into the page."""
    parser = argparse.ArgumentParser(description="What worker processes and Ray actors are worth, and what they cost.")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    head = f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before, {SHARDS} shards, the update on one thread:"
    found = [measure(name, make, given.repeats) for name, make in (("RL2", rl2), ("MAML", maml))]
    lines = [head, "", "| | steps a second | times this process | collecting alone | ms for a unit that does nothing |"]
    lines += ["| --- | --- | --- | --- | --- |", *(row for rows, _ in found for row in rows)]
    for _, said in found:
        lines += ["", said]
    before, after = PAGE.read_text().split(BEGINS)
    write_atomically(PAGE, before + BEGINS + "\n".join(lines) + "\n" + ENDS + after.split(ENDS)[1])


if __name__ == "__main__":
    main()
