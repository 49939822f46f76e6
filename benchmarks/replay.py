"""How fast replay is sampled, beside plain indexing of one tensor, and what saving a million transitions takes.

    python benchmarks/replay.py [--transitions 1000000]

Transitions are a half-cheetah's: observation 17, action 6, reward, arrival 17, two flags. Plain indexing takes as many rows of
the same tensors by ready-made random indices, other ones at each call: what no replay can be faster than.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import torch
from speed import seconds
from torch import Tensor

from quickstudy.data.replay import Records, Replay
from quickstudy.protocol import counter
from quickstudy.runs.checkpoint import load_checkpoint, save_checkpoint

TASKS, BATCH, STEPS = 100, 256, 200


def transitions(*lead: int) -> Records:
    """Random transitions."""
    generator = counter(0, 0, "benchmark")
    fields = {
        name: torch.randn(*lead, size, generator=generator)
        for name, size in (("observation", 17), ("action", 6), ("arrival", 17))
    }
    flags = {name: torch.zeros(lead, dtype=torch.bool) for name in ("terminated", "truncated")}
    return fields | {"reward": torch.randn(lead, generator=generator)} | flags


def plain(fields: Records, draws: list[Tensor]) -> Callable[[], Records]:
    """Plain indexing, with the next of the ready-made indices at each call."""
    ahead = cycle(draws)

    def indexed() -> Records:
        rows = next(ahead)
        return {name: field.index_select(0, rows) for name, field in fields.items()}

    return indexed


def rates(title: str, samples: int, replay: Callable[[], object], indexing: Callable[[], object]) -> None:
    """Prints a row of the first table."""
    ours, theirs = seconds(replay, 30), seconds(indexing, 30)
    print(f"| {title} | {samples:,} | {samples / ours:,.0f} | {samples / theirs:,.0f} | {theirs / ours:.0%} |", flush=True)


def sampling(total: int, on_disk: bool) -> Replay:
    """Prints how fast samples are drawn; returns the replay of transitions."""
    where, generator = "disk" if on_disk else "memory", counter(0, 0, "draws")
    per_task = total // TASKS
    replay = Replay(TASKS, per_task, per_task // 100, on_disk=on_disk, prioritised=True)
    for first in range(0, per_task, 1000):
        count = min(1000, per_task - first)
        replay.extend(torch.arange(TASKS).repeat_interleave(count), transitions(TASKS * count))
    tasks = torch.arange(16)
    rows = len(replay.fields["reward"])
    single = plain(replay.fields, [torch.randint(rows, (16 * BATCH,), generator=generator) for _ in range(40)])
    rates(
        f"16 tasks x {BATCH} transitions, {where}",
        16 * BATCH,
        lambda: replay.sample(tasks, BATCH, generator),
        single,
    )

    def by_priority() -> None:
        task, number, leaf = replay.draw_by_priority(16 * BATCH, generator)
        replay.at(task, number)
        assert replay.priorities is not None
        replay.priorities.update(leaf, torch.ones(len(leaf)))

    rates(
        f"{16 * BATCH} by priority, priorities updated, {where}",
        16 * BATCH,
        by_priority,
        single,
    )
    trials = Replay(1, total // STEPS, 0, on_disk=on_disk)
    for first in range(0, total // STEPS, 500):
        count = min(500, total // STEPS - first)
        valid = torch.ones(count, STEPS, dtype=torch.bool)
        trials.extend(torch.zeros(count, dtype=torch.long), transitions(count, STEPS) | {"valid": valid})
    flat = {name: field.flatten(0, 1) for name, field in trials.fields.items()}
    stretches = [(torch.randint(total - 64, (64, 1), generator=generator) + torch.arange(64)).flatten() for _ in range(40)]
    whole = [torch.randint(total // STEPS, (64,), generator=generator) for _ in range(40)]
    first_task = torch.zeros(1, dtype=torch.long)
    rates(
        f"64 slices of 64 steps, {where}",
        64 * 64,
        lambda: trials.slices(first_task, 64, 64, generator),
        plain(flat, stretches),
    )
    rates(
        f"64 whole trials of {STEPS} steps, {where}",
        64 * STEPS,
        lambda: trials.sample(first_task, 64, generator),
        plain(trials.fields, whole),
    )
    return replay


def saving(replay: Replay) -> None:
    """Prints what saving takes: all of it, then ten thousand more transitions, then nothing new; and loading it."""
    with tempfile.TemporaryDirectory() as folder:
        for number, more in enumerate((0, 10_000, 0)):
            if more:
                replay.extend(torch.arange(more) % TASKS, transitions(more))
            began = time.perf_counter()
            saved = save_checkpoint(Path(folder) / "checkpoints", number, {"replay": replay.ledger()})
            took = time.perf_counter() - began
            new = len(replay) if not number else more
            print(f"| save, {new:,} new of {len(replay):,} | {saved.replay_bytes / 2**20:,.1f} | {took:.2f} |", flush=True)
        began = time.perf_counter()
        restored = Replay(TASKS, replay.capacity, replay.size - replay.capacity)
        restored.load(load_checkpoint(Path(folder) / "checkpoints" / "00000002")["replay"])
        print(f"| verify and load | | {time.perf_counter() - began:.2f} |")


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=1_000_000, help="transitions in the replay, of 100 tasks")
    total = parser.parse_args().transitions
    print(f"{total:,} transitions of {TASKS} tasks, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| what | steps a draw | steps/s | plain indexing, steps/s | share |")
    print("| --- | --- | --- | --- | --- |")
    replay = sampling(total, on_disk=False)
    sampling(total, on_disk=True)
    print("\n| what | MiB | seconds |\n| --- | --- | --- |")
    saving(replay)


if __name__ == "__main__":
    main()
