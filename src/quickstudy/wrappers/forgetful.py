"""Another agent with its memory wiped, to hold it against itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator

from quickstudy.arguments import checked
from quickstudy.ops.tree import where_lane
from quickstudy.protocol import Act, Agent, Experience, Memory, Percept, Policy, TaskDistribution, begin_trial


@dataclass(frozen=True)
class ForgetfulPolicy:
    """Acts as `policy` would if its trial had begun with this episode, or with this step."""

    policy: Policy
    tasks: TaskDistribution
    every: Literal["episode", "step"]

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return self.policy.initial_memory(tasks, lanes)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        wipe = percept.first if self.every == "episode" else torch.ones_like(percept.first)
        fresh = begin_trial(percept.observation, self.tasks.action_space)
        blank = self.policy.initial_memory(*percept.first.shape)
        return self.policy.act(where_lane(wipe, fresh, percept), where_lane(wipe, blank, memory), generator)


@checked
class Forgetful:
    """Another agent with its memory wiped at the start of every episode, or at every step: shows what the memory is worth."""

    def __init__(self, agent: Agent, every: Literal["episode", "step"] = "episode"):
        self.agent = agent
        self.every: Literal["episode", "step"] = every
        self.name = f"{agent.name}, memory wiped every {every}"
        self.tasks, self.device, self.lanes = agent.tasks, agent.device, agent.lanes

    def explorer(self) -> ForgetfulPolicy:
        return ForgetfulPolicy(self.agent.explorer(), self.tasks, self.every)

    def adapt(self, policy: ForgetfulPolicy, experience: Experience) -> ForgetfulPolicy:
        return policy
