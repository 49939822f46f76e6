"""Memory is reckoned before it is taken: about as much as is measured, and what fits a small machine is never refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alone import alone
from conftest import Share
from gymnasium import spaces
from probes import HiddenButton
from small import takes

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS, algorithm
from quickstudy.families import FAMILIES
from quickstudy.footprint import SLACK, free_memory, held, reading_of, shortage, to_build, to_evaluate, to_train
from quickstudy.nets.reader import inputs_for
from quickstudy.ops.senses import Senses, Words, bytes_of
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
            agent = entry.make(tasks) if family == "point-navigation" and takes(name, tasks) else None
            if agent is not None:
                assert sum(to_evaluate(agent, tasks, 100).values()) < FOUR_GB, name


def test_a_shortage_names_the_three_largest_parts():
    parts = {"a": 5e15, "b": 7e15, "c": 6e15, "d": 1e15, "e": 1e3}
    said = shortage(parts)
    assert said.startswith("it needs about 19,000,000 GB, this machine has ")
    assert said.endswith(" free: b 7,000,000 GB, c 6,000,000 GB, a 5,000,000 GB; make these smaller")
    assert " d " not in said and not shortage({"a": 1e6}) and 1e7 < free_memory("cpu") < 1e14


READ: dict[str, Any] = {
    "codes": spaces.Box(0, 10, (7, 7, 3), np.uint8),
    "grey": spaces.Box(0, 255, (20, 20), np.uint8),
    "first": spaces.Box(0, 255, (3, 40, 36), np.uint8),
    "frames": spaces.Box(0.0, 1.0, (4, 84, 84, 3), np.float32),
    "sound": spaces.Box(-1, 1, (1000,)),
    "text": Words(20),
}
READ["senses"] = Senses(
    {**READ, "choice": spaces.Discrete(5), "choices": spaces.MultiDiscrete([3, 4]), "vector": spaces.Box(-1, 1, (4,))}
)


@pytest.mark.parametrize("vision", ["auto", "grid", "impala"])
@pytest.mark.parametrize("name", READ)
def test_a_reader_has_about_the_weights_that_are_reckoned(name: str, vision: Any):
    config = algorithm("rl2").config(hidden_size=48, vision=vision)
    reader, reckoned = inputs_for(READ[name], 0, config).reader, reading_of(READ[name], config)
    assert reader is not None and reckoned is not None and reckoned.features == reader.features
    assert reckoned.weights == pytest.approx(sum(weight.numel() for weight in reader.parameters()), rel=0.03)
    assert held(READ[name])[0] <= bytes_of(READ[name]) < held(READ[name])[0] + 4


def test_vectors_have_no_reader():
    for space in (spaces.Box(-1, 1, (3,)), spaces.Box(-np.inf, np.inf, (100,)), spaces.Discrete(9), spaces.Box(-1, 1, (3, 4))):
        assert reading_of(space, algorithm("rl2").config()) is None


MEASURED: dict[str, list[dict[str, Any]]] = {
    "rl2": [{"trials": 512}, {"trials": 512, "hidden_size": 128, "minibatches": 1, "n_epochs": 1}],
    "rl3": [{"trials": 512}, {"trials": 512, "hidden_size": 128, "minibatches": 1, "n_epochs": 1}],
    "varibad": [
        {"trials": 512, "belief_updates": 2},
        {"trials": 256, "hidden_size": 128, "minibatches": 1, "n_epochs": 1, "belief_updates": 2},
    ],
    "maml": [{}, {"meta_batch_size": 10, "inner_steps": 2, "hidden_size": 128}],
    "promp": [{"meta_batch_size": 40}, {"inner_steps": 2, "hidden_size": 128, "n_epochs": 1}],
    "reptile": [{"meta_batch_size": 40}, {"inner_steps": 4, "hidden_size": 128}],
    "norml": [{"meta_batch_size": 20}, {"inner_steps": 2, "hidden_size": 128, "n_epochs": 1}],
    "es-maml": [{"meta_batch_size": 100}, {"inner_steps": 3, "hidden_size": 128}],
    "pearl": [
        {"updates": 3, "batch_size": 1024, "buffer_size": 300},
        {"updates": 3, "hidden_size": 300, "batch_size": 512, "buffer_size": 300},
    ],
    **{
        # in the first meta-iteration nothing is planned
        name: [
            {"trials": 512, "updates": 2, "buffer_trials": 512, "candidates": 1},
            {"trials": 1024, "updates": 2, "buffer_trials": 1024, "candidates": 1},
        ]
        for name in ("cadm", "grbal", "mpc", "rebal")
    },
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


@pytest.mark.parametrize("name", ("cadm", "grbal", "mpc", "rebal"))
def test_a_planners_candidates_are_reckoned(name: str):
    """In training and evaluation, as large as the layer that is kept at least, and in proportion to their number."""
    tasks, entry = make("point-navigation", max_episode_steps=5), algorithm(name)
    for lanes, reckon in (
        (8, to_train),
        (16, lambda tasks, config: to_evaluate(entry.make(tasks, config), tasks, 16)),
    ):
        sizes = {}
        for candidates in (100, 200):
            config = entry.config(trials=8, candidates=candidates)
            [sizes[candidates]] = [size for part, size in reckon(tasks, config).items() if "plans in each of" in part]
            layer = 4 * lanes * candidates * getattr(config, "particles", 1) * config.hidden_size
            assert layer < sizes[candidates] < 8 * layer
        assert sizes[200] == 2 * sizes[100]


PROC = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the highest memory of a process is read from /proc"
)


@pytest.mark.slow
@PROC
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_a_meta_iteration_takes_about_what_was_reckoned(name: str, tmp_path: Path, share: Share):
    """In a process of its own that has done a small one before, within a factor of three."""
    for settings in MEASURED[name]:
        taken, reckoned = measured(name, settings, partial(steps_of, name), 20, tmp_path)
        assert 1 / 3 < reckoned / taken < 3, (taken, reckoned)
        share.says("memory of a meta-iteration", 1, "as reckoned, within a factor of 3", name, f"{reckoned / taken:.2f}")


def steps_of(name: str, steps: int) -> Any:
    """Tasks of episodes of so many steps that an algorithm takes."""
    tasks = make("point-navigation", max_episode_steps=steps)
    return tasks if takes(name, tasks) else make("tabular-mdp", horizon=steps, episodes_per_trial=tasks.episodes_per_trial)


def measured(
    name: str, settings: dict[str, Any], tasks_of: Callable[[int], Any], steps: int, folder: Path
) -> tuple[float, float]:
    """The memory that a meta-iteration takes in a process of its own that has done a small one before, and what is reckoned."""
    entry = algorithm(name)
    config = entry.config(**settings)

    def work() -> int:
        warm = entry.make(tasks_of(5), entry.config(**{**entry.small, **entry.least}))
        warm.train_step(InProcess(warm.tasks))
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        learner = entry.make(tasks_of(steps), config)
        learner.train_step(InProcess(learner.tasks))
        print(memory("VmHWM") - before, sum((to_build(learner.tasks, config) | to_train(learner.tasks, config)).values()))
        return 0

    status, said = alone(work, folder / "log", seconds=300, room=2**34)
    assert status == 0, said
    taken, reckoned = map(float, said.split())
    return taken, reckoned


@pytest.mark.slow
@PROC
@pytest.mark.parametrize("name", ("cadm", "grbal", "mpc", "rebal"))
def test_planning_takes_about_what_was_reckoned(name: str, tmp_path: Path):
    """An evaluation, in a process of its own that has done a small one before, within a factor of three."""
    entry, tasks = algorithm(name), steps_of(name, 2)
    sizes = {"hidden_size": 128, "candidates": 4096, "plan_steps": 2, "refits": 1}

    def work() -> int:
        qs.evaluate(entry.make(tasks, entry.config(**{**entry.small, **entry.least})), num_tasks=2)
        learner = entry.make(tasks, entry.config(**sizes))
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        qs.evaluate(learner, num_tasks=32)
        print(memory("VmHWM") - before, sum(to_evaluate(learner, tasks, 32).values()))
        return 0

    status, said = alone(work, tmp_path / "log", seconds=300, room=2**34)
    assert status == 0, said
    taken, reckoned = map(float, said.split())
    assert taken > 1e8 and 1 / 3 < reckoned / taken < 3, (taken, reckoned)


class Watched(HiddenButton):
    """Images of 36 x 36 pixels in colour, each of one shade."""

    @property
    def observation_space(self) -> Any:
        return spaces.Box(0, 255, (36, 36, 3), np.uint8)

    def observation(self, state: Any, task: Any) -> Any:
        return state.to(torch.uint8)[..., None, None, None].expand(*state.shape, 36, 36, 3)


@pytest.mark.slow
@PROC
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("rl2", {"trials": 64}),
        ("multi-task", {"n_envs": 256, "n_epochs": 1}),
        ("maml", {"meta_batch_size": 10}),
        ("recurrent-sac", {"updates": 2, "trials": 64, "batch_size": 64, "buffer_trials": 64}),
    ],
)
def test_images_take_about_what_was_reckoned(name: str, settings: dict[str, Any], tmp_path: Path):
    def tasks_of(steps: int) -> Any:
        return qs.NativeTasks(Watched(max_episode_steps=steps))

    taken, reckoned = measured(name, settings, tasks_of, 20, tmp_path)
    assert 1 / 3 < reckoned / taken < 3, (taken, reckoned)


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
