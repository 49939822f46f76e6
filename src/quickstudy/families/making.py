"""From a registered name to a task distribution, and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from quickstudy.arguments import checked
from quickstudy.errors import UsageError, did_you_mean
from quickstudy.families import FAMILIES, family, found
from quickstudy.protocol import TaskDistribution
from quickstudy.tasks.given import Given
from quickstudy.tasks.informed import Informed
from quickstudy.tasks.repeated import Repeated
from quickstudy.tasks.shifted import Shifted


@checked
def make(name: str, **options: Any) -> TaskDistribution:
    """A task distribution by name, with the family's options; UsageError for an unknown name or option, or a missing extra."""
    options_of = family(name)
    known = [field.name for field in fields(options_of)]
    for key in options:
        if key not in known:
            raise UsageError(f"{name} has no option '{key}'; {did_you_mean(key, known)}")
    return found(FAMILIES[name].simulator.tasks)(options_of(**options))


def describe(tasks: TaskDistribution) -> tuple[str, dict[str, Any]] | None:
    """The registered name and options that `make` would build these tasks from; None for tasks of one's own.

    Tasks that are told are described by what they tell of, repeated and shifted ones by what is repeated and shifted.
    """
    if isinstance(tasks, Informed | Repeated | Shifted):
        return describe(tasks.tasks)
    dynamics: Any = getattr(tasks, "dynamics", None)
    places = place_of(tasks), place_of(dynamics)
    for name, entry in FAMILIES.items():
        if places == (entry.simulator.tasks, f"families.{entry.place}"):
            return name, asdict(dynamics)
    return None


def called(tasks: TaskDistribution) -> str:
    """What tasks are called: their registered name, what the command line was told, or what they say of themselves."""
    if isinstance(tasks, Given | Informed | Repeated | Shifted):
        return called(tasks.tasks)
    described = describe(tasks)
    return described[0] if described else getattr(tasks, "called", None) or repr(tasks)


def place_of(thing: object) -> str:
    """module:class of a thing, as the registry writes it."""
    return f"{type(thing).__module__}:{type(thing).__qualname__}".removeprefix("quickstudy.")
