"""A Ray cluster that runs already: it is reached with its token alone, and its nodes come and go without changing a bit."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from test_training import fingerprint, rows, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")]
OPTIONS = ["--trials=64", "--shards=4", "--hidden-size=16", "--threads=1", "--evaluate-every=0", "--seed=1"]


class Cluster(NamedTuple):
    address: str
    client: str
    environment: dict[str, str]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def node(environment: dict[str, str], *options: str) -> subprocess.Popen[bytes]:
    """Starts a node of one processor that lives until it is killed."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", "--node-ip-address=127.0.0.1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, *options], env=environment, **quiet)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process with all that it has started, as where its machine lost power."""
    if process.poll() is None:
        for each in (*psutil.Process(process.pid).children(recursive=True), process):
            each.kill()
    process.communicate()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment, port, client = ours | settings, free_port(), free_port()
    folder = Path("/tmp") / f"ray-{os.getpid()}"  # the path of a socket must be short
    options = [f"--port={port}", f"--ray-client-server-port={client}", f"--temp-dir={folder}", "--include-dashboard=false"]
    head = node(environment, "--head", *options)
    yield Cluster(f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}", environment)
    kill(head)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def at_last() -> Iterator[ExitStack]:
    """What is to be done once the test is over, however it ends."""
    with ExitStack() as stack:
        yield stack


def training(run: Path, iterations: int, workers: str) -> list[str]:
    which = ["rl2", "bandit", "--run", str(run), f"--iterations={iterations}", f"--workers={workers}"]
    return [sys.executable, "-m", "quickstudy", "train", *which, *OPTIONS]


def test_a_run_goes_on_in_a_cluster_reached_from_outside_to_the_same_bits(cluster: Cluster, tmp_path: Path):
    begun = subprocess.run(training(tmp_path / "here", 3, "0"), env=cluster.environment, capture_output=True)
    assert begun.returncode == 0
    done = subprocess.run(training(tmp_path / "there", 3, cluster.client), env=cluster.environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert fingerprint(tmp_path / "there") == fingerprint(tmp_path / "here")
    stranger = cluster.environment | {"RAY_AUTH_TOKEN": "a" * 64}
    refused = subprocess.run(training(tmp_path / "no", 3, cluster.client), env=stranger, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: the Ray cluster at {cluster.client} can't be reached (")
    assert refused.stderr.endswith("); its token goes into RAY_AUTH_TOKEN\n") and refused.stderr.count("\n") == 1


def test_nodes_join_and_die_without_changing_a_bit(cluster: Cluster, tmp_path: Path, at_last: ExitStack):
    joined, here = tmp_path / "joined", tmp_path / "here"
    environment = cluster.environment | {"RAY_ADDRESS": cluster.address}
    trainer = subprocess.Popen(training(joined, 10**6, "ray"), env=environment, stderr=subprocess.PIPE)
    at_last.callback(kill, trainer)

    def at_work() -> bool:
        """Whether the node that joined has an actor of the run."""
        processes = psutil.Process(second.pid).children(recursive=True)
        return any("ray::Actor" in " ".join(each.cmdline()) for each in processes)

    wait_for(lambda: rows(joined) > 0, trainer)
    second = node(cluster.environment, f"--address={cluster.address}")
    at_last.callback(kill, second)
    wait_for(at_work, trainer)
    reached = rows(joined)
    wait_for(lambda: rows(joined) > reached + 5, trainer)
    kill(second)
    reached = rows(joined)
    wait_for(lambda: rows(joined) > reached + 5, trainer)
    trainer.terminate()
    _, said = trainer.communicate(timeout=60)
    assert trainer.returncode == 0 and b"resume with" in said
    assert '"time/worker_restarts": 1.0' in (joined / "timing.jsonl").read_text().splitlines()[-1]
    subprocess.run(training(here, rows(joined), "0"), env=environment, check=True, capture_output=True)
    assert fingerprint(joined) == fingerprint(here)
