"""Settings of each algorithm under which a probe task takes seconds, and settings that learn nothing and take no time."""

from typing import Any

from gymnasium.spaces import Discrete

from quickstudy.algorithms import ALGORITHMS
from quickstudy.families import make
from quickstudy.ops.senses import is_read
from quickstudy.protocol import TaskDistribution
from quickstudy.wrappers.normalised import Normalisation

SMALL: dict[str, dict[str, Any]] = {name: dict(entry.small) for name, entry in ALGORITHMS.items()}
TINY: dict[str, dict[str, Any]] = {name: {**entry.small, **entry.least} for name, entry in ALGORITHMS.items()}
"""For tests of what holds whether anything is learnt or not."""

NUMBERED: dict[str, dict[str, Any]] = {
    "bandit": {"arms": 3, "pulls": 3, "episodes_per_trial": 2},
    "tabular-mdp": {"states": 4, "actions": 2, "horizon": 3, "episodes_per_trial": 2},
}
"""Small tasks whose observations and actions are numbers of a list, with which every algorithm can do."""


def takes(name: str, tasks: TaskDistribution) -> bool:
    """Whether an algorithm takes the observations of these tasks."""
    taken = ALGORITHMS[name].observations
    seen = tasks.observation_space
    return isinstance(seen, Discrete) or taken == "any" or (taken == "vector" and not is_read(seen))


def taken(name: str, tasks: TaskDistribution) -> TaskDistribution:
    """These tasks, or numbered ones where an algorithm takes no others."""
    return tasks if takes(name, tasks) else make("tabular-mdp", **NUMBERED["tabular-mdp"])


def normalisation(name: str) -> Normalisation:
    """Of all that there is to normalise where an algorithm learns."""
    return Normalisation(normalise_observation=ALGORITHMS[name].observations != "discrete", normalise_reward=True)


def as_options(settings: dict[str, Any]) -> list[str]:
    """Settings as the command line takes them."""
    return [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in settings.items()
        if value is not False
    ]
