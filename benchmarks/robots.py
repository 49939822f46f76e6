"""How fast robots are stepped: half-cheetah in a closed loop, beside Gymnasium's vector environments and MuJoCo's open loop.

    python benchmarks/robots.py [--lanes 256] [--seconds 4] [--repeats 5]

All are timed in turn, `repeats` times over, so that what else the machine does falls on each alike; a figure is the median. The
actions are random and drawn beforehand. Gymnasium's lanes and ours compute observation, reward and the end of the episode at
every step; the open loop is told all actions at once and computes states alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import cycle

import gymnasium
import numpy as np
import torch

from quickstudy.families import make
from quickstudy.protocol import counter
from quickstudy.tasks.mujoco.bodies import HALF_CHEETAH, simulator


def rate(step: Callable[[], int], seconds: float) -> float:
    """Steps a second of a call that says how many it made."""
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        steps += step()
    return steps / (time.perf_counter() - began)


def ours(lanes: int, actions: torch.Tensor) -> Callable[[], int]:
    """A step of our environment."""
    tasks = make("half-cheetah-velocity")
    env = tasks.make(lanes, 1)
    env.reset(tasks.sample(lanes, "train", counter(0, 0, "tasks")), counter(0, 0, "first"))
    upcoming = cycle(actions[:, :, None])

    def step() -> int:
        env.step(next(upcoming))
        return lanes

    return step


def gymnasiums(kind: str, lanes: int, actions: torch.Tensor) -> Callable[[], int]:
    """A step of one of Gymnasium's vector environments."""
    env = gymnasium.make_vec("HalfCheetah-v5", num_envs=lanes, vectorization_mode=kind)
    env.reset(seed=0)
    upcoming = cycle(actions.numpy())

    def step() -> int:
        env.step(next(upcoming))
        return lanes

    return step


def open_loop(lanes: int, actions: torch.Tensor) -> Callable[[], int]:
    """Ten steps of the environment in one call of MuJoCo's threaded rollout."""
    mujoco = simulator()
    model, threads = HALF_CHEETAH.load(), os.cpu_count() or 1
    rollout = mujoco.rollout.Rollout(nthread=threads)
    data = [mujoco.MjData(model) for _ in range(threads)]
    state = np.zeros((lanes, mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
    control = actions[:10].repeat_interleave(HALF_CHEETAH.frame_skip, 0).transpose(0, 1).double().numpy()
    initial = state.copy()
    initial[:, 1 : 1 + model.nq] = model.qpos0

    def step() -> int:
        nonlocal initial
        states, _ = rollout.rollout(model, data, initial, control)
        initial = states[:, -1]
        return lanes * 10

    return step


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, default=256, help="environments side by side")
    parser.add_argument("--seconds", type=float, default=4, help="how long each is stepped at a time")
    parser.add_argument("--repeats", type=int, default=5, help="how many times each has its turn")
    given = parser.parse_args()
    actions = torch.rand(100, given.lanes, HALF_CHEETAH.action_size, generator=counter(0, 0, "actions")) * 2 - 1
    steps = {
        "quickstudy, closed loop": ours(given.lanes, actions),
        "Gymnasium, SyncVectorEnv": gymnasiums("sync", given.lanes, actions),
        "Gymnasium, AsyncVectorEnv": gymnasiums("async", given.lanes, actions),
        "MuJoCo's rollout, open loop": open_loop(given.lanes, actions),
    }
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(given.repeats):
        for name, step in steps.items():
            rates[name].append(rate(step, given.seconds))
    own = statistics.median(rates["quickstudy, closed loop"])
    print(f"half-cheetah, {given.lanes} lanes, {os.cpu_count()} cores, MuJoCo {version('mujoco')}\n")
    print("| stepped by | steps/s | the closed loop is |\n| --- | --- | --- |")
    for name, measured in rates.items():
        print(f"| {name} | {statistics.median(measured):,.0f} | {own / statistics.median(measured):.2f} times as fast |")


if __name__ == "__main__":
    main()
