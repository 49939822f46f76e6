"""A run whose workers and trainer are killed again and again for half an hour: the soak of docs/reliability.md.

python benchmarks/soak.py           # half an hour of kills, and the run of as many meta-iterations that nothing stopped
python benchmarks/soak.py --quick   # a minute of kills; the page is not written

Every 30 seconds one of two workers is killed with -9, every 10 minutes the trainer, which is then resumed. Memory is compared
between the first and the last tenth of each of the trainer's lives.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from reliability import publish

from quickstudy.storage import sha256

OPTIONS = ["--trials=64", "--shards=4", "--hidden-size=32", "--threads=1", "--checkpoint-every=5", "--keep-checkpoints=2"]
OPTIONS += ["--evaluate-every=0", "--seed=1"]
QUICKSTUDY = [sys.executable, "-m", "quickstudy"]
SHARED = Path("/dev/shm")


def training(run: Path, iterations: int, workers: int) -> list[str]:
    """The command that begins the run."""
    which = ["rl2", "bandit", f"--run={run}", f"--iterations={iterations}", f"--workers={workers}"]
    return [*QUICKSTUDY, "train", *which, *OPTIONS]


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


def lived(command: list[str], run: Path, kills: int, every: float) -> set[psutil.Process]:
    """Kills so many processes of a trainer, the last one itself; all that it had started."""
    before, family = done(run), set[psutil.Process]()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as trainer:
        while done(run) <= before and trainer.poll() is None:
            time.sleep(0.05)
        for left in reversed(range(kills)):
            time.sleep(every)
            living = psutil.Process(trainer.pid).children(recursive=True)
            family.update(living)
            if left:
                # its only child is the process that forks the workers
                random.choice([each for each in living if each.ppid() != trainer.pid]).kill()
        trainer.kill()
    return family


def growth(run: Path) -> float:
    """How much more memory trainer and workers had at the end of a life than at its beginning, in the worst of its lives."""
    rows = [json.loads(line) for line in (run / "timing.jsonl").read_bytes().splitlines() if line.endswith(b"}")]
    elapsed = [row["time/time_elapsed"] for row in rows]
    births = [0, *(number for number, (one, other) in enumerate(pairwise(elapsed), 1) if other < one), len(rows)]
    worst = -1.0
    for first, end in pairwise(births):
        used = [row["time/memory_mb"] + row["time/workers_memory_mb"] for row in rows[first:end]]
        tenth = max(1, len(used) // 10)
        worst = max(worst, statistics.median(used[-tenth:]) / statistics.median(used[:tenth]) - 1)
    return worst


def soak(folder: Path, lives: int, kills: int, every: float) -> dict[str, Any]:
    """Kills and resumes; what was seen."""
    run, orphans = folder / "killed", 0
    shared = set(SHARED.iterdir()) if SHARED.exists() else set()
    command = training(run, 10**6, 2)
    for _ in range(lives):
        family = lived(command, run, kills, every)
        orphans += len(psutil.wait_procs(family, timeout=10)[1])
        command = [*QUICKSTUDY, "resume", str(run)]
    most = growth(run)
    end = done(run) + 100
    limit(run, end)
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(training(folder / "whole", end, 0), check=True, capture_output=True)
    same = ends(run) == ends(folder / "whole")
    leaked = len(set(SHARED.iterdir()) - shared) if SHARED.exists() else 0
    return {"kills": lives * kills, "iterations": end, "growth": most, "orphans": orphans, "leaked": leaked, "same": same}


def ends(run: Path) -> list[str]:
    """The hashes of a run's metrics and of its last state."""
    last = run / "checkpoints" / json.loads((run / "latest.json").read_text())["checkpoint"]
    return [sha256(path) for path in (run / "metrics.jsonl", last / "state.safetensors", last / "state.json")]


def main() -> None:
    """Writes its row of the table; leaves with 1 where anything is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute of kills, without writing the page")
    quick = parser.parse_args().quick
    lives, kills, every = (2, 3, 10) if quick else (3, 20, 30)
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), lives, kills, every)
    result = (
        f"{found['iterations']:,} meta-iterations, final bits {'as' if found['same'] else 'NOT AS'} in a run never stopped;"
        f" memory of a life {found['growth']:+.1%}; {found['orphans']} orphan processes; {found['leaked']} pieces of shared"
        " memory left"
    )
    minutes = lives * kills * every / 60
    what = f"soak of {minutes:g} minutes: a worker killed every {every} s, the trainer every {kills * every} s"
    print(f"{what}: {found['kills']} kills; {result}")
    if not quick:
        row = {"what": what, "algorithm": "", "count": found["kills"], "result": result, "seen": ""}
        publish([row | {"command": "python benchmarks/soak.py"}])
    sys.exit(not (found["same"] and found["growth"] < 0.05 and not found["orphans"] and not found["leaked"]))


if __name__ == "__main__":
    main()
