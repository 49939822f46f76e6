"""Which of the earlier steps moved a decision: gradient times input, through the memory of the trial so far.

For the log-probability of the action that was taken: each number that was seen at a step, times its derivative, summed over the
step. A little more of that step would have made the action so much more likely, or less (Simonyan et al. 2014, arXiv:1312.6034;
Shrikumar et al. 2017, arXiv:1605.01713). The clock that policies read besides is held fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import functional_call

from quickstudy.algorithms.belief.varibad import BeliefPolicy
from quickstudy.algorithms.memory import recurrent_sac
from quickstudy.algorithms.memory.recurrent_sac import RememberingPolicy
from quickstudy.algorithms.memory.rl2 import RecurrentPolicy
from quickstudy.nets.belief import FIRST_LOG_VARIANCE
from quickstudy.ops.features import as_vector
from quickstudy.parts.belief import evidence
from quickstudy.parts.clock import timed_percept
from quickstudy.protocol import Percept

CLOCK = 2
"""Numbers at the end of what a policy reads that tell how much of the trial has passed."""


class Replayed(NamedTuple):
    """A trial once more, from what was seen to how likely its actions were."""

    seen: list[Float[Tensor, "time feature"]]
    """What a gradient is asked of."""
    log_prob: Float[Tensor, "time"]


def with_clock(
    inputs: Float[Tensor, "task lane time feature"],
) -> tuple[Float[Tensor, "time seen"], Float[Tensor, "time feature"]]:
    """What was seen, to be differentiated by, and the same with the clock behind it."""
    seen = inputs[0, 0, :, :-CLOCK].detach().requires_grad_()
    return seen, torch.cat([seen, inputs[0, 0, :, -CLOCK:]], dim=1)


def counted(percept: Percept) -> tuple[Float[Tensor, "task lane time"], Float[Tensor, "task lane time"]]:
    """How many steps came before each, and in which episode each is, from 1."""
    first = percept.first.float()
    return torch.arange(first.shape[-1], device=first.device).float().expand_as(first), first.cumsum(-1)


def through_rl2(policy: RecurrentPolicy, percept: Percept, action: Shaped[Tensor, "time ..."]) -> Replayed:
    """What an RL2 agent sees goes into its memory, and from there into the action."""
    seen, inputs = with_clock(timed_percept(policy.tasks, percept, *counted(percept)))
    start = inputs.new_zeros(1, policy.net.state_size)
    parameters, _, _ = functional_call(policy.net, policy.weights, (inputs[:, None], start))
    return Replayed([seen], policy.distribution.log_prob(parameters[:, 0], action))


def through_recurrent_sac(policy: RememberingPolicy, percept: Percept, action: Shaped[Tensor, "time ..."]) -> Replayed:
    """The same way in recurrent SAC."""
    seen, inputs = with_clock(recurrent_sac.inputs_of(policy.tasks, percept, *counted(percept)))
    start = inputs.new_zeros(1, len(policy.actor.encoder["encoder.bias"]))
    held = recurrent_sac.remembered(policy.net, policy.actor, inputs, [1] * len(inputs), start)
    parameters = functional_call(policy.net.policy, policy.actor.head, (held,))
    return Replayed([seen], policy.actions.log_prob(parameters, action))


def through_varibad(policy: BeliefPolicy, percept: Percept, action: Shaped[Tensor, "time ..."]) -> Replayed:
    """In VariBAD what was seen makes the belief, which the policy reads beside what it sees now."""
    tasks = policy.tasks
    told = evidence(percept, tasks.observation_space, tasks.action_space)[0, 0].detach().requires_grad_()
    now = as_vector(tasks.observation_space, percept.observation)[0, 0].detach().requires_grad_()
    start = told.new_zeros(1, policy.encoder.state_size)
    belief, _ = functional_call(policy.encoder, policy.encoder_weights, (told[:, None], start))
    clock = timed_percept(tasks, percept, *counted(percept))[0, 0, :, -CLOCK:]
    inputs = torch.cat([now, belief.mean[:, 0], belief.log_variance[:, 0] - FIRST_LOG_VARIANCE, clock], dim=1)
    parameters = functional_call(policy.net, policy.weights, (inputs,))
    return Replayed([told, now], policy.distribution.log_prob(parameters, action))


CAUSES: dict[type[Any], Callable[[Any, Percept, Tensor], Replayed]] = {
    RecurrentPolicy: through_rl2,
    RememberingPolicy: through_recurrent_sac,
    BeliefPolicy: through_varibad,
}
"""For each kind of policy that remembers step by step, how its trial is lived once more."""


def causes(replayed: Replayed, moments: Sequence[int]) -> Float[Tensor, "decision cause"]:
    """How much what was seen from each moment to the next moved the decision at each moment; 0 for what came later."""
    steps = torch.arange(len(replayed.log_prob))
    place = torch.searchsorted(torch.tensor(moments), steps, right=True) - 1
    rows = []
    for moment in moments:
        slopes = torch.autograd.grad(replayed.log_prob[moment], replayed.seen, retain_graph=True)
        moved = torch.stack([(slope * seen).sum(1) for slope, seen in zip(slopes, replayed.seen, strict=True)]).sum(0)
        moved = moved.detach().cpu()
        rows.append(moved.new_zeros(len(moments)).index_add(0, place, moved))
    return torch.stack(rows)
