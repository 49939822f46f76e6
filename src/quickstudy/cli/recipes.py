"""Recipes on the command line: `quickstudy train ... --tuned` and `quickstudy list recipes`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quickstudy.cli.options import Part, read_fields, told_parts
from quickstudy.errors import UsageError
from quickstudy.printed import say, tell
from quickstudy.recipes import Recipe, as_option, closest, recipe, recipes


def add_tuned(parser: argparse.ArgumentParser) -> None:
    """The option that takes a recipe's settings for defaults."""
    parser.add_argument("--tuned", nargs="?", const="", metavar="RECIPE", help="settings known to work; see list recipes")


def chosen(given: argparse.Namespace, algorithm: str, tasks: str, parts: Mapping[str, Any], arguments: list[str]) -> Recipe:
    """The recipe that `--tuned` names, else the one for the tasks' options among the arguments, else the closest to these.

    `parts` are all options at their defaults. UsageError where there is no recipe, and beside `--config`.
    """
    if given.config:
        raise UsageError(f"train takes --tuned or --config, not both: {given.config} has every setting already")
    if given.tuned:
        found = recipe(given.tuned)
        if (found.algorithm, found.tasks) != (algorithm, tasks):
            raise UsageError(
                f"recipe {found.name} is for {found.algorithm} on {found.tasks}, not {algorithm} on {tasks};"
                f" type: quickstudy train {found.algorithm} {found.tasks} --tuned {found.name}"
            )
        return found
    told = told_parts(parts)
    if "tasks" not in told:
        return closest(algorithm, tasks, {}, {})
    words = [word for word in arguments if word not in ("-h", "--help")]
    typed = {name: Part(part.options, dict) for name, part in told.items()}
    asked = read_fields(f"quickstudy train {algorithm} {tasks}", typed, words)()["tasks"]
    return closest(algorithm, tasks, asked, defaults(told["tasks"]))


def tuned_parts(found: Recipe, parts: Mapping[str, Any]) -> dict[str, Part]:
    """All options, with the recipe's settings for defaults."""
    return {name: with_defaults(part, found.changes[name]) for name, part in told_parts(parts).items()}


def with_defaults(part: Part, values: Mapping[str, Any]) -> Part:
    """Options some of which have other defaults."""
    options = tuple(option._replace(default=values.get(option.name, option.default)) for option in part.options)
    return Part(options, lambda **typed: part.make(**{**values, **typed}), part.about)


def defaults(part: Part) -> dict[str, Any]:
    """What options are where nothing is said."""
    return {option.name: option.default for option in part.options}


def say_tuned(found: Recipe, parts: Mapping[str, Part], options: Mapping[str, Any]) -> None:
    """Says in a line which recipe was taken, what it sets, what it reached, and in what `options` differ from its `parts`."""
    kept = {name: defaults(part) for name, part in parts.items()}
    here = [
        as_option(key, value)
        for section, part in options.items()
        for key, value in vars(part).items()
        if value != kept[section].get(key, value) and (section != "training" or key in found.changes["training"])
    ]
    closest_of = (
        ""
        if all(vars(options["tasks"])[key] == value for key, value in kept["tasks"].items())
        else ", the closest to these tasks"
    )
    sets = " ".join(as_option(*change) for part in found.changes.values() for change in part.items())
    instead = f"; here {' '.join(here)}" if here else ""
    reached = f"{'as it stands ' if here else ''}it reached {found.result}" if found.result else "not measured"
    say(f"recipes/{found.name}.toml{closest_of}: {sets}{instead}; {reached}")


def list_recipes(as_json: bool) -> None:
    """`quickstudy list recipes`: a line each, or all of them as JSON."""
    tell(json.dumps({"recipes": listing()}) if as_json else "\n".join(lines()))


def listing() -> dict[str, Any]:
    """All recipes as plain values."""
    return {name: asdict(each) for name, each in recipes().items()}


def lines() -> list[str]:
    """A line for each recipe: its name, which is of tasks and algorithm, steps, result, and the options that it is for."""
    rows = [("tasks/algorithm", "steps", "return of a held-out trial", "the tasks' options")]
    for name, each in recipes().items():
        steps = f"{each.result.steps / 1e6:.1f} M" if each.result else ""
        reached = f"{each.result.mean:.2f} (random {each.result.random:.2f})" if each.result else "not measured"
        rows.append((name, steps, reached, " ".join(as_option(*option) for option in each.options.items())))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
