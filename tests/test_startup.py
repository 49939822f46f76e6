"""What can be answered without PyTorch is: it takes seconds to import, and none of these commands may wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quickstudy.cli import COMMANDS, let_threads_sleep

ANSWERED = [
    "--help",
    "--version",
    "train",
    "train --help",
    *(f"{command} --help" for command in COMMANDS if command != "train"),
    "train rl2 grid-navigation --help",
    "train pearl half-cheetah-velocity --help",
    "list",
    "list tasks --json",
    "list --json",
    "list rl2",
    "list grid-navigation",
    "list gittins",
    "list rl22",
    "doctor",
    "trian rl2 bandit",
    "train rl22 bandit",
    "train rl2 bandits",
    "train random bandit",
    "train bandit rl2",
    "train rl2",
    "train rl2 bandit --trails 3",
    "train rl2 bandit --trials many",
    "train rl2 bandit --memory gruu",
    "train rl2 bandit --trials",
    "train rl2 mine.py:tasks --trails 3",
    "evaluate randm bandit",
    "evaluate random bandits",
    "evaluate random bandit --splt test",
    "evaluate random mine.py:tasks --splt test",
    "evaluate runs/x --splt test",
    *(f"{command} runs/nowhere" for command in ("evaluate", "report", "video", "play", "watch", "resume")),
    "compare runs/nowhere runs/elsewhere",
    "compare a b --greedily",
    "report a --greedily",
    "resume a --greedily",
    "export runs/nowhere",
    "export a --greedily",
    "video a --greedily",
    "play a --greedily",
    "play random bandit --greedily",
    "video random bandit --greedily",
    "watch a --greedily",
    "check bandits",
    "check rl2 --trails 3",
    "check bandit --amrs 3",
]
SCRIPT = """
import sys
from quickstudy.cli import main
for line in sys.stdin.read().splitlines():
    try:
        main(line.split())
    except SystemExit:
        pass
    late = {"torch", "numpy", "gymnasium"} & set(sys.modules)
    if late:
        sys.exit(f"{line} imports {late}")
"""


def test_names_help_and_mistakes_do_not_wait_for_pytorch(tmp_path: Path):
    asked = "\n".join(ANSWERED)
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=asked, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_who_reads_only_the_beginning_is_told_of_no_error(tmp_path: Path):
    """A pipe that is closed before anything is written to it."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "quickstudy", "list"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "before", "after"),
    [
        ("train rl2 bandit", None, None),
        ("train rl2 bandit --threads 1", None, None),
        ("train rl2 bandit --threads 0", None, None),
        ("train rl2 bandit --threads", None, None),
        ("train rl2 bandit --threads many", None, None),
        ("train rl2 bandit --threads 2", None, "PASSIVE"),
        ("train rl2 bandit --threads=16 --seed 1", None, "PASSIVE"),
        ("resume runs/x --threads 4", None, "PASSIVE"),
        ("train rl2 bandit --threads 2", "ACTIVE", "ACTIVE"),
    ],
)
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(
    arguments: str, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
):
    environment = {"OMP_WAIT_POLICY": before} if before else {}
    monkeypatch.setattr(os, "environ", environment)
    let_threads_sleep(arguments.split())
    assert environment.get("OMP_WAIT_POLICY") == after
