"""What a trained agent loses where the reward that it hears is the risk of what the sensor says, as at a real pump.

python benchmarks/glucose_heard.py RUN [--num-tasks 300]

Figures are of true glucose in both tables; returns are of what was heard.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

import quickstudy as qs
from quickstudy.families.health.glucose import END, risk_of
from quickstudy.oracles.glucose import seen
from quickstudy.protocol import Transition


class Heard:
    """The same tasks, with the risk of the sensor's reading for the reward."""

    def __init__(self, tasks: Any):
        self.tasks = tasks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tasks, name)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> Any:
        return HeardEnv(self.tasks.make(tasks, lanes, device))


class HeardEnv:
    """An environment that pays what the sensor says."""

    def __init__(self, env: Any):
        self.env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def step(self, action: torch.Tensor) -> Transition:
        step = self.env.step(action)
        return step._replace(reward=-risk_of(seen(step.arrival).reading) / 100 - END * step.terminated)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--num-tasks", type=int, default=300)
    given = parser.parse_args()
    learner: Any = qs.load(given.run)
    heard: Any = Heard(learner.tasks)
    for name, tasks in (("true", learner.tasks), ("heard", heard)):
        result = qs.evaluate(learner, tasks, num_tasks=given.num_tasks, greedy=True)
        for episode in range(tasks.episodes_per_trial):
            told = {figure: round(float(values[:, episode].mean()), 2) for figure, values in result.figures.items()}
            print(f"{name}, day {episode + 1}: {told}")


if __name__ == "__main__":
    main()
