"""`quickstudy evaluate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from quickstudy.cli.options import default_family, make_tasks, parse_fields, positive
from quickstudy.cli.own import is_own, load_algorithm, load_tasks
from quickstudy.errors import UsageError, did_you_mean


def evaluate(arguments: list[str]) -> int:
    """`quickstudy evaluate`."""
    parser = argparse.ArgumentParser(
        prog="quickstudy evaluate",
        description="Adapts a trained agent to tasks it has not seen and shows the return of each episode.",
        epilog="A baseline needs no run: quickstudy evaluate random grid-navigation [--KEY VALUE ...]",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder, or the name of a baseline")
    parser.add_argument("baseline_tasks", metavar="TASKS", nargs="?", help="for a baseline: the tasks, with their options")
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

    from quickstudy.algorithms import BASELINES
    from quickstudy.evaluation import evaluate as score
    from quickstudy.runs import load

    if given.baseline_tasks and not Path(given.run).is_dir():
        if given.run not in BASELINES:
            raise UsageError(f"unknown baseline '{given.run}'; {did_you_mean(given.run, BASELINES)}")
        if is_own(given.baseline_tasks):
            agent = BASELINES[given.run](load_tasks(given.baseline_tasks))
        else:
            options = {"tasks": default_family(given.baseline_tasks)}
            options = parse_fields(f"quickstudy evaluate {given.run} {given.baseline_tasks}", options, rest)
            agent, rest = BASELINES[given.run](make_tasks(given.baseline_tasks, options["tasks"])), []
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
    print(json.dumps(evaluation.as_json()) if given.json else evaluation)
    return 0
