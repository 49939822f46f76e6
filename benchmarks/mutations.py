"""Plants the faults of faults.toml, one at a time, and runs the quick test that must fail: who guards each formula.

python benchmarks/mutations.py                      # all of them
python benchmarks/mutations.py --only replay mask   # those with one of these in their file, their words or their test

Faults are planted into copies of src and tests. All tests that are named must pass before any is. The exit status is 1 where a
fault survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from queue import Queue
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PARTS = "src", "tests", "pyproject.toml"
DEADLINE = 600
"""Seconds after which a test is ended: a fault that makes it hang was not judged."""
PASSED, FAILED, NOT_RUN = 0, 1, 70
"""pytest's exit status; every other one says that a test couldn't be run."""
FORKED = get_context("forkserver")
LOADED = ["torch._dynamo", "pytest", "beartype", "gymnasium", "matplotlib", "scipy.stats"]
"""What the process has loaded from which those are forked that run tests: nothing of quickstudy, no plugin of pytest."""


class Fault(NamedTuple):
    """One fault."""

    what: str
    file: str
    """Under src/quickstudy."""
    right: str
    wrong: str
    """The text that takes the place of the right one."""
    test: str
    """Under tests."""

    def planted(self, text: str) -> str:
        """The file's text with the fault in it; ValueError where the right text doesn't stand in it exactly once."""
        if (count := text.count(self.right)) != 1:
            raise ValueError(f"{self.file}: {self.right!r} stands there {count} times, not once")
        return text.replace(self.right, self.wrong)


def faults() -> list[Fault]:
    """The table."""
    table = tomllib.loads(Path(__file__).with_name("faults.toml").read_text())
    return [Fault(what, file, *texts) for file, found in table.items() for what, texts in found.items()]


class Outcome(NamedTuple):
    """What came of a fault."""

    fault: Fault
    status: int
    seconds: float
    said: str
    """What the test raised."""

    @property
    def verdict(self) -> str:
        """In a word."""
        return {FAILED: "caught", PASSED: "SURVIVED"}.get(self.status, "NOT JUDGED")


def copied(folder: Path) -> Path:
    """A copy of what the tests need."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    return folder


def run_pytest(tree: Path, tests: list[str], keeps_bytecode: bool) -> None:
    """Ends this process, a fresh one, with pytest's exit status; what it prints goes to a file."""
    import pytest

    os.chdir(tree)
    for number in (1, 2):
        os.dup2(os.open("printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.path[:0] = [str(tree / "src")]
    sys.dont_write_bytecode = not keeps_bytecode
    options = ["-x", "-n0", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--tb=line"]
    status: int = NOT_RUN
    try:
        status = int(pytest.main([*options, *(f"tests/{test}" for test in tests)]))
        sys.stdout.flush()
    finally:
        os._exit(status)


def tested(tree: Path, tests: list[str], keeps_bytecode: bool) -> tuple[int, str]:
    """pytest's exit status on some tests, and what it printed."""
    process = FORKED.Process(target=run_pytest, args=(tree, tests, keeps_bytecode))
    process.start()
    process.join(DEADLINE)
    if process.exitcode is None:
        process.kill()
        process.join()
        return NOT_RUN, f"no end within {DEADLINE} s"
    return process.exitcode, (tree / "printed").read_text()


def tried(tree: Path, fault: Fault) -> Outcome:
    """Plants a fault, runs its test, and takes it out again."""
    path = tree / "src" / "quickstudy" / fault.file
    right, when = path.read_text(), path.stat().st_mtime
    began = time.monotonic()
    path.write_text(fault.planted(right))
    os.utime(path, (when + 60, when + 60))  # bytecode of the right text, which has its time, must not be taken for it
    try:
        status, printed = tested(tree, [fault.test], keeps_bytecode=False)
    finally:
        path.write_text(right)
        os.utime(path, (when, when))
    said = re.findall(r"^FAILED \S+ - (.*)|^(?:ERROR|E  ) +(.*)", printed, re.MULTILINE)
    return Outcome(fault, status, time.monotonic() - began, "".join(said[0]) if said else printed.strip()[-100:])


def judged(chosen: list[Fault], jobs: int) -> list[Outcome]:
    """What comes of each fault, in the order of the table; each is told as soon as it is known."""
    trees: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory(prefix="quickstudy-mutations-") as folder:
        tests = sorted({fault.test for fault in chosen})

        def prepared(number: int) -> tuple[int, str]:
            """Each copy passes its share of the tests, which also leaves bytecode behind."""
            tree = copied(Path(folder) / str(number))
            trees.put(tree)
            return tested(tree, tests[number::jobs] or tests[:1], keeps_bytecode=True)

        def outcome(fault: Fault) -> Outcome:
            tree = trees.get()
            try:
                found = tried(tree, fault)
            finally:
                trees.put(tree)
            print(f"{found.verdict:10}  {found.seconds:5.1f} s  {fault.file}: {fault.what}: {found.said[:60]}", flush=True)
            return found

        with ThreadPoolExecutor(jobs) as pool:
            for status, printed in pool.map(prepared, range(jobs)):
                if status != PASSED:
                    sys.exit(f"without any fault the tests don't pass:\n{printed}")
            return list(pool.map(outcome, chosen))


def table(outcomes: list[Outcome]) -> str:
    """The outcomes in Markdown."""
    rows = [
        (found.fault.file, found.fault.what, found.fault.test.partition("::")[2], found.verdict, f"{found.seconds:.1f}")
        for found in outcomes
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [("file", "fault", "quick test", "", "s"), ("---",) * 5, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="faults tried at once")
    parser.add_argument("--only", nargs="+", default=[""], help="try those that have one of these in their file, words or test")
    options = parser.parse_args()
    chosen = [fault for fault in faults() if any(text in f"{fault.file} {fault.what} {fault.test}" for text in options.only)]
    if not chosen:
        sys.exit(f"no fault has any of {options.only} in its file, words or test")
    os.environ["OMP_NUM_THREADS"] = "1"
    FORKED.set_forkserver_preload(LOADED)
    outcomes = judged(chosen, min(options.jobs, len(chosen)))
    print(f"\n{table(outcomes)}\n")
    missed = [found for found in outcomes if found.status != FAILED]
    for found in missed:
        print(f"{found.verdict}: {found.fault.file}: {found.fault.what}: {found.said}")
    print(f"{len(missed)} of {len(outcomes)} faults survive their quick test")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
