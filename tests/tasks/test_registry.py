"""The table of families against what it leads to."""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest

import quickstudy as qs
from quickstudy import families
from quickstudy.cli.indexing import first_sentence
from quickstudy.families import FAMILIES, NATIVE, Entry
from quickstudy.scene import Drawn

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
QUICK = ("bandit", "grid-navigation", "ant-goal", "metaworld-ml1")


@pytest.mark.parametrize("entry", FAMILIES.values(), ids=FAMILIES)
def test_a_family_is_options_that_all_have_a_value_and_say_what_the_task_is(entry: Entry):
    made = entry.options()
    assert entry.options(**asdict(made)) == made and fields(made)
    assert 20 < len(first_sentence(entry.options)) < 128


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES])
def test_what_is_made_by_name_is_described_by_it(name: str):
    entry = FAMILIES[name]
    if entry.simulator.extra:
        pytest.importorskip(entry.simulator.extra)
    tasks = families.make(name)
    assert families.describe(tasks) == (name, asdict(entry.options()))


def test_native_families_are_drawn_where_their_dynamics_say_how():
    """Of the others the tests of commands make films."""
    for entry in FAMILIES.values():
        assert entry.simulator is not NATIVE or entry.drawn == isinstance(entry.options(), Drawn), entry


@pytest.mark.parametrize("name", [name for name, entry in FAMILIES.items() if entry.simulator.extra])
def test_without_its_extra_a_family_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch):
    extra = str(FAMILIES[name].simulator.extra)
    for line in EXTRAS[extra]:
        monkeypatch.setitem(sys.modules, re.split(r"[^\w.-]", line)[0], None)
    with pytest.raises(qs.UsageError, match=re.escape(f"pip install 'quickstudy[{extra}]'")):
        families.make(name)


def test_tasks_of_ones_own_have_no_name_though_they_borrow_dynamics():
    class Own(qs.NativeTasks):
        """Somebody's own."""

    assert families.describe(Own(FAMILIES["bandit"].options())) is None
