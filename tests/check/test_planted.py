"""Every planted fault is found by the check that is there for it, and sound distributions pass."""

from __future__ import annotations

from typing import Any

import pytest
from classics import CLASSICS, bipedal_walker
from planted import LIMIT, PLANTED, Cart, Own, Planted

import quickstudy as qs
from quickstudy import families
from quickstudy.check.report import judge
from quickstudy.check.tasks import CLAUSES, check_tasks
from quickstudy.check.walk import Trial, global_seeds

QUICK_CLASSICS = ("FrozenLake-v1",)
"""Numbers as observations; vectors are what the planted faults show."""


def test_there_are_at_least_thirty():
    assert len(PLANTED) >= 30


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.fault)
def test_a_planted_fault_is_found(planted: Planted):
    trial, names = Trial(planted.build(), 0, "FILE.py:OBJECT"), list(CLAUSES)
    with global_seeds(0):
        for name in names[: names.index(planted.check) + 1]:
            finding = judge(name, lambda name=name: CLAUSES[name](trial))
    assert finding.passed is False, finding.detail


LONG = {"glucose": {"max_episode_steps": 12}, "traffic-signal": {"max_episode_steps": 40}}
"""Families of whose episodes a part does."""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (name, LONG.get(name, {})) for name, entry in families.FAMILIES.items() if entry.simulator is families.NATIVE
    ]  # the others have files of their own
    + [
        ("bandit", {"payoff": "gaussian", "episodes_per_trial": 2}),
        ("grid-navigation", {"size": 9}),
        ("point-navigation", {"payoff": "sparse", "layout": "half-circle"}),
    ],
)
@pytest.mark.parametrize("seed", [0, pytest.param(7, marks=pytest.mark.slow)])
def test_shipped_families_pass(name: str, options: dict[str, Any], seed: int):
    report = check_tasks(families.make(name, **options), seed=seed)
    assert not report.failed, str(report)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Box2D's, when it is imported
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK_CLASSICS else pytest.mark.slow) for name in CLASSICS]
)
def test_gymnasium_classics_pass(name: str):
    if name == "LunarLander-v3":
        pytest.importorskip("Box2D", reason="needs the extra box2d")
    report = check_tasks(CLASSICS[name]())
    assert not report.failed, str(report)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fault_of_a_classic_is_found():
    """BipedalWalker keeps its physics engine, and with it what the engine remembers, over resets."""
    pytest.importorskip("Box2D", reason="needs the extra box2d")
    assert check_tasks(bipedal_walker()).failed == ["reset"]


def test_what_the_faults_are_planted_in_is_sound():
    for sound in (qs.GymnasiumTasks(Cart, max_episode_steps=LIMIT, gain=qs.Uniform(0.5, 2.0)), Own()):
        report = check_tasks(sound)
        assert not report.failed, str(report)


def test_tasks_that_are_told_are_told():
    assert check_tasks(qs.Informed(families.make("cart-pole"))).failed == ["hidden task"]
