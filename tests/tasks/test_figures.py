"""Figures of a field: what episodes make of what steps say, through every wrapper and kind of environment, into every table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy.algorithms.baselines.random import Random
from quickstudy.errors import EnvironmentFault, UsageError
from quickstudy.families.classic.cart_pole import CartPole
from quickstudy.tasks.figures import combined
from quickstudy.wrappers.forgetful import Forgetful

HOWS = {"height": "mean", "steps": "sum", "clock": "last"}


class Counting(gymnasium.Env[Any, Any]):
    """Ends after as many steps as its task says; each tells its number, a one, and twice its number."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)
    length = 3.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.at = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.at += 1
        info = {"height": self.at, "steps": 1, "clock": 2.0 * self.at}
        return np.zeros(1, np.float32), 1.0, self.at >= self.length, False, info


def counting(**options: Any) -> qs.GymnasiumTasks:
    return qs.GymnasiumTasks(Counting, max_episode_steps=9, length=qs.Choice(3.0, 4.0, 6.0), figures=HOWS, **options)


def expected(length: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"height": (length + 1) / 2, "steps": length, "clock": 2 * length}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_episode_is_what_its_steps_say(workers: int) -> None:
    found = qs.evaluate(Random(counting(workers=workers)), num_tasks=5)
    for name, values in expected(found.drawn["length"].float()).items():
        assert torch.equal(found.figures[name], values[:, None].expand(-1, 2)), name


@pytest.mark.parametrize("times", [2, 4])
def test_actions_that_are_held_change_no_sum_and_no_end(times: int) -> None:
    found = qs.evaluate(Random(qs.Repeated(counting(), times)), num_tasks=5)
    answers = expected(found.drawn["length"].float())
    for name in ("steps", "clock"):
        assert torch.equal(found.figures[name], answers[name][:, None].expand(-1, 2)), name
    if times == 2:  # the mean over decisions of the mean over each one's steps: (1.5 + 3.5 + 5.5) / 3, (1.5 + 3) / 2
        means = {3.0: 2.25, 4.0: 2.5, 6.0: 3.5}
        assert found.figures["height"][:, 0].tolist() == [means[length] for length in found.drawn["length"].tolist()]


@pytest.mark.parametrize("wrap", [qs.Informed, lambda tasks: qs.Encoded(tasks, lambda seen: seen, 1), qs.Without])
def test_wrappers_hand_them_on(wrap: Any) -> None:
    tasks = wrap(counting())
    assert qs.evaluate(Random(tasks), num_tasks=2).figures.keys() == HOWS.keys()


def test_waiting_steps_say_nothing() -> None:
    values = torch.tensor([[[1.0, 2.0, 30.0]]])
    valid = torch.tensor([[[True, True, False]]])
    assert [combined(how, values, valid).item() for how in ("mean", "sum", "last")] == [1.5, 3.0, 2.0]


def test_every_table_has_them() -> None:
    found = qs.evaluate(Random(counting()), num_tasks=4)
    (first, _) = found.rows
    assert first["figures"]["steps"]["mean"] == pytest.approx(float(found.figures["steps"][:, 0].mean()))
    assert first["figures"]["steps"]["mean_low"] <= first["figures"]["steps"]["mean"] <= first["figures"]["steps"]["mean_high"]
    assert all(name in str(found) for name in HOWS)
    assert found.records[0]["clock"] == float(found.figures["clock"][0, 0])
    assert found.as_json()["episodes"][0]["figures"].keys() == HOWS.keys()


@dataclass(frozen=True, kw_only=True)
class Named(CartPole):
    """Poles that name a figure of which no step says anything."""

    figures = {"swing": "mean"}  # noqa: RUF012


def test_what_no_step_tells_is_a_fault() -> None:
    with pytest.raises(EnvironmentFault, match="name a figure 'swing'"):
        qs.evaluate(Random(qs.NativeTasks(Named())), num_tasks=1)


class Silent(Counting):
    def step(self, action: Any) -> Any:
        return *super().step(action)[:4], {"height": float("nan"), "steps": 1, "clock": 0}


def test_an_environment_that_says_nan_is_named() -> None:
    tasks = qs.GymnasiumTasks(Silent, max_episode_steps=9, length=qs.Choice(3.0, 4.0), figures=HOWS)
    with pytest.raises(EnvironmentFault, match=r"info\['height'\] is nan; a figure is a finite number"):
        qs.evaluate(Random(tasks), num_tasks=1)


@pytest.mark.parametrize("figures", [{"cost": "max"}, {"success": "mean"}])
def test_bad_figures_are_refused(figures: Any) -> None:
    with pytest.raises(UsageError, match="figure"):
        qs.GymnasiumTasks(Counting, max_episode_steps=9, length=qs.Choice(3.0, 4.0), figures=figures)


def test_seeds_are_pooled_with_them() -> None:
    from quickstudy.scores import pool

    parts = [qs.evaluate(Forgetful(Random(counting())), num_tasks=3) for _ in range(2)]
    assert pool(parts, [0, 1]).figures["steps"].shape == (6, 2)
