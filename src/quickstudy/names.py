"""What settings and metrics were called by earlier versions, so that their runs are still read.

docs/architecture.md has the table of today's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SETTINGS: dict[str, dict[str, str]] = {
    "rl2": {"cell": "memory"},
    "varibad": {"replay_trials": "buffer_trials"},
    "pearl": {"replay_on_disk": "buffer_on_disk"},
    "recurrent-sac": {"target_rate": "tau", "replay_size": "buffer_trials", "replay_on_disk": "buffer_on_disk"},
    "multi-task-sac": {
        "target_rate": "tau",
        "replay_size": "buffer_size",
        "replay_on_disk": "buffer_on_disk",
        "meta_batch_size": "n_envs",
    },
}
"""By algorithm, each setting of format 2 that is called otherwise now."""

BEFORE: dict[str, dict[str, Any]] = {
    "rl2": {"value": "shared", "initialisation": "orthogonal"},
    "varibad": {"initialisation": "orthogonal"},
    "recurrent-sac": {"initialisation": "orthogonal", "shortcut": False, "value_rate": 0.0},
}
"""By algorithm, what its runs of formats 2 and 3 were where they say nothing: settings that came later, with other defaults."""

METRICS = {
    "train/policy_gradient_loss": "train/policy_loss",
    "train/actor_loss": "train/policy_loss",
    "train/ent_coef": "train/temperature",
    "train/kl": "train/belief_kl",
}
"""Each metric that is called otherwise now; no name of today's is among the old ones."""


def named_now(algorithm: str, options: Mapping[str, Any], number: int = 2) -> dict[str, Any]:
    """An algorithm's settings of format 2 or 3 by the names of today, with what went without saying then."""
    names = SETTINGS.get(algorithm, {}) if number == 2 else {}
    return BEFORE.get(algorithm, {}) | {names.get(name, name): value for name, value in options.items()}


def renamed(name: str, known: Iterable[str]) -> str | None:
    """What an old name of a setting is called now, where that is among the known ones."""
    found = {table[name] for table in SETTINGS.values() if name in table}
    return next((each for each in known if each in found), None)


def metrics_now(row: dict[str, Any]) -> dict[str, Any]:
    """A row of metrics, of whichever version, by the names of today."""
    return {METRICS.get(name, name): value for name, value in row.items()} if METRICS.keys() & row.keys() else row
