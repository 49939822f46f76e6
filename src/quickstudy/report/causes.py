"""Which of the earlier steps moved a decision: gradient times input, through whatever the agent has made of them.

For the log-probability of the action that was taken: each number that was seen at a step, times its derivative, summed over the
step. A little more of that step would have made the action so much more likely, or less (Simonyan et al. 2014, arXiv:1312.6034;
Shrikumar et al. 2017, arXiv:1605.01713). The agent itself says how it got from one to the other (`Retraces`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.insight import Retraced


def causes(retraced: Retraced, moments: Sequence[int]) -> Float[Tensor, "decision cause"]:
    """How much what was seen from each moment to the next moved the decision at each moment; 0 for what came later."""
    steps = torch.arange(len(retraced.log_prob))
    place = torch.searchsorted(torch.tensor(moments), steps, right=True) - 1
    rows = []
    for moment in moments:
        decision = retraced.log_prob[moment]
        slopes = torch.autograd.grad(decision, retraced.seen, retain_graph=True, allow_unused=True, materialize_grads=True)
        moved = torch.stack([(slope * seen).sum(1) for slope, seen in zip(slopes, retraced.seen, strict=True)]).sum(0)
        moved = moved.detach().cpu()
        rows.append(moved.new_zeros(len(moments)).index_add(0, place, moved))
    return torch.stack(rows)
