"""Worker processes: the same bits whatever becomes of them, and none left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import psutil
import pytest
import torch

import quickstudy as qs
from quickstudy.data.rollout import Plan, collect
from quickstudy.protocol import Shard, Site, counter
from quickstudy.work import InProcess, Processes, open_work

SHARDS = [Shard(7, 3, number, 4, "train") for number in range(3)]


def noise(site: Site, scale: torch.Tensor, shard: Shard) -> torch.Tensor:
    """A unit of work that depends on what is shared and on the counters."""
    drawn = torch.randn(50, 30, generator=counter(shard.seed, shard.iteration, "noise", shard.number))
    return (drawn * scale) @ drawn.T


def broken_once(site: Site, how: tuple[str, Path], shard: Shard) -> tuple[int, int]:
    """A unit of work that goes wrong when it is done for the first time, on shard 1."""
    kind, marks = how
    if shard.number == 1 and not (marks / kind).exists():
        (marks / kind).touch()
        misfortune(kind)
    return shard.number, torch.get_num_threads()


def always_broken(site: Site, kind: str, shard: Shard) -> None:
    misfortune(kind if shard.number == 1 else "")


def misfortune(kind: str) -> None:
    if kind == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "leaves":
        os._exit(5)
    if kind == "hangs":
        time.sleep(1000)
    if kind == "raises":
        raise ZeroDivisionError("by accident")
    if kind == "is misused":
        raise qs.UsageError("no such thing")


@pytest.fixture
def tasks() -> Any:
    return qs.tasks.make("bandit")


@pytest.fixture
def two(tasks: Any) -> Iterator[Processes]:
    work = Processes(tasks, workers=2, deadline=20, attempts=2)
    yield work
    work.close()


def test_results_are_the_same_bits_in_the_order_of_the_shards(two: Processes, tasks: Any):
    here = InProcess(tasks)
    for scale in (torch.tensor(2.0), torch.arange(30.0)):  # a second version replaces the first in every worker
        expected = here.map(noise, scale, SHARDS)
        assert all(map(torch.equal, two.map(noise, scale, SHARDS), expected))
    assert len(two.pids) == 2 and two.restarts == 0


def test_no_more_workers_start_than_there_is_work(two: Processes):
    two.map(noise, torch.ones(()), SHARDS[:1])
    assert len(two.pids) == 1


def test_a_function_defined_on_the_spot_can_be_a_unit_of_work(two: Processes):
    assert two.map(lambda site, shared, shard: (shared, shard.number), "this", SHARDS) == [("this", n) for n in range(3)]


@pytest.mark.parametrize(("kind", "deadline"), [("dies", 60), ("leaves", 60), ("hangs", 4), ("raises", 60)])
def test_what_a_worker_did_not_finish_another_does(kind: str, deadline: float, tasks: Any, tmp_path: Path):
    work = Processes(tasks, workers=2, deadline=deadline, attempts=2)
    try:
        assert work.map(broken_once, (kind, tmp_path), SHARDS) == [(0, 1), (1, 1), (2, 1)]
        assert work.restarts == 1
    finally:
        work.close()


def test_a_worker_that_died_while_it_waited_is_replaced(two: Processes, tmp_path: Path):
    two.map(noise, torch.ones(()), SHARDS)
    for pid in two.pids:
        os.kill(pid, signal.SIGKILL)
    assert two.map(broken_once, ("", tmp_path), SHARDS) == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("dies", "its worker process died by SIGKILL"),
        ("leaves", "its worker process died with status 5"),
        pytest.param("hangs", "no answer within 20 s; if it needs longer, raise --deadline", marks=pytest.mark.slow),
    ],
)
def test_too_many_deaths_on_one_shard_name_it(kind: str, says: str, two: Processes):
    with pytest.raises(qs.EnvironmentFault) as caught:
        two.map(always_broken, kind, SHARDS)
    assert str(caught.value) == f"seed 7, iteration 3, train tasks, shard 1: {says} (2 attempts)"
    assert two.restarts == 2
    assert len(two.map(noise, torch.ones(()), SHARDS)) == 3, "what came after is lost too"


def test_what_a_unit_of_work_raises_is_raised_here_with_its_place(two: Processes):
    with pytest.raises(ZeroDivisionError, match="by accident") as caught:
        two.map(always_broken, "raises", SHARDS)
    [note] = caught.value.__notes__
    assert "seed 7, iteration 3, train tasks, shard 1" in note and "in misfortune" in note


def test_misuse_is_not_tried_again(two: Processes):
    with pytest.raises(qs.UsageError, match="no such thing"):
        two.map(always_broken, "is misused", SHARDS)
    assert two.restarts == 1


class Cursed(gymnasium.Env[Any, Any]):
    """Raises in its third step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    number = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps == 3:
            raise RuntimeError("the simulator gave up")
        return np.zeros(1, np.float32), 0.0, False, False, {}


def test_an_environment_that_raises_is_named_with_task_lane_and_step():
    tasks = qs.GymnasiumTasks(Cursed, number=qs.Choice(2.0, 3.0), max_episode_steps=5)
    work = Processes(tasks, workers=1, attempts=1)
    learner = qs.RL2(tasks, qs.RL2.Config(trials=8, hidden_size=8))
    try:
        with pytest.raises(
            qs.EnvironmentFault, match=r"task 0 \(number=\d\.0\), lane 0, step 2 .*RuntimeError.*shard 1\)"
        ) as caught:
            work.map(collect, Plan(learner.explorer(), 1, 10, 2), SHARDS[1:2])
    finally:
        work.close()
    assert caught.value.replay is not None and len(caught.value.replay["actions"]) == 3


PARENT = """
import ctypes, sys
from quickstudy.protocol import Shard
from quickstudy.work import Processes
import quickstudy as qs

def unit(site, shared, shard):
    print(__import__("os").getpid(), flush=True)
    ctypes.PyDLL(None).sleep(1000)  # hangs, and holds the interpreter meanwhile

if __name__ == "__main__":
    Processes(qs.tasks.make("bandit"), workers=2).map(unit, None, [Shard(0, 0, number, 1, "train") for number in range(2)])
"""


def test_no_worker_outlives_a_parent_that_is_killed(tmp_path: Path):
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        parent.kill()
    assert not psutil.wait_procs(workers, timeout=60)[1]


def test_closing_leaves_no_process_and_no_descriptor(tasks: Any):
    listed = Path("/proc/self/fd")
    before = len(list(listed.iterdir())) if listed.exists() else 0
    work = Processes(tasks, workers=2)
    work.map(noise, torch.ones(()), SHARDS)
    workers = [psutil.Process(pid) for pid in work.pids]
    work.close()
    work.close()
    assert not any(worker.is_running() for worker in workers)
    assert not listed.exists() or len(list(listed.iterdir())) == before


def test_no_workers_is_this_process(tasks: Any):
    assert isinstance(open_work(tasks), InProcess)
    with pytest.raises(qs.UsageError, match="workers is -1"):
        qs.train(qs.RL2(tasks), 1, workers=-1)
    with pytest.raises(qs.UsageError, match="deadline is 0"):
        qs.train(qs.RL2(tasks), 1, deadline=0)


def test_evaluating_with_workers_gives_the_same_scores(tasks: Any):
    learner = qs.RL2(tasks, qs.RL2.Config(hidden_size=8))
    here, there = (qs.evaluate(learner, num_tasks=50, batch=20, workers=workers) for workers in (0, 2))
    assert torch.equal(here.returns, there.returns) and here.drawn.keys() == there.drawn.keys()
