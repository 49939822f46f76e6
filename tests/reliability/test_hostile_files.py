"""Each file that a run, a folder of seeds, a session or a record of a fault has, replaced by whatever else can stand there.

No command runs code, hangs, takes a gigabyte, writes elsewhere, gives away what a link leads to, or prints a traceback.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Share
from forked import fault_of, forked
from small import TINY

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.cli import main
from quickstudy.live.follow import Follower
from quickstudy.training import train_seeds

SECRET = "a-private-key-" + "k" * 40
SPARSE = 10 * 2**30
Harm = Callable[[Path, Path], None]
"""Puts something in a file's place; the second path is a folder outside, with files that must stay as they are."""


def instead(make: Callable[[Path, Path], object]) -> Harm:
    """Removes what is there first."""

    def harm(path: Path, outside: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path, outside)

    return harm


def sparse(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SPARSE)


def moved(path: Path, outside: Path) -> None:
    """A link to what was there, which lies outside now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = outside / "moved"
    path.rename(target) if path.exists() else target.mkdir()
    path.symlink_to(target)


def content(change: Callable[[str], str | bytes]) -> Harm:
    """Another content, made of the one that was there."""

    def harm(path: Path, outside: Path) -> None:
        old = "" if not path.is_file() else path.read_bytes().decode(errors="replace")
        instead(lambda path, outside: path.write_bytes(new.encode() if isinstance(new := change(old), str) else new))(
            path, outside
        )

    return harm


def numbers_as(text: str) -> Callable[[str], str]:
    """All numbers of a text replaced, or a list of one where it has none."""
    return lambda old: re.sub(r"(?<![\w.\"])-?\d[\d.e+-]*", text, old) if re.search(r"\d", old) else f'{{"a": {text}}}'


NOISE = random.Random(0).randbytes(5000)
KINDS: dict[str, Harm] = {
    "a link to a file": instead(lambda path, outside: path.symlink_to(outside / "secret.txt")),
    "a link to what it was": moved,
    "a link to an endless device": instead(lambda path, outside: path.symlink_to("/dev/zero")),
    "a link to a folder": instead(lambda path, outside: path.symlink_to(outside)),
    "a link to itself": instead(lambda path, outside: path.symlink_to(path)),
    "a FIFO": instead(lambda path, outside: os.mkfifo(path)),
    "a device": instead(lambda path, outside: os.mknod(path, 0o020666, os.makedev(1, 5))),
    "a folder": instead(lambda path, outside: (path / "within").mkdir(parents=True)),
    "a hard link": instead(lambda path, outside: os.link(outside / "secret.txt", path)),
    "10 GB of nothing": instead(sparse),
    "nothing": content(lambda old: b""),
    "noise": content(lambda old: NOISE),
    "JSON without end": content(lambda old: '{"a":' * 100_000),
    "nested lists": content(lambda old: "[" * 900 + "]" * 900),
    "millions of digits": content(numbers_as("1" * 1_000_000)),
    "numbers beyond all": content(numbers_as("1e4000")),
    "huge numbers": content(numbers_as("9" * 4000)),
    "negative numbers": content(numbers_as("-7")),
    "truths for numbers": content(numbers_as("true")),
    "a list": content(lambda old: '[1, {"a": null}, "b"]'),
    "a table of tables": content(lambda old: json.dumps({name: {"b": {}} for name in re.findall(r'"([\w/]+)"', old) or ["a"]})),
    "control characters": content(lambda old: re.sub(r'"[^"]*"$|=.*"', '= "\\\\u001b[2J\\\\u0007"', old) + "\x1b[2J\x07\r"),
}
FOLDERS = {name for name in KINDS if name.startswith(("a link", "a FIFO", "a device", "a folder", "10 GB", "nothing"))}


class Place(NamedTuple):
    """A file or a folder, and the commands that meet it."""

    within: str
    path: str
    commands: tuple[str, ...]
    folder: bool = False


CHECKPOINT = "checkpoints/00000002"
PLACES = [
    *(
        Place("run", path, ("evaluate", "resume", *more))
        for path, more in {
            "config.toml": ("report", "watch"),
            "command.txt": ("report",),
            "system.json": ("report",),
            "metrics.jsonl": ("report", "watch"),
            "timing.jsonl": ("report", "watch"),
            "latest.json": (),
            "trainer.json": ("watch",),
            "records.json": (),
            "fault.json": (),
            f"{CHECKPOINT}/manifest.json": (),
            f"{CHECKPOINT}/state.json": (),
            f"{CHECKPOINT}/state.safetensors": (),
            "replay/SEGMENT": (),
        }.items()
    ),
    *(
        Place("run", path, ("evaluate", "resume"), folder=True)
        for path in ("checkpoints", CHECKPOINT, "replay", "tensorboard", "profile", "wandb")
    ),
    *(Place("seeds", path, ("evaluate", "resume")) for path in ("seeds.json", "config.toml", "command.txt")),
    Place("seeds", "seed-0", ("evaluate", "resume"), folder=True),
    Place("seeds", "seed-1/config.toml", ("evaluate", "resume")),
    Place("session", "session.safetensors", ("restore",)),
    Place("fault", "fault.json", ("check",)),
]
CASES = [(place, kind) for place in PLACES for kind in (FOLDERS if place.folder else KINDS)]
OPTIONS: dict[str, Any] = {"checkpoint_every": 1, "evaluate_every": 0, "threads": 1, "quiet": True}
FAULT = {"task": 0, "parameters": {"gravity": 9.8}, "starts": [[0, 5]], "actions": [1, 0, 1]}
TASKS = """
import gymnasium, quickstudy as qs
tasks = qs.GymnasiumTasks("CartPole-v1", gravity=qs.Uniform(8.0, 12.0))
"""


def learner() -> Any:
    entry = ALGORITHMS["recurrent-sac"]
    return entry.make(qs.tasks.make("bandit"), entry.config(**TINY["recurrent-sac"] | {"hidden_size": 8}), seed=1)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has an iteration left, a folder of seeds, a session and a record of a fault, all used once."""
    from quickstudy.runs.config import Training, config_of
    from quickstudy.runs.seeds import create_seeds

    folder = tmp_path_factory.mktemp("things")
    qs.train(learner(), 2, folder / "run", **OPTIONS)
    (folder / "run" / "config.toml").write_text(
        (folder / "run" / "config.toml").read_text().replace("iterations = 2", "iterations = 3")
    )
    (folder / "run" / "fault.json").write_text(json.dumps(FAULT))
    rl2 = qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(trials=8, hidden_size=8), seed=0)
    training = Training(iterations=1, seed=0, threads=1, evaluate_every=0)
    create_seeds(folder / "seeds", config_of(rl2, training), [0, 1], "quickstudy train ...")
    train_seeds(folder / "seeds", quiet=True)
    for name in ("session", "fault"):
        (folder / name).mkdir()
    session = qs.Session(learner(), seed=0)
    for _ in range(3):
        session.act(0)
        session.feedback(1.0)
    session.save(folder / "session" / "session.safetensors")
    (folder / "fault" / "fault.json").write_text(json.dumps(FAULT))
    (folder / "fault" / "tasks.py").write_text(TASKS)
    shutil.copytree(folder / "run", folder / "again")
    for within, command in (("again", "evaluate"), ("again", "report"), ("again", "resume"), ("fault", "check")):
        assert not run_command(folder / within, command)  # what is imported here, children needn't
    shutil.rmtree(folder / "again")
    return folder


def run_command(folder: Path, command: str) -> int:
    """A command on one of the things; its status."""
    if command == "restore":
        try:
            session = qs.Session.restore(folder / "session.safetensors", learner())
        except qs.QuickstudyError as error:
            print(f"error: {error}")
            return 1
        session.act(0)
        session.feedback(1.0, truncated=True)
        return 0
    if command == "watch":
        try:
            Follower(folder).look()
        except qs.QuickstudyError as error:
            print(f"error: {error}")
            return 1
        return 0
    if command == "check":
        return main(["check", f"{folder / 'tasks.py'}:tasks", "--replay", str(folder / "fault.json")])
    few = ["--num-tasks", "2"] if command in ("evaluate", "report") else []
    return main([command, str(folder), *few])


def listing(folder: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else path.is_dir()
        for path in sorted(folder.rglob("*"))
    }


def test_whatever_stands_in_a_files_place_does_no_harm(things: Path, tmp_path: Path, share: Share):
    cases, faults = share.some(CASES, 10), []
    for number, (place, kind) in enumerate(cases):
        here, outside = tmp_path / f"{number}", tmp_path / f"outside-{number}"
        for command in place.commands:
            shutil.copytree(things / place.within, here)
            outside.mkdir()
            (outside / "secret.txt").write_text(f"{SECRET}\n")
            segments = sorted((here / "replay").glob("*")) if place.within == "run" else []
            KINDS[kind](here / place.path.replace("SEGMENT", segments[-1].name if segments else ""), outside)
            before = listing(outside)
            ended = forked(lambda here=here, command=command: run_command(here, command))
            where = f"{kind} in place of {place.within}/{place.path}, {command}"
            report = here / "report.html"
            told = ended.said + (report.read_text() if report.is_file() else "")
            changed = "" if listing(outside) == before else "it changed what lies outside"
            wrong = fault_of(ended) or changed or ("it gave a secret away" if SECRET in told else "")
            faults += [f"{where}: {wrong}"] if wrong else []
            shutil.rmtree(here)
            shutil.rmtree(outside)
    share.says(
        "hostile file of a run, seeds, a session or a fault", len(cases), "no code run, nothing written or told, no hang"
    )


def test_there_are_four_hundred_of_them():
    assert len(CASES) >= 400
