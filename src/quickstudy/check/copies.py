"""Clauses on copies: a task alone goes as among others, and in a worker process as here."""

from __future__ import annotations

import cloudpickle
import torch
from torch import Tensor

from quickstudy.check.report import Broken, Unjudged
from quickstudy.check.walk import (
    LANES,
    Trial,
    Walk,
    fresh_walk,
    same_lanes,
    seed_globally,
)
from quickstudy.data.rollout import SEEN
from quickstudy.ops.senses import split
from quickstudy.protocol import Tasks, counter
from quickstudy.tasks.gymnasium_env import live_again
from quickstudy.tasks.lanes import Source
from quickstudy.tasks.native import NativeTasks


def batch(trial: Trial) -> str:
    """A task alone goes as it does among others."""
    trial.require_determinism()
    before, tasks = trial.walked(), trial.tasks
    for number in (0, LANES // 2, LANES - 1):
        alone = {name: value[number : number + 1] for name, value in trial.drawn.items()}
        if isinstance(tasks, Source):
            pairs = gymnasium_alone(trial, tasks, alone, number)
        elif isinstance(tasks, NativeTasks):
            pairs = native_alone(tasks, trial.drawn, number, trial.actions, trial.seed)
        else:
            pairs = alone_in_batch(trial, alone, number, before)
        for name, one, many in pairs:
            if not alike(trial, name, one, many):
                raise Broken(f"the {name} of task {number} alone differs from that among {LANES}: lanes touch each other")
    return f"a task alone goes as among {LANES}"


def alike(trial: Trial, name: str, one: Tensor, many: Tensor) -> bool:
    """Whether numbers are the same but for rounding, those within observations too."""
    space = trial.tasks.observation_space
    ours, theirs = ([*split(space, value).values()] if name in SEEN else [value] for value in (one, many))
    return all(torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-5) for a, b in zip(ours, theirs, strict=True))


def gymnasium_alone(trial: Trial, tasks: Source, alone: Tasks, number: int) -> list[tuple[str, Tensor, Tensor]]:
    """One lane's seeds and actions in an environment by itself, beside the same lane in the batch."""
    steps = trial.walked().steps
    seeds = torch.randint(2**31, (LANES, 1), generator=counter(trial.seed, 0, "check dynamics"))
    actions = [trial.tasks.decode(action[number, 0]).tolist() for action in trial.actions]
    values = {name: value[0].tolist() for name, value in alone.items()}
    again = live_again(tasks, {"parameters": values, "starts": [[0, int(seeds[number])]], "actions": actions})
    answers = [answer for _, answer in again]
    return [
        (name, torch.stack([torch.as_tensor(getattr(a, name)[0]) for a in answers]), getattr(steps, name)[number, 0])
        for name in ("arrival", "reward", "terminated")
    ]


def alone_in_batch(trial: Trial, alone: Tasks, number: int, before: Walk) -> list[tuple[str, Tensor, Tensor]]:
    """For a distribution of another kind: judged only where its environments draw no random numbers."""
    noisy = fresh_walk(trial.tasks, trial.drawn, trial.actions, trial.seed + 1)
    if not bool(same_lanes(before, noisy).all()):
        raise Unjudged("these environments draw random numbers, which a batch of one draws otherwise")
    one = fresh_walk(trial.tasks, alone, [action[number : number + 1] for action in trial.actions], trial.seed)
    names = ("arrival", "reward", "terminated")
    return [(name, getattr(one.steps, name)[0], getattr(before.steps, name)[number]) for name in names]


def workers(trial: Trial) -> str:
    """A copy that went through pickle, as worker processes get it, goes the same way."""
    try:
        copy = cloudpickle.loads(cloudpickle.dumps(trial.tasks))
    except Exception as error:
        raise Broken(f"can't be sent to a worker process: {error}; build what can't be copied inside the factory") from error
    trial.require_determinism()
    seed_globally(trial.seed)
    if not bool(same_lanes(trial.walked(), fresh_walk(copy, trial.drawn, trial.actions, trial.seed)).all()):
        raise Broken("a copy that was sent to a worker process goes another way")
    return "a copy sent to a worker process goes the same way"


def native_alone(
    tasks: NativeTasks, drawn: Tasks, number: int, actions: list[Tensor], seed: int
) -> list[tuple[str, Tensor, Tensor]]:
    """The dynamics of one task and of all, at equal noise."""
    dynamics, generator = tasks.dynamics, counter(seed, 0, "check noise")
    batches: list[dict[str, list[Tensor]]] = []
    noises = [torch.rand(LANES, 1, dynamics.step_noise, generator=generator) for _ in actions]
    initial = torch.rand(LANES, 1, dynamics.initial_noise, generator=generator)
    for rows in (slice(number, number + 1), slice(None)):
        task = {name: value[rows][:, None] for name, value in drawn.items()}
        state, seen = dynamics.initial(task, initial[rows]), {"observation": [], "reward": [], "terminated": []}
        for action, noise in zip(actions, noises, strict=True):
            arrival = dynamics.transition(state, action[rows], task, noise[rows])
            seen["reward"].append(dynamics.reward(state, action[rows], arrival, task, noise[rows]))
            seen["terminated"].append(dynamics.terminal(arrival, task))
            seen["observation"].append(dynamics.observation(arrival, task))
            state = arrival
        batches.append(seen)
    one, many = batches
    return [(name, torch.stack(one[name])[:, 0], torch.stack(many[name])[:, number]) for name in one]
