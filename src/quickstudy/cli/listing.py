"""`quickstudy list` and `quickstudy doctor`."""

from __future__ import annotations

import argparse
import json
from dataclasses import MISSING, fields
from typing import Any

from quickstudy.cli.recipes import list_recipes
from quickstudy.cli.recipes import listing as recipe_listing


def list_names(arguments: list[str]) -> int:
    """`quickstudy list`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy list", description="Names, options with defaults, and task parameters with bounds."
    )
    parser.add_argument("what", nargs="?", choices=("tasks", "algorithms", "recipes"), help="only these")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    if given.what == "recipes":
        list_recipes(given.json)
        return 0

    from quickstudy.algorithms import ALGORITHMS, BASELINES
    from quickstudy.families import FAMILIES
    from quickstudy.oracles import ORACLES
    from quickstudy.tasks.parameters import splits_of

    listing: dict[str, Any] = {}
    if given.what != "algorithms":
        listing["tasks"] = {
            name: {
                "summary": first_sentence(entry.options),
                "options": defaults(entry.options),
                "parameters": {key: str(parameter) for key, parameter in entry.options().parameters.items()},
                "splits": getattr(entry.options, "splits", None) or splits_of(entry.options().parameters),
            }
            | ({"extra": entry.simulator.extra} if entry.simulator.extra else {})
            for name, entry in FAMILIES.items()
        }
    if given.what != "tasks":
        listing["algorithms"] = {
            name: {"summary": entry.summary, "actions": entry.actions, "options": defaults(entry.config)}
            for name, entry in ALGORITHMS.items()
        } | {
            name: {"summary": f"baseline, needs no training: {entry.summary}", "options": {}}
            for name, entry in BASELINES.items()
        }
        listing["oracles"] = {
            name: {
                "summary": entry.summary,
                "for": ", ".join(entry.make),
                "options": defaults(entry.options),
            }
            for name, entry in ORACLES.items()
        }
    if given.json:
        print(json.dumps(listing if given.what else listing | {"recipes": recipe_listing()}))
        return 0
    for kind, entries in listing.items():
        print(f"{kind}:")
        for name, entry in entries.items():
            print(f"  {name:<22} {entry['summary']}")
            for title in ("parameters", "options"):
                if entry.get(title):
                    print(f"    {title}: " + ", ".join(f"{key} {value}" for key, value in entry[title].items()))
            for title in ("splits", "extra", "for", "actions"):
                if title in entry:
                    print(f"    {title}: {entry[title]}")
    return 0


def doctor(arguments: list[str]) -> int:
    """`quickstudy doctor`."""
    argparse.ArgumentParser(prog="quickstudy doctor", description="Shows what quickstudy finds on this machine.").parse_args(
        arguments
    )

    import importlib.metadata
    import re

    import torch

    from quickstudy.runs.folder import system

    found = system()
    print(f"python {found['python']} on {found['platform']}")
    for name, number in found["packages"].items():
        print(f"{name} {number}")
    print(f"devices: cpu{''.join(f', cuda:{i} ({torch.cuda.get_device_name(i)})' for i in range(torch.cuda.device_count()))}")
    print(f"threads: {torch.get_num_threads()} of {found['cores']} cores")
    for line in importlib.metadata.requires("quickstudy") or ():
        match = re.match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", line)
        if match and match[1] != "quickstudy":
            try:
                state = importlib.metadata.version(match[1])
            except importlib.metadata.PackageNotFoundError:
                state = f"missing; install it: pip install 'quickstudy[{match[2]}]'"
            print(f"extra {match[2]}: {match[1]} {state}")
    return 0


def defaults(options: type[Any]) -> dict[str, Any]:
    """A configuration's fields with their defaults."""
    return {field.name: field.default for field in fields(options) if field.default is not MISSING}


def first_sentence(thing: Any) -> str:
    """The first sentence of a docstring."""
    return (thing.__doc__ or "").strip().split("\n")[0].split(". ")[0].rstrip(".")
