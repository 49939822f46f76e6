"""`quickstudy evaluate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from quickstudy.cli.options import default_family, make_tasks, parse_fields, positive
from quickstudy.cli.own import is_own, load_algorithm, load_tasks
from quickstudy.errors import UsageError, did_you_mean


def evaluate(arguments: list[str]) -> int:
    """`quickstudy evaluate`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy evaluate",
        description="Adapts a trained agent to tasks it has not seen and shows the return of each episode.",
        epilog="Baselines and oracles need no run: quickstudy evaluate thompson-sampling bandit --arms 5 --pulls 100."
        " Their names: quickstudy list",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder, or the name of a baseline or an oracle")
    parser.add_argument(
        "baseline_tasks", metavar="TASKS", nargs="?", help="for a baseline or an oracle: the tasks, with their options"
    )
    parser.add_argument("--episodes", type=positive, metavar="K", help="episodes of each trial (default: as in training)")
    parser.add_argument("--num-tasks", type=positive, default=100, metavar="N", help="how many tasks (default 100)")
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "validation", "test", "extrapolation"),
        help="where tasks come from (default test); extrapolation: beyond the intervals of training",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which tasks and which noise (default 0)")
    parser.add_argument("--greedy", action="store_true", help="take the most likely action instead of sampling as in training")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--tasks", metavar="FILE.py:OBJECT", help="for a run on tasks of your own: those tasks again")
    parser.add_argument("--algorithm", metavar="FILE.py:CLASS", help="for a run with a learner of your own: its class again")
    given, rest = parser.parse_known_args(arguments)

    from quickstudy.evaluation import evaluate as score
    from quickstudy.runs import load

    if given.baseline_tasks and not Path(given.run).is_dir():
        agent, rest = untrained(given.run, given.baseline_tasks, rest)
    else:
        if given.baseline_tasks:
            rest = [given.baseline_tasks, *rest]
        tasks = load_tasks(given.tasks) if given.tasks else None
        agent = load(given.run, tasks, load_algorithm(given.algorithm) if given.algorithm else None)
    if rest:
        known = [option for action in parser._actions for option in action.option_strings]
        raise UsageError(f"evaluate has no option '{rest[0]}'; {did_you_mean(rest[0], known)}")
    evaluation = score(
        agent, episodes=given.episodes, num_tasks=given.num_tasks, split=given.split, seed=given.seed, greedy=given.greedy
    )
    says = getattr(agent, "says", "")
    if given.json:
        print(json.dumps(evaluation.as_json() | ({"says": says} if says else {})))
    else:
        print(evaluation, says, sep="\n") if says else print(evaluation)
    return 0


def untrained(name: str, tasks: str, arguments: list[str]) -> tuple[Any, list[str]]:
    """A baseline or an oracle for some tasks, and what is left of the arguments once both have read theirs."""
    from quickstudy.algorithms import BASELINES
    from quickstudy.oracles import ORACLES, oracle

    if name not in BASELINES and name not in ORACLES:
        raise UsageError(f"unknown baseline '{name}'; {did_you_mean(name, [*BASELINES, *ORACLES])}")
    if is_own(tasks):
        own = load_tasks(tasks)
        return BASELINES[name](own) if name in BASELINES else oracle(name, own), arguments
    parts = {"tasks": default_family(tasks)}
    if name in ORACLES:
        parts["oracle"] = ORACLES[name].options()
    options = parse_fields(f"quickstudy evaluate {name} {tasks}", parts, arguments)
    distribution = make_tasks(tasks, options["tasks"])
    return BASELINES[name](distribution) if name in BASELINES else oracle(name, distribution, options["oracle"]), []
