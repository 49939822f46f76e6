"""How fast training is, beside the arithmetic floor of its shapes measured in the same run.

    python benchmarks/speed.py [--trials 1024] [--repeats 5] [--only floors|gradient|pairs]

The floor counts the multiplications of a meta-iteration's matrix products (RL2: forward once to collect, forward and twice
that backward in each epoch; MAML, VariBAD and PEARL: as they are called) and divides them by the rate at which this machine
multiplies matrices of those shapes.

Pairs are one piece of work done in two ways, in turns, in one process: a GRU by `torch.gru` and by `nets/gru.py`, a step of
acting by `functional_call` and by a network that holds its weights, RL2's meta-iteration with both as they were and as they
are. The ratio is the median of neighbours' ratios, by processor time, since other work on the machine would tell otherwise.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from quickstudy.algorithms import algorithm
from quickstudy.algorithms.belief.pearl import PEARL
from quickstudy.algorithms.belief.varibad import VariBAD
from quickstudy.algorithms.memory.recurrent_sac import RecurrentSAC
from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.data.rollout import Plan, collect
from quickstudy.families import make
from quickstudy.nets.networks import Recurrent, Weights, bound, initial_weights
from quickstudy.nets.packed import Packed, layout_of
from quickstudy.parts.clock import timed_inputs
from quickstudy.protocol import Shard, counter
from quickstudy.work import InProcess, LocalSite


def seconds(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The median time of one call, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        began = clock()
        work()
        times.append(clock() - began)
    return statistics.median(times)


def peak_memory() -> float:
    """The largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def multiply_seconds(
    rows: int, inputs: int, outputs: int, repeats: int = 30, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The time of one product (rows x inputs) (inputs x outputs) on this machine, now."""
    left, right = torch.randn(rows, inputs), torch.randn(inputs, outputs)
    calls = max(1, int(1e8 / (rows * inputs * outputs)))
    return seconds(lambda: [left @ right for _ in range(calls)], repeats, clock) / calls


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


def in_turns(before: Callable[[], object], after: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Processor seconds of two ways to do the same, at best, and how many times as fast the second is, on the median."""
    times: list[list[float]] = []
    for _ in range(repeats + 1):
        began = time.process_time()
        before()
        between = time.process_time()
        after()
        times.append([between - began, time.process_time() - between])
    old, new = zip(*times[1:], strict=True)
    return min(old), min(new), statistics.median(one / other for one, other in zip(old, new, strict=True))


def torchs_gru(self: Recurrent, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """`Recurrent.forward` by torch.gru."""
    weights = [self.from_input.flatten(0, 1), self.from_hidden.flatten(0, 1), self.input_bias, self.hidden_bias]
    outputs, last = torch.gru(inputs, state[None], weights, True, 1, 0.0, False, False, False)
    return outputs, last[0]


def measure_gru(name: str, lengths: list[int], hidden: int, repeats: int) -> None:
    """Prints the row of a GRU, forward and backward, over sequences of these lengths; torch.gru's are padded."""
    draws = torch.Generator().manual_seed(0)
    there = torch.arange(max(lengths))[:, None] < torch.tensor(lengths)
    layout, packed, plain = layout_of(there.T), Packed("gru", hidden, hidden), Recurrent("gru", hidden, hidden)
    weights = initial_weights(packed, draws, {}, "cpu")
    packed, plain = bound(packed, weights), bound(plain, weights)
    padded = torch.randn(*there.shape, hidden, generator=draws)
    towards = torch.randn(padded.shape, generator=draws) * there[..., None]
    rows, own = (layout.rows(each.transpose(0, 1)) for each in (padded, towards))
    start, leaves = torch.zeros(len(lengths), hidden), list(weights.values())
    found: dict[str, tuple[Tensor, ...]] = {}

    def before() -> None:
        outputs, _ = torchs_gru(plain, padded.requires_grad_(), start)
        found["before"] = outputs.detach(), *torch.autograd.grad(outputs, [padded, *leaves], towards)

    def after() -> None:
        states = packed(rows.requires_grad_(), start, layout.sizes)
        found["after"] = states.detach(), *torch.autograd.grad(states, [rows, *leaves], own)

    old, new, ratio = in_turns(before, after, repeats)
    by_rows = (layout.rows(each.transpose(0, 1)) for each in found["before"][:2])
    pairs = zip((*by_rows, *found["before"][2:]), found["after"], strict=True)
    apart = max(float((one - other).abs().max() / one.abs().max()) for one, other in pairs)
    product = multiply_seconds(sum(lengths) // len(layout.sizes), hidden, 3 * hidden, clock=time.process_time)
    floor = 6 * product * len(layout.sizes)
    print(f"| {name} | {old * 1e3:.1f} ms | {new * 1e3:.1f} ms | {ratio:.2f} | {floor / new:.0%} | {apart:.0e} |", flush=True)


def measure_acting(name: str, net: Any, weights: Weights, inputs: tuple[Any, ...], repeats: int) -> None:
    """Prints the row of a network's part in a step of acting."""
    own, calls = bound(net, weights), 200

    def before() -> None:
        for _ in range(calls):
            functional_call(net, weights, inputs)

    def after() -> None:
        for _ in range(calls):
            own(*inputs)

    with torch.no_grad():
        old, new, ratio = in_turns(before, after, repeats)
    print(f"| {name} | {old / calls * 1e6:.0f} us | {new / calls * 1e6:.0f} us | {ratio:.2f} | - | - |", flush=True)


def measure_rl2(trials: int, repeats: int) -> None:
    """Prints the row of RL2's meta-iterations, each way from the same weights on."""
    tasks = make("grid-navigation")
    work, config = InProcess(tasks), RL2.Config(trials=trials)
    old_way, new_way = RL2(tasks, config), RL2(tasks, config)
    fitted = "quickstudy.parts.recurrent.bound"

    def before() -> None:
        by_call = patch(fitted, lambda net, weights: lambda *inputs: functional_call(net, weights, inputs))
        with patch.object(Recurrent, "forward", torchs_gru), by_call:
            old_way.train_step(work)

    old, new, ratio = in_turns(before, lambda: new_way.train_step(work), repeats)
    steps = trials * tasks.episodes_per_trial * tasks.max_episode_steps
    rates = f"{steps / old:,.0f}/s | {steps / new:,.0f}/s"
    print(f"| RL2, steps of training, {trials} trials | {rates} | {ratio:.2f} | - | - |", flush=True)


def measure_pairs(trials: list[int], repeats: int) -> None:
    """Prints the table of what is done in two ways."""
    print("\n| work | before | after | times as fast | share of the floor | apart |")
    print("| --- | --- | --- | --- | --- | --- |")
    lengths = torch.randint(10, 101, (64,), generator=torch.Generator().manual_seed(0)).tolist()
    for name, of, hidden in (
        ("GRU, RL2, 16 trials x 100 steps", [100] * 16, 64),
        ("GRU, RL2, 64 x 100", [100] * 64, 64),
        ("GRU, RL2, 256 x 100", [100] * 256, 64),
        ("GRU, RL2, 1,024 x 100", [100] * 1024, 64),
        ("GRU, VariBAD's encoder, 25 x 60", [60] * 25, 64),
        ("GRU, VariBAD's encoder, 128 x 60", [60] * 128, 64),
        ("GRU, recurrent SAC, 64 trials of 10 to 100 steps", lengths, 64),
    ):
        measure_gru(name, of, hidden, repeats)
    tasks = make("grid-navigation")
    rl2, varibad, sac = RL2(tasks), VariBAD(tasks), RecurrentSAC(tasks)
    size = timed_inputs(tasks, rl2.config).size
    given = torch.zeros(1, 16, size), torch.zeros(16, rl2.net.state_size)
    measure_acting("RL2's network, a step of 16 lanes", rl2.net, rl2.explorer().weights, given, repeats)
    believer = varibad.explorer()
    evidence = torch.zeros(1, 16, believer.encoder_weights["embedding.weight"].shape[1])
    told = evidence, torch.zeros(16, believer.encoder.state_size)
    measure_acting("VariBAD's encoder, a step of 16 lanes", believer.encoder, believer.encoder_weights, told, repeats)
    policy = sac.explorer()
    seen = torch.zeros(16, timed_inputs(tasks, sac.config).size), torch.zeros(16, policy.net.encoder.state_size), [16]
    measure_acting("recurrent SAC's encoder, a step of 16 lanes", policy.net.encoder, policy.actor.encoder, seen, repeats)
    for each in trials:
        measure_rl2(each, repeats)


GRADIENT: dict[str, tuple[str, dict[str, Any]]] = {
    "MAML, outer trpo": ("maml", {"outer": "trpo"}),
    "MAML": ("maml", {}),
    "FOMAML": ("maml", {"first_order": True}),
    "E-MAML": ("maml", {"teaching_credit": True}),
    "ANIL": ("maml", {"adapt": "head"}),
    "CAVIA": ("maml", {"adapt": "context"}),
    "biases": ("maml", {"adapt": "biases"}),
    "ProMP": ("promp", {}),
    "Reptile": ("reptile", {"inner_steps": 2}),
    "NoRML": ("norml", {}),
    "ES-MAML": ("es-maml", {"meta_batch_size": 10, "hidden_layers": 2}),
}
"""Those that adapt by gradient; all live as many steps in a meta-iteration."""


def measure_gradient(name: str, repeats: int) -> None:
    """Prints the row of one on 2-D navigation: 20 tasks x 20 episodes x 100 steps before and after one inner step."""
    tasks = make("point-navigation", max_episode_steps=100)
    method, settings = GRADIENT[name]
    entry = algorithm(method)
    config = {"meta_batch_size": 20, "lanes": 20, "hidden_size": 64, **settings}
    learner: Any = entry.make(tasks, entry.config(**config))
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
    print(f"| {name} | 400 | {rates} | {peak_memory():,.0f} |", flush=True)


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
    parser.add_argument("--only", choices=["floors", "gradient", "pairs"], help="rows of one kind")
    given = parser.parse_args()
    if given.only in (None, "pairs"):
        measure_pairs(sorted({16, 64, *given.trials}), given.repeats)
    if given.only in (None, "floors"):
        measure_floors(given.trials, given.repeats)
    if given.only in (None, "gradient"):
        measure_gradients(given.repeats)


def measure_gradients(repeats: int) -> None:
    """Prints the table of what adapts by gradient beside its floors."""
    print("\npoint-navigation: 20 tasks x 20 episodes x 100 steps before and after an inner step, 80,000 in a meta-iteration;")
    print("2 x 64 units; TRPO with 10 conjugate-gradient products, PPO with 5 epochs; ES-MAML 10 tasks, each pushed both ways.")
    print("\n| work | lanes | steps/s | floor, steps/s | share of the floor | peak memory so far, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in GRADIENT:
        measure_gradient(name, repeats)


def measure_floors(trials: list[int], repeats: int) -> None:
    """Prints the tables of learners beside their floors."""
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{machine}. RL2: grid-navigation, GRU 64, 4 epochs x 4 minibatches. VariBAD: grid-navigation; with 16 trials,")
    print("2 x 4 PPO and 3 belief updates, as in its own code; with 512, 4 x 4 and 4.")
    print("\n| work | lanes | steps/s | floor, steps/s | share of the floor | peak memory so far, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for each in trials:
        measure(each, repeats)
    grid: dict[str, Any] = {"reward_loss": "bernoulli", "reward_reads": "arrival"}
    measure_varibad(VariBAD.Config(trials=16, n_epochs=2, belief_updates=3, belief_batch=25, **grid), repeats)
    measure_varibad(VariBAD.Config(trials=512, belief_updates=4, belief_batch=128, **grid), repeats)
    print("\nPEARL: point-navigation, 16 tasks x 256 transitions, contexts of 100, 3 x 300 units.")
    print("\n| work | updates/s | floor, updates/s | share of the floor | peak memory so far, MiB |")
    print("| --- | --- | --- | --- | --- |")
    measure_pearl(repeats)


if __name__ == "__main__":
    main()
