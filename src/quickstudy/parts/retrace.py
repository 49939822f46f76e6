"""A lane's trial once more, as what asks for the causes of its decisions reads it: see `insight.Retraces`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from quickstudy.insight import Trial
from quickstudy.parts.clock import CLOCK
from quickstudy.protocol import Percept


def lane(trial: Trial, task: int) -> tuple[Percept, Shaped[Tensor, "time ..."]]:
    """What a task's first lane saw, (1, 1, time), and did: its episodes one after another, without steps that it waited."""

    def joined(parts: Iterable[Tensor]) -> Tensor:
        lived = [episode.valid[task, 0] for episode in trial.episodes]
        return torch.cat([part[task, 0][valid] for part, valid in zip(parts, lived, strict=True)])

    percepts = zip(*(episode.percept for episode in trial.episodes), strict=True)
    action = joined(episode.act.action for episode in trial.episodes)
    return Percept(*(joined(parts)[None, None] for parts in percepts)), action


def with_clock(
    inputs: Float[Tensor, "time feature"],
) -> tuple[Float[Tensor, "time seen"], Float[Tensor, "time feature"]]:
    """What was seen, to be differentiated by, and the same with the clock behind it, which is held fixed."""
    seen = inputs[:, :-CLOCK].detach().requires_grad_()
    return seen, torch.cat([seen, inputs[:, -CLOCK:]], dim=1)
