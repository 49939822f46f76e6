"""Two hours of a trained agent at a crossing that it never met, ten minutes by ten minutes; not for a street.

quickstudy train rl2 traffic-signal --tuned --run runs/traffic
python examples/traffic_day.py runs/traffic

The agent is a live session, which is handed what detectors see and, each minute, the waiting that was reported. The actuated
controller meets the same vehicles at a crossing beside it.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.families.traffic.picture import PHASE_NAMES
from quickstudy.families.traffic.signal import MOVEMENTS, TrafficSignal
from quickstudy.oracles import oracle
from quickstudy.protocol import Tasks, Transition, begin_trial, counter
from quickstudy.tasks.repeated import times_of

LINE = 120
"""Steps of five seconds between two lines."""


class Actuated:
    """The rule of the field, at a crossing of its own."""

    def __init__(self, tasks: qs.NativeTasks, task: Tasks, vehicles: torch.Generator):
        self.env, self.policy = tasks.make(1, 1), oracle("actuated", tasks).explorer()
        self.memory = self.policy.initial_memory(1, 1)
        self.percept = begin_trial(self.env.reset(task, vehicles), tasks.action_space)

    def step(self) -> Transition:
        """Five seconds more."""
        act, self.memory = self.policy.act(self.percept, self.memory, None)
        now = self.env.step(act.action)
        self.percept = self.percept._replace(observation=now.observation, first=now.truncated)
        return now


class Agent:
    """A session at a crossing, which decides as often as it did in training."""

    def __init__(self, learner: Any, tasks: qs.NativeTasks, task: Tasks, vehicles: torch.Generator):
        self.session, self.held = learner.session(seed=0, greedy=True), times_of(learner.tasks)
        self.env, self.steps, self.paid, self.action = tasks.make(1, 1), 0, 0.0, torch.zeros(1, 1, dtype=torch.long)
        self.seen = self.env.reset(task, vehicles)[0, 0].numpy()

    def step(self) -> Transition:
        """Five seconds more."""
        if self.steps % self.held == 0:
            self.action = torch.as_tensor(self.session.act(self.seen))[None, None]
        now = self.env.step(self.action)
        self.steps, self.paid, self.seen = self.steps + 1, self.paid + float(now.reward), now.observation[0, 0].numpy()
        if self.steps % self.held == 0:
            self.session.feedback(self.paid, False, bool(now.truncated), now.arrival[0, 0].numpy())
            self.paid = 0.0
        return now


def percent(shares: Tensor) -> str:
    """Shares of the phases, for people."""
    return " ".join(f"{100 * share:4.0f} %" for share in shares.tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--crossing", type=int, default=0, help="which of the held-out crossings")
    given = parser.parse_args()
    learner, family = qs.load(given.run), TrafficSignal()
    tasks, number = qs.NativeTasks(family), given.crossing
    found = tasks.sample(number + 1, "test", counter(0, 0, "day"))
    task = {name: value[number : number + 1] for name, value in found.items()}
    agent, actuated = Agent(learner, tasks, task, counter(0, 0, "vehicles")), Actuated(tasks, task, counter(0, 0, "vehicles"))
    rate = family.demand(torch.zeros(1), task)
    dead = [name for name, broken in zip(MOVEMENTS, task["dead"][0].tolist(), strict=True) if broken]
    load, saturation = float(task["load"]), float(task["saturation"])
    print(f"{3600 * float(rate.sum()):.0f} vehicles an hour, load {load:.2f}, saturation flow x {saturation:.2f}")
    print(f"dead detectors: {', '.join(dead) or 'none'}")
    print(
        f"of what the vehicles need, {', '.join(PHASE_NAMES)} need {percent(family.flow_ratios(rate, task)[0] / task['load'])}"
    )
    print("half hour  minute  delay so far (s)  actuated (s)  green of the phases since the last line")
    for half_hour in range(family.episodes_per_trial):
        green = torch.zeros(4)
        for step in range(1, family.max_episode_steps + 1):
            now, there = agent.step(), actuated.step()
            green += now.arrival[0, 0, 8:12]
            if step % LINE == 0:
                delay, theirs = (float(each.info["delay per vehicle"]) for each in (now, there))
                print(f"{half_hour + 1:9d}  {step // 12:6d}  {delay:16.1f}  {theirs:12.1f}  {percent(green / LINE)}")
                green = torch.zeros(4)


if __name__ == "__main__":
    main()
