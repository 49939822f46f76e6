"""Ray actors: the same bits as in this process whatever becomes of them, in a cluster that nobody else gets into."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from test_processes import SHARDS, always_broken, broken_once, noise
from test_runs import small

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import differing
from quickstudy.ops.state import copy_state
from quickstudy.work import InProcess, Place, open_work, require_place
from quickstudy.work.ray_actors import SETTINGS


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """The cluster that all of this file share, with room for two actors: a test ends those that it starts."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'quickstudy[ray]'")
    work = open_work(qs.tasks.make("bandit"), workers="ray:2")
    yield
    work.close()


@pytest.fixture
def two(cluster: None) -> Iterator[Place]:
    """Two actors that a test may kill."""
    work = open_work(qs.tasks.make("bandit"), workers="ray:2", deadline=20, attempts=2)
    yield work
    work.close()


@pytest.mark.parametrize("workers", ["rya", "ray:", "ray:0", "ray:two", "ray://host", "8", "ray://a b:1"])
def test_what_is_no_place_is_refused(workers: str):
    with pytest.raises(qs.UsageError, match=r"workers is '.*'; take a number of processes, ray, ray:4 or ray://HOST:10001"):
        qs.train(qs.RL2(qs.tasks.make("bandit")), 1, workers=workers)
    for right in ("ray", "ray:12", "ray://head.example:10001", 0, 3):
        require_place("training", right)


def test_without_ray_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(qs.UsageError, match=r"--workers ray needs Ray; install it: pip install 'quickstudy\[ray\]'"):
        qs.evaluate(qs.RL2(qs.tasks.make("bandit")), num_tasks=2, workers="ray")


def test_ray_that_was_imported_before_is_not_started_for_all_to_see(monkeypatch: pytest.MonkeyPatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    with pytest.raises(qs.UsageError, match=r"Ray was imported before .*; call ray.init\(\) yourself"):
        qs.evaluate(qs.RL2(qs.tasks.make("bandit")), num_tasks=2, workers="ray")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_actors_give_the_bits_of_this_process(name: str, cluster: None):
    ends = []
    for workers in (0, "ray:2"):
        learner = small(name)
        work = open_work(learner.tasks, workers=workers)
        metrics = [learner.train_step(work) for _ in range(2)]
        ends.append((metrics, copy_state(learner.state_dict())))
        work.close()
    assert ends[0][0] == ends[1][0] and not differing(ends[0][1], ends[1][1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dies", "leaves", "hangs", "raises"])
def test_what_an_actor_did_not_finish_another_does(kind: str, two: Place, tmp_path: Path):
    assert two.map(broken_once, (kind, tmp_path), SHARDS) == [(0, 1), (1, 1), (2, 1)]
    assert two.restarts == 1
    expected = InProcess(qs.tasks.make("bandit")).map(noise, torch.arange(30.0), SHARDS)
    assert all(map(torch.equal, two.map(noise, torch.arange(30.0), SHARDS), expected))


@pytest.mark.slow
def test_too_many_deaths_on_one_shard_name_it(two: Place):
    with pytest.raises(qs.EnvironmentFault) as caught:
        two.map(always_broken, "dies", SHARDS)
    assert str(caught.value) == "seed 7, iteration 3, train tasks, shard 1: its Ray actor died (2 attempts)"
    assert len(two.map(noise, torch.ones(()), SHARDS)) == 3, "what came after is lost too"


@pytest.mark.slow
def test_what_a_unit_of_work_raises_is_raised_here(two: Place):
    with pytest.raises(ZeroDivisionError, match="by accident") as caught:
        two.map(always_broken, "raises", SHARDS)
    assert "seed 7, iteration 3, train tasks, shard 1" in caught.value.__notes__[0]


INTRUDER = """
import os, sys
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
import ray
ray.init(sys.argv[1])
"""


@pytest.mark.slow
def test_the_cluster_listens_here_alone_and_lets_nobody_in(cluster: None):
    import ray

    listening = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            found = process.net_connections("inet")
            listening += [each.laddr.ip.removeprefix("::ffff:") for each in found if each.status == psutil.CONN_LISTEN]
    assert len(listening) > 2 and set(listening) == {"127.0.0.1"}
    address = ray.get_runtime_context().gcs_address
    stranger = subprocess.run([sys.executable, "-c", INTRUDER, address], capture_output=True, text=True)
    assert stranger.returncode and "AuthenticationError" in stranger.stderr
