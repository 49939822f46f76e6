"""How tasks are drawn: no task in two splits, and extrapolation outside but near."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import gymnasium
import jaxtyping
import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy import families
from quickstudy.protocol import Split, counter
from quickstudy.tasks.choices import task_at
from quickstudy.tasks.gymnasium_env import live_again
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
    torch.testing.assert_close(rows.sum(-1), torch.ones(50_000).double())
    # a Dirichlet(1) over four has variance 3/80 in each part
    torch.testing.assert_close(rows.var(0), torch.full((4,), 3 / 80).double(), atol=1e-3, rtol=0)


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
        lambda: qs.Choice(1, 2, 1.0),
        lambda: qs.Choice((1, 2), [1, 2], (1, 2)),
        lambda: qs.Choice([1, "a"], [1, "a"]),
        lambda: qs.Choice(np.ones(2), np.zeros(2), np.ones(2)),
        lambda: qs.Choice(math.nan, 1.0),
        lambda: qs.Choice((1.0, math.nan), (1.0, 2.0)),
        lambda: qs.Choice(np.array([math.nan]), np.zeros(1)),
        lambda: qs.Choice("a", (name for name in "bc")),  # a generator can't be copied
        lambda: qs.Uniform("1", 2),
        lambda: qs.Uniform(-1e39, 1e39),
        lambda: qs.Uniform(1e15, 1e15 + 1),
        lambda: qs.Uniform(0.0, 1.0, shape=3),
        lambda: qs.Uniform(0.0, 1.0, shape=(2, 0)),
        lambda: qs.LogUniform(1e-300, 1e300),
        lambda: qs.LogUniform(1e-50, 1.0),
        lambda: qs.LogUniform(1e-30, 1e30),
        lambda: qs.LogUniform(1.0, 1.0 + 1e-15),
        lambda: qs.Normal(1e300, 1.0),
        lambda: qs.Normal(1e15, 1e-3),
        lambda: Simplex(()),
    ):
        with pytest.raises(qs.UsageError):
            make()


class Told(gymnasium.Env[Any, Any]):
    """Notes what it is given, and changes it in place."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        raise RuntimeError("broken")


@dataclass(frozen=True)
class Track:
    """An object of somebody's own."""

    corners: int
    surface: str


def received(parameters: dict[str, Any], split: Split, tasks: int = 400) -> list[dict[str, Any]]:
    """What environments are given of so many tasks of a split."""
    given: list[dict[str, Any]] = []
    distribution = qs.GymnasiumTasks(
        Told, max_episode_steps=3, configure=lambda env, values: given.append(values), **parameters
    )
    env = distribution.make(tasks, 1)
    env.reset(distribution.sample(tasks, split, counter(0, 0, split)), counter(0, 0, "dynamics"))
    env.close()
    return given


WIDE = [10_000 + 7 * number for number in range(10_000)]


@pytest.mark.parametrize(
    "parameters",
    [
        {"level": qs.Choice(*(1_000_000_007 + 10 * number for number in range(60)))},
        {"level": qs.Choice(*(2**53 + number for number in range(60)))},
        {"level": qs.Choice(*(2**70 + number for number in range(60)))},
        {"name": qs.Choice(*(f"track {number}" for number in range(60)))},
        {"side": qs.Choice(True, False), "track": qs.Choice(*(Track(number, "gravel") for number in range(30)))},
        {"gain": qs.Choice(*(1.0 + number * 2.0**-50 for number in range(60)))},
        {"place": qs.Choice(*((number, -number / 3) for number in range(60)))},
        {"ragged": qs.Choice(*([number] * (number % 3 + 1) for number in range(60)))},
        {"one": qs.Choice(*WIDE), "two": qs.Choice(*WIDE), "three": qs.Choice(*WIDE)},
        {f"dial {number}": qs.Choice(*range(100)) for number in range(20)},
        {"far": qs.Uniform(1e6, 1e6 + 1)},
        {"far": qs.Uniform(1e15, 1e15 + 64)},
        {"far": qs.Uniform(-1e6 - 1e-3, -1e6)},
        {"far": qs.LogUniform(1e6, 1e6 + 1)},
        {"far": qs.Normal(1e6, 0.1)},
        {"mixed": qs.Uniform(1e6, 1e6 + 1, shape=(2,)), "name": qs.Choice("a", "b")},
    ],
    ids=lambda parameters: ", ".join(f"{name} {parameter}" for name, parameter in list(parameters.items())[:2]),
)
def test_environments_of_two_splits_never_receive_the_same(parameters: dict[str, Any]):
    """Nor anything that was not listed, nor of another type."""
    sets = []
    for split in SPLITS:
        given = received(parameters, split)
        for values in given:
            for name, value in values.items():
                if isinstance(parameters[name], qs.Choice):
                    assert any(value == listed and type(value) is type(listed) for listed in parameters[name].values[:200]) or (
                        value in parameters[name].values and type(value) is int
                    )
        sets.append({repr(values) for values in given})
    train, validation, test = sets
    assert not train & validation and not train & test and not validation & test
    assert len(train) >= 30 and len(test) >= 10


def test_a_choice_is_given_as_it_was_listed_whatever_it_is():
    listed = ["oval", ("a", 1), None, 3, 2.5, True, [1, 2], {"grip": 0.5}, Track(4, "ice"), np.arange(3)]
    choice = qs.Choice(*listed)
    given = received({"track": choice}, "train")
    kinds = Counter(type(values["track"]) for values in given)
    assert set(kinds) == {type(value) for value in listed}
    # one of the ten each, 400 times: 40 and six deviations of it
    assert all(4 <= count <= 76 for count in kinds.values())
    assert choice.normalise(torch.tensor([2, 0])).tolist() == [[-1, -1, 1] + [-1] * 7, [1] + [-1] * 9]
    assert str(qs.Choice("oval", "eight")) == "one of oval, eight"


def test_what_one_lane_does_to_its_values_reaches_nobody_else():
    """Neither other lanes, nor other tasks, nor the list of choices, nor the record of a fault."""
    spoiled: list[Any] = []

    def spoil(env: Any, values: dict[str, Any]) -> None:
        assert values["rows"] in ([[0.0, 1.0]], [[2.0, 3.0]]) and len(values["place"]) == 2 and values["name"] == ["a"]
        for value in list(values.values()):
            value.clear()
            spoiled.append(value)

    parameters = {"rows": qs.Choice([[0.0, 1.0]], [[2.0, 3.0]]), "place": qs.Uniform(0.0, 1.0, shape=(2,))}
    tasks = qs.GymnasiumTasks(Told, max_episode_steps=3, configure=spoil, name=qs.Choice(["a"], "b"), **parameters)
    drawn = tasks.sample(4, "train", counter(0, 0, "tasks")) | {"name": torch.zeros(4, dtype=torch.long)}
    before = {name: value.clone() for name, value in drawn.items()}
    env = tasks.make(4, 3)
    env.reset(drawn, counter(0, 0, "dynamics"))
    env.reset(drawn, counter(0, 0, "dynamics"))
    assert len({id(value) for value in spoiled}) == len(spoiled) == 2 * 4 * 3 * 3
    for value in drawn.values():
        value.zero_()
    with pytest.raises(
        qs.EnvironmentFault, match=r"task 0 \(name=\['a'\], rows=\[\[.*\]\], place=\[0\..*\]\), lane 0"
    ) as caught:
        env.step(torch.zeros(4, 3, dtype=torch.long))
    assert caught.value.replay is not None
    assert caught.value.replay["parameters"] == {name: value[0].tolist() for name, value in before.items()}
    with pytest.raises(Exception, match="broken"):
        list(live_again(tasks, caught.value.replay))


def test_values_are_those_of_float64_where_they_are_python_numbers():
    [value] = {values["gain"] for values in received({"gain": qs.Choice(0.1, 0.2)}, "train") if values["gain"] < 0.15}
    assert value == 0.1
    uniform = received({"gain": qs.Uniform(0.1, 0.9)}, "train")
    assert any(values["gain"] != float(np.float32(values["gain"])) for values in uniform)


@pytest.mark.parametrize("total", [50, 64, 77, 1000, 1025])
def test_dealing_is_a_permutation(total: int):
    assert sorted(task_at(place, total) for place in range(total)) == list(range(total))
    assert task_at(7, total) != task_at(7, total + 1) or task_at(8, total) != task_at(8, total + 1)


@pytest.mark.parametrize("split", SPLITS)
def test_every_dealt_split_holds_its_share_of_each_value(split: Split):
    parameters = {f"dial {number}": qs.Choice(*range(10)) for number in range(40)}  # 10^40 tasks
    rows = torch.stack(list(sample_parameters(parameters, 5000, split, counter(0, 0, split)).values()))
    counts = torch.stack([(rows == value).sum(1) for value in range(10)])
    # of 400 counts, each 500 with a deviation of 21
    assert int(counts.min()) > 390 and int(counts.max()) < 610


@pytest.mark.parametrize("name", sorted(name for name in families.FAMILIES if "metaworld" not in name))
def test_there_is_no_split_of_another_name(name: str):
    jaxtyping.config.update("jaxtyping_disable", True)  # or the tests' own checks of annotations come first
    for tasks in (families.make(name), qs.Informed(families.make(name))):
        with pytest.raises(qs.UsageError, match=r"there is no split 'tests'; did you mean 'test'\?"):
            tasks.sample(2, "tests", counter(0, 0, "t"))
    for parameter in families.make(name).parameters.values():
        with pytest.raises((qs.UsageError, KeyError)):
            parameter.sample(2, "tests", counter(0, 0, "t"))


def test_tensors_hold_numbers_that_float32_tells_apart():
    """Where dynamics are torch-native: what it can't tell apart is refused, with what to do about it."""

    @dataclass(frozen=True)
    class Lines:
        parameters: Any
        max_episode_steps = episodes_per_trial = 1
        initial_noise = step_noise = 0
        observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)
        initial = transition = observation = reward = terminal = info = lambda *_: None

    for parameter in (
        qs.Uniform(1e6, 1e6 + 1),
        qs.LogUniform(1e6, 1e6 + 1),
        qs.Normal(1e6, 0.1),
        qs.Choice("a", "b"),
        qs.Choice(2**24, 2**24 + 1),
        qs.Choice(1e39, 1.0),
    ):
        with pytest.raises(qs.UsageError, match=r"Lines.*x=.*float32"):
            qs.NativeTasks(Lines({"x": parameter}))
    fine = qs.NativeTasks(Lines({"x": qs.Uniform(1e3, 1e3 + 4), "y": qs.Choice((0, 1), (2, 3)), "z": qs.Choice(0.1, 0.2)}))
    assert {value.dtype for value in fine.sample(3, "test", counter(0, 0, "t")).values()} == {torch.float32}
