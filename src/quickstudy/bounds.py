"""How large a number of a configuration may be, how long a text: what nobody means, and no machine does, is refused.

Names of settings are one for each thing in all of the library, so that a bound stands once for all who have it.
"""

from __future__ import annotations

from typing import Any

LARGEST_COUNT = 10**12
LARGEST_NUMBER = 1e30
LONGEST_TEXT = 1000
LONGEST_NAME = 100
DEEPEST = 8
"""Tables and lists within each other."""

MOST: dict[str, float] = {
    # what this machine is asked for
    "threads": 1024,
    "workers": 1024,
    "attempts": 1000,
    "deadline": 1e7,
    "keep_checkpoints": 10_000,
    "profile": 1000,
    "seeds": 1000,
    # how much is lived
    "iterations": 10**9,
    "steps": 10**12,
    "trials": 10**7,
    "meta_batch_size": 10**6,
    "n_envs": 10**7,
    "num_train_tasks": 10**7,
    "lanes": 10**6,
    "shards": 10**5,
    "evaluate_tasks": 10**7,
    "num_tasks": 10**7,
    "task": 10**7,
    "batch": 10**7,
    "episodes": 10**5,
    "adapt_episodes": 10**6,
    "frozen_episodes": 10**5,
    "episodes_per_trial": 10**5,
    "max_episode_steps": 10**7,
    "horizon": 10**7,
    "pulls": 10**7,
    # how it is learnt from
    "updates": 10**6,
    "samples": 1000,
    "belief_updates": 10**6,
    "early_updates": 10**6,
    "inner_steps": 1000,
    "fine_tune_steps": 10**6,
    "cg_iterations": 10**4,
    "n_epochs": 10**4,
    "minibatches": 10**7,
    # how large the networks are
    "hidden_size": 2**16,
    "hidden_layers": 100,
    "latent_size": 2**16,
    "belief_size": 2**16,
    # how large the worlds are
    "arms": 10**6,
    "states": 10**4,
    "actions": 10**4,
    "size": 1000,
}
"""The largest value of a setting, where that is less than for any number."""


def beyond(name: str, value: Any) -> str:
    """Which bound a value of a setting is beyond, in words; nothing where it is within, or isn't a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    most = MOST.get(name, LARGEST_COUNT if isinstance(value, int) else LARGEST_NUMBER)
    if value > most:
        return f"at most {most:g}"
    least = -(LARGEST_COUNT if isinstance(value, int) else LARGEST_NUMBER)
    return f"at least {least:g}" if value < least else ""


def wordy(value: Any) -> str:
    """What a text mustn't be, in words; nothing where it is short and of letters that are shown, or is no text."""
    if not isinstance(value, str):
        return ""
    if len(value) > LONGEST_TEXT:
        return f"at most {LONGEST_TEXT} letters long"
    return "" if value.isprintable() else "without control characters"
