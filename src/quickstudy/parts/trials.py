"""Whole trials, or slices of them, from a replay: how they are kept and laid out, what values aim at, and errors by trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from quickstudy.data.replay import Records
from quickstudy.nets.packed import Layout, layout_of
from quickstudy.ops.senses import is_read
from quickstudy.parts.clock import counted, timed_percept
from quickstudy.parts.collecting import trial_steps
from quickstudy.protocol import Experience, Percept, TaskDistribution


def endings_of(experience: Experience, seen: Shaped[Tensor, "task lane time ..."], episodes: int) -> Tensor:
    """What was seen at the end of each episode of whole trials, (trial, episode, ...); zero where a trial has fewer.

    All else that a step led to stands in the next step's observation, so that with these nothing is kept twice.
    """
    transition = experience.transition
    ended = ((transition.terminated | transition.truncated) & experience.valid).flatten(0, 1)
    seen = seen.flatten(0, 1)
    endings = seen.new_zeros(len(seen), episodes, *seen.shape[2:])
    trial, step = ended.nonzero(as_tuple=True)
    endings[trial, ended.cumsum(1)[trial, step] - 1] = seen[trial, step]
    return endings


def arrivals_of(records: Mapping[str, Tensor]) -> Shaped[Tensor, "trial time ..."]:
    """What each step of recorded trials led to, from the observations that followed and, at an episode's end, its ending."""
    observation, ended = records["observation"], (records["terminated"] | records["truncated"]) & records["valid"]
    arrival = torch.cat([observation[:, 1:], torch.zeros_like(observation[:, :1])], dim=1)
    trial, step = ended.nonzero(as_tuple=True)
    arrival[trial, step] = records["ending"][trial, ended.cumsum(1)[trial, step] - 1]
    return arrival


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
    whole = {}
    if "arrival" in fields and is_read(tasks.observation_space):
        whole["ending"] = endings_of(experience, fields.pop("arrival"), tasks.episodes_per_trial)
        fields["episode"] = episode.to(torch.int16)
    missing = trial_steps(tasks) - valid.shape[-1]
    trials = {name: value.flatten(0, 1) for name, value in fields.items()}
    return whole | {
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
    arrival: Shaped[Tensor, "leaving entry"] | None
    """Of each step that leaves, what the memories would read if its episode went on; None where `leaves` never holds."""
    layout: Layout


def batch_of(records: Mapping[str, Shaped[Tensor, "trial time ..."]]) -> Batch:
    """Records as the update reads them."""
    layout = layout_of(records["valid"])
    rows = {name: layout.rows(value) for name, value in records.items() if name != "ending"}
    inputs, action, reward, ends, leaves = (rows[name] for name in ("inputs", "action", "reward", "ends", "leaves"))
    arrival = rows["arrival"][leaves] if "arrival" in rows else None
    if "ending" in records:
        arrival = records["ending"][layout.sequence[leaves], rows["episode"][leaves].long() - 1]
    return Batch(inputs, action, reward, ends, leaves, arrival, layout)


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


def returns_of(batch: Batch, gamma: float) -> Float[Tensor, "row"]:
    """The discounted rewards to come from each step of whole trials, up to what ends them."""
    nothing = torch.zeros_like(batch.reward)
    return mixed_returns(batch.reward, gamma * ~(batch.ends | batch.leaves), nothing, nothing, 1 + nothing, batch.layout.sizes)


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
