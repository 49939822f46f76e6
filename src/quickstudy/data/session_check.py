"""Whether what a file says a session held is what a session of this agent can hold: all of it is tried before any is used."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from quickstudy.data.session_file import Acted, Answer, Episode, Row, is_namedtuple
from quickstudy.ops.fit import is_finite, misfit, within
from quickstudy.ops.senses import dtype_of, numbers_of, parts_of, split
from quickstudy.ops.spaces import action_fault
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import Act, Agent, Memory, Percept, Transition, begin_trial

HELD = ("generator", "memory", "start_memory", "last", "rows", "acted", "answer", "episodes", "before")


def require_held(agent: Agent, policy: Any, memory: Memory, held: dict[str, Any]) -> None:
    """Raises ValueError where one of `HELD` can't be what a session of the agent held; `memory` is one that its policies have.

    The policy acts once, on an observation of zeros, which tells what rows look like, and that it can act at all.
    """
    if set(held) != set(HELD):
        raise ValueError(f"it holds {', '.join(sorted(map(str, held)))[:60]}, not {', '.join(HELD)}")
    generator = None if held["generator"] is None else restored(held["generator"], agent.device)
    percept = blank(agent)
    require_like("the policy's memory", policy.initial_memory(1, 1), memory)
    act, _ = policy.act(percept, policy.initial_memory(1, 1), generator)
    for name in ("memory", "start_memory"):
        require_like(name, held[name], memory)
    if held["last"] is not None:
        require_percept(agent, "last", held["last"], percept)
    if held["rows"] is not None:
        require_rows(agent, "rows", held["rows"], percept, act)
    if (held["acted"] is None) != (held["answer"] is None):
        raise ValueError("it holds an action without an answer, or an answer without an action")
    if held["acted"] is not None:
        require_like("acted", held["acted"], Acted(percept, act))
        require_percept(agent, "acted/percept", held["acted"].percept, percept)
        require_action(agent, "acted/act", held["acted"].act.action)
        require_like("answer", held["answer"], Answer(percept.reward, percept.terminated, percept.truncated))
    for name, lengths in (("episodes", range(agent.lanes)), ("before", (0, agent.lanes))):
        if not isinstance(held[name], list) or len(held[name]) not in lengths:
            raise misfit(name, held[name], f"a list of {' or '.join(map(str, lengths))} of them")
    for number, episode in enumerate(held["episodes"]):
        where = f"episodes/{number}"
        if not isinstance(episode, Episode):
            raise misfit(where, episode, "an episode")
        require_rows(agent, f"{where}/rows", episode.rows, percept, act)
        require_percept(agent, f"{where}/end_percept", episode.end_percept, percept)
        require_like(f"{where}/start_memory", episode.start_memory, memory)
        require_like(f"{where}/end_memory", episode.end_memory, memory)
    for number, each in enumerate(held["before"]):
        require_percept(agent, f"before/{number}", each, percept)


def blank(agent: Agent) -> Percept:
    """What a session of the agent would see first, if it saw zeros."""
    space = agent.tasks.observation_space
    seen = torch.zeros(1, 1, *(space.shape or ()), dtype=dtype_of(space), device=agent.device)
    return begin_trial(seen, agent.tasks.action_space)


def restored(state: Any, device: str) -> Generator:
    """A generator in a stored state; ValueError where it is none of a generator."""
    generator = Generator(device)
    own = generator.get_state()
    if not isinstance(state, Tensor) or state.dtype != own.dtype or state.shape != own.shape:
        raise misfit("generator", state, f"the state of a generator, {len(own)} bytes")
    return generator.set_state(state.cpu())


def require_like(where: str, stored: Any, like: Any) -> None:
    """Raises ValueError where a tree isn't made like another, of tensors of the same shapes and kinds of finite numbers."""
    if isinstance(like, Tensor):
        require_kind(where, stored, like)
        if not is_finite(stored):
            raise ValueError(f"{where} holds NaN or infinity")
    elif like is None or isinstance(stored, Tensor) or (type(stored) is not type(like) and not (like == {} == stored)):
        if stored is not like:
            raise misfit(where, stored, "nothing" if like is None else f"a {type(like).__name__}")
    else:
        own, theirs = (tree._asdict() if is_namedtuple(tree) else tree for tree in (like, stored))
        if own.keys() != theirs.keys():
            raise ValueError(f"{where} has {', '.join(map(str, theirs))}"[:120] + f", not {', '.join(own) or 'nothing'}")
        for name, part in own.items():
            require_like(within(where, name), theirs[name], part)


def require_kind(where: str, stored: Any, like: Tensor) -> None:
    """Raises ValueError where something is no tensor of a shape, or holds another kind of numbers."""
    kinds = [
        None if part is None else (part.is_floating_point(), part.dtype == torch.bool) for part in (stored_of(stored), like)
    ]
    if kinds[0] != kinds[1] or stored.shape != like.shape:
        raise misfit(where, stored, f"a tensor of {like.dtype} with shape {tuple(like.shape)}")


def stored_of(value: Any) -> Tensor | None:
    """A tensor as it is, nothing for what is none."""
    return value if isinstance(value, Tensor) else None


def require_percept(agent: Agent, where: str, stored: Any, like: Percept) -> None:
    """Raises ValueError where something is no percept, or tells of observations and actions that the tasks don't have."""
    require_like(where, stored, like)
    require_action(agent, f"{where}/action", stored.action)
    for name in ("observation", "arrival"):
        require_observation(agent, f"{where}/{name}", getattr(stored, name))


def require_rows(agent: Agent, where: str, stored: Any, percept: Percept, act: Act) -> None:
    """Raises ValueError where something is no stack (1, 1, time, ...) of steps."""
    reward = stored.transition.reward if isinstance(stored, Row) and isinstance(stored.transition, Transition) else None
    steps = reward.shape[2] if isinstance(reward, Tensor) and reward.dim() == 3 else 0
    if not steps:
        raise misfit(where, stored, "a stack of steps")
    seen = percept.observation
    row = Row(percept, act, Transition(seen, seen, percept.reward, percept.terminated, percept.truncated, {}))
    stack = tree_map(lambda part: part[:, :, None].expand(1, 1, steps, *part.shape[2:]), row)
    require_like(where, stored, stack)
    require_action(agent, f"{where}/act", stored.act.action)
    for name, each in (("percept", stored.percept), ("transition", stored.transition)):
        for part in ("observation", "arrival"):
            require_observation(agent, f"{where}/{name}/{part}", getattr(each, part))


def require_action(agent: Agent, where: str, action: Tensor) -> None:
    """Raises ValueError where an action is none of the tasks'."""
    fault = action_fault(agent.tasks.action_space, action)
    if fault:
        raise ValueError(f"{where}: {fault}")


def require_observation(agent: Agent, where: str, seen: Tensor) -> None:
    """Raises ValueError where an observation is none of the tasks': a choice or a word by a number that isn't, or no number."""
    space = agent.tasks.observation_space
    if seen.dtype != dtype_of(space):
        raise misfit(where, seen, f"a tensor of {dtype_of(space)}")
    values = split(space, seen)
    for name, part in parts_of(space).items():
        value, most = values[name], numbers_of(part)
        if not is_finite(value):
            raise ValueError(f"{within(where, name) if name else where} holds NaN or infinity")
        if most is not None and bool(((value < 0) | (value >= torch.as_tensor(most, device=seen.device))).any()):
            raise ValueError(f"{within(where, name) if name else where} is not in {part}")
