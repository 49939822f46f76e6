"""Exported agents as files and as graphs in memory: `load`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.errors import QuickstudyError, UsageError
from quickstudy.runtime.contents import KEY, LIVED, PERCEPT, Contents, contents_of, require_sealed
from quickstudy.runtime.session import Session
from quickstudy.storage import parse_json, read_bytes

MAX_BYTES = 2**30
"""A file of more is not read."""
Arrays = dict[str, np.ndarray]
DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
}
"""What ONNX Runtime calls types."""


class Graph:
    """A graph in memory, called with arrays by name."""

    def __init__(self, content: bytes, threads: int):
        onnxruntime = require_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs = {each.name: (DTYPES.get(each.type, each.type), list(each.shape)) for each in self._session.get_inputs()}
        self.outputs = [each.name for each in self._session.get_outputs()]

    def __call__(self, values: Mapping[str, np.ndarray]) -> Arrays:
        """All outputs by name."""
        return dict(zip(self.outputs, self._session.run(None, values), strict=True))


class Agent:
    """An exported agent: `contents` is what its file tells, `step` its graph, `adaptation` that of its inner step, if any."""

    def __init__(self, contents: Contents, step: Graph, adaptation: Graph | None):
        self.contents, self.step, self.adaptation = contents, step, adaptation
        self.name, self.lanes = contents.name, contents.lanes

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step. `seed` is of NumPy's generator, whose numbers are not PyTorch's."""
        return Session(self, seed=seed, greedy=greedy)


def load(path: str | Path, *, threads: int = 1) -> Agent:
    """The agent in a file that `quickstudy export` wrote; it needs no PyTorch, and runs no code from the file.

    `threads` is on how many a graph is reckoned. UsageError where there is no such file or ONNX Runtime is missing,
    QuickstudyError where a file was damaged or holds no such agent.
    """
    path = Path(path)
    require_onnxruntime()
    with refusing(path):
        content = read_bytes(path, MAX_BYTES)
        require_sealed(content)
        step = Graph(content, threads)
        contents = contents_of(parse_json(step.metadata[KEY], path))
        carried = {f"memory.{name}": value for name, value in contents.memory.items()}
        fixed = {f"weights.{name}": value for name, value in contents.weights.items()}
        require_graph(
            step, [*PERCEPT, *carried, *fixed], ["greedy_action", "parameters", *(f"next.{n}" for n in contents.memory)]
        )
        for name, value in (carried | fixed).items():
            require_like(step, name, value, lead=name in carried)
    adaptation = None
    if contents.adaptation:
        file, digest = contents.adaptation
        beside = path.with_name(file)
        with refusing(beside):
            content = read_bytes(beside, MAX_BYTES)
            if hashlib.sha256(content).hexdigest() != digest:
                raise QuickstudyError(f"it is not the adaptation that {path.name} was exported with, or was damaged")
            adaptation = Graph(content, threads)
            require_graph(adaptation, [*LIVED, "first_step", *fixed], [f"next.{name}" for name in contents.weights])
            for name, value in fixed.items():
                require_like(adaptation, name, value)
    return Agent(contents, step, adaptation)


def require_graph(graph: Graph, inputs: list[str], outputs: list[str]) -> None:
    """Raises QuickstudyError where a graph doesn't read and give what it must."""
    if set(graph.inputs) != set(inputs):
        raise QuickstudyError(f"its graph reads other inputs than {', '.join(inputs)}"[:300])
    if missing := [name for name in outputs if name not in graph.outputs]:
        raise QuickstudyError(f"its graph doesn't give {', '.join(missing)}"[:300])


def require_like(graph: Graph, name: str, value: np.ndarray, lead: bool = False) -> None:
    """Raises QuickstudyError where an input is of another type or shape than its first value."""
    dtype, shape = graph.inputs[name]
    if dtype != str(value.dtype) or shape[int(lead) :] != list(value.shape):
        raise QuickstudyError(f"its graph reads {name} as {dtype} {shape}, its first value is {value.dtype} {value.shape}")


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read, in one line that names it: whatever a stranger's file makes of it."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except Exception as error:  # ONNX Runtime has classes of its own for what it refuses
        cause = " ".join(str(error).split())[:300] or type(error).__name__
        raise QuickstudyError(cause if cause.startswith(str(path)) else f"{path} holds no exported agent: {cause}") from error


def require_onnxruntime() -> Any:
    """ONNX Runtime; UsageError with the install command where it is missing."""
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise UsageError("exported agents need ONNX Runtime; install it: pip install 'quickstudy[runtime]'") from error
