"""What off-policy methods do with their replay beside drawing from it: its part of a state, and the priorities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.data.replay import Replay
from quickstudy.protocol import State

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


def load_replay(replay: Replay, state: Mapping[str, Any]) -> None:
    """Takes over what `replay_state` told."""
    replay.load(state["replay"])
    if replay.priorities is not None:
        replay.priorities.load(state["priorities"].cpu())
