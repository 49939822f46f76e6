"""The README's Python and commands run as they stand, only shorter."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from quickstudy.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    short = code.replace("iterations=200", "iterations=1").replace("num_tasks=100", "num_tasks=4")
    assert short != code
    exec(compile(short, "README.md", "exec"), {})
    assert "rl2 on grid-navigation: 4 test tasks" in capsys.readouterr().out
    assert (tmp_path / "runs" / "grid-navigation" / "latest.json").exists()


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("quickstudy")]
    assert len(commands) >= 6
    # pages are served until Ctrl-C
    monkeypatch.setattr("quickstudy.live.server.Server.serve", lambda server: server._server.server_close())
    for command in commands:
        if command[1] == "export" and find_spec("onnxscript") is None:
            continue  # its packages are those of an extra that tests do without
        shorter = {
            "train": ["--iterations", "1", "--trials", "8", "--evaluate-every", "0"],
            "resume": ["--iterations", "2"],
            "evaluate": ["--num-tasks", "4"],
            "report": ["--num-tasks", "4"],
            "compare": ["--num-tasks", "4"],
        }
        if "--seeds" in command:
            shorter["train"] += ["--seeds", "2"]
        assert main([*command[1:], *shorter.get(command[1], [])]) == 0, command


def test_the_table_of_methods_is_that_of_the_registry():
    """Where it isn't: `python benchmarks/methods.py`."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from methods import written  # pyright: ignore[reportMissingImports]

    assert README == written(README)


def test_every_place_it_points_to_exists():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists() or link.startswith("http"), f"{page.name} points to {link}"
