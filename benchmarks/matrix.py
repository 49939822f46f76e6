"""Which workers and threads give the same bits: the matrix of docs/reliability.md. `python benchmarks/matrix.py`

A cell is a short run of RL2, validation included, and the hash of its last state and of all its metrics.
"""

from __future__ import annotations

import hashlib
import tempfile
from importlib.util import find_spec
from pathlib import Path

import quickstudy as qs
from quickstudy.runs.checkpoint import load_latest
from quickstudy.storage import sha256, write_atomically
from quickstudy.work.parcel import pack

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
BEGINS, ENDS = "<!-- matrix -->\n", "<!-- matrix end -->\n"
WORKERS: tuple[int | str, ...] = (0, 1, 2, 4, "ray:2")
THREADS = (1, 2)


def cell(workers: int | str, threads: int) -> str:
    """The first letters of the hash of all that a run comes to."""
    tasks = qs.tasks.make("cart-pole", max_episode_steps=20, episodes_per_trial=2)
    learner = qs.RL2(tasks, qs.RL2.Config(trials=64, shards=4, hidden_size=64))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = {"evaluate_every": 2, "evaluate_tasks": 8, "quiet": True}
        qs.train(learner, 2, run, workers=workers, threads=threads, **options)
        state, metrics = pack(load_latest(run)[0]).tobytes(), sha256(run / "metrics.jsonl")
    return hashlib.sha256(state + metrics.encode()).hexdigest()[:8]


def table() -> str:
    """The matrix, a row for each number of threads."""
    workers = [each for each in WORKERS if each != "ray:2" or find_spec("ray")]
    lines = [
        f"| threads of the update | {' | '.join(f'workers {each}' for each in workers)} |",
        "| --- " * (len(workers) + 1) + "|",
    ]
    for threads in THREADS:
        lines.append(f"| {threads} | {' | '.join(cell(each, threads) for each in workers)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures the matrix and writes it into the page."""
    found = table()
    print(found)
    head, rest = PAGE.read_text().split(BEGINS)
    write_atomically(PAGE, head + BEGINS + found + "\n" + ENDS + rest.split(ENDS)[1])


if __name__ == "__main__":
    main()
