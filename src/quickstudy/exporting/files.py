"""`quickstudy.export`: an agent as a file, or two where its adaptation is more than memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from quickstudy.arguments import checked
from quickstudy.errors import QuickstudyError, UsageError
from quickstudy.exporting.agents import Exportable, exportable
from quickstudy.exporting.rules import action_rule, distribution_rule, observation_rule
from quickstudy.exporting.tracing import graph_of, require_packages
from quickstudy.protocol import Agent
from quickstudy.runtime import agent as runtime
from quickstudy.runtime.contents import FORMAT, KEY, LIVED, PERCEPT, SEAL, UNSEALED, first_as_json, sealed
from quickstudy.storage import to_json, write_atomically

SUFFIX = ".onnx"
CLOSE = 1e-4
"""What a graph's numbers may depart from the agent's own, as a share of the largest, before the export is refused."""
WHAT_ENDS_DO = {
    "memory": "memory stays as it is: it is carried over to the next episode of the task",
    "gradient": "after as many episodes as there are lanes, the adaptation graph makes new weights of them and the old",
    "nothing": "memory takes its first values",
}


class Exported(NamedTuple):
    """Files that were written."""

    paths: list[Path]
    sizes: list[int]
    """In bytes."""
    departure: float
    """The largest difference between the graphs' numbers and the agent's own, on random steps, as a share of the largest."""


@checked
def export(
    agent: Agent, path: str | Path, *, horizon: int | None = None, licence: str = "", run: Mapping[str, Any] | None = None
) -> Exported:
    """Writes an agent as FILE.onnx, which `quickstudy.runtime.load` runs without PyTorch, adaptation included.

    An agent that adapts by gradient gets FILE.adapt.onnx beside it. Its adaptation has room for episodes of `horizon` steps,
    those of its tasks by default. `licence` is that of the weights and `run` what is known of where they were trained; both are
    told in the file. Before anything is written the graphs are held against the agent on random steps.

    UsageError where a package is missing, for another suffix, and for agents that can't be exported: those that plan, whose
    networks can't be traced, or whose tasks encode observations by code of their own.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path} is no name for an exported agent; name it FILE.onnx")
    if horizon is not None and horizon < 1:
        raise UsageError(f"export: horizon is {horizon}, it must be at least 1")
    require_packages()
    steps = horizon or agent.tasks.max_episode_steps
    if agent.device != "cpu":
        raise UsageError(f"the agent lives on {agent.device}; load it with device='cpu' to export it")
    try:
        found = exportable(agent, steps)
        told = described(found, steps) | {"licence": licence or None, "run": dict(run or {}) or None}
        step, departure = step_graph(found)
        adaptation, second = adaptation_graph(found) if found.adapts.how == "gradient" else (None, 0.0)
    except UsageError as error:
        raise UsageError(f"can't export: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    if adaptation:
        beside = path.with_name(f"{path.stem}.adapt{SUFFIX}")
        told["adaptation"] = {"file": beside.name, "sha256": hashlib.sha256(adaptation).hexdigest()}
        written.append((beside, adaptation))
    for name, text in ((KEY, to_json(told)), (SEAL, UNSEALED)):
        step.metadata_props.add(key=name, value=text)
    written.insert(0, (path, sealed(step.SerializeToString())))
    # the file that names the other one comes last
    for place, content in reversed(written):
        write_atomically(place, content)
    return Exported([place for place, _ in written], [len(content) for _, content in written], max(departure, second))


def described(found: Exportable, horizon: int) -> dict[str, Any]:
    """All that a file tells of an agent but its adaptation's file."""
    agent, tasks = found.agent, found.agent.tasks
    percept = dict(zip(PERCEPT, found.step_example(1), strict=False))
    return {
        "format": FORMAT,
        "quickstudy": version("quickstudy"),
        "agent": agent.name,
        "tasks": str(tasks),
        "adapts": found.adapts.how,
        "lanes": agent.lanes,
        "horizon": horizon,
        "episodes_per_trial": tasks.episodes_per_trial,
        "observation": observation_rule(tasks),
        "action": action_rule(tasks),
        "distribution": distribution_rule(found.distribution, tasks.action_space),
        "percept": {name: {"shape": ["lanes", *part.shape[1:]], "dtype": dtype_of(part)} for name, part in percept.items()},
        "new_task": "memory and weights take their first values; the percept tells of no step before",
        "episode_end": WHAT_ENDS_DO[found.adapts.how],
        "memory": {name: first_as_json(value.numpy()) for name, value in found.memory.items()},
        "weights": {name: first_as_json(value.numpy()) for name, value in found.adapts.weights.items()},
        "normaliser": normaliser(agent),
    }


def normaliser(agent: Any) -> dict[str, Any] | None:
    """The statistics by which observations are normalised, inside the graphs; None where they aren't."""
    moments = getattr(getattr(agent, "statistics", None), "observation", None)
    return None if moments is None else {"inside": True, "mean": moments.mean.tolist(), "std": moments.std.tolist()}


def dtype_of(tensor: Tensor) -> str:
    """The name of a type, as NumPy has it."""
    return str(tensor.dtype).removeprefix("torch.")


def step_graph(found: Exportable) -> tuple[Any, float]:
    """The step as an ONNX model, and how far it departs from the agent's own."""
    memory, weights = list(found.memory), list(found.adapts.weights)
    carried = [f"memory.{name}" for name in memory]
    inputs = [*PERCEPT, *carried, *(f"weights.{name}" for name in weights)]
    outputs = ["greedy_action", "parameters", *(["value"] if found.valued else []), *(f"next.{name}" for name in memory)]
    leading = [*PERCEPT, *carried]
    model = graph_of(f"{found.agent.name}'s step", found.step, found.step_example(3), inputs, outputs, leading)
    # another number of lanes than it was traced with
    return model, departure(model.SerializeToString(), found.step, inputs, found.step_example(5))


def adaptation_graph(found: Exportable) -> tuple[bytes, float]:
    """The inner step as an ONNX model, and how far it departs from the agent's own."""
    names = list(found.adapts.weights)
    inputs = [*LIVED, "first_step", *(f"weights.{name}" for name in names)]
    example = found.adapt_example()
    outputs = [f"next.{name}" for name in names]
    model = graph_of(f"{found.agent.name}'s adaptation", found.adapt, example, inputs, outputs, derived=True)
    content = model.SerializeToString()
    return content, departure(content, found.adapt, inputs, example)


@torch.no_grad()
def departure(content: bytes, function: Any, inputs: Sequence[str], example: Sequence[Tensor]) -> float:
    """How far a graph's numbers are from a function's own, as a share of the largest; QuickstudyError where that is too far."""
    given = {name: tensor.numpy() for name, tensor in zip(inputs, example, strict=True)}
    graph = runtime.Graph(content, 1)
    found, largest = graph(given), 0.0
    for (name, ours), theirs in zip(found.items(), function(*example), strict=True):
        wanted = theirs.numpy().astype(np.float64)
        apart = np.abs(ours.astype(np.float64) - wanted).max(initial=0.0) / max(1.0, np.abs(wanted).max(initial=0.0))
        if not apart <= CLOSE or ours.dtype != theirs.numpy().dtype:
            raise QuickstudyError(f"the exported graph gives another {name} than the agent: they are {apart:.1e} apart")
        largest = max(largest, float(apart))
    return largest
