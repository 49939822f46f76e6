"""A planner in the true dynamics of a task, or in those of the mean task: what a model could be worth, and what knowing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError, require_at_least, require_share
from quickstudy.ops.features import as_vector
from quickstudy.oracles.agent import Oracle, ruled
from quickstudy.parts import planning
from quickstudy.protocol import Act, Memory, Percept, TaskDistribution, Tasks, counter
from quickstudy.tasks.changes import STEP
from quickstudy.tasks.native import Dynamics, NativeTasks
from quickstudy.tasks.parameters import parameters_of
from quickstudy.tasks.told import Told


@checked
@dataclass(frozen=True, kw_only=True)
class PlannerOptions:
    """What a planner in true dynamics can be told."""

    settings: Literal["told", "mean"] = "told"
    """Plans with the task's own parameters, or with the mean of those of training tasks."""
    notice: int | None = None
    """Steps after a change in mid-episode at which it is told, until then nothing is; by default all is from the beginning."""
    planner: planning.Planner = "cem"
    plan_steps: planning.PlanSteps = 20
    candidates: planning.Candidates = 200
    refits: planning.Refits = 4
    elite_share: planning.EliteShare = 0.1
    plan_temperature: planning.PlanTemperature = 0.3
    noise_color: planning.NoiseColor = 1.0
    least_deviation: planning.LeastDeviation = 0.05
    gamma: float = 1.0
    """Discount factor, a step of a plan."""

    def __post_init__(self) -> None:
        planning.require_search("planner", self)
        require_share("planner", self, "gamma")
        if self.notice is not None:
            require_at_least(0, "planner", self, "notice")
            if self.settings != "told":
                raise UsageError("planner: notice is for settings told; the mean task is never told")


def pendulum_state(dynamics: Any, seen: Float[Tensor, "*lead feature"]) -> Float[Tensor, "*lead state"]:
    """Angle and speed; where physics change, the step of the episode behind them."""
    angle = torch.atan2(seen[..., 1], seen[..., 0])
    return torch.stack([angle, seen[..., 2], *(dynamics.max_episode_steps * time for time in seen[..., 3:].unbind(-1))], -1)


def cart_pole_state(dynamics: Any, seen: Float[Tensor, "*lead feature"]) -> Float[Tensor, "*lead state"]:
    """What is seen; where physics change, the step of the episode behind it."""
    return torch.cat([seen[..., :4], dynamics.max_episode_steps * seen[..., 4:]], -1)


STATES: dict[str, Callable[[Any, Tensor], Tensor]] = {"pendulum": pendulum_state, "cart-pole": cart_pole_state}
"""Of each family whose state can be seen, and whose steps draw no random number, how."""


@dataclass(frozen=True)
class TruePlanner:
    """Plans at every step in dynamics themselves, with a task that it reads (`told`) or has (`mean`)."""

    dynamics: Dynamics
    state_of: Callable[[Any, Tensor], Tensor]
    actions: planning.Actions
    options: PlannerOptions
    told: Told | None
    mean: Tasks

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"plan": self.actions.first(tasks, lanes, self.options.plan_steps, "cpu").mean}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        if self.told is None:
            seen, task = as_vector(self.dynamics.observation_space, percept.observation), self.mean
        else:
            seen, own = self.told.parted(percept.observation)
            task = {name: value[:, :, None] for name, value in own.items()}
        state = self.state_of(self.dynamics, seen)
        if self.options.notice is not None:
            unnoticed = state[:, :, None, -1] < task[STEP] + self.options.notice
            task = task | {STEP: torch.where(unnoticed, torch.full_like(task[STEP], torch.inf), task[STEP])}

        def score(plans: planning.Plans) -> Float[Tensor, "task lane candidate"]:
            return self.returns(state, plans, task)

        action, plan = planning.acted(self.actions, self.options, memory["plan"], percept.first, score, generator)
        return Act(action, None, {}), {"plan": plan}

    def returns(
        self, state: Float[Tensor, "task lane state"], plans: planning.Plans, task: Tasks
    ) -> Float[Tensor, "task lane candidate"]:
        """What plans return; nothing after an episode's end."""
        dynamics, gamma = self.dynamics, self.options.gamma
        state = state[:, :, None].expand(*plans.shape[:3], -1)
        total = torch.zeros(plans.shape[:3])
        alive, noise = torch.ones_like(total), plans.new_zeros(*plans.shape[:3], 0)
        for time, action in enumerate(map(self.actions.taken, plans.unbind(-2))):
            arrival = dynamics.transition(state, action, task, noise)
            total = total + gamma**time * alive * dynamics.reward(state, action, arrival, task, noise)
            alive, state = alive * ~dynamics.terminal(arrival, task), arrival
        return total


def mean_task(tasks: TaskDistribution, count: int = 1000) -> Tasks:
    """The mean of each parameter over training tasks."""
    return {name: value.float().mean(0) for name, value in tasks.sample(count, "train", counter(0, 0, "mean task")).items()}


def planned(tasks: NativeTasks, family: Any, options: PlannerOptions, state_of: Callable[[Any, Tensor], Tensor]) -> Oracle:
    """The planner as an oracle; UsageError where a change is to be noticed, and there is none."""
    if options.notice is not None and STEP not in parameters_of(tasks):
        raise UsageError("planner: notice is for worlds that change in mid-episode, such as pendulum --changes")
    actions = planning.actions_for("planner", tasks.action_space)

    def policy(told: Told | None) -> TruePlanner:
        return TruePlanner(tasks.dynamics, state_of, actions, options, told, mean_task(tasks))

    return ruled("planner", tasks, options.settings, policy)
