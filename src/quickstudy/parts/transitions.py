"""Transitions in a replay, as off-policy methods keep them; where a reader reads observations, each of them is kept once.

Vectors are kept beside what they led to. Of images and the like, what a step led to is the next record's observation: behind
the last step of an episode stands one more record, an end, which is nothing but where the episode arrived, and is never drawn.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Generator, Tensor

from quickstudy.data.replay import Records, Replay
from quickstudy.ops.senses import is_read
from quickstudy.protocol import Experience, TaskDistribution


def kept(
    tasks: TaskDistribution, experience: Experience, fields: Mapping[str, Shaped[Tensor, "task lane time ..."]]
) -> tuple[Records, Int[Tensor, "record"]]:
    """Whole episodes as records, lanes one after another, and the task of each; `fields` are those beside observations."""
    valid = experience.valid
    seen = {"observation": experience.percept.observation, "arrival": experience.transition.arrival}
    if not is_read(tasks.observation_space):
        return {name: value[valid] for name, value in (seen | dict(fields)).items()}, valid.nonzero()[:, 0]
    length = valid.sum(-1)
    end = torch.arange(valid.shape[-1] + 1, device=valid.device) == length[..., None]
    longer = {name: torch.cat([value, value[:, :, :1]], dim=2) for name, value in fields.items()}
    observation = torch.cat([seen["observation"], seen["arrival"][:, :, :1]], dim=2)
    task, lane = torch.meshgrid(*(torch.arange(size, device=valid.device) for size in length.shape), indexing="ij")
    observation[task, lane, length] = seen["arrival"][task, lane, length - 1]
    there = torch.arange(valid.shape[-1] + 1, device=valid.device) <= length[..., None]
    records = {"observation": observation, **longer, "end": end}
    return {name: value[there] for name, value in records.items()}, there.nonzero()[:, 0]


def room(tasks: TaskDistribution, size: int, episodes: int) -> tuple[int, int]:
    """How many records a replay of so many transitions keeps of a task, and to spare while so many episodes are added."""
    end = int(is_read(tasks.observation_space))
    return size + end, episodes * (tasks.max_episode_steps + end)


def extend(replay: Replay, task: Int[Tensor, "record"], records: Records) -> None:
    """Gives each record to its task; an end has no priority."""
    number = replay.extend(task, records)
    if replay.priorities is not None and "end" in records:
        end = records["end"].cpu()
        leaf = replay.place(task.cpu()[end], number[end]).cpu()
        replay.priorities.update(leaf, torch.zeros(len(leaf)))


def drawn(replay: Replay, tasks: Int[Tensor, "batch"], count: int, generator: Generator) -> Records:
    """So many transitions of each task, uniform over all it has, with replacement, (batch, count, ...) each."""
    number = replay.draw(tasks, count, generator)
    while bool((end := ends_at(replay, tasks[:, None], number)).any()):
        number = torch.where(end, replay.draw(tasks, count, generator), number)
    return looked_up(replay, tasks[:, None], number)


def ends_at(replay: Replay, task: Int[Tensor, "*#lead"], number: Int[Tensor, "*lead"]) -> Bool[Tensor, "*lead"]:
    """Which records are ends; none where arrivals are kept beside."""
    if "end" not in replay.fields:
        return torch.zeros(number.shape, dtype=torch.bool)
    return replay.fields["end"][replay.place(task, number)].cpu()


def looked_up(replay: Replay, task: Int[Tensor, "*#lead"], number: Int[Tensor, "*lead"]) -> Records:
    """Transitions by task and number, with what they led to; of an end that means nothing."""
    found = dict(replay.at(task, number))
    if "arrival" not in found:
        found["arrival"] = replay.fields["observation"][replay.place(task, number + 1)]
    return found
