"""`quickstudy list`: names, a line each, and all that is known of one."""

from __future__ import annotations

import json
import shutil
import sys
from argparse import SUPPRESS
from typing import Any

from quickstudy.cli.options import add_options
from quickstudy.cli.recipes import list_recipes
from quickstudy.cli.recipes import listing as recipe_listing
from quickstudy.cli.words import Parser
from quickstudy.errors import UsageError, did_you_mean
from quickstudy.index import CALLED, index, options_in, sections_of
from quickstudy.printed import tell

GROUPS = {"tasks": ("tasks",), "algorithms": ("algorithms", "baselines", "oracles")}
"""What may be listed alone, and the sections of the index that it is."""
NOTES = {"baselines": ", which need no training", "oracles": ", which need no training and know the family"}


def list_names(arguments: list[str]) -> int:
    """`quickstudy list`."""
    parser = Parser(
        prog="quickstudy list",
        description="What there is, a line for each name; or the options, parameters and splits of one.",
        epilog="quickstudy list rl2 has all that rl2 can be told.",
    )
    parser.add_argument(
        "what", nargs="?", metavar="tasks|algorithms|recipes|NAME", help="only these, or this one with its options"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all options")
    given = parser.parse_args(arguments)
    if given.what == "recipes":
        list_recipes(given.json)
        return 0
    if given.what is None or given.what in GROUPS:
        sections = GROUPS[given.what] if given.what else CALLED
        chosen = {section: index()[section] for section in sections}
        whole = chosen if given.what else chosen | {"recipes": recipe_listing()}
        tell(json.dumps(whole) if given.json else lines_of(chosen))
        return 0
    found = {section: {given.what: index()[section][given.what]} for section in sections_of(given.what)}
    if not found:
        known = [*GROUPS, "recipes", *(name for section in CALLED for name in index()[section])]
        raise UsageError(f"there is no '{given.what}'; {did_you_mean(given.what, known)} All names: quickstudy list")
    tell(json.dumps(found) if given.json else "\n\n".join(about(section, given.what) for section in found))
    return 0


def lines_of(sections: dict[str, Any]) -> str:
    """Each name with what it is, in a line."""
    lines = []
    for section, entries in sections.items():
        lines += [f"{section}{NOTES.get(section, '')}:"]
        for name, entry in entries.items():
            needs = f"  [needs {entry['extra']}]" if entry.get("extra") else ""
            lines.append(f"  {name:<23} {entry['summary']}{needs}")
        lines.append("")
    return "\n".join([*map(cut, lines), "options, parameters and splits of one: quickstudy list NAME"])


def cut(line: str) -> str:
    """A line that fits the terminal, where there is one."""
    width = shutil.get_terminal_size().columns
    return f"{line[: width - 3]}..." if sys.stdout.isatty() and len(line) > width else line


def about(section: str, name: str) -> str:
    """All that is known of a name."""
    entry = index()[section][name]
    lines = [f"{name}: {entry['summary']}"]
    if entry.get("extra"):
        lines.append(f"  needs: pip install 'quickstudy[{entry['extra']}]'")
    if "for" in entry:
        lines.append(f"  for: {', '.join(entry['for'])}")
    lines += [f"  {spaces}: {entry[spaces]}" for spaces in ("observations", "actions") if spaces in entry]
    if "parameters" in entry:
        lines += ["  parameters, by default:", *(f"    {key:<20} {text}" for key, text in entry["parameters"].items())]
        lines.append(f"  splits: {entry['splits']}")
    lines.append(f"  try it: {trial_of(section, name, entry)}")
    if not entry["options"]:
        return "\n".join([*lines, "  options: none"])
    parser = Parser(prog=name, usage=SUPPRESS, add_help=False)
    add_options(parser.add_argument_group("  options"), options_in(entry["options"]))
    return "\n".join([*lines, parser.format_help().strip("\n")])


TRIED = {"any": "bandit", "discrete": "tabular-mdp", "discrete or bounded": "point-navigation"}
"""Tasks on which a method is tried, by the actions that it takes."""


def trial_of(section: str, name: str, entry: dict[str, Any]) -> str:
    """A command that a name goes into."""
    match section:
        case "algorithms":
            return f"quickstudy train {name} {TRIED[entry['actions']]}"
        case "tasks":
            return f"quickstudy train rl2 {name}"
        case "oracles":
            return f"quickstudy evaluate {name} {entry['for'][0]}"
    return f"quickstudy evaluate {name} bandit"
