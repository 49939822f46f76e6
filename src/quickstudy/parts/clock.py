"""How much of a trial has passed, which policies read beside what they see; and how much of training is left."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from quickstudy.nets.options import Senses
from quickstudy.nets.reader import Inputs, inputs_for
from quickstudy.ops.features import PERCEIVED, active_entries, percept_vector, vector_size
from quickstudy.parts.collecting import trial_steps
from quickstudy.protocol import Memory, Percept, TaskDistribution

CLOCK = 2
"""Numbers of the clock."""


def clock(tasks: TaskDistribution, step: Float[Tensor, "*lead"], episode: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead 2"]:
    """How much of the trial has passed, in steps and in episodes begun, each from 0 to 1."""
    steps = (step / trial_steps(tasks)).clamp(max=1)
    episodes = (episode / tasks.episodes_per_trial).clamp(max=1)
    return torch.stack([steps, episodes], dim=-1)


def first_memory(tasks: int, lanes: int, state_size: int, device: torch.device) -> Memory:
    """What is remembered when a trial begins: a state of zeros, and the clock at its start."""
    zero = torch.zeros(tasks, lanes, device=device)
    return {"state": torch.zeros(tasks, lanes, state_size, device=device), "step": zero, "episode": zero}


def counted(percept: Percept) -> tuple[Float[Tensor, "*lead time"], Float[Tensor, "*lead time"]]:
    """Of whole trials: how many steps came before each, and in which episode it is, from 1."""
    first = percept.first.float()
    return torch.arange(first.shape[-1], device=first.device).float().expand_as(first), first.cumsum(-1)


def with_clock(
    inputs: Float[Tensor, "time feature"],
) -> tuple[Float[Tensor, "time seen"], Float[Tensor, "time feature"]]:
    """What was seen, to be differentiated by, and the same with the clock behind it, which is held fixed."""
    seen = inputs[:, :-CLOCK].detach().requires_grad_()
    return seen, torch.cat([seen, inputs[:, -CLOCK:]], dim=1)


def timed_inputs(tasks: TaskDistribution, options: Senses) -> Inputs:
    """Of a network that reads what `timed_percept` makes."""
    return inputs_for(tasks.observation_space, vector_size(tasks.action_space) + PERCEIVED + CLOCK, options)


def active_inputs(tasks: TaskDistribution, inputs: Inputs) -> float:
    """How many of these inputs aren't zero at once, about: half of what a reader gives, one of each one-hot part."""
    seen = inputs.reader.features / 2 if inputs.reader else active_entries(tasks.observation_space)
    return seen + active_entries(tasks.action_space) + PERCEIVED + CLOCK


def timed_percept(
    tasks: TaskDistribution,
    percept: Percept,
    step: Float[Tensor, "*lead"],
    episode: Float[Tensor, "*lead"],
    *beside: Float[Tensor, "*lead _"],
) -> Shaped[Tensor, "*lead entry"]:
    """What a memory reads at a step: the percept, what else is told beside it, and the clock."""
    return percept_vector(percept, tasks.observation_space, tasks.action_space, *beside, clock(tasks, step, episode))


def left(iterations: int, iteration: int, least: float = 0.01) -> float:
    """What is left, in a meta-iteration, of what falls linearly over the first ones; all of it where there are none."""
    return max(least, 1 - iteration / iterations) if iterations else 1.0
