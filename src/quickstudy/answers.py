"""What an environment answers to an action, as numbers: here and where there is no PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quickstudy.errors import shorten


def encode_reward(reward: Any) -> float:
    """A reward as the environment gives it, as a number; infinite where no float holds it. ValueError where it is none."""
    if isinstance(reward, str | bytes):
        raise ValueError(f"the reward {shorten(reward)} is no number")
    try:
        return float(reward)
    except OverflowError:
        return math.inf if reward > 0 else -math.inf
    except (TypeError, ValueError) as error:
        raise ValueError(f"the reward {shorten(reward)} is no number") from error


def checked_answer(reward: Any, terminated: Any, truncated: Any) -> tuple[float, bool, bool]:
    """Reward and ends, of which a termination outdoes a truncation.

    ValueError where an end is not True or False, or the reward is no number, or none that float32 holds.
    """
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, bool | np.bool_):
            raise ValueError(f"{name} is {shorten(flag)}, not True or False")
    number = encode_reward(reward)
    if not abs(number) <= float(np.finfo(np.float32).max):
        raise ValueError(f"the reward {number:g} is NaN or infinite in float32")
    return number, bool(terminated), bool(truncated and not terminated)
