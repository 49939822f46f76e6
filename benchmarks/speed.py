"""How fast training is, beside the arithmetic floor of its shapes measured in the same run.

    python benchmarks/speed.py [--trials 1024] [--repeats 5]

The floor counts the multiplications of a meta-iteration's matrix products (RL2: forward once to collect, forward and twice
that backward in each epoch; MAML, VariBAD and PEARL: as they are called) and divides them by the rate at which this machine
multiplies matrices of those shapes.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from quickstudy.algorithms.belief.pearl import PEARL
from quickstudy.algorithms.belief.varibad import VariBAD
from quickstudy.algorithms.gradient.maml import MAML
from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.data.rollout import Plan, collect
from quickstudy.families import make
from quickstudy.parts.clock import timed_inputs
from quickstudy.protocol import Shard, counter
from quickstudy.work import InProcess, LocalSite


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median time of one call, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def peak_memory() -> float:
    """The largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def multiply_seconds(rows: int, inputs: int, outputs: int, repeats: int = 30) -> float:
    """The time of one product (rows x inputs) (inputs x outputs) on this machine, now."""
    left, right = torch.randn(rows, inputs), torch.randn(inputs, outputs)
    calls = max(1, int(1e8 / (rows * inputs * outputs)))
    return seconds(lambda: [left @ right for _ in range(calls)], repeats) / calls


def forward_floor(learner: RL2, batch: int, steps: int) -> float:
    """Seconds of the network's matrix products for `steps` steps of `batch` lanes, one step's recurrent product at a time."""
    hidden, tasks = learner.config.hidden_size, learner.tasks
    inputs = timed_inputs(tasks, learner.config).size
    once = multiply_seconds(batch * steps, inputs, hidden) + multiply_seconds(batch * steps, hidden, 3 * hidden)
    heads = multiply_seconds(batch * steps, hidden, learner.distribution.size + 1)
    return once + heads + steps * multiply_seconds(batch, hidden, 3 * hidden)


def measure(trials: int, repeats: int) -> None:
    """Prints the rows of one number of trials."""
    tasks = make("grid-navigation")
    learner = RL2(tasks, RL2.Config(trials=trials))
    horizon = tasks.episodes_per_trial * tasks.max_episode_steps
    site, work = LocalSite(tasks), InProcess(tasks)
    plan = Plan(learner.explorer(), 1, horizon, tasks.episodes_per_trial)
    collecting = seconds(lambda: collect(site, plan, Shard(0, 0, 0, trials, "train")), repeats)
    training = seconds(lambda: learner.train_step(work), repeats)
    parts, epochs = learner.config.minibatches, learner.config.n_epochs
    collect_floor = horizon * forward_floor(learner, trials, 1)
    train_floor = collect_floor + 3 * epochs * parts * forward_floor(learner, trials // parts, horizon)
    for name, measured, floor in (("collecting", collecting, collect_floor), ("training, end to end", training, train_floor)):
        steps = trials * horizon
        rates = f"{steps / measured:,.0f} | {steps / floor:,.0f} | {floor / measured:.0%}"
        print(f"| {name} | {trials:,} | {rates} | {peak_memory():,.0f} |", flush=True)


def measure_maml(outer: Literal["trpo", "ppo"], repeats: int) -> None:
    """Prints the row of MAML on 2-D navigation: 20 tasks x 20 episodes x 100 steps before and after one inner step."""
    tasks = make("point-navigation", max_episode_steps=100)
    learner = MAML(tasks, MAML.Config(meta_batch_size=20, lanes=20, outer=outer, hidden_size=64))
    work = InProcess(tasks)
    training = seconds(lambda: learner.train_step(work), repeats)
    with FlopCounterMode(display=False) as counted:
        learner.train_step(work)
    batched, plain = 0, 0
    for operation, flops in counted.get_flop_counts()["Global"].items():
        if "bmm" in str(operation):
            batched += flops
        else:
            plain += flops
    shared, own = torch.randn(40_000, 64), torch.randn(20, 2_000, 64)
    weights, of_tasks = torch.randn(64, 64), torch.randn(20, 64, 64)
    rate = 2 * 40_000 * 64 * 64 / seconds(lambda: shared @ weights, 30)
    batched_rate = 2 * 40_000 * 64 * 64 / seconds(lambda: own @ of_tasks, 30)
    floor, steps = plain / rate + batched / batched_rate, 2 * 20 * 20 * 100
    rates = f"{steps / training:,.0f} | {steps / floor:,.0f} | {floor / training:.0%}"
    print(f"| MAML, outer {outer} | 400 | {rates} | {peak_memory():,.0f} |", flush=True)


def measure_pearl(repeats: int) -> None:
    """Prints the row of PEARL's update: 16 tasks x 256 transitions, contexts of 100, 3 x 300 units, as its authors have."""
    tasks = make("point-navigation", max_episode_steps=20, episodes_per_trial=5)
    config = PEARL.Config(meta_batch_size=16, batch_size=256, context_size=100, hidden_size=300, hidden_layers=3)
    learner = PEARL(tasks, config)
    learner.collect(InProcess(tasks))
    draws, noise = counter(0, 0, "draws"), counter(0, 0, "noise")

    def update() -> None:
        learner.update(learner.batch(draws), noise)

    with FlopCounterMode(display=False) as counted:
        update()
    rows, weights = torch.randn(16 * 256, 300), torch.randn(300, 300)
    rate = 2 * 16 * 256 * 300 * 300 / seconds(lambda: rows @ weights, 30)
    updating, floor = seconds(update, 5 * repeats), counted.get_total_flops() / rate
    print(
        f"| PEARL's update | {1 / updating:.1f} | {1 / floor:.1f} | {floor / updating:.0%} | {peak_memory():,.0f} |", flush=True
    )


def measure_varibad(config: VariBAD.Config, repeats: int) -> None:
    """Prints the row of VariBAD on grid navigation; its floor is at the rate of the policy's products, the most of them."""
    tasks = make("grid-navigation")
    learner, work = VariBAD(tasks, config), InProcess(tasks)
    training = seconds(lambda: learner.train_step(work), repeats)
    with FlopCounterMode(display=False) as counted:
        learner.train_step(work)
    steps = config.trials * tasks.episodes_per_trial * tasks.max_episode_steps
    rows, units = steps // config.minibatches, config.hidden_size
    floor = counted.get_total_flops() * multiply_seconds(rows, units, units) / (2 * rows * units * units)
    rates = f"{steps / training:,.0f} | {steps / floor:,.0f} | {floor / training:.0%}"
    print(f"| VariBAD, end to end | {config.trials} | {rates} | {peak_memory():,.0f} |", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[256, 1024], help="trials in a meta-iteration")
    parser.add_argument("--repeats", type=int, default=5, help="meta-iterations to time")
    given = parser.parse_args()
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{machine}. RL2: grid-navigation, GRU 64, 4 epochs x 4 minibatches. MAML: point-navigation, 20 tasks x 20 episodes")
    print("x 100 steps, 2 x 64 units, 1 inner step; TRPO with 10 conjugate-gradient products, PPO with 5 epochs. VariBAD:")
    print("grid-navigation; with 16 trials, 2 x 4 PPO and 3 belief updates, as in its own code; with 512, 4 x 4 and 4.")
    print("\n| work | lanes | steps/s | floor, steps/s | share of the floor | peak memory so far, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for trials in given.trials:
        measure(trials, given.repeats)
    measure_maml("trpo", given.repeats)
    measure_maml("ppo", given.repeats)
    grid: dict[str, Any] = {"reward_loss": "bernoulli", "reward_reads": "arrival"}
    measure_varibad(VariBAD.Config(trials=16, n_epochs=2, belief_updates=3, belief_batch=25, **grid), given.repeats)
    measure_varibad(VariBAD.Config(trials=512, belief_updates=4, belief_batch=128, **grid), given.repeats)
    print("\nPEARL: point-navigation, 16 tasks x 256 transitions, contexts of 100, 3 x 300 units.")
    print("\n| work | updates/s | floor, updates/s | share of the floor | peak memory so far, MiB |")
    print("| --- | --- | --- | --- | --- |")
    measure_pearl(given.repeats)


if __name__ == "__main__":
    main()
