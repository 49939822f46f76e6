"""Values on their way to another process: in memory without a name, which is gone when both ends have closed it.

A parcel holds a pickle and, apart from it, the bytes of its tensors and arrays. Only processes that one run has started itself
exchange parcels; nothing stored is read this way.
"""

from __future__ import annotations

import inspect
import mmap
import os
import pickle
import socket
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import accumulate
from pickle import PickleBuffer
from types import CellType
from typing import Any, TypeVar

import cloudpickle
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from quickstudy.errors import UsageError, shorten

Parcel = TypeVar("Parcel")
ALIGNMENT = 64
"""Where tensors begin, as PyTorch itself lays them: a product rounds otherwise where its memory begins at another place."""
HERE = "the task distribution"


class Packer(cloudpickle.Pickler):
    """Pickles a value, the bytes of its tensors apart; `known` is an object that the other end has already."""

    def __init__(self, stream: BytesIO, buffers: list[PickleBuffer], known: Any):
        super().__init__(stream, protocol=5, buffer_callback=buffers.append)
        self._known = known

    def persistent_id(self, obj: Any) -> str | None:
        return HERE if obj is self._known and obj is not None else None

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor and obj.layout is torch.strided and obj.device.type != "meta":
            return tensor_of, parts_of(obj)
        if isinstance(obj, Optimizer) or hasattr(type(obj), "ledger"):
            # adapting needs a learner's weights, never its optimiser or its replay, which may be a thousand times their size
            return type(None), ()
        return super().reducer_override(obj)


class Unpacker(pickle.Unpickler):
    """Reads what a Packer wrote."""

    def __init__(self, stream: BytesIO, buffers: Sequence[memoryview], known: Any):
        super().__init__(stream, buffers=buffers)
        self._known = known

    def persistent_load(self, pid: Any) -> Any:
        return self._known


def parts_of(tensor: Tensor) -> tuple[Any, ...]:
    """A tensor as its bytes, and what makes a tensor of them; entries that lie close together keep their order in memory."""
    values = tensor.detach().cpu()
    values = values if is_dense(values) else values.contiguous()
    raw = PickleBuffer(values.as_strided((values.numel(),), (1,)).view(torch.uint8).numpy().data)
    return raw, values.dtype, tuple(values.shape), values.stride(), str(tensor.device), tensor.requires_grad


def is_dense(tensor: Tensor) -> bool:
    """Whether the entries fill a stretch of memory, in whatever order of their axes."""
    step = 1
    for stride, size in sorted(pair for pair in zip(tensor.stride(), tensor.shape, strict=True) if pair[1] > 1):
        if stride != step:
            return False
        step *= size
    return True


def tensor_of(
    raw: memoryview, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...], device: str, requires_grad: bool
) -> Tensor:
    """The tensor that `parts_of` took apart."""
    return torch.from_numpy(np.asarray(raw)).view(dtype).as_strided(shape, stride).to(device).requires_grad_(requires_grad)


def seal(value: Any, known: Any = None) -> int:
    """Puts a value into memory without a name; returns its file descriptor."""
    descriptor = unnamed_memory()
    with open(descriptor, "wb", closefd=False) as file:
        for start, part in pieces(value, known):
            file.seek(start)
            file.write(part)
    return descriptor


def unseal(descriptor: int, known: Any = None) -> Any:
    """The value in a parcel, copied out of it: what stays mapped would keep a descriptor open."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as pages:
        return unpack(pages, known)


def pack(value: Any, known: Any = None) -> NDArray[np.uint8]:
    """A value as the bytes that a parcel holds, for those who share no memory."""
    laid = pieces(value, known)
    start, last = laid[-1]
    whole = np.zeros(start + last.nbytes, np.uint8)
    for start, part in laid:
        whole[start : start + part.nbytes] = np.frombuffer(part, np.uint8)
    return whole


def unpack(pages: Any, known: Any = None) -> Any:
    """The value in a parcel's bytes, copied out of them."""
    head = np.frombuffer(pages[:8], np.int64)
    head = np.frombuffer(pages[: 8 * (1 + int(head[0]))], np.int64)
    body, *buffers = [copied(pages, start, size) for start, size in zip(starts(head), head[1:].tolist(), strict=True)]
    return Unpacker(BytesIO(body), buffers, known).load()


def sent(make: Callable[[], Parcel], value: Any, what: str) -> Parcel:
    """A parcel of a value; UsageError where it can't leave this process, which names the part that can't."""
    try:
        return make()
    except (OSError, MemoryError):
        raise
    except Exception as error:
        place, part = unsendable(value, what)
        raise UsageError(
            f"{place} (a {type(part).__name__}) can't be sent to workers: {type(error).__name__}: {shorten(str(error))};"
            " make it where it is used, or take --workers 0"
        ) from error


def unsendable(value: Any, place: str, depth: int = 4) -> tuple[str, Any]:
    """The innermost part of a value that can't be pickled, and where it lies."""
    named = value.items() if isinstance(value, dict) else getattr(value, "__dict__", {}).items()
    parts = [(f"{place}.{name}", part) for name, part in named]
    if isinstance(value, tuple | list):
        parts = [(f"{place}[{number}]", part) for number, part in enumerate(value)]
    if inspect.isfunction(value) and value.__closure__:
        parts += [(f"{place}, its {name}", cell.cell_contents) for name, cell in closure_of(value)]
    for where, part in parts if depth else ():
        try:
            pieces(part, None)
        except Exception:
            return unsendable(part, where, depth - 1)
    return place, value


def closure_of(function: Any) -> list[tuple[str, Any]]:
    """The variables that a function has from around it, as far as they have a value yet."""
    cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    return [(name, cell) for name, cell in cells if cell != CellType()]


def pieces(value: Any, known: Any) -> list[tuple[int, memoryview]]:
    """What a parcel of a value holds, and where it begins: the number and sizes of the parts, a pickle, the buffers."""
    stream, buffers = BytesIO(), list[PickleBuffer]()
    Packer(stream, buffers, known).dump(value)
    parts = [stream.getbuffer(), *(buffer.raw() for buffer in buffers)]
    head = np.array([len(parts), *(part.nbytes for part in parts)], np.int64)
    return [(0, head.data.cast("B")), *zip(starts(head), parts, strict=True)]


def copied(pages: Any, start: int, size: int) -> memoryview:
    """Some bytes in memory of PyTorch's own."""
    if not size:
        return memoryview(bytearray())
    own = torch.empty(size, dtype=torch.uint8).numpy()
    own[:] = np.frombuffer(pages, np.uint8, size, start)
    return own.data


def starts(head: np.ndarray) -> list[int]:
    """Where the parts lie whose number and sizes a parcel begins with."""
    ends = accumulate(head[1:-1].tolist(), lambda start, size: aligned(start + size), initial=aligned(head.nbytes))
    return list(ends)


def aligned(place: int) -> int:
    """The next place where a tensor may begin."""
    return -(-place // ALIGNMENT) * ALIGNMENT


def unnamed_memory() -> int:
    """The descriptor of a file that no folder lists, so that nothing is left of it whichever process is killed."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("quickstudy")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def send(channel: socket.socket, message: bytes, parcel: int) -> None:
    """Sends a short message and a parcel."""
    socket.send_fds(channel, [message], [parcel])


def receive(channel: socket.socket, size: int) -> tuple[bytes, int]:
    """At most `size` bytes and a parcel, -1 where none came; no bytes where the other end is closed."""
    try:
        message, parcels, *_ = socket.recv_fds(channel, size, 1, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    except ConnectionResetError:
        return b"", -1
    return message, parcels[0] if parcels else -1
