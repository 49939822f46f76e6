"""Settings known to work: a TOML file for each algorithm, family and options of the family that they are for.

`<family>/<algorithm>[-variant].toml` says why, what differs from the defaults, and what came out. The table is closed: recipes
are looked up among these files, which name algorithms and families of the registries. Nothing here imports PyTorch, so that
lists don't wait for it; `recipes/tuned.py` makes learners of recipes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from quickstudy.errors import UsageError, did_you_mean

FOLDER = Path(__file__).parent
KINDS = {"why": str, "source": str, "algorithm": dict, "tasks": dict, "normalisation": dict, "training": dict, "result": dict}
"""What stands in a file."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What agents trained by a recipe reached on held-out tasks, by the cells of docs/results; returns are of whole trials."""

    table: str
    """The table of docs/results.md that shows it."""
    mean: float
    """Mean return over seeds and tasks."""
    interval: list[float]
    """Both ends of its 95 % interval."""
    by_episode: list[float]
    """Mean return of each episode."""
    random: float
    """What acting at random returns there."""
    tasks: int
    """Held-out tasks."""
    seeds: list[int]
    """Seeds that were trained."""
    steps: int
    """Environment steps of a training."""
    minutes: float
    """Mean duration of a training, on one thread."""
    before: bool
    """Whether it was measured before formulae of the learners were mended."""

    def __str__(self) -> str:
        low, high = self.interval
        reached = f"{self.mean:.2f} [{low:.2f}, {high:.2f}] a trial on {self.tasks:,} held-out tasks (random {self.random:.2f})"
        many = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else "one seed"
        before = ", measured before formulae were mended" if self.before else ""
        return f"{reached} after {self.steps / 1e6:.1f} M steps, {many}{before}"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One file: settings that differ from the defaults, and what they are for."""

    name: str
    """Its place, without the suffix: family/algorithm or family/algorithm-variant."""
    why: str
    """What it is, and why its settings are these."""
    source: str = ""
    """Whose tasks or experiment they are."""
    algorithm: str
    settings: Mapping[str, Any]
    """The algorithm's."""
    tasks: str
    """The family."""
    options: Mapping[str, Any]
    """The family's, which it is for."""
    normalisation: Mapping[str, Any]
    iterations: int
    """Meta-iterations after which it has learnt."""
    repeat: int = 1
    """Steps for which each action is held."""
    result: Result | None = None
    """None: not measured."""

    @property
    def changes(self) -> dict[str, Mapping[str, Any]]:
        """What it sets, by section of a configuration."""
        return {
            "algorithm": self.settings,
            "tasks": self.options,
            "normalisation": self.normalisation,
            "training": {"iterations": self.iterations} | ({"repeat": self.repeat} if self.repeat > 1 else {}),
        }


@cache
def recipes() -> dict[str, Recipe]:
    """All there are, by name."""
    return {found.name: found for found in sorted(map(read_recipe, FOLDER.glob("*/*.toml")), key=lambda found: found.name)}


def recipe(name: str) -> Recipe:
    """A recipe by name; UsageError for an unknown one."""
    if name not in recipes():
        raise UsageError(f"unknown recipe '{name}'; {did_you_mean(name, recipes())}")
    return recipes()[name]


def closest(algorithm: str, tasks: str, asked: Mapping[str, Any], plain: Mapping[str, Any]) -> Recipe:
    """The recipe for an algorithm on a family whose options are nearest to those asked for; UsageError where there is none.

    Options that nobody asked for come after these, held against the family's defaults, `plain`. Of equals the first name is
    taken, which is that without a variant.
    """
    found = [each for each in recipes().values() if (each.algorithm, each.tasks) == (algorithm, tasks)]
    if not found:
        here = sorted({each.algorithm for each in recipes().values() if each.tasks == tasks})
        there = sorted({each.tasks for each in recipes().values() if each.algorithm == algorithm})
        others = [f"for {tasks} with {', '.join(here)}"] * bool(here) + [f"for {algorithm} on {', '.join(there)}"] * bool(there)
        instead = f"there are some {' and '.join(others)}; " if others else ""
        raise UsageError(f"there is no recipe for {algorithm} on {tasks}; {instead}see: quickstudy list recipes")

    def distance(each: Recipe) -> tuple[float, float, str]:
        theirs = {**plain, **each.options}
        rest = sum(apart(value, theirs[key]) for key, value in plain.items() if key not in asked)
        return sum(apart(value, theirs[key]) for key, value in asked.items()), rest, each.name

    return min(found, key=distance)


def apart(one: Any, other: Any) -> float:
    """How far two values of an option are from each other: 0 where they are equal, at most 1; numbers by their ratio."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    if one == other or not numbers:
        return float(one != other)
    return min(1.0, abs(one - other) / max(abs(one), abs(other)))


def as_option(name: str, value: Any) -> str:
    """A setting as it is typed."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"


def read_recipe(path: Path) -> Recipe:
    """Reads one file; UsageError names the key that is unknown or missing."""
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    for key, value in table.items():
        if key not in KINDS:
            raise UsageError(f"{path} has no key '{key}'; {did_you_mean(key, KINDS)}")
        if not isinstance(value, KINDS[key]):
            raise UsageError(f"{path} needs {f'a section [{key}]' if KINDS[key] is dict else f'a text {key}'}")
    settings, options = dict(table.get("algorithm", {})), dict(table.get("tasks", {}))
    if not isinstance(settings.get("name"), str) or not isinstance(options.get("name"), str):
        raise UsageError(f'{path} needs sections [algorithm] and [tasks], each with name = "..."')
    if table.get("training", {}).keys() - {"repeat"} != {"iterations"}:
        raise UsageError(f"{path} needs a section [training] with iterations (and repeat) and nothing else: it's a run's own")
    known = {field.name for field in fields(Result)}
    if table.get("result", {}).keys() not in (set(), known):
        raise UsageError(f"{path} needs in [result] {', '.join(sorted(known))}, and nothing else")
    return Recipe(
        name=f"{path.parent.name}/{path.stem}",
        why=table.get("why", "").replace("\n", " "),
        source=table.get("source", ""),
        algorithm=settings.pop("name"),
        settings=settings,
        tasks=options.pop("name"),
        options=options,
        normalisation=table.get("normalisation", {}),
        iterations=table["training"]["iterations"],
        repeat=table["training"].get("repeat", 1),
        result=Result(**table["result"]) if table.get("result") else None,
    )
