"""A disk that is full, and folders that can't be written: one line that names the path, and nothing lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Share
from small import TINY, as_options

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.runs.checkpoint import load_latest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 KiB."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs takes root")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


IN_A_HURRY = ("pearl",)  # its segments are written as well


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_A_HURRY else pytest.mark.slow) for name in sorted(ALGORITHMS)]
)
def test_on_a_full_disk_the_checkpoint_before_loads(name: str, small_disk: Path, share: Share):
    options = ["--iterations=400", "--threads=1", "--checkpoint-every=1", "--keep-checkpoints=400", "--evaluate-every=0"]
    run = small_disk / "run"
    command = [
        sys.executable,
        "-m",
        "quickstudy",
        "train",
        name,
        "bandit",
        "--run",
        str(run),
        *options,
        *as_options(TINY[name]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and str(run) in said[0] and "No space left on device" in said[0]
    assert load_latest(run)[0]["iteration"] >= 1
    assert qs.evaluate(qs.load(run), num_tasks=2).returns.shape[0] == 2
    share.says("full disk", 1, "one line names the run; the checkpoint before loads", name)


def test_a_folder_that_is_read_only_is_named(small_disk: Path, share: Share):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    command = [sys.executable, "-m", "quickstudy", "train", "rl2", "bandit", "--run", str(small_disk / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    _, error = done.stderr.splitlines()  # what is begun, and why it isn't
    assert done.returncode == 2 and f"{small_disk / 'run'} can't be made: Read-only file system" in error
    share.says("read-only folder", 1, "one line names it")
