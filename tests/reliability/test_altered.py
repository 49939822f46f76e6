"""Checkpoints and sessions that were altered and sealed again, as an attacker would: each is refused, in one line, before use.

What their checksums can't tell is told by the learner: names, shapes, dtypes, ranges, counters, and what a replay must hold.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import Share
from forked import fault_of, forked
from safetensors.torch import load_file, save
from small import TINY
from test_hostile import reseal
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.cli import main
from quickstudy.data.session_file import checksum
from quickstudy.ops.state import copy_state
from quickstudy.runs.checkpoint import DamagedCheckpoint, load_checkpoint
from quickstudy.runs.folder import stored_config

NEWEST = "00000002"
Tensors = dict[str, Tensor]
Alter = Callable[[Tensors, str], None]


def dropped(tensors: Tensors, name: str) -> None:
    del tensors[name]


def other_kind(tensors: Tensors, name: str) -> None:
    tensors[name] = tensors[name].to(torch.int32 if tensors[name].is_floating_point() else torch.float32)


def filled(value: float) -> Alter:
    """A number in the midst of the others; where they are none that could be so, other numbers altogether."""

    def alter(tensors: Tensors, name: str) -> None:
        tensors[name] = tensors[name].clone().to(torch.float32 if tensors[name].dtype != torch.float64 else torch.float64)
        if not tensors[name].numel():
            tensors[name] = torch.zeros(3, 3, 3, 3)
        tensors[name].view(-1)[0] = value
        if not torch.isfinite(torch.tensor(value)) or not tensors[name].dim():
            return
        tensors[name] = tensors[name][None]

    return alter


TENSORS: dict[str, Alter] = {
    "is missing": dropped,
    "has another name": lambda tensors, name: tensors.update({f"{name}x": tensors.pop(name)}),
    "is there twice": lambda tensors, name: tensors.update({f"{name}/more": tensors.pop(name)}),
    "has an axis more": lambda tensors, name: tensors.update({name: tensors[name][None].clone()}),
    "has a row more": lambda tensors, name: tensors.update(
        {name: torch.cat([tensors[name].reshape(-1), tensors[name].reshape(-1)[:1], torch.ones(1).to(tensors[name])])}
    ),
    "is empty": lambda tensors, name: tensors.update({name: tensors[name].new_zeros(0, 7)}),
    "is of another kind": other_kind,
    "holds NaN": filled(float("nan")),
    "holds infinity": filled(float("inf")),
}
VALUES = ["1e4000", "-3", "true", "1" * 80, '"7"', "[1]", "{}", "null", "2.5", '{"a": {"b": 1}}']
COUNTS = ["iteration", "timesteps", "metrics_bytes", "learner/iteration"]
BELOW = (".exp_avg_sq", ".step", "/number", "/spread", "/variance", "/weight", "/priorities", "/newest")


def below_zero(tensors: Tensors, name: str) -> None:
    tensors[name] = -1 - tensors[name].abs()


ROWS: dict[str, Callable[[Tensors], None]] = {
    "a task beyond": lambda table: table.update(task=table["task"] + 10_000),
    "a task below": lambda table: table.update(task=table["task"] - 9_999),
    "numbers beyond all": lambda table: table.update(number=table["number"] + 2**60),
    "numbers below": lambda table: table.update(number=table["number"] - 9_999),
    "numbers with gaps": lambda table: table.update(number=table["number"] * 3 + 2),
    "numbers in floats": lambda table: table.update(number=table["number"].double()),
    "no numbers": lambda table: dropped(table, "number"),
    "no rewards": lambda table: dropped(table, "record.reward"),
    "more columns": lambda table: table.update({"record.more": table["record.reward"].clone()}),
    "columns of other names": lambda table: table.update({"more": table["record.reward"].clone()}),
    "rewards of NaN": lambda table: table.update({"record.reward": table["record.reward"] * float("nan")}),
    "rewards of another shape": lambda table: table.update({"record.reward": table["record.reward"][..., None].clone()}),
    "whole rewards": lambda table: table.update({"record.reward": table["record.reward"].long()}),
    "fewer rewards": lambda table: table.update({"record.reward": table["record.reward"][1:].clone()}),
    "no rows": lambda table: table.update({name: column[:0].clone() for name, column in table.items()}),
}


def trained(name: str, run: Path) -> None:
    """A run of two meta-iterations, with the second checkpoint alone."""
    algorithm, _, more = name.partition(" ")
    entry, options = ALGORITHMS[algorithm], {**TINY[algorithm], "hidden_size": 8}
    tasks = qs.tasks.make("point-navigation", max_episode_steps=5) if more else qs.tasks.make("bandit", pulls=5)
    options |= {"prioritised": 0.5} if more == "by priority" else {}
    learner: Any = entry.make(tasks, entry.config(**options), seed=1)
    if more == "in normalisers":
        learner = qs.Normalised(learner, qs.Normalisation(normalise_observation=True, normalise_reward=True))
    quiet: dict[str, Any] = {"checkpoint_every": 2, "keep_checkpoints": 2, "threads": 1, "evaluate_every": 0, "quiet": True}
    qs.train(learner, 2, run, **quiet)
    for file in (run / "checkpoints" / "00000000").iterdir():
        file.unlink()
    (run / "checkpoints" / "00000000").rmdir()


LEARNERS = [*sorted(ALGORITHMS), "recurrent-sac by priority", "multi-task-sac by priority", "rl2 in normalisers"]


def alteration(checkpoint: Path, number: int, chance: random.Random) -> str:
    """Alters one thing of a checkpoint, seals it again, and says what it did."""
    tensors, values = load_file(checkpoint / "state.safetensors"), json.loads((checkpoint / "state.json").read_text())
    segments = sorted((checkpoint.parent.parent / "replay").glob("*"))
    kinds = ["tensor", "tensor", "tensor", "below", "count", "segment" if segments else "tensor"]
    kind = kinds[number % len(kinds)]
    weights = ("weights", "learned", "target")
    names = [name for name in sorted(tensors) if name.endswith(BELOW) and not any(part in name for part in weights)]
    if kind == "below" and not names:
        kind = "tensor"
    if kind == "tensor":
        done, name = chance.choice(sorted(TENSORS)), chance.choice(sorted(tensors))
        TENSORS[done](tensors, name)
    elif kind == "below":
        done, name = "is below zero", chance.choice(names)
        below_zero(tensors, name)
    elif kind == "count":
        done, name = chance.choice(VALUES), chance.choice(COUNTS)
        inner = values["learner"]["learner"] if "learner" in values["learner"] else values["learner"]
        (inner if "/" in name else values)[name.split("/")[-1]] = "HERE"
    else:
        done, name = chance.choice(sorted(ROWS)), segments[-1].name
        table = load_file(segments[-1])
        ROWS[done](table)
        return f"{rewritten(checkpoint, segments[-1], save(table))} {done}"
    (checkpoint / "state.safetensors").write_bytes(save({key: value.contiguous() for key, value in tensors.items()}))
    (checkpoint / "state.json").write_text(json.dumps(values).replace('"HERE"', done))
    reseal(checkpoint)
    return f"{name} {done}"


def rewritten(checkpoint: Path, segment: Path, content: bytes) -> str:
    """Puts another content into a segment, and its size and checksum into the manifest."""
    segment.write_bytes(content)

    def change(manifest: dict[str, Any]) -> None:
        for parts in manifest["segments"].values():
            for part in parts:
                if part["name"] == segment.name:
                    part |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    reseal(checkpoint, change)
    return segment.name


def refused_unchanged(run: Path) -> int:
    """Evaluates a run, after its checkpoint was given to a learner, which a refusal must not have changed."""
    learner = stored_config(run).build_learner()
    before = copy_state(learner.state_dict())
    try:
        learner.load_state_dict(load_checkpoint(run / "checkpoints" / NEWEST)["learner"])
    except DamagedCheckpoint:
        pass
    except (ValueError, KeyError, TypeError, AttributeError):
        assert not differing(before, learner.state_dict()), "the learner was changed"
    return main(["evaluate", str(run), "--num-tasks", "2"])


def copied(source: Path, target: Path) -> Path:
    """A copy of a small folder."""
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(source, target)


def test_altered_checkpoints_are_refused_before_anything_changes(tmp_path: Path, share: Share):
    chance, count, faults, learners = random.Random(0), share.of(400, 12), [], share.some(LEARNERS, 3)
    for name in learners:
        trained(name, tmp_path / name)
        assert not main(["evaluate", str(tmp_path / name), "--num-tasks", "2"])
    for number in range(count):
        name = learners[number % len(learners)]
        run = copied(tmp_path / name, tmp_path / "run")
        what = f"{name}: {alteration(run / 'checkpoints' / NEWEST, number // len(learners) + number, chance)}"
        ended = forked(lambda run=run: refused_unchanged(run))
        wrong = fault_of(ended) or ("" if ended.status == 1 else "it was taken")
        faults += [f"{what}: {wrong}"] if wrong else []
    assert not faults, "\n".join(faults)
    share.says("altered checkpoint, sealed again", count, "refused in one line before anything changes")


def altered_session(path: Path, chance: random.Random) -> str:
    """Alters one thing of a session, seals it again, and says what it did."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])["__metadata__"]["session"]
    tensors = load_file(path)
    if chance.random() < 0.6:
        name, done = chance.choice(sorted(tensors)), chance.choice(sorted(TENSORS))
        TENSORS[done](tensors, name)
    else:
        values, done = json.loads(header), chance.choice(VALUES)
        where, name = values["values"], "held"
        while isinstance(where[name], dict) and where[name] and chance.random() < 0.8:
            where, name = where[name], chance.choice(sorted(where[name]))
        where[name] = "HERE"
        header = json.dumps(values).replace('"HERE"', done)
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    path.write_bytes(save(tensors, {"session": header, "sha256": checksum(tensors, header)}))
    return f"{name} {done}"


def seen(learner: Any) -> Any:
    """An observation of zeros."""
    shape = learner.tasks.observation_space.shape
    return np.zeros(shape, np.float32) if shape else 0


def going_on(path: Path, learner: Any) -> int:
    """Goes on with a session for as long as an adaptation takes; 1 where it is refused, 0 where it goes on."""
    try:
        session = qs.Session.restore(path, learner)
    except qs.QuickstudyError as error:
        print(f"error: {error}")
        return 1
    for _ in range(learner.lanes):
        session.act(seen(learner))
        session.feedback(1.0, truncated=True, observation=seen(learner))
    return 0


def test_altered_sessions_are_refused_or_go_on(tmp_path: Path, share: Share):
    chance, count, names, refused, faults = random.Random(1), share.of(60, 6), sorted(ALGORITHMS), 0, []
    for number in range(count):
        name, path = names[number % len(names)], tmp_path / "session.safetensors"
        entry = ALGORITHMS[name]
        learner = entry.make(qs.tasks.make("bandit"), entry.config(**TINY[name] | {"hidden_size": 8}), seed=1)
        session = qs.Session(learner, seed=0)
        for step in range(3 + 2 * learner.lanes):
            session.act(seen(learner))
            session.feedback(1.0, truncated=step % 2 == 1, observation=seen(learner))
        session.save(path)
        what = f"{name}: {altered_session(path, chance)}"
        ended = forked(lambda path=path, learner=learner: going_on(path, learner))
        faults += [f"{what}: {fault_of(ended)}"] if fault_of(ended) else []
        refused += ended.status == 1
    assert not faults, "\n".join(faults)
    assert refused > count / 2
    share.says("altered session, sealed again", count, "refused in one line, or it goes on")
