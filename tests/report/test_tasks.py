"""The task map: every task where its parameters put it, with the mean of its returns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from quickstudy.families import make
from quickstudy.protocol import counter
from quickstudy.report.tasks import MOST_AXES, plane_of, task_map
from quickstudy.scores import Evaluation
from quickstudy.tasks.entries import as_rows
from quickstudy.tasks.parameters import Choice, LogUniform, Normal, Uniform, parameters_of


def evaluation(returns: list[list[float]], drawn: dict[str, Tensor], **more: Any) -> Evaluation:
    usual: dict[str, Any] = {"algorithm": "a", "tasks": "t", "split": "test", "seed": 0, "lanes": 1, "greedy": False}
    usual |= {"trained_episodes": 2, "splits": "partitioned", "success": None}
    return Evaluation(**(usual | more), returns=torch.tensor(returns), drawn=drawn)


def test_tasks_lie_where_their_parameters_are_and_seeds_are_averaged():
    mass = torch.tensor([0.5, 2.0])
    pooled = evaluation([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], {"mass": torch.cat([mass, mass])}, seeds=(0, 1))
    beyond = evaluation([[9.0, 9.0]], {"mass": torch.tensor([3.0])}, split="extrapolation")
    found = task_map([pooled, beyond], {"mass": Uniform(0.25, 2.5)})
    assert found["axes"] == [{"name": "mass", "bounds": [0.25, 2.5]}] and found["left_out"] == 0
    assert found["tasks"] == [
        {"split": "test", "at": [0.5], "met": 1, "returns": [3, 4]},
        {"split": "test", "at": [2], "met": 1, "returns": [5, 6]},
        {"split": "extrapolation", "at": [3], "met": 1, "returns": [9, 9]},
    ]


def test_tasks_that_are_the_same_are_one_with_their_mean():
    goals = torch.tensor([[0.0, 2.0], [1.0, 2.0], [0.0, 2.0]])
    found = task_map([evaluation([[1.0], [5.0], [2.0]], {"goal": goals})], {"goal": Choice((0, 2), (1, 2), (3, 0))})
    assert found["axes"] == [{"name": "goal 1", "bounds": [0, 3]}, {"name": "goal 2", "bounds": [0, 2]}]
    assert [(task["at"], task["met"], task["returns"]) for task in found["tasks"]] == [([0, 2], 2, [1.5]), ([1, 2], 1, [5])]


def test_values_that_are_no_numbers_have_their_own_words_and_whole_numbers_all_their_digits():
    parameters = {"track": Choice("oval", ("eight", 2), None), "level": Choice(1_000_000_007, 1_000_000_009)}
    drawn = {"track": torch.tensor([2, 0, 2]), "level": torch.tensor([1_000_000_009, 1_000_000_007, 1_000_000_007])}
    found = task_map([evaluation([[1.0], [5.0], [2.0]], drawn)], parameters)
    assert found["axes"] == [
        {"name": "track", "bounds": [0, 2], "words": {2: "None", 0: "oval"}},
        {"name": "level", "bounds": [1_000_000_007, 1_000_000_009]},
    ]
    assert [task["at"] for task in found["tasks"]] == [[2, 1_000_000_009], [0, 1_000_000_007], [2, 1_000_000_007]]


def test_a_task_is_one_row_of_numbers_whatever_axes_its_parameters_have():
    tasks = {"mass": torch.tensor([0.5, 2.0]), "kind": torch.tensor([2**53 + 1, 1]), "goal": torch.tensor([[[1.0], [2.0]]] * 2)}
    assert as_rows(tasks, 2) == (["mass", "kind", "goal 1", "goal 2"], [[0.5, 2**53 + 1, 1, 2], [2, 1, 1, 2]])


def test_entries_are_called_as_their_family_calls_them():
    found = {}
    for name in ("grid-navigation", "point-navigation", "walker-parameters"):
        tasks = make(name)
        found[name], _ = as_rows(tasks.sample(2, "test", counter(0, 0, "names")), 2, parameters_of(tasks))
    assert found["grid-navigation"] == ["goal row", "goal column"] and found["point-navigation"] == ["goal x", "goal y"]
    assert found["walker-parameters"][4:9] == [
        "mass left thigh",
        "mass left leg",
        "mass left foot",
        "damping thigh",
        "damping leg",
    ]
    assert len(found["walker-parameters"]) == 7 + 6 + 8 + 1


def test_of_many_numbers_the_first_are_shown_and_bounds_are_told_where_there_are_some():
    drawn = {"a": torch.ones(2), "b": torch.ones(2, 2, 3), "c": torch.ones(2)}
    parameters = {"a": LogUniform(0.5, 2.0), "b": Normal(0.0, 1.0, (2, 3)), "c": "one of 50"}
    found = task_map([evaluation([[1.0], [1.0]], drawn)], parameters)
    assert [axis["name"] for axis in found["axes"]] == ["a", "b 1, 1", "b 1, 2", "b 1, 3"]
    assert [axis["bounds"] for axis in found["axes"]] == [[0.5, 2], None, None, None]
    assert found["left_out"] == 8 - MOST_AXES and len(found["tasks"]) == 1


def test_the_map_lies_as_the_pictures_of_its_tasks_do():
    assert plane_of(make("grid-navigation").dynamics) == [1, 0], "its tasks are rows and columns"
    assert plane_of(make("point-navigation").dynamics) == plane_of(make("cart-pole").dynamics) == plane_of(None) == [0, 1]
    assert plane_of(make("point-navigation", layout="half-circle").dynamics) == [0, 1]
