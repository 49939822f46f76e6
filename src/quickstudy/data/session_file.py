"""What a session holds, and how it lies in a file: one safetensors file with a checksum, no code in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from quickstudy.errors import QuickstudyError, UsageError
from quickstudy.ops.state import insert, leaves, plain_values
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import Act, Memory, Percept, Transition
from quickstudy.storage import write_atomically

FORMAT = 1


class Acted(NamedTuple):
    """The last action, as yet without an answer, or with one."""

    percept: Percept
    act: Act


class Answer(NamedTuple):
    """What came of it, (1, 1) each."""

    reward: Tensor
    terminated: Tensor
    truncated: Tensor


class Row(NamedTuple):
    """A step that is over: what was seen, done, and came of it; (1, 1, ...) each, stacked (1, 1, time, ...)."""

    percept: Percept
    act: Act
    transition: Transition


class Episode(NamedTuple):
    """An episode that waits for as many others as an adaptation pools."""

    rows: Row
    end_percept: Percept
    start_memory: Memory
    end_memory: Memory


TUPLES: dict[str, Any] = {kind.__name__: kind for kind in (Percept, Act, Transition, Acted, Answer, Row, Episode)}
"""The NamedTuples that a file may name: a closed list."""


RENAMED = {"Belief": "Posterior", "Learned": "Heads"}
"""What earlier versions called some NamedTuples of policies."""


def stacked(rows: list[Row]) -> Row:
    """Steps along one axis of time."""
    return tree_map(lambda *parts: torch.stack(parts, dim=2), *rows)


def unstacked(rows: Row) -> list[Row]:
    """Steps one by one."""
    return [tree_map(lambda part, step=step: part[:, :, step], rows) for step in range(rows.transition.reward.shape[2])]


def write_session(path: Path, agent: str, policy: Any, held: dict[str, Any]) -> None:
    """Writes a session atomically."""
    state = {"policy": pack(policy_fields(policy)), "held": pack(held)}
    # copies, since safetensors refuses tensors that share memory
    found = {"/".join(place): value for place, value in leaves(state) if isinstance(value, Tensor)}
    tensors = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in found.items()}
    header = json.dumps({"format": FORMAT, "agent": agent, "values": plain_values(state)})
    write_atomically(path, save(tensors, {"session": header, "sha256": checksum(tensors, header)}))


def read_session(path: Path, agent: str, policy: Any, device: str) -> tuple[Any, dict[str, Any]]:
    """The stored policy, made from the agent's explorer `policy`, and what else the session held.

    UsageError where there is no such file, QuickstudyError where it was altered or doesn't fit the agent.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # it is no dictionary
        if metadata["sha256"] != checksum(tensors, metadata["session"]):
            raise QuickstudyError(f"{path} was altered: its checksum differs from what was written")
        header = json.loads(metadata["session"])
        if header["format"] != FORMAT:
            raise QuickstudyError(
                f"{path}: format {header['format']!r} is not {FORMAT}: it is from another version of quickstudy"
            )
        if header["agent"] != agent:
            raise QuickstudyError(f"{path} is a session of {header['agent']}, not of {agent}")
        state = header["values"]
        for name, tensor in tensors.items():
            # copied, since a product rounds otherwise where its memory begins at another place
            insert(state, name.split("/"), tensor.clone().to(device))
        return with_fields(policy, state["policy"]), unpack(state["held"], TUPLES)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError, SafetensorError) as error:
        raise QuickstudyError(f"{path} holds no session of {agent} on these tasks: {error or type(error).__name__}") from error


def checksum(tensors: Mapping[str, Tensor], header: str) -> str:
    """One sha256 over names, values and header."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def policy_fields(policy: Any) -> dict[str, Any]:
    """The tensors and plain values among the fields of a policy, and of policies inside it."""
    if not is_dataclass(policy):
        raise UsageError(f"a session of {type(policy).__name__} can't be saved: make the policy a frozen dataclass")
    values = {field.name: getattr(policy, field.name) for field in fields(policy)}
    inside = {name: policy_fields(value) for name, value in values.items() if is_policy(value)}
    return inside | {name: value for name, value in values.items() if is_tree(value)}


def with_fields(policy: Any, state: Mapping[str, Any]) -> Any:
    """A policy with stored fields in place of its own; ValueError where they don't fit."""
    changed = {}
    for name, own in policy_fields(policy).items():
        if is_policy(getattr(policy, name)):
            changed[name] = with_fields(getattr(policy, name), state[name])
            continue
        mine, theirs = dict(leaves({name: pack(own)})), dict(leaves({name: state[name]}))
        for place, value in mine.items():
            # adapted weights have a task axis before those that all tasks share
            if isinstance(value, Tensor) and theirs[place].shape[theirs[place].dim() - value.dim() :] != value.shape:
                raise ValueError(f"{'/'.join(place)} has shape {tuple(theirs[place].shape)}, not {tuple(value.shape)}")
        changed[name] = unpack(state[name], TUPLES | tuples_in(own))
    return replace(policy, **changed)


def is_policy(value: Any) -> bool:
    """Whether a field of a policy is a policy itself."""
    return is_dataclass(value) and hasattr(value, "act")


def is_tree(value: Any) -> bool:
    """Whether a value is made of tensors and plain values alone, so that a file can hold it."""
    if isinstance(value, Mapping):
        return all(is_tree(part) for part in value.values())
    if is_namedtuple(value):
        return all(is_tree(part) for part in value)
    return value is None or isinstance(value, Tensor | bool | int | float | str)


def is_namedtuple(value: Any) -> bool:
    """Whether a value is a NamedTuple."""
    return isinstance(value, tuple) and hasattr(value, "_asdict")


def tuples_in(value: Any) -> dict[str, Any]:
    """The NamedTuples of which a policy's own field is made."""
    parts = list(value.values()) if isinstance(value, Mapping) else list(value) if is_namedtuple(value) else []
    found = {type(value).__name__: type(value)} if is_namedtuple(value) else {}
    for part in parts:
        found |= tuples_in(part)
    return found


def pack(value: Any) -> Any:
    """NamedTuples, lists and dictionaries as dictionaries with text for keys."""
    if is_namedtuple(value):
        return {"tuple": type(value).__name__, "parts": pack(value._asdict())}
    if isinstance(value, list):
        return {"list": len(value), "parts": pack(dict(enumerate(value)))}
    if isinstance(value, Mapping):
        return {str(name): pack(part) for name, part in value.items()}
    return value


def unpack(state: Any, tuples: Mapping[str, Any]) -> Any:
    """What `pack` was given; KeyError for a NamedTuple that is not in the list."""
    if not isinstance(state, Mapping):
        return state
    if set(state) == {"tuple", "parts"}:
        name = str(state["tuple"])
        return tuples[name if name in tuples else RENAMED.get(name, name)](**unpack(state["parts"], tuples))
    if set(state) == {"list", "parts"}:
        return [unpack(state["parts"][str(number)], tuples) for number in range(state["list"])]
    return {name: unpack(part, tuples) for name, part in state.items()}
