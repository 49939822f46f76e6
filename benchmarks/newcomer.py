"""What a newcomer sees: how long each command is silent, and whether it names a next step. `python benchmarks/newcomer.py`

Each command runs as it would from a shell, in a process of its own on a run of the smallest settings. The table has
seconds to the first line and to the end, how many lines there were, and the next step that was named.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

OPTIONS = "--iterations 2 --trials 8 --hidden-size 8 --evaluate-every 0".split()
NEXT = re.compile(r"quickstudy [a-z]+|\S+\.(?:html|mp4|png|pdf|csv)\b")


class Seen(NamedTuple):
    """What came of a command."""

    status: int
    first: float
    """Seconds to the first line."""
    whole: float
    text: str


def watched(arguments: list[str], folder: Path) -> Seen:
    """Runs a command in a folder; both of its streams are read as they come."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "quickstudy", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None and process.stderr is not None
    first, text = 0.0, b""
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                part = os.read(key.fd, 65536)
                if not part:
                    selector.unregister(key.fileobj)
                    continue
                text += part
                if not first and b"\n" in text:
                    first = time.monotonic() - began
    return Seen(process.wait(), first, time.monotonic() - began, text.decode(errors="replace"))


def commands(run: str, other: str) -> list[list[str]]:
    """Each command, those first that make what the others need; mistakes at the end."""
    few = ["--num-tasks", "3"]
    return [
        ["--help"],
        ["list"],
        ["list", "rl2"],
        ["doctor"],
        ["train", "rl2", "grid-navigation", "--help"],
        ["train", "rl2", "grid-navigation", *OPTIONS, "--run", run],
        ["train", "rl2", "grid-navigation", *OPTIONS, "--seed", "1", "--run", other],
        ["resume", run],
        ["evaluate", run, *few],
        ["evaluate", "random", "grid-navigation", *few],
        ["compare", run, other, *few, "-o", "pair.html"],
        ["report", run, *few],
        ["video", run, *few, "--episodes", "1", "--width", "160"],
        ["check", "grid-navigation"],
        ["check", "rl2"],
        ["tran", "rl2", "grid-navigation"],
        ["train", "rl3", "grid-navigation"],
        ["train", "rl2", "grid-navigatoin"],
        ["train", "rl2", "grid-navigation", "--trails", "8"],
        ["train", "rl2", "grid-navigation", "--trials", "many"],
        ["evaluate", "runs/nowhere"],
        ["evaluate", run, "--num-task", "3"],
    ]


def main() -> int:
    """Prints the table; leaves with 1 where a command showed a traceback or named no next step."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    bad = 0
    print("| command | status | first line | whole | lines | next step |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for arguments in commands("runs/one", "runs/two"):
            seen = watched(arguments, Path(folder))
            found = NEXT.findall(seen.text)
            wrong = "Traceback" in seen.text or not found
            bad += wrong
            named = "TRACEBACK" if "Traceback" in seen.text else found[-1] if found else "none"
            row = [
                " ".join(arguments[:4]),
                seen.status,
                f"{seen.first:.2f} s",
                f"{seen.whole:.2f} s",
                seen.text.count("\n"),
                named,
            ]
            print(f"| {' | '.join(map(str, row))} |", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
