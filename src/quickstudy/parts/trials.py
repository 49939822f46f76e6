"""Whole trials, or slices of them, from a replay: how they are kept and laid out, what values aim at, and errors by trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from quickstudy.data.replay import Records
from quickstudy.nets.packed import Layout, layout_of
from quickstudy.parts.clock import counted, timed_percept
from quickstudy.parts.collecting import trial_steps
from quickstudy.protocol import Experience, Percept, TaskDistribution


def records_of(tasks: TaskDistribution, credit: Literal["trial", "episode"], experience: Experience) -> Records:
    """Each trial as a record of the longest trial's length, time first.

    By trial, all that follows counts: an episode's end is none, and the trial ends with its last step. By episode, a
    termination ends all, and a time limit is answered for by where the episode had arrived.
    """
    percept, transition, valid = experience.percept, experience.transition, experience.valid
    (step, episode), never = counted(percept), torch.zeros_like(valid)
    last = valid & ~torch.cat([valid[..., 1:], never[..., :1]], dim=-1)
    fields = {
        "inputs": timed_percept(tasks, percept, step, episode),
        "action": experience.act.action,
        "reward": transition.reward,
        "ends": last if credit == "trial" else transition.terminated,
        "leaves": never if credit == "trial" else transition.truncated,
        "valid": valid,
    }
    if credit == "episode":
        reached = (transition.arrival, never, experience.act.action, transition.reward, transition.arrival, never, never)
        fields["arrival"] = timed_percept(tasks, Percept(*reached), step + 1, episode)
    missing = trial_steps(tasks) - valid.shape[-1]
    trials = {name: value.flatten(0, 1) for name, value in fields.items()}
    return {
        name: torch.cat([value, value.new_zeros(len(value), missing, *value.shape[2:])], dim=1)
        for name, value in trials.items()
    }


class Batch(NamedTuple):
    """Trials, or slices of them, as rows: the first steps of all, the longest trial first, then the second steps, and so on."""

    inputs: Shaped[Tensor, "row entry"]
    action: Shaped[Tensor, "row ..."]
    reward: Float[Tensor, "row"]
    ends: Bool[Tensor, "row"]
    """Nothing that comes after this step is counted."""
    leaves: Bool[Tensor, "row"]
    """What comes after this step is not the next step of the trial, but what `arrival` would lead to."""
    arrival: Shaped[Tensor, "row entry"] | None
    """What the memories would read if the episode went on beyond its time limit; None where `leaves` never holds."""
    layout: Layout


def batch_of(records: Mapping[str, Shaped[Tensor, "trial time ..."]]) -> Batch:
    """Records as the update reads them."""
    layout = layout_of(records["valid"])
    rows = {name: layout.rows(value) for name, value in records.items()}
    inputs, action, reward, ends, leaves = (rows[name] for name in ("inputs", "action", "reward", "ends", "leaves"))
    return Batch(inputs, action, reward, ends, leaves, rows.get("arrival"), layout)


def mixed_returns(
    reward: Float[Tensor, "row"],
    discount: Float[Tensor, "row"],
    ahead: Float[Tensor, "row"],
    bonus: Float[Tensor, "row"],
    trace: Float[Tensor, "row"],
    sizes: list[int],
) -> Float[Tensor, "row"]:
    """G = r + discount ((1 - trace) V(next) + trace (G(next) + bonus)): Peng's Q(lambda), uncorrected (Kozuno et al. 2021).

    `bonus` is what the next step's entropy is worth. With a trace of zero it is the target of one step.
    """
    later, aims = reward.new_zeros(0), []
    for r, d, v, b, t in zip(*(part.split(sizes)[::-1] for part in (reward, discount, ahead, bonus, trace)), strict=True):
        later = torch.cat([later, v[len(later) :]])
        later = r + d * (v + t * (later + b - v))
        aims.append(later)
    return torch.cat(aims[::-1])


def squared_error(
    values: Float[Tensor, "critic row"],
    aims: Float[Tensor, "row"],
    known: Bool[Tensor, "row"],
    trial: Int[Tensor, "row"],
    weight: Float[Tensor, "trial"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "trial"]]:
    """The critics' loss, trials weighted, and the mean size of each trial's TD error."""
    error = (values - aims) * known
    sums = torch.zeros(2, len(weight), device=weight.device).index_add(
        1, trial, torch.stack([error.detach().abs().mean(0), known.float()])
    )
    return 0.5 * (error.square() * weight[trial]).sum() / known.sum().clamp(min=1), sums[0] / sums[1].clamp(min=1)
