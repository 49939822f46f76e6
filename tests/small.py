"""Settings of each algorithm under which a probe task takes seconds, and settings that learn nothing and take no time."""

from typing import Any

from quickstudy.algorithms import ALGORITHMS

SMALL: dict[str, dict[str, Any]] = {name: dict(entry.small) for name, entry in ALGORITHMS.items()}
TINY: dict[str, dict[str, Any]] = {name: {**entry.small, **entry.least} for name, entry in ALGORITHMS.items()}
"""For tests of what holds whether anything is learnt or not."""


def as_options(settings: dict[str, Any]) -> list[str]:
    """Settings as the command line takes them."""
    return [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in settings.items()
        if value is not False
    ]
