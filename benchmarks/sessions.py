"""How long a live agent takes to answer, and what worker processes are worth. `python benchmarks/sessions.py`

Latencies are of one session, step by step, on one thread: the time of `act`, and of `feedback` with its adaptation at the
ends of episodes. The environment's own time is not in them.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

import quickstudy as qs
from quickstudy.protocol import counter

STEPS = 5000
EPISODE = 50


def latencies(learner: Any) -> dict[str, np.ndarray]:
    """Microseconds of each `act` and `feedback` of a session, the first hundred left out."""
    session = learner.session(seed=0)
    shape = learner.tasks.observation_space.shape
    observation = np.zeros(shape, np.float32) if shape else 0
    found: dict[str, list[int]] = {"act": [], "feedback": []}
    for step in range(STEPS):
        began = time.perf_counter_ns()
        session.act(observation)
        between = time.perf_counter_ns()
        session.feedback(1.0, truncated=step % EPISODE == EPISODE - 1, observation=observation)
        found["act"].append(between - began)
        found["feedback"].append(time.perf_counter_ns() - between)
    return {name: np.array(values[100:]) / 1000 for name, values in found.items()}


def sessions_per_second(learner: Any, count: int = 500) -> float:
    """How many sessions can be begun in a second."""
    began = time.perf_counter()
    for seed in range(count):
        learner.session(seed=seed)
    return count / (time.perf_counter() - began)


def environment_rate(workers: int, name: str, lanes: int, steps: int, **parameters: Any) -> float:
    """Steps a second of a Gymnasium environment in `lanes` lanes."""
    tasks = qs.GymnasiumTasks(name, workers=workers, **parameters)
    env = tasks.make(lanes, 1)
    try:
        env.reset(tasks.sample(lanes, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
        low, high = (torch.as_tensor(bound) for bound in (tasks.action_space.low, tasks.action_space.high))  # pyright: ignore
        action = ((low + high) / 2).expand(lanes, 1, *low.shape)
        env.step(action)
        began = time.perf_counter()
        for _ in range(steps):
            env.step(action)
        return lanes * steps / (time.perf_counter() - began)
    finally:
        env.close()


def main() -> None:
    """Prints the two tables."""
    torch.set_num_threads(1)
    print("tasks             learner     act p50  p99   feedback p50  p99   steps/s  sessions/s   (microseconds)")
    for family in ("grid-navigation", "cart-pole", "point-navigation"):
        for make in (qs.RL2, qs.MAML, qs.MultiTask):
            learner = make(qs.tasks.make(family))
            found = latencies(learner)
            act, feedback = found["act"], found["feedback"]
            rate = 1e6 / (act.mean() + feedback.mean())
            print(
                f"{family:<17} {learner.name:<10} {np.percentile(act, 50):8.0f} {np.percentile(act, 99):5.0f}"
                f" {np.percentile(feedback, 50):12.0f} {np.percentile(feedback, 99):6.0f} {rate:9,.0f}"
                f" {sessions_per_second(learner):11,.0f}"
            )
    print("\nsteps/s of Gymnasium environments, 64 lanes: in this process, in 1 and 2 workers, and the ratio of 2 to none")
    try:
        import Box2D  # noqa: F401

        bodies = {"BipedalWalker-v3": {"gravity": qs.Uniform(-12.0, -8.0)}}
    except ImportError:
        bodies = {}
    walker = {name: {"configure": lambda env, values: None} | parameters for name, parameters in bodies.items()}
    for name, parameters in {"Pendulum-v1": {"g": qs.Uniform(5.0, 15.0)}, **walker}.items():
        rates = [environment_rate(workers, name, 64, 200, **parameters) for workers in (0, 1, 2)]
        print(f"{name:<17} {rates[0]:9,.0f} {rates[1]:9,.0f} {rates[2]:9,.0f}   {rates[2] / rates[0]:.2f}")


if __name__ == "__main__":
    main()
