"""What off-policy methods keep of what a reader reads: each observation once, and every transition as it was lived."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms.baselines.random import UniformPolicy
from quickstudy.data.replay import Replay
from quickstudy.data.rollout import Plan, collect
from quickstudy.ops.senses import bytes_of
from quickstudy.parts import transitions
from quickstudy.parts.belief import as_records
from quickstudy.parts.trials import arrivals_of, batch_of, records_of
from quickstudy.protocol import Experience, Shard, TaskDistribution, counter
from quickstudy.work import LocalSite

STEPS, EPISODES = 5, 3
TASKS = 6


def missions() -> TaskDistribution:
    return qs.tasks.make("mission", size=3, max_episode_steps=STEPS, episodes_per_trial=EPISODES)


def lived(tasks: TaskDistribution, episodes: int = 1, iteration: int = 0) -> Experience:
    """Episodes of many lengths, under random actions."""
    plan = Plan(UniformPolicy(tasks.action_space), 1, episodes * STEPS, episodes)
    return collect(LocalSite(tasks), plan, Shard(0, iteration, 0, TASKS, "train"))


def replay_of(
    tasks: TaskDistribution, capacity: int, episodes: int, prioritised: bool = False
) -> tuple[Replay, list[Experience]]:
    """A replay that so many episodes of each task were given to, and those episodes."""
    replay = Replay(TASKS, *transitions.room(tasks, capacity, 1), prioritised=prioritised)
    given = [lived(tasks, iteration=number) for number in range(episodes)]
    for each in given:
        records, task = transitions.kept(tasks, each, {"reward": each.transition.reward, "action": each.act.action})
        transitions.extend(replay, task, records)
    return replay, given


def steps_of(tasks: TaskDistribution, given: list[Experience], task: int) -> list[Tensor]:
    """What was lived in a task, a step each: where it was, what it did, was paid, and where it arrived, as numbers."""
    found = []
    for each in given:
        for step in range(int(each.valid[task, 0].sum())):
            at = task, 0, step
            seen, arrived = each.percept.observation[at].long(), each.transition.arrival[at].long()
            found.append(torch.cat([seen, each.act.action[at][None], each.transition.reward[at][None].long(), arrived]))
    return found


@pytest.mark.parametrize("capacity", [9, 100])
def test_what_is_drawn_was_lived_and_arrived_where_it_did(capacity: int):
    """Also where the oldest have been dropped, and all that is there is drawn alike."""
    tasks = missions()
    replay, given = replay_of(tasks, capacity, episodes=4)
    drawn = transitions.drawn(replay, torch.arange(TASKS), 2000, counter(0, 0, "draws"))
    rows = torch.cat(
        [drawn["observation"].long(), drawn["action"][..., None], drawn["reward"][..., None].long(), drawn["arrival"].long()],
        -1,
    )
    for task in range(TASKS):
        number = torch.arange(int(replay.counts[task])) + int(replay.added[task] - replay.counts[task])
        there = int((~transitions.ends_at(replay, torch.full_like(number, task), number)).sum())
        newest = torch.stack(steps_of(tasks, given, task)[-there:])
        unique, counts = rows[task].unique(dim=0, return_counts=True)
        assert {tuple(row) for row in unique.tolist()} == {tuple(row) for row in newest.tolist()}
        if len(unique) == there:
            assert 0.5 < float(counts.min()) * there / 2000 and float(counts.max()) * there / 2000 < 1.6


def test_a_pixel_is_a_byte_and_is_kept_once():
    tasks = missions()
    replay, given = replay_of(tasks, 50, episodes=2)
    assert "arrival" not in replay.fields and replay.fields["observation"].dtype == torch.uint8
    assert replay.fields["observation"][0].nbytes == bytes_of(tasks.observation_space)
    kept = int(replay.added.sum())
    assert kept == sum(int(each.valid.sum()) + TASKS for each in given)  # a step each, and where each episode ended


def test_vectors_are_kept_as_ever():
    tasks = qs.tasks.make("point-navigation", max_episode_steps=STEPS, episodes_per_trial=EPISODES)
    experience = lived(tasks)
    records, task = transitions.kept(tasks, experience, {"reward": experience.transition.reward})
    assert set(records) == {"observation", "arrival", "reward"} and transitions.room(tasks, 7, 2) == (7, 2 * STEPS)
    assert torch.equal(records["arrival"], experience.transition.arrival[experience.valid])
    assert torch.equal(task, torch.arange(TASKS).repeat_interleave(STEPS))


def test_an_end_is_never_drawn_by_priority():
    tasks = missions()
    replay, _ = replay_of(tasks, 100, episodes=2, prioritised=True)
    task, number, _ = replay.draw_by_priority(500, counter(0, 0, "draws"))
    assert not bool(transitions.ends_at(replay, task, number).any())


def test_recorded_trials_know_where_each_step_arrived():
    tasks = missions()
    experience = lived(tasks, EPISODES)
    records, valid = as_records(tasks, experience, EPISODES * STEPS + 2), experience.valid[:, 0]
    arrival = arrivals_of(records)[:, : valid.shape[1]]
    assert torch.equal(arrival[valid], experience.transition.arrival[:, 0][valid]) and "arrival" not in records


def test_steps_that_leave_know_what_would_be_read_beyond():
    """A time limit's arrival, kept once an episode, is that of the whole field which vectors keep."""
    tasks = missions()
    experience = lived(tasks, EPISODES)
    records = records_of(tasks, "episode", experience)
    assert records["ending"].shape[1] == EPISODES and "arrival" not in records
    batch = batch_of(records)
    assert batch.arrival is not None and len(batch.arrival) == int(batch.leaves.sum()) > 0
    size = bytes_of(tasks.observation_space)
    left = experience.transition.truncated & experience.valid
    theirs = {tuple(row) for row in experience.transition.arrival[left].tolist()}
    assert {tuple(row[:size]) for row in batch.arrival.tolist()} == theirs
