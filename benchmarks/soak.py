"""A run with workers that is killed again and again: the soak of docs/reliability.md. `python benchmarks/soak.py`

python benchmarks/soak.py --minutes 30 --every 30   # what the page reports

A trainer with two workers is killed with -9 after so many seconds of each of its lives, for so many minutes; then it is left
alone to the end. Memory is compared between the first tenth of all meta-iterations and the last, and the end with a run of as
many that nothing stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from quickstudy.storage import sha256

OPTIONS = ["--trials=64", "--shards=4", "--hidden-size=32", "--threads=1", "--checkpoint-every=5", "--keep-checkpoints=2"]
OPTIONS += ["--evaluate-every=0", "--seed=1"]
QUICKSTUDY = [sys.executable, "-m", "quickstudy"]
SHARED = Path("/dev/shm")


def training(run: Path, iterations: int, workers: int) -> list[str]:
    """The command that begins the run."""
    return [
        *QUICKSTUDY,
        "train",
        "rl2",
        "bandit",
        f"--run={run}",
        f"--iterations={iterations}",
        f"--workers={workers}",
        *OPTIONS,
    ]


def limit(run: Path, iterations: int) -> None:
    """Says in a run's configuration how many meta-iterations it is to do."""
    path = run / "config.toml"
    lines = [
        f"iterations = {iterations}" if line.startswith("iterations =") else line for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")


def done(run: Path) -> int:
    """The meta-iterations that are logged."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def lived(command: list[str], run: Path, seconds: float) -> set[psutil.Process]:
    """Kills a trainer so long after the first meta-iteration of its life; the processes that it had started."""
    before = done(run)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as trainer:
        while done(run) <= before and trainer.poll() is None:
            time.sleep(0.05)
        time.sleep(seconds)
        family = set(psutil.Process(trainer.pid).children(recursive=True))
        trainer.kill()
    return family


def memory(run: Path) -> list[float]:
    """The resident memory of trainer and workers after each meta-iteration, in MiB."""
    rows = [json.loads(line) for line in (run / "timing.jsonl").read_bytes().splitlines() if line.endswith(b"}")]
    return [row["time/memory_mb"] + row["time/workers_memory_mb"] for row in rows]


def soak(folder: Path, minutes: float, every: float) -> dict[str, float]:
    """Kills and resumes; what was seen."""
    run, until, kills, orphans = folder / "killed", time.monotonic() + 60 * minutes, 0, 0
    shared = set(SHARED.iterdir()) if SHARED.exists() else set()
    command = training(run, 10**6, 2)
    while time.monotonic() < until:
        family = lived(command, run, every)
        kills += 1
        orphans += len(psutil.wait_procs(family, timeout=10)[1])
        command = [*QUICKSTUDY, "resume", str(run)]
    end = done(run) + 100
    limit(run, end)
    subprocess.run([*QUICKSTUDY, "resume", str(run)], check=True, capture_output=True)
    subprocess.run(training(folder / "whole", end, 0), check=True, capture_output=True)
    used = memory(run)
    tenth = max(1, len(used) // 10)
    same = sha256(run / "metrics.jsonl") == sha256(folder / "whole" / "metrics.jsonl") and ends(run) == ends(folder / "whole")
    leaked = len(set(SHARED.iterdir()) - shared) if SHARED.exists() else 0
    growth = statistics.median(used[-tenth:]) / statistics.median(used[:tenth]) - 1
    return {"kills": kills, "iterations": end, "growth": growth, "orphans": orphans, "leaked": leaked, "same": same}


def ends(run: Path) -> list[str]:
    """The hashes of a run's last state."""
    last = run / "checkpoints" / json.loads((run / "latest.json").read_text())["checkpoint"]
    return [sha256(last / name) for name in ("state.safetensors", "state.json")]


def main() -> None:
    """Prints one row of the table; leaves with 1 where anything is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=30, help="seconds of a life")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), given.minutes, given.every)
    result = (
        f"{found['iterations']:,} meta-iterations, final bits {'as' if found['same'] else 'NOT AS'} in a run never stopped;"
        f" memory {found['growth']:+.1%}; {found['orphans']} orphan processes; {found['leaked']} pieces of shared memory left"
    )
    command = f"python benchmarks/soak.py --minutes {given.minutes:g} --every {given.every:g}"
    print(f"| soak: the trainer killed every {given.every:g} s | {found['kills']} | {result} | `{command}` |")
    sys.exit(not (found["same"] and found["growth"] < 0.05 and not found["orphans"] and not found["leaked"]))


if __name__ == "__main__":
    main()
