"""What off-policy methods do with their replay beside drawing from it: its part of a state, and the priorities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.data.replay import Replay
from quickstudy.ops.fit import require_range
from quickstudy.protocol import State

HIGHEST = 1e30
"""A priority that is larger was none; their sum has to stay finite."""
LEAST_ERROR = 1e-3
"""What is added to each error, so that a record without one is drawn again."""


def prioritise(replay: Replay, leaf: Int[Tensor, "record"], error: Float[Tensor, "record"], power: float) -> None:
    """Makes the size of their errors, to a power, the priorities of records (Schaul et al. 2016), where there are any."""
    if replay.priorities is not None:
        replay.priorities.update(leaf, (error.cpu() + LEAST_ERROR) ** power)


def replay_state(replay: Replay) -> State:
    """What a learner's state says of its replay."""
    priorities = {} if replay.priorities is None else {"priorities": replay.priorities.values}
    return {"replay": replay.ledger(), **priorities}


def read_replay(replay: Replay, state: Mapping[str, Any]) -> Replay:
    """What `replay_state` told, as a replay like this one; ValueError where it doesn't fit."""
    found = replay.read(state["replay"])
    if replay.priorities is not None:
        values = state["priorities"].cpu()
        require_range("priorities", values, 0, HIGHEST)
        nowhere = torch.ones_like(values, dtype=torch.bool).index_fill(0, found.place(*found.alive()).cpu(), False)
        if bool((values[nowhere] > 0).any()) or (len(found) and not bool((values > 0).any())):
            raise ValueError("priorities has some of records that aren't there, or none at all")
    return found


def take_replay(replay: Replay, found: Replay, state: Mapping[str, Any]) -> None:
    """Takes over what was read."""
    replay.take(found)
    if replay.priorities is not None:
        replay.priorities.load(state["priorities"].cpu())
