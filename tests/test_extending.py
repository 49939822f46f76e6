"""docs/extending.md does what it says: its files pass the checks, its algorithm learns, its commands run."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import quickstudy as qs
from quickstudy.check.tasks import check_tasks
from quickstudy.cli import main
from quickstudy.report.contents import of_trials
from quickstudy.report.trials import live_trials

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {part.split("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
ALGORITHM, NETWORK, ENVIRONMENT, DEPLOYMENT = SECTIONS.values()

SHORTER = {
    "train": ["--iterations", "1", "--evaluate-every", "0"],
    "evaluate": ["--num-tasks", "4"],
    "report": ["--num-tasks", "4", "--episodes", "3"],
}
SMALL = {
    "reptile.py": ["--meta-batch-size", "4", "--lanes", "3"],
    "room.py": ["--trials", "8"],
    "deep.py": ["--trials", "4", "--n-epochs", "1"],
}


def blocks(section: str, language: str) -> list[str]:
    """The code of a section, block by block."""
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def files() -> dict[str, str]:
    """The page's files: its algorithm is all of a section's code, its native dynamics the last block of theirs."""
    *room, drift = blocks(ENVIRONMENT, "python")
    [deep] = blocks(NETWORK, "python")
    return {"reptile.py": joined(blocks(ALGORITHM, "python")), "deep.py": deep, "room.py": joined(room), "drift.py": drift}


def joined(parts: list[str]) -> str:
    """Blocks as one file: two empty lines before what begins at the margin, one before what goes on in a class."""
    return parts[0] + "".join(("\n" if part.startswith(" ") else "\n\n") + part for part in parts[1:])


def commands(section: str) -> list[list[str]]:
    """What a section tells to type, without the program's name."""
    lines = [line for block in blocks(section, "sh") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    assert all(one[0] == "quickstudy" for one in words)
    return [one[1:] for one in words]


def shorter(command: list[str]) -> list[str]:
    """The command with settings under which it takes a second."""
    small = SMALL[command[1].split(":")[0]] if ".py" in command[1] else []
    wanted = command[0] == "train" or (command[0] == "check" and not command[1].startswith(("room", "drift")))
    return [*command, *SHORTER.get(command[0], []), *(small if wanted else [])]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files in an empty folder, where the page's commands and code are run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name, code in files().items():
        (tmp_path / name).write_text(code)
    return tmp_path


@pytest.fixture
def module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports one of the page's files, which other tests then import anew."""

    def imported(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec and spec.loader
        found = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, found)
        spec.loader.exec_module(found)
        return found

    return imported


def test_the_algorithm_is_short():
    *needed, _ = blocks(ALGORITHM, "python")  # the last one tells of the learner what pages ask
    assert len(joined(needed).splitlines()) < 100


def test_the_algorithm_has_its_pictures(module: Any):
    reptile = module("reptile")
    tasks = qs.tasks.make("point-navigation", max_episode_steps=4, episodes_per_trial=2)
    agent = reptile.Reptile(tasks, reptile.Reptile.Config(lanes=3, hidden_size=8))
    found = of_trials(live_trials(agent, batch=4, num_tasks=4))
    assert found["embedding"]["kind"] == "weights" and len(found["inner"]["losses"]) == 2
    for trial in found["steps"]["trials"]:
        # rewards move the next episode's decisions, by the adaptation, and none of their own
        assert not any(map(any, trial["causes"][:4])) and all(any(row[:4]) and not any(row[4:]) for row in trial["causes"][4:])


@pytest.mark.slow
def test_the_algorithm_learns_to_adapt(module: Any):
    reptile = module("reptile")
    config = reptile.Config(lanes=10, learning_rate=5e-3, gamma=0.9)
    learner = reptile.Reptile(qs.tasks.make("point-navigation", max_episode_steps=40), config)
    untrained = qs.evaluate(learner, num_tasks=100).returns.mean(0)
    qs.train(learner, iterations=30, quiet=True, evaluate_every=0)
    before, after = qs.evaluate(learner, num_tasks=100).returns.mean(0)
    assert after > before + 3 and after > untrained.max() + 3


@pytest.mark.parametrize("place", ["room.tasks", "room.furnished", "drift.tasks"])
def test_the_environments_pass_their_check(module: Any, place: str):
    name, which = place.split(".")
    report = check_tasks(getattr(module(name), which))
    assert all(finding.passed for finding in report.findings), report


def test_the_commands_run_and_then_the_deployment(folder: Path, module: Any, capsys: pytest.CaptureFixture[str]):
    typed = [*commands(ALGORITHM), *commands(NETWORK), *commands(ENVIRONMENT)]
    replay = next(command for command in typed if "--replay" in command)
    typed.remove(replay)
    assert {command[0] for command in typed} == {"check", "train", "evaluate", "report", "resume"}
    for command in typed:
        assert main(shorter(command)) == 0, (command, capsys.readouterr())
    a_fault_is_lived_again(folder, replay, capsys)
    module("room")
    [code] = blocks(DEPLOYMENT, "python")
    exec(compile(code, "extending.md", "exec"), {})
    assert (folder / "room-7.session").exists()


def a_fault_is_lived_again(folder: Path, replay: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The command that a fault's message ends with, on a room that breaks."""
    whole = files()["room.py"]
    broken = whole.replace("    def step(self, action):", "    def step(self, action):\n        1 / (self.degrees < 26)")
    assert broken != whole
    (folder / "room.py").write_text(broken)
    assert main(["train", "rl2", "room.py:tasks", "--iterations", "1", "--trials", "8", "--run", "runs/broken"]) == 1
    assert " ".join(replay[:2]) in capsys.readouterr().err
    shutil.copy(folder / "runs" / "broken" / "fault.json", folder / "runs" / "room" / "fault.json")
    assert main(replay) == 1
    assert "again: step raised ZeroDivisionError" in capsys.readouterr().err
    (folder / "room.py").write_text(whole)
