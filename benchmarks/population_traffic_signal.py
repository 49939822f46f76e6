"""Which settings of a rule score best on training tasks of `traffic-signal`: one setting after another, until none is better.

python benchmarks/population_traffic_signal.py [webster] [actuated] [max-pressure]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import quickstudy as qs
from quickstudy.families import make
from quickstudy.oracles import ORACLES, oracle
from quickstudy.protocol import TaskDistribution

TASKS, EPISODES = 200, 2
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "webster": {
        "through_green": (11.0, 16.0, 21.0, 26.0, 31.0, 36.0, 46.0, 56.0),
        "left_green": (11.0, 16.0, 21.0, 26.0, 31.0, 36.0, 46.0),
    },
    "actuated": {
        "through_maximum": (45.0, 60.0, 80.0, 110.0, 150.0, 200.0),
        "left_maximum": (30.0, 45.0, 60.0, 90.0, 120.0),
        "through_recall": (11.0, 16.0, 21.0, 26.0, 31.0, 41.0),
        "left_recall": (11.0, 16.0, 21.0, 26.0, 31.0),
        "silence": (1.0, 2.0, 4.0, 8.0),
        "cleared": (0.0, 1.0, 2.0, 3.0, 4.0),
    },
    "max-pressure": {
        "hysteresis": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
        "through_rate": (360.0, 540.0, 720.0, 900.0, 1200.0),
        "left_rate": (180.0, 270.0, 360.0, 540.0, 720.0),
        "silence": (1.0, 2.0, 4.0, 8.0),
    },
}


def searched(tasks: TaskDistribution, name: str, start: Any) -> tuple[Any, float]:
    """The best options found from a start, and their mean return of an episode."""

    def score(options: Any) -> float:
        return float(qs.evaluate(oracle(name, tasks, options), num_tasks=TASKS, split="train").returns.mean())

    best, options, moved = score(start), start, True
    while moved:
        moved = False
        for setting, values in GRIDS[name].items():
            for value in values:
                other = replace(options, **{setting: value})
                if other != options and (found := score(other)) > best:
                    best, options, moved = found, other, True
                    print(f"  {found:.2f} with {setting} {value:g}", flush=True)
    return options, best


if __name__ == "__main__":
    for each in sys.argv[1:] or GRIDS:
        options, best = searched(make("traffic-signal", episodes_per_trial=EPISODES), each, ORACLES[each].options())
        print(f"{each}: {best:.1f} an episode on {TASKS} training tasks with {options}", flush=True)
