"""Every number of every configuration has two bounds, in Python, in a table and on the command line."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alone import alone
from conftest import Share
from said import complaint

from quickstudy.algorithms import ALGORITHMS
from quickstudy.arguments import excess, fill
from quickstudy.bounds import LARGEST_COUNT, LARGEST_NUMBER, LONGEST_TEXT, MOST
from quickstudy.cli import main
from quickstudy.errors import UsageError
from quickstudy.families import FAMILIES
from quickstudy.oracles import ORACLES
from quickstudy.runs.config import Training
from quickstudy.wrappers.normalised import Normalisation

CLASSES = {
    **{f"algorithm {name}": entry.config for name, entry in ALGORITHMS.items()},
    **{f"tasks {name}": entry.options for name, entry in FAMILIES.items()},
    **{f"oracle {name}": entry.options for name, entry in ORACLES.items() if entry.options},
    "training": Training,
    "normalisation": Normalisation,
}
"""All classes of options."""


def beyond_of(kind: type[Any], name: str) -> list[Any]:
    """Values beyond both ends of an option; texts that are too long, or move a cursor."""
    parts = typing.get_args(typing.get_type_hints(kind)[name]) or (typing.get_type_hints(kind)[name],)
    most = MOST.get(name)
    if bool in parts:
        return [2, "yes"]
    if int in parts:
        most = most or LARGEST_COUNT
        return [int(most) + 1, -LARGEST_COUNT - 1, 10**30, 10**5000]
    if float in parts:
        most = most or LARGEST_NUMBER
        return [most * 1.01, -LARGEST_NUMBER * 1.01, 10**400, float("inf"), float("nan")]
    if str in parts:
        return ["x" * (LONGEST_TEXT + 1), "ray\x1b[2J", "a\nb", "\u202e"]
    return [10**13, "x" * 100_000, "a\x1b[2J"]


def test_every_option_has_two_bounds():
    """In Python and as a table."""
    tried = 0
    for where, kind in CLASSES.items():
        for field in fields(kind):
            for value in beyond_of(kind, field.name):
                for make_it in (kind, partial(from_table, kind, where)):
                    with pytest.raises(UsageError) as caught:
                        make_it(**{field.name: value})
                    said = str(caught.value)
                    assert field.name in said and len(said) < 1000 and said.isprintable(), said
                    tried += 1
            within = MOST.get(field.name)
            if within is not None and field.name not in ("minibatches", "shards", "n_envs", "meta_batch_size", "trials"):
                assert getattr(fill(kind, {field.name: int(within)}, where), field.name) == within
    assert tried > 1000


def from_table(kind: type[Any], where: str, **options: Any) -> Any:
    """Options as a stored configuration gives them."""
    return fill(kind, options, f"x.toml [{where}]")


def on_the_command_line() -> Iterator[list[str]]:
    """A command for each number of each class of options, beyond its upper end."""
    for where, kind in CLASSES.items():
        section, _, name = where.partition(" ")
        if section == "oracle" or (section == "tasks" and FAMILIES[name].simulator.extra):
            continue
        start = {"algorithm": ["train", name, "bandit"], "tasks": ["train", "rl2", name]}
        for field in fields(kind):
            number = {int: 10**13, float: 1e31}.get(typing.get_type_hints(kind)[field.name])
            if number is not None:
                option = f"--{field.name.replace('_', '-')}={number}"
                yield [*start.get(section, ["train", "rl2", "bandit"]), option]


def test_every_number_is_bounded_on_the_command_line(share: Share, tmp_path: Path):
    for command in share.some(on_the_command_line(), 12):
        status, error = alone(partial(main, [*command, "--run", str(tmp_path / "run")]), tmp_path / "log")
        assert status == 2, (command, error)
        assert (said := complaint(error)).startswith("error: ") and "must be at most" in said, (command, error)
    assert list(tmp_path.iterdir()) == [tmp_path / "log"]


def test_options_of_commands_have_upper_bounds(small_run: Path, tmp_path: Path):
    commands = [["train", "rl2", "bandit", "--seeds", str(10**9)]]
    for option in ("--num-tasks", "--episodes", "--adapt-episodes", "--frozen-episodes", "--workers", "--seed"):
        commands += [[name, str(small_run), option, str(10**13)] for name in ("evaluate", "video")]
    commands = [each for each in commands if each[0] != "video" or each[2] in ("--num-tasks", "--episodes", "--seed")]
    for command in commands:
        status, error = alone(partial(main, command), tmp_path / "log")
        assert status == 2 and "must be at most" in complaint(error), (command, status, error)


def test_tables_of_ones_own_are_bounded_too():
    assert excess({"a": [1, 2.5, "text", True], "b": {"c": [[1]]}}) == ""
    for table, says in (
        ({"a": 10**13}, "a = 10000000000000 must be at most 1e+12"),
        ({"a": [0.0, 1e31]}, "a = 1e+31 must be at most 1e+30"),
        ({"trials": 10**8}, "trials = 100000000 must be at most 1e+07"),
        ({"a": "x\x1b"}, "a = 'x\\x1b' must be without control characters"),
        ({"x\n": 1}, "the name 'x\\n' must be at most 100 letters long, without control characters"),
        ({"a": [[[[[[[[[1]]]]]]]]]}, "tables and lists must lie at most 8 deep in each other"),
        ({"a": 10**5000}, "a = a int must be at most 1e+12"),
    ):
        assert excess(table) == says
