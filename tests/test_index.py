"""The index is what the classes are, and what it says of types is read back as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from typing_extensions import Doc

from quickstudy.cli.indexing import PLACE, written
from quickstudy.errors import UsageError
from quickstudy.index import Option, entry, index, is_plain, kind_of, options_in, options_of, spelled, table_of


def test_the_index_is_that_of_the_classes():
    assert PLACE.read_text() == written(), "what can be told has changed: make index"


def test_each_option_says_its_type_and_what_it_is():
    known = [each["options"] for name in ("algorithms", "oracles", "tasks") for each in index()[name].values()]
    for told in [*known, index()["training"], index()["normalisation"]]:
        for name, option in told.items():
            assert option["help"] and is_plain(kind_of(option["type"])), name


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "int"),
        (float | None, "float | None"),
        (int | str, "int | str"),
        (Literal["a", "b"], "Literal['a', 'b']"),
        (Literal["a"] | None, "Literal['a'] | None"),
        (Literal[1, 2], "Literal[1, 2]"),
        (tuple[int, ...], "tuple[int, ...]"),
    ],
)
def test_a_type_is_spelled_and_read_back(kind: Any, text: str):
    assert spelled(kind) == text and kind_of(text) == kind


@pytest.mark.parametrize(
    "kind", [dict[str, int], list[int], object, tuple[int, int], tuple[int, ...] | None, int | list[int], tuple[object, ...]]
)
def test_other_types_are_no_options(kind: Any):
    assert not is_plain(kind)


@pytest.mark.parametrize("text", ["open('x')", "__import__('os')", "Path", "list[int]", "Literal[print()]", "(lambda: int)()"])
def test_nothing_but_types_is_read(text: str):
    with pytest.raises(ValueError):
        kind_of(text)


@dataclass(frozen=True)
class Told:
    """What a base can be told."""

    size: int = 3
    """How
    large."""
    rate: Annotated[float, Doc("How fast.")] = 0.5
    names: tuple[str, ...] = ("a",)
    table: dict[str, int] = field(default_factory=dict)
    """Not for the command line."""
    reckoned: int = field(default=1, init=False)


@dataclass(frozen=True)
class More(Told):
    """What can be told beside it."""

    size: int = 4
    kind: Literal["x", "y"] = "x"
    """Which."""


def test_options_of_a_class_have_their_texts_those_of_its_bases_too():
    assert options_of(More(rate=0.25)) == (
        Option("size", int, 4, "How large."),
        Option("rate", float, 0.25, "How fast."),
        Option("names", tuple[str, ...], ("a",), ""),
        Option("kind", Literal["x", "y"], "x", "Which."),
    )
    assert options_in({"names": {"type": "tuple[str, ...]", "default": ["a"], "help": ""}}) == options_of(Told())[2:3]
    assert table_of(Told)["rate"] == {"type": "float", "default": 0.5, "help": "How fast."}


@pytest.mark.parametrize(
    ("section", "name", "says"),
    [
        ("algorithms", "rl22", "unknown algorithm 'rl22'; did you mean 'rl2'?"),
        ("tasks", "bandits", "unknown tasks 'bandits'; did you mean 'bandit'?"),
        ("tasks", "rl2", "'rl2' names an algorithm, not tasks; of these there are: bandit, "),
        ("oracles", "bandit", "'bandit' names tasks, not an oracle; of these there are: bayes-optimal, "),
    ],
)
def test_a_name_that_is_not_there_is_told_what_is(section: str, name: str, says: str):
    with pytest.raises(UsageError) as caught:
        entry(section, name)
    assert str(caught.value).startswith(says)
