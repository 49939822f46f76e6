"""How tasks are drawn: no task in two splits, and extrapolation outside but near."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy import tasks as families
from quickstudy.protocol import Split, counter
from quickstudy.tasks.parameters import OUTWARD, Simplex, sample_parameters, splits_of

DRAWS = 10_000
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def drawn(tasks: Any, split: Split, count: int = DRAWS) -> set[tuple[float, ...]]:
    values = tasks.sample(count, split, counter(0, 0, split)).values()
    return set(map(tuple, torch.cat([value.reshape(count, -1) for value in values], 1)[:, :16].tolist()))


@pytest.mark.parametrize(
    "tasks",
    [
        qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(0.25, 1.0)),
        qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(1000.0, 1001.0)),
        qs.GymnasiumTasks("CartPole-v1", gravity=qs.LogUniform(5.0, 15.0)),
        qs.GymnasiumTasks("CartPole-v1", gravity=qs.Normal(9.8, 1.0)),
        qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(0.25, 1.0), force_mag=qs.Choice(-10.0, 10.0)),
        qs.GymnasiumTasks(
            "CartPole-v1", length=qs.Choice(*[0.1 * n for n in range(1, 9)]), gravity=qs.Choice(*map(float, range(7)))
        ),
        families.make("grid-navigation", size=9),
        families.make("tabular-mdp"),
        families.make("point-navigation", layout="half-circle"),
    ],
)
def test_partitioned_splits_share_no_task(tasks: Any):
    assert tasks.splits == "partitioned"
    train, validation, test = (drawn(tasks, split) for split in SPLITS)
    assert not train & validation and not train & test and not validation & test
    assert len(train) >= 30 and len(test) >= 10


def test_few_tasks_are_drawn_anew_and_say_so():
    tasks = families.make("grid-navigation")
    assert tasks.splits == "iid" and drawn(tasks, "train") == drawn(tasks, "test")
    assert "iid: tasks are drawn anew" in str(qs.evaluate(qs.Random(tasks), num_tasks=3))
    partitioned = qs.evaluate(qs.Random(families.make("grid-navigation", size=9)), num_tasks=3)
    assert "iid" not in str(partitioned) and partitioned.as_json()["splits"] == "partitioned"


def test_a_dealt_out_family_keeps_its_whole_support_and_its_sets_whatever_the_seed():
    tasks = families.make("grid-navigation", size=9)
    sets = [drawn(tasks, split) for split in SPLITS]
    assert len(set.union(*sets)) == 77 and [len(cells) for cells in sets] == [46, 15, 16]
    again = tasks.sample(DRAWS, "test", counter(5, 3, "other"))["goal"].tolist()
    assert set(map(tuple, again)) == sets[2]


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_looks_like_the_whole_distribution(split: Split):
    generator = counter(0, 0, split)
    uniform = qs.Uniform(-2.0, 6.0).sample(100_000, split, generator)
    assert uniform.min() >= -2 and uniform.max() <= 6
    assert abs(float(uniform.mean()) - 2) < 0.03 and abs(float(uniform.std()) - 8 / 12**0.5) < 0.02
    log = qs.LogUniform(0.01, 1.0).sample(100_000, split, generator)
    assert abs(float(log.log10().mean()) + 1) < 0.01 and log.min() >= 0.0099 and log.max() <= 1
    normal = qs.Normal(1.0, 3.0).sample(100_000, split, generator)
    assert abs(float(normal.mean()) - 1) < 0.03 and abs(float(normal.std()) - 3) < 0.03
    rows = Simplex((4,)).sample(50_000, split, generator)
    torch.testing.assert_close(rows.sum(-1), torch.ones(50_000))
    # a Dirichlet(1) over four has variance 3/80 in each part
    torch.testing.assert_close(rows.var(0), torch.full((4,), 3 / 80), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("parameter", "low", "high"),
    [
        (qs.Uniform(-1.0, 3.0), -2.0, 4.0),
        (qs.Uniform(4.0, 8.0), 3.0, 9.0),
        (qs.Uniform(0.05, 0.5), 0.025, 0.6125),  # a mass stays positive
        (qs.Uniform(0.0, 1.0), 0.0, 1.25),
        (qs.Uniform(-12.0, -8.0), -13.0, -7.0),
        (qs.LogUniform(0.1, 10.0), 0.1 / 10**0.5, 10 * 10**0.5),
    ],
)
def test_extrapolation_lies_outside_by_at_most_a_quarter(parameter: Any, low: float, high: float):
    values = parameter.sample(DRAWS, "extrapolation", counter(0, 0, "extrapolation"))
    outside = (values < parameter.low) | (values > parameter.high)
    assert bool(outside.all()) and OUTWARD == 0.25
    assert low == parameter.low or float(values.min()) == pytest.approx(low, rel=0.01)
    assert float(values.max()) == pytest.approx(high, rel=0.01)
    assert float(values.min()) >= low - 1e-6 and float(values.max()) <= high + 1e-6


def test_what_has_nothing_beyond_it_has_no_extrapolation():
    for tasks in (families.make("bandit"), families.make("grid-navigation"), families.make("tabular-mdp")):
        with pytest.raises(qs.UsageError, match="no extrapolation split"):
            qs.evaluate(qs.Random(tasks), split="extrapolation")
    both = {"length": qs.Uniform(1.0, 2.0), "side": qs.Choice(-1.0, 1.0)}
    outside = sample_parameters(both, 100, "extrapolation", counter(0, 0, "both"))
    assert set(outside["side"].tolist()) == {-1.0, 1.0} and not ((outside["length"] > 1) & (outside["length"] < 2)).any()
    assert splits_of(both) == "partitioned"


def test_ill_made_parameters_are_refused():
    for make in (
        lambda: qs.Uniform(1.0, 1.0),
        lambda: qs.Uniform(0.0, float("inf")),
        lambda: qs.LogUniform(0.0, 1.0),
        lambda: qs.Normal(0.0, 0.0),
        lambda: qs.Choice(1.0),
        lambda: qs.Choice(1.0, 1.0),
    ):
        with pytest.raises(qs.UsageError):
            make()
