"""`quickstudy gap`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

from quickstudy.cli.options import add_split, make_tasks, name_next, part, positive, read_fields, whole
from quickstudy.cli.own import is_own, load_tasks
from quickstudy.cli.words import Parser
from quickstudy.display import following
from quickstudy.printed import tell


def gap(arguments: list[str]) -> int:
    """`quickstudy gap`."""
    parser = Parser(
        prog="quickstudy gap",
        description="Is there anything to adapt to? Lives the same held-out tasks at random, by who knows only the population,"
        " and by who is told the task, and says what being told is worth: told less population, as a share of told less random."
        " For a family of a field the latter two are its practitioner's rule at its two settings. Of any other tasks they are"
        " one policy that is trained twice, without and with the task told.",
        epilog="Options of a registered family work too: quickstudy gap point-navigation --horizon 50",
    )
    parser.add_argument("tasks", metavar="TASKS", help="a registered name, or FILE.py:OBJECT for tasks of your own")
    parser.add_argument("--num-tasks", type=positive, default=500, metavar="N", help="how many tasks (default 500)")
    add_split(parser)
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="which tasks, weights and noise (default 0)")
    parser.add_argument(
        "--steps",
        type=positive,
        default=300_000,
        metavar="N",
        help="environment steps for which each of the two policies is trained, where there is no rule (default 300,000)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    given, rest = parser.parse_known_args(arguments)
    make = maker(given.tasks, rest, parser)
    with following(f"the gap of {given.tasks}"):
        from quickstudy.check.gap import gap as measured
        from quickstudy.work import threads

        with threads(1):
            found = measured(make(), num_tasks=given.num_tasks, split=given.split, seed=given.seed, steps=given.steps)
    tell(json.dumps(found.as_json()) if given.json else str(found))
    name_next("train", "rl2", given.tasks)
    return 0


def maker(tasks: str, rest: list[str], parser: Parser) -> Callable[[], Any]:
    """What makes the tasks, once all words have been read."""
    if is_own(tasks):
        parser.refuse(rest)
        return partial(load_tasks, tasks)
    see = f"quickstudy list {tasks}, {parser.prog} --help"
    read = read_fields(shlex.join([parser.prog, tasks]), {"tasks": part("tasks", tasks)}, rest, parser, see)
    return lambda: make_tasks(tasks, read()["tasks"])
