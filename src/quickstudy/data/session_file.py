"""What a session holds, and how it lies in a file: one safetensors file with a checksum, no code in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

from quickstudy.errors import QuickstudyError, UsageError, shorten
from quickstudy.ops.fit import is_finite
from quickstudy.ops.state import insert, leaves, plain_values
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import Act, Memory, Percept, Transition
from quickstudy.storage import parse_json, read_bytes, write_atomically

FORMAT = 1
LATER = {"keep_parameters"}
"""Fields of policies that older sessions don't tell: they stay as they are by default."""
MAX_BYTES = 2**28
"""A session of more is neither written nor read."""


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
    every = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in found.items()}
    same = equal_ones(every)
    tensors = {name: value for name, value in every.items() if name not in same}
    header = json.dumps({"format": FORMAT, "agent": agent, "values": plain_values(state), "same": same})
    content = save(tensors, {"session": header, "sha256": checksum(tensors, header)})
    if len(content) > MAX_BYTES:
        raise UsageError(f"the session holds {len(content)} bytes, {MAX_BYTES} at most are kept; save it after fewer steps")
    write_atomically(path, content)


def read_session(path: Path, agent: str, policy: Any, device: str) -> tuple[Any, dict[str, Any]]:
    """The stored policy, made from the agent's explorer `policy`, and what else the session held.

    UsageError where there is no such file, QuickstudyError where it was altered or doesn't fit the agent.
    """
    with refusing(path, agent):
        content = read_bytes(path, MAX_BYTES)
        tensors = load(content)
        # that was found to be such a file: eight bytes with the length of the header, the header, the tensors
        metadata = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")], path)["__metadata__"]
        if metadata["sha256"] != checksum(tensors, metadata["session"]):
            raise QuickstudyError(f"{path} was altered: its checksum differs from what was written")
        header = parse_json(metadata["session"], path)
        if header["format"] != FORMAT:
            raise QuickstudyError(
                f"{path}: format {shorten(header['format'])} is not {FORMAT}: it is from another version of quickstudy"
            )
        if header["agent"] != agent:
            raise QuickstudyError(f"{path} is a session of {header['agent']:.60}, not of {agent}")
        state = header["values"]
        tensors |= {name: tensors[first] for name, first in header.get("same", {}).items()}
        for name, tensor in tensors.items():
            # copied, since a product rounds otherwise where its memory begins at another place
            insert(state, name.split("/"), tensor.clone().to(device))
        return with_fields(policy, state["policy"]), unpack(state["held"], TUPLES)


def equal_ones(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Tensors that are stored under another name already: what a step led to is what the next one sees."""
    first: dict[Any, str] = {}
    keys = {name: (value.dtype, value.shape, digest_of(value)) for name, value in tensors.items()}
    return {name: earlier for name, key in keys.items() if (earlier := first.setdefault(key, name)) != name}


def digest_of(value: Tensor) -> bytes:
    """What tells a tensor's bytes from others."""
    return hashlib.sha256(value.reshape(-1).view(torch.uint8).numpy().tobytes()).digest()


@contextmanager
def refusing(path: Path, agent: str) -> Iterator[None]:
    """What goes wrong while a session is read, in one line: whatever a stranger's file makes of it."""
    try:
        yield
    except QuickstudyError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except Exception as error:  # a policy with stored weights may fail in any way
        cause = " ".join(str(error).split())[:300] or type(error).__name__
        raise QuickstudyError(f"{path} holds no session of {agent} on these tasks: {cause}") from error


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
        if name in LATER and name not in state:
            continue
        if is_policy(getattr(policy, name)):
            changed[name] = with_fields(getattr(policy, name), state[name])
            continue
        mine, theirs = dict(leaves({name: pack(own)})), dict(leaves({name: state[name]}))
        for place, value in mine.items():
            if value is not None:  # what is there only after adapting is tried with the rest
                require_field("/".join(place), theirs[place], value)
        changed[name] = unpack(state[name], TUPLES | tuples_in(own))
    return replace(policy, **changed)


def require_field(where: str, stored: Any, own: Any) -> None:
    """Raises ValueError where a stored leaf of a policy can't take the place of the explorer's own."""
    if isinstance(own, Tensor):
        # adapted weights have a task axis before those that all tasks share
        if not isinstance(stored, Tensor) or stored.shape not in (own.shape, (1, *own.shape)):
            found = tuple(stored.shape) if isinstance(stored, Tensor) else shorten(stored)
            raise ValueError(f"{where} has shape {found}, not {tuple(own.shape)}")
        if stored.dtype != own.dtype or not is_finite(stored):
            raise ValueError(f"{where} is of {stored.dtype}, not of {own.dtype}, or holds NaN or infinity")
    elif type(stored) is not type(own):
        raise ValueError(f"{where} is {shorten(stored)}, it must be a value of type {type(own).__name__}")


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
