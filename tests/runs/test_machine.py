"""What belongs to a machine is never taken from a stored configuration unasked."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.runs.config import MACHINE, Training, config_of, machine_of, read_config
from quickstudy.runs.seeds import create_seeds
from quickstudy.training import train_seeds


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A port of this machine that somebody might be made to connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def connections(server: socket.socket) -> int:
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.fixture
def strangers_run(small_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_run, tmp_path / "run")
    return tmp_path / "run"


def test_a_strangers_configuration_connects_nowhere(strangers_run: Path, capsys: pytest.CaptureFixture[str]):
    run, path = str(strangers_run), strangers_run / "config.toml"
    with listening() as server:
        place = f"ray://127.0.0.1:{server.getsockname()[1]}"
        theirs = (
            f'workers = "{place}"\ndevice = "cuda:7"\nlog = "wandb"\nprofile = 9\nthreads = 5\ndeadline = 1.5\nattempts = 99'
        )
        lines = [line for line in path.read_text().splitlines() if line.split(" = ")[0] not in MACHINE]
        path.write_text("\n".join(lines).replace("[training]", f"[training]\n{theirs}") + "\n")
        few = ["--num-tasks", "2"]
        for command in (
            ["evaluate", run, *few],
            ["report", run, *few],
            ["resume", run],
            ["resume", run, "--iterations", "2"],
            ["train", "--config", str(path), "--run", f"{run}-again"],
        ):
            assert main(command) == 0, command
            said = capsys.readouterr().err
            asked = ["--device cuda:7"]
            if command[0] in ("resume", "train"):
                asked += [f"--workers {place}", "--log wandb", "--profile 9", "--threads 5", "--deadline 1.5", "--attempts 99"]
            [line] = [line for line in said.splitlines() if line.startswith("it was trained with")]
            assert all(line.count(option) == 2 for option in asked) and f"quickstudy {command[0]} " in line
        assert qs.load(run).device == "cpu"
        assert "it was trained on cuda:7" in capsys.readouterr().err
        assert connections(server) == 0
        # the file keeps what it said, another budget or not
        assert place in path.read_text() and "iterations = 2" in path.read_text()
        assert main(["resume", run, "--iterations", "3", "--device", "cuda:7"]) == 2
        assert "device 'cuda:7' can't be used here" in capsys.readouterr().err


def test_what_was_said_here_holds_here_and_is_in_the_line_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    learner, run = qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(trials=4, hidden_size=4)), tmp_path / "run"
    step = qs.RL2.train_step

    def interrupted(self: qs.RL2, work: object) -> object:
        if self.iteration == 1:
            raise KeyboardInterrupt
        return step(self, work)  # type: ignore[arg-type]

    monkeypatch.setattr(qs.RL2, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        qs.train(learner, 2, run, quiet=True, threads=2, deadline=50, evaluate_every=0)
    assert f"resume with: quickstudy resume {run} --deadline 50.0 --threads 2\n" in capsys.readouterr().err
    monkeypatch.setattr(qs.RL2, "train_step", step)
    qs.resume(run, quiet=True)
    said = capsys.readouterr().err
    assert "goes on with 1 threads in place of 2" in said and "it was trained with --deadline 50.0 --threads 2" in said
    qs.resume(run, quiet=True, iterations=3, threads=2, deadline=50.0)
    assert capsys.readouterr().err == ""
    with pytest.raises(qs.UsageError, match=r"resume has no argument 'worker'; did you mean 'workers'\?"):
        qs.resume(run, worker=2)


def test_one_thread_is_usual_and_the_machines_settings_are_known():
    assert Training().threads == 1 and machine_of(Training()) == {}
    assert machine_of(Training(workers=2, seed=4)) == {"workers": 2}


def test_seeds_of_one_command_are_all_trained_as_it_says(tmp_path: Path):
    learner = qs.RL2(qs.tasks.make("bandit"), qs.RL2.Config(trials=4, hidden_size=4))
    training = Training(iterations=1, evaluate_every=0, attempts=7)
    create_seeds(tmp_path / "seeds", config_of(learner, training), [0, 1], "quickstudy train ...")
    train_seeds(tmp_path / "seeds", quiet=True, **machine_of(training))
    configs = [read_config(tmp_path / "seeds" / name / "config.toml") for name in (".", "seed-0", "seed-1")]
    assert [config.trained_with for config in configs] == [{"attempts": 7}] * 3
