"""Memory is reckoned before it is taken: about as much as is measured, and what fits a small machine is never refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alone import alone
from conftest import Share

from quickstudy.algorithms import ALGORITHMS, algorithm
from quickstudy.families import FAMILIES
from quickstudy.footprint import SLACK, free_memory, shortage, to_build, to_evaluate, to_train
from quickstudy.tasks import make
from quickstudy.work import InProcess

NATIVE = [name for name, entry in FAMILIES.items() if not entry.simulator.extra]
FOUR_GB = 3e9 * SLACK
"""What may be reckoned on a machine of four gigabytes."""


def test_defaults_fit_a_small_machine():
    """Every algorithm on every family that needs no extra, as they come, its evaluation too."""
    for name, entry in ALGORITHMS.items():
        for family in NATIVE:
            tasks, config = make(family), entry.config()
            parts = to_build(tasks, config) | to_train(tasks, config)
            assert sum(parts.values()) < FOUR_GB, (name, family, parts)
            agent = entry.make(tasks) if family == "point-navigation" else None
            if agent is not None:
                assert sum(to_evaluate(agent, tasks, 100).values()) < FOUR_GB, name


def test_a_shortage_names_the_three_largest_parts():
    parts = {"a": 5e15, "b": 7e15, "c": 6e15, "d": 1e15, "e": 1e3}
    said = shortage(parts)
    assert said.startswith("it needs about 19,000,000 GB, this machine has ")
    assert said.endswith(" free: b 7,000,000 GB, c 6,000,000 GB, a 5,000,000 GB; make these smaller")
    assert " d " not in said and not shortage({"a": 1e6}) and 1e7 < free_memory("cpu") < 1e14


MEASURED: dict[str, list[dict[str, Any]]] = {
    "rl2": [{"trials": 512}, {"trials": 512, "hidden_size": 128, "minibatches": 1, "n_epochs": 1}],
    "varibad": [
        {"trials": 512, "belief_updates": 2},
        {"trials": 256, "hidden_size": 128, "minibatches": 1, "n_epochs": 1, "belief_updates": 2},
    ],
    "maml": [{}, {"meta_batch_size": 10, "inner_steps": 2, "hidden_size": 128}],
    "promp": [{"meta_batch_size": 40}, {"inner_steps": 2, "hidden_size": 128, "n_epochs": 1}],
    "pearl": [
        {"updates": 3, "batch_size": 1024, "buffer_size": 300},
        {"updates": 3, "hidden_size": 300, "batch_size": 512, "buffer_size": 300},
    ],
    "multi-task": [{"n_envs": 2048, "n_epochs": 1}, {"n_envs": 1024, "hidden_size": 128, "minibatches": 1, "n_epochs": 1}],
    "task-informed": [{"n_envs": 2048, "n_epochs": 1}, {"n_envs": 1024, "hidden_size": 128, "minibatches": 1, "n_epochs": 1}],
    "multi-task-sac": [
        {"updates": 3, "batch_size": 20_000, "buffer_size": 300},
        {"updates": 3, "hidden_size": 300, "batch_size": 5000, "buffer_size": 300},
    ],
    "recurrent-sac": [
        {"updates": 2, "trials": 256, "batch_size": 256, "buffer_trials": 256},
        {"updates": 2, "trials": 128, "batch_size": 128, "buffer_trials": 256, "hidden_size": 128},
    ],
}
"""Settings of each algorithm that take some hundred megabytes."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the highest memory of a process is read from /proc")
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_a_meta_iteration_takes_about_what_was_reckoned(name: str, tmp_path: Path, share: Share):
    """In a process of its own that has done a small one before, within a factor of three."""
    entry, tasks = algorithm(name), make("point-navigation")
    for settings in MEASURED[name]:
        config = entry.config(**settings)

        def measured(config: Any = config) -> int:
            warm = entry.make(make("point-navigation", max_episode_steps=5), entry.config(**{**entry.small, **entry.least}))
            warm.train_step(InProcess(warm.tasks))
            Path("/proc/self/clear_refs").write_text("5")
            before = memory("VmRSS")
            learner = entry.make(tasks, config)
            learner.train_step(InProcess(learner.tasks))
            print(memory("VmHWM") - before, sum((to_build(learner.tasks, config) | to_train(learner.tasks, config)).values()))
            return 0

        status, said = alone(measured, tmp_path / "log", seconds=300, room=2**34)
        assert status == 0, said
        taken, reckoned = map(float, said.split())
        assert 1 / 3 < reckoned / taken < 3, (taken, reckoned)
        share.says("memory of a meta-iteration", 1, "as reckoned, within a factor of 3", name, f"{reckoned / taken:.2f}")


@pytest.mark.parametrize("name", [name for name, entry in ALGORITHMS.items() if hasattr(entry.config(), "tau")])
def test_a_replay_is_as_large_as_was_reckoned(name: str):
    """Its rows have all their places from the first record on."""
    entry, tasks = algorithm(name), make("point-navigation", max_episode_steps=5)
    learner: Any = entry.make(tasks, entry.config(**{**entry.small, **entry.least}))
    learner.train_step(InProcess(tasks))
    real = sum(field.numel() * field.element_size() for field in learner.replay.fields.values())
    [reckoned] = [size for part, size in to_train(tasks, learner.config).items() if part.startswith("replay")]
    assert 1 <= reckoned / real < 2.5


def memory(name: str) -> int:
    """A figure of this process's memory, in bytes."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":")]
    return int(line.split()[1]) * 1024
