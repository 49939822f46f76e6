"""How fast images, sounds and texts are read on one core, beside the arithmetic floor of their shapes measured in the same run.

    python benchmarks/encoders.py [--repeats 5] [--page FILE]

The floor counts the multiply-adds of a reader's convolutions and products, forward, and forward and backward, and divides them
by the rate at which this machine multiplies matrices of about their shapes. RL2's steps are those of whole meta-iterations on a
family that costs nothing: what is seen comes from a fixed bank at random, and a step pays by chance. Times are
this process's own, the least of a few, so that whatever else the machine does matters less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from speed import peak_memory
from torch import Tensor
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from quickstudy.algorithms.belief.pearl import PEARL
from quickstudy.algorithms.memory.recurrent_sac import RecurrentSAC
from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.data.rollout import Plan, collect
from quickstudy.nets.networks import initial_weights
from quickstudy.nets.reader import inputs_for
from quickstudy.ops.senses import Senses, Words, as_row, dtype_of
from quickstudy.ops.tree import tensors_in
from quickstudy.protocol import Shard, counter
from quickstudy.tasks.native import NativeTasks
from quickstudy.tasks.parameters import Uniform
from quickstudy.work import InProcess, LocalSite, keep_freed_memory

GRID, SMALL = spaces.Box(0, 255, (7, 7, 3), np.uint8), spaces.Box(0, 255, (36, 36, 3), np.uint8)
ATARI, LARGE = spaces.Box(0, 255, (84, 84, 4), np.uint8), spaces.Box(0, 255, (64, 64, 3), np.uint8)
SOUND, TEXT, VECTOR = spaces.Box(-1, 1, (800,)), Words(20), spaces.Box(-1, 1, (8,))
ALL = Senses({"image": GRID, "text": TEXT, "sound": SOUND, "vector": VECTOR})
READ: tuple[tuple[str, spaces.Space[Any], str, int], ...] = (
    ("image 7x7x3 of codes, grid", GRID, "grid", 4096),
    ("image 36x36x3, nature", SMALL, "nature", 2048),
    ("image 84x84x4, nature", ATARI, "nature", 512),
    ("image 64x64x3, impala", LARGE, "impala", 128),
    ("sound of 800 samples", SOUND, "auto", 2048),
    ("text, 8 words of 20, each its own", TEXT, "auto", 4096),
)
"""What is read, by which eye, and how many rows at once."""
LIVED = (("vector 8", VECTOR, 256), ("image 7x7x3", GRID, 256), ("image 36x36x3", SMALL, 64), ("all four", ALL, 64))
"""What RL2 sees, in how many trials."""
BANK = 512
"""Observations in the bank."""


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The least time of this process that a call takes, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def multiply_rate(repeats: int) -> float:
    """Multiply-adds a second of products 4,096 x 256 x 64 on this machine, now."""
    left, right = torch.randn(4096, 256), torch.randn(256, 64)
    return 4096 * 256 * 64 / seconds(lambda: left @ right, 10 * repeats)


def observations(space: spaces.Space[Any], count: int) -> Tensor:
    """Random observations."""
    if isinstance(space, Senses):
        return space.join({name: observations(part, count) for name, part in space.parts.items()})
    shape, generator = (count, *(space.shape or ())), counter(0, 0, "benchmark")
    if isinstance(space, Words):
        return torch.randint(1, space.numbers, shape, generator=generator).to(torch.int16) * (torch.arange(shape[1]) < 8)
    if dtype_of(space) == torch.uint8:
        return torch.randint(0, 11, shape, generator=generator).to(torch.uint8)
    return 2 * torch.rand(shape, generator=generator) - 1


@dataclass(frozen=True)
class Gallery:
    """Shows something of a bank at each step; a step pays by chance."""

    bank: Tensor
    observation_space: spaces.Space[Any]
    action_space = spaces.Discrete(4)
    max_episode_steps = 15
    episodes_per_trial = 2
    initial_noise = 1
    step_noise = 2

    @property
    def parameters(self) -> Mapping[str, Uniform]:
        return {"chance": Uniform(0, 1)}

    def initial(self, task: Any, noise: Tensor) -> Tensor:
        return (noise[..., 0] * BANK).long()

    def transition(self, state: Tensor, action: Tensor, task: Any, noise: Tensor) -> Tensor:
        return self.initial(task, noise)

    def observation(self, state: Tensor, task: Any) -> Tensor:
        return self.bank[state]

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Any, noise: Tensor) -> Tensor:
        return (noise[..., 1] < task["chance"]).float()

    def terminal(self, state: Tensor, task: Any) -> Tensor:
        return torch.zeros_like(state, dtype=torch.bool)

    def info(self, state: Tensor, task: Any) -> dict[str, Tensor]:
        return {}


def gallery(space: spaces.Space[Any]) -> NativeTasks:
    """Tasks that show elements of a space."""
    return NativeTasks(Gallery(observations(space, BANK), space))


def flops(work: Any) -> int:
    """Twice the multiply-adds of some work."""
    with FlopCounterMode(display=False) as counted:
        work()
    return counted.get_total_flops()


def reading(title: str, space: spaces.Space[Any], vision: str, rows: int, repeats: int) -> str:
    """The row of one reader."""
    reader = inputs_for(space, 0, RL2.Config(vision=vision)).reader  # pyright: ignore[reportArgumentType]
    assert reader is not None
    weights = initial_weights(reader, counter(0, 0, "weights"), {}, "cpu")
    inputs = as_row(space, (observations(space, rows),))

    def both() -> None:
        for weight in weights.values():
            weight.grad = None
        functional_call(reader, weights, (inputs,)).sum().backward()

    @torch.no_grad()
    def forward() -> None:
        functional_call(reader, weights, (inputs,))

    rate = 2 * multiply_rate(repeats)
    cells = []
    for work in (forward, both):
        took, floor = seconds(work, repeats), flops(work) / rate
        cells += [f"{rows / took:,.0f}", f"{rows / floor:,.0f}", f"{floor / took:.0%}"]
    return f"| {title} | {' | '.join(cells)} |"


def living(title: str, space: spaces.Space[Any], trials: int, repeats: int) -> str:
    """The row of RL2's meta-iterations, collecting alone and all of it."""
    tasks = gallery(space)
    learner, site, work = RL2(tasks, RL2.Config(trials=trials)), LocalSite(tasks), InProcess(tasks)
    steps = tasks.episodes_per_trial * tasks.max_episode_steps
    plan = Plan(learner.explorer(), 1, steps, tasks.episodes_per_trial)
    collecting = seconds(lambda: collect(site, plan, Shard(0, 0, 0, trials, "train")), repeats)
    training = seconds(lambda: learner.train_step(work), repeats)
    rates = f"{trials * steps / collecting:,.0f} | {trials * steps / training:,.0f}"
    return f"| {title} | {trials} | {rates} | {peak_memory():,.0f} |"


def size_of(tensors: Any) -> int:
    """Bytes of the tensors of a tree; what several of them share counts once."""
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors_in(tensors)}
    return sum(storages.values())


def keeping(title: str, space: spaces.Space[Any]) -> str:
    """The row of what a step takes: as seen, in a rollout, in the replays of trials and of transitions."""
    tasks = gallery(space)
    steps = tasks.episodes_per_trial * tasks.max_episode_steps
    plan = Plan(RL2(tasks).explorer(), 1, steps, tasks.episodes_per_trial)
    lived = size_of(collect(LocalSite(tasks), plan, Shard(0, 0, 0, 16, "train"))) / 16 / steps
    trials = RecurrentSAC(tasks, RecurrentSAC.Config(trials=4, buffer_trials=16, updates=1, batch_size=2))
    trials.train_step(InProcess(tasks))
    transitions = PEARL(tasks, PEARL.Config(num_train_tasks=2, trials=2, buffer_size=200, updates=1, batch_size=8))
    transitions.train_step(InProcess(tasks))
    kept = [
        size_of(list(replay.fields.values())) / len(next(iter(replay.fields.values()))) / length
        for replay, length in ((trials.replay, steps), (transitions.replay, 1))
    ]
    once = size_of(observations(space, 1))
    return f"| {title} | {once:,} | {lived:,.0f} | {kept[0]:,.0f} | {kept[1]:,.0f} |"


def rows(repeats: int) -> Iterator[str]:
    """The tables, line by line."""
    rate = multiply_rate(repeats) / 1e9
    yield f"One thread, torch {torch.__version__}; products of 4,096 x 256 x 64 at {rate:.0f} billion multiply-adds a second.\n"
    yield "| what | forward, a second | floor | share | forward and backward, a second | floor | share |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for what in READ:
        yield reading(*what, repeats)
    yield "\nRL2, GRU 64, trials of 2 x 15 steps, 4 epochs x 4 minibatches.\n"
    yield "| what is seen | trials | collecting, steps/s | meta-iterations, steps/s | peak memory so far, MiB |"
    yield "| --- | --- | --- | --- | --- |"
    for what in LIVED:
        yield living(*what, repeats)
    yield "\nBytes a step: an observation, all of a rollout, and in replay all of a trial's step and of a transition.\n"
    yield "| what is seen | observation | rollout | recurrent SAC's replay | PEARL's replay |"
    yield "| --- | --- | --- | --- | --- |"
    for title, space, _ in LIVED:
        yield keeping(title, space)


def main() -> None:
    """Prints the tables, and writes them where a page is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="how often each is timed")
    parser.add_argument("--page", type=Path, help="a file that the tables are written to as well")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    lines = []
    for line in rows(given.repeats):
        print(line, flush=True)
        lines.append(line)
    if given.page:
        given.page.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
