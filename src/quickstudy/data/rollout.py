"""Policy x tasks -> experience: the one loop that steps environments, for training, evaluation and every method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from quickstudy.errors import EnvironmentFault, NotFiniteFault
from quickstudy.ops.tally import count, timed
from quickstudy.ops.tree import tree_map, where_lane
from quickstudy.protocol import (
    Act,
    BatchEnv,
    Experience,
    Memory,
    Percept,
    Policy,
    Shard,
    Site,
    Tasks,
    Transition,
    begin_episode,
    begin_trial,
    counter,
)


class Row(NamedTuple):
    """One step of a rollout."""

    percept: Percept
    act: Act
    transition: Transition
    valid: Bool[Tensor, "task lane"]


def concatenate(pieces: Sequence[Experience]) -> Experience:
    """Joins experience of different tasks along the task axis; shorter pieces are padded with steps that are not valid."""
    if len(pieces) == 1:
        return pieces[0]
    longest = max(piece.valid.shape[2] for piece in pieces)

    def joined(*parts: Tensor) -> Tensor:
        return torch.cat([torch.cat([p, p.new_zeros(*p.shape[:2], longest - p.shape[2], *p.shape[3:])], 2) for p in parts])

    over_time = ("percept", "act", "transition", "valid")
    fields = {}
    for name in Experience._fields:
        join = joined if name in over_time else lambda *parts: torch.cat(parts)
        fields[name] = tree_map(join, *(getattr(piece, name) for piece in pieces))
    return Experience(**fields)


@torch.no_grad()
def rollout(
    env: BatchEnv,
    policy: Policy,
    percept: Percept,
    memory: Memory,
    steps: int,
    generator: Generator | None,
    episodes: int | None = None,
) -> Experience:
    """Runs a policy from a percept and a memory for at most `steps` steps.

    With `episodes`, a lane that has had so many waits: it is stepped and ignored, its percept and memory stay still, and
    the rollout ends when all lanes wait. What the environment gives and is given is copied here, since it may write over it.
    Raises EnvironmentFault where what it returns is not finite or has the wrong shape.
    """
    start_memory, percept = memory, tree_map(torch.clone, percept)
    had = torch.zeros(percept.first.shape, dtype=torch.long, device=percept.first.device)
    active = torch.ones_like(percept.first)
    all_active = True
    rows = []
    for step in range(steps):
        act, next_memory = policy.act(percept, memory, generator)
        transition = tree_map(torch.clone, env.step(act.action.clone()))
        check_shapes(transition, percept, step)
        rows.append(Row(percept, act, transition, active))
        ended = transition.terminated | transition.truncated
        next_percept = Percept(
            transition.observation,
            ended,
            act.action,
            transition.reward,
            transition.arrival,
            transition.terminated,
            transition.truncated,
        )
        if all_active:
            percept, memory = next_percept, next_memory
        else:
            percept = where_lane(active, next_percept, percept)
            memory = where_lane(active, next_memory, memory)
        if episodes is not None and bool(ended.any()):
            had = had + (ended & active)
            active = had < episodes
            all_active = bool(active.all())
            if not all_active and not bool(active.any()):
                break
    stacked = tree_map(lambda *parts: torch.stack(parts, dim=2), *map(unseen, rows))
    seen = {name: torch.stack([getattr(each, name) for each in (*(row.percept for row in rows), percept)], 2) for name in SEEN}
    experience = Experience(
        stacked.percept._replace(**{name: value[:, :, :-1] for name, value in seen.items()}),
        stacked.act,
        stacked.transition._replace(**{name: value[:, :, 1:] for name, value in seen.items()}),
        stacked.valid,
        start_memory,
        percept,
        memory,
    )
    check_finite(experience)
    count({"steps": float(experience.valid.sum())})
    return experience


SEEN = "observation", "arrival"
"""What percepts and transitions show of where a lane is."""


def unseen(row: Row) -> Row:
    """A step without what was seen: what it led to is what the next one begins with, and needn't be kept twice."""
    nothing = row.valid[..., :0]
    return row._replace(
        percept=row.percept._replace(observation=nothing, arrival=nothing),
        transition=row.transition._replace(observation=nothing, arrival=nothing),
    )


def check_shapes(transition: Transition, percept: Percept, step: int) -> None:
    """Raises EnvironmentFault where an environment's answer has not the shape of its first observation and of its lanes."""
    lead, seen = percept.first.shape, percept.observation.shape
    for name, shape in (("observation", seen), ("arrival", seen), ("reward", lead), ("terminated", lead), ("truncated", lead)):
        value = getattr(transition, name)
        if value.shape != shape:
            raise EnvironmentFault(
                f"step {step} of the trial, all {lead[0]} tasks and {lead[1]} lanes: the environment returned {name} of shape"
                f" {tuple(value.shape)}, not {tuple(shape)}"
            )


def check_finite(experience: Experience) -> None:
    """Raises NotFiniteFault at the first valid step whose observation or reward is NaN or infinite."""
    transition, valid = experience.transition, experience.valid
    for name, value in (
        ("reward", transition.reward),
        ("observation", transition.observation),
        ("observation", transition.arrival),
    ):
        finite = torch.isfinite(value)
        if bool(finite.all()):
            continue
        bad = ~finite.flatten(3).all(-1) if finite.dim() > 3 else ~finite
        if bool((bad & valid).any()):
            task, lane, step = (bad & valid).nonzero()[0].tolist()
            raise NotFiniteFault(
                f"task {task}, lane {lane}, step {step} of the trial: the environment returned a {name} that is NaN or infinite"
                f" ({value[task, lane, step].tolist()}); mend the environment's step or reset"
            )


class Plan(NamedTuple):
    """What all shards of a collection share."""

    policy: Policy
    lanes: int
    steps: int
    episodes: int | None
    """Complete episodes in each lane; None: exactly `steps` steps, in which nothing waits."""


def collect(site: Site, plan: Plan, shard: Shard) -> Experience:
    """A unit of work: experience of freshly drawn tasks, one trial in each lane, under one policy."""
    env, percept = start_trials(site, plan.lanes, shard)
    memory = plan.policy.initial_memory(shard.tasks, plan.lanes)
    return rollout(env, plan.policy, percept, memory, plan.steps, action_generator(site, shard), plan.episodes)


class Lifetime(NamedTuple):
    """What all shards share that live trials episode by episode, adapting after each."""

    explorer: Policy
    adapt: Callable[[Any, Experience], Policy]
    lanes: int
    episodes: int
    greedy: bool = False
    frozen: int = 0
    """Episodes at the end that each begin where adaptation ended: what happens in one is gone in the next."""


def live(site: Site, life: Lifetime, shard: Shard, tasks: Tasks | None = None) -> Iterator[Experience]:
    """One trial on each task of a shard, an experience an episode: begin with the explorer, live an episode, adapt, again.

    The tasks are drawn, or given.
    """
    env, percept = start_trials(site, life.lanes, shard, tasks)
    actions = None if life.greedy else action_generator(site, shard)
    policy = life.explorer
    for episode in range(life.episodes + life.frozen):
        if episode:
            percept = begin_episode(env.restart(), percept)
        memory = policy.initial_memory(shard.tasks, life.lanes)
        experience = rollout(env, policy, percept, memory, site.distribution.max_episode_steps, actions, episodes=1)
        count({"episodes": float(shard.tasks * life.lanes)})
        yield experience
        if episode < life.episodes:
            percept = experience.end_percept
        if episode < min(life.episodes, life.episodes + life.frozen - 1):
            with torch.no_grad(), timed("adapt"):
                policy = life.adapt(policy, experience)


def collect_lives(site: Site, life: Lifetime, shard: Shard) -> list[Experience]:
    """A unit of work: all of `live`."""
    return list(live(site, life, shard))


class Chosen(NamedTuple):
    """What all shards share that live trials on given tasks: each takes its part of them, in the order of the shards."""

    life: Lifetime
    tasks: Tasks


def collect_chosen(site: Site, chosen: Chosen, shard: Shard) -> list[Experience]:
    """A unit of work: trials on the shard's part of the given tasks, an experience an episode."""
    part = slice(shard.number * shard.tasks, (shard.number + 1) * shard.tasks)
    return list(live(site, chosen.life, shard, {name: value[part].to(site.device) for name, value in chosen.tasks.items()}))


def action_generator(site: Site, shard: Shard) -> Generator:
    """What a shard draws its actions with."""
    return counter(shard.seed, shard.iteration, f"{shard.split} actions", shard.number, site.device)


def start_trials(site: Site, lanes: int, shard: Shard, tasks: Tasks | None = None) -> tuple[BatchEnv, Percept]:
    """Begins a trial in each lane of the given tasks, or of a shard's own, which are drawn."""
    env = site.env(shard.tasks, lanes)
    dynamics = counter(shard.seed, shard.iteration, f"{shard.split} dynamics", shard.number, site.device)
    observation = env.reset(draw_tasks(site, shard) if tasks is None else tasks, dynamics)
    return env, begin_trial(observation, site.distribution.action_space)


def draw_tasks(site: Site, shard: Shard) -> Tasks:
    """The tasks of a shard: the split is part of the counters, so that no split repeats another's draws."""
    generator = counter(shard.seed, shard.iteration, f"{shard.split} tasks", shard.number)
    tasks = site.distribution.sample(shard.tasks, shard.split, generator)
    return {name: value.to(site.device) for name, value in tasks.items()}
