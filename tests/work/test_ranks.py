"""Ranks of torchrun: two end with the bits of one process, and a run of theirs that is stopped or loses one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from small import SMALL
from test_training import fingerprint, rows, wait_for

from quickstudy.algorithms import ALGORITHMS

pytestmark = pytest.mark.slow

OPTIONS = ["--iterations", "40", "--trials", "32", "--shards", "4", "--hidden-size", "16", "--threads", "1"]
OPTIONS += ["--checkpoint-every", "20", "--evaluate-every", "5", "--evaluate-tasks", "8"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]


def command(run: Path, port: int, *more: str) -> list[str]:
    return [*TWO, str(port), "-m", "--", "quickstudy", "train", "rl2", "bandit", "--run", str(run), *OPTIONS, *more]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process that nothing stopped."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    arguments = ["train", "rl2", "bandit", "--run", str(run), *OPTIONS]
    subprocess.run([sys.executable, "-m", "quickstudy", *arguments], check=True, capture_output=True)
    return run


EVERY_ALGORITHM = """
import json, sys
import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.work import InProcess, open_work
from quickstudy.work.ranks import Ranks, led

def main():
    for name, options in json.loads(sys.argv[1]).items():
        ends = []
        for place in (open_work, InProcess):
            tasks = qs.tasks.make("cart-pole", max_episode_steps=8, episodes_per_trial=2)
            tasks = tasks if ALGORITHMS[name].observations != "discrete" else qs.tasks.make("tabular-mdp", states=4)
            learner = ALGORITHMS[name].make(tasks, ALGORITHMS[name].config(**options), seed=5)
            work = place(learner.tasks)
            assert isinstance(work, Ranks) == (place is open_work)
            metrics = [learner.train_step(work) for _ in range(2)]
            ends.append((metrics, learner.state_dict()))
            work.close()
        print(name, ends[0][0] == ends[1][0] and not differing(ends[0][1], ends[1][1]), flush=True)
    return 0

sys.exit(led(main))
"""


def test_two_ranks_give_the_bits_of_this_process_for_every_algorithm(tmp_path: Path):
    (tmp_path / "main.py").write_text(EVERY_ALGORITHM)
    options = json.dumps({name: values | {"shards": 4} for name, values in SMALL.items()})
    said = subprocess.run([*TWO, "29611", str(tmp_path / "main.py"), options], check=True, capture_output=True, text=True)
    assert dict(line.split() for line in said.stdout.splitlines()) == dict.fromkeys(ALGORITHMS, "True")


def begun(run: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command(run, port), stderr=subprocess.PIPE) as process:
        wait_for(lambda: rows(run) >= 3, process, seconds=300)
        yield process


def resumed(run: Path) -> tuple[str, str, str]:
    subprocess.run([sys.executable, "-m", "quickstudy", "resume", str(run)], check=True, capture_output=True)
    return fingerprint(run)


def test_sigterm_saves_once(tmp_path: Path, whole: Path):
    run = tmp_path / "run"
    for process in begun(run, 29612):
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1].decode()
        assert said.count(f"saved; resume with: quickstudy resume {run}") == 1
        saved = int(json.loads((run / "latest.json").read_text())["checkpoint"])
        assert rows(run) - saved in (0, 1), "more is lost than the meta-iteration that was under way"
    assert resumed(run) == fingerprint(whole)


def test_a_rank_that_dies_stops_the_run_which_can_go_on(tmp_path: Path, whole: Path):
    run = tmp_path / "run"
    for process in begun(run, 29613):
        ranks = psutil.Process(process.pid).children(recursive=True)
        [one] = [rank for rank in ranks if rank.environ().get("RANK") == "1"]
        os.kill(one.pid, signal.SIGKILL)
        said = process.communicate(timeout=60)[1].decode()
        assert process.returncode and said.count(f"saved; resume with: quickstudy resume {run}") == 1
        assert not psutil.wait_procs(ranks, timeout=30)[1]
    assert resumed(run) == fingerprint(whole)


def test_ranks_have_no_workers(tmp_path: Path):
    done = subprocess.run(command(tmp_path / "run", 29614, "--workers", "2"), capture_output=True, text=True)
    assert "error: torchrun's ranks do the work, so workers can't be 2; take --workers 0" in done.stderr
    assert done.returncode and "Traceback" not in done.stderr.split("torch/distributed")[0]
