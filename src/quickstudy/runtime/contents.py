"""What is in the file of an exported agent beside its graph, held against a pattern before any of it is used."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from quickstudy.errors import QuickstudyError, shorten
from quickstudy.runtime.draws import Draws, draws_of
from quickstudy.runtime.spaces import MOST, Space, space_of

FORMAT = 1
KEY, SEAL = "quickstudy", "quickstudy.sha256"
"""Names in the file's metadata: of what is told of the agent, as JSON, and of the checksum over the file."""
SEALED = re.compile(rb"sha256:([0-9a-f]{64})")
UNSEALED = "sha256:" + "0" * 64
"""What stands in the checksum's place while it is reckoned."""
ADAPTS = "memory", "gradient", "nothing"
DTYPES = {"float32", "float64", "int64", "bool"}
PERCEPT = "observation", "first", "action", "reward", "arrival", "terminated", "truncated"
"""What the step graph reads of the world, by these names, each with a leading axis of lanes."""
LIVED = "observation", "action", "parameters", "reward", "arrival", "terminated", "truncated", "valid"
"""What the adaptation graph reads, each (lane, time, ...)."""


@dataclass(frozen=True)
class Contents:
    """What is told of an agent."""

    name: str
    version: str
    """Of quickstudy, by which it was exported."""
    adapts: str
    """How: in its memory, by gradient steps on its weights, or not at all."""
    lanes: int
    """Episodes that one adaptation learns from."""
    horizon: int
    """Steps of an episode that adaptation has room for."""
    observation: Space
    action: Space
    draws: Draws
    memory: dict[str, np.ndarray]
    """What is remembered, without the axis of lanes, as it is when a task begins."""
    weights: dict[str, np.ndarray]
    """The weights that adapt, as they are when a task begins."""
    adaptation: tuple[str, str] | None
    """The name of the file with the adaptation graph, beside this one, and its sha256."""
    told: dict[str, Any]
    """All of it, as it stands there."""


def contents_of(told: Any) -> Contents:
    """What a file tells, once it fits; QuickstudyError, LookupError, TypeError or ValueError where it doesn't."""
    if told["format"] != FORMAT:
        raise QuickstudyError(
            f"its format is {shorten(told['format'])}, not {FORMAT}: it is from another version of quickstudy"
        )
    adapts, lanes, horizon = told["adapts"], told["lanes"], told["horizon"]
    if adapts not in ADAPTS or not all(type(count) is int and 1 <= count <= MOST for count in (lanes, horizon)):
        raise QuickstudyError(f"it adapts by {shorten(adapts)} on {shorten(lanes)} lanes of {shorten(horizon)} steps")
    memory, weights = ({name: first_of(rule) for name, rule in told[part].items()} for part in ("memory", "weights"))
    adaptation = None
    if adapts == "gradient":
        file, digest = told["adaptation"]["file"], told["adaptation"]["sha256"]
        if file in ("", ".", "..") or PurePath(file).name != file or "\\" in file:
            raise QuickstudyError(f"its adaptation must be in a file beside it, not in {shorten(file)}")
        adaptation = file, str(digest)
    observation, action = space_of(told["observation"]), space_of(told["action"])
    texts = str(told["agent"])[:100], str(told["quickstudy"])[:100]
    return Contents(
        *texts, adapts, lanes, horizon, observation, action, draws_of(told["distribution"]), memory, weights, adaptation, told
    )


def first_of(rule: Mapping[str, Any]) -> np.ndarray:
    """The first values of a tensor: one number for all entries, or all of them, little-endian, in base64."""
    shape, dtype, first = tuple(rule["shape"]), rule["dtype"], rule["first"]
    if dtype not in DTYPES or not all(type(size) is int and 0 <= size <= MOST for size in shape) or math.prod(shape) > MOST:
        raise QuickstudyError(f"no tensor is of type {shorten(dtype)} and shape {shorten(shape)}")
    kind = np.dtype(dtype).newbyteorder("<")
    if not isinstance(first, str):
        return np.full(shape, first, kind)
    return np.frombuffer(base64.b64decode(first, validate=True), kind).reshape(shape).astype(dtype)


def first_as_json(values: np.ndarray) -> dict[str, Any]:
    """What `first_of` reads."""
    same = values.size and bool((values == values.flat[0]).all()) and bool(np.isfinite(values.flat[0]))
    raw = base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode()
    return {"shape": list(values.shape), "dtype": str(values.dtype), "first": values.flat[0].item() if same else raw}


def sealed(content: bytes) -> bytes:
    """A file with its checksum in it, in the one place that `UNSEALED` keeps for it."""
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(UNSEALED.encode(), f"sha256:{digest}".encode())


def require_sealed(content: bytes) -> None:
    """Raises QuickstudyError where a file has no checksum, or was altered since it was reckoned."""
    found = SEALED.findall(content)
    if len(found) != 1:
        raise QuickstudyError("it has no checksum, so it was damaged or is no agent of quickstudy's")
    if hashlib.sha256(SEALED.sub(UNSEALED.encode(), content)).hexdigest() != found[0].decode():
        raise QuickstudyError("it was damaged or altered: its checksum differs from what was written")
