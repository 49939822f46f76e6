"""The dark key-to-door and missions in words, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy import families
from quickstudy.families.classic.cells import DifferentCells
from quickstudy.families.classic.key_door import KeyDoor
from quickstudy.families.classic.mission import CYCLES, SAMPLES, Mission, MissionState, heard
from quickstudy.ops.senses import Words
from quickstudy.protocol import counter
from quickstudy.tasks.choices import large_numbers

NONE = torch.zeros(0)


def test_different_cells_are_all_ways_of_choosing_them_each_in_one_split():
    cells = DifferentCells(3, ("key", "door"), never=(4,))
    every = torch.tensor([cells._cells(number, 8) for number in range(56)])
    assert len({tuple(row) for row in every.flatten(1).tolist()}) == 56
    assert (every[:, 0] != every[:, 1]).any(-1).all() and (every != 1).any(-1).all()
    seen = {}
    for split in ("train", "validation", "test"):
        drawn = cells.sample(600, split, counter(0, 0, split))
        seen[split] = {tuple(row) for row in drawn.flatten(1).tolist()}
    assert [len(rows) for rows in seen.values()] == [33, 11, 12]
    assert not (seen["train"] & seen["test"]) | (seen["train"] & seen["validation"]) | (seen["test"] & seen["validation"])
    assert cells.normalise(torch.tensor([[[0, 2], [1, 1]]])).tolist() == [[-1, 1, 0, 0]]


def lived(dynamics: Any, state: Any, task: dict[str, torch.Tensor], actions: list[int]) -> tuple[Any, list[float], list[bool]]:
    """Where actions lead, what each of them pays, and after which the episode is over."""
    rewards, ends = [], []
    for number in actions:
        action = torch.tensor(number)
        arrival = dynamics.transition(state, action, task, NONE)
        rewards.append(float(dynamics.reward(state, action, arrival, task, NONE)))
        ends.append(bool(dynamics.terminal(arrival, task)))
        state = arrival
    return state, rewards, ends


@pytest.mark.parametrize("view", ["number", "drawn"])
def test_a_door_pays_who_has_the_key(view: Any):
    """Actions: stay, up, right, down, left. The room is 5 x 5: the start is in the middle, the key above, the door below."""
    room = KeyDoor(size=5, view=view)
    task = {"cells": torch.tensor([[3, 2], [1, 2]])}
    start = room.initial(task, NONE)
    assert start.cell.tolist() == [2, 2]
    at_door, rewards, ends = lived(room, start, task, [3])
    assert rewards == [0] and ends == [False] and not room.info(at_door, task)["success"]
    opened, rewards, ends = lived(room, at_door, task, [1, 1, 0, 3, 3])
    assert rewards == [0, 1, 0, 0, 1] and ends == [False] * 4 + [True] and room.info(opened, task)["success"]
    shown = room.observation(opened, task)
    assert int(shown) == 7 if view == "number" else shown.nonzero().tolist() == [[0, 1, 2]]
    assert torch.equal(room.observation(at_door, task), shown), "only where it is can be seen"


def test_a_random_start_is_the_trials():
    tasks = families.make("key-door", size=4, start="random", max_episode_steps=3)
    drawn = tasks.sample(50, "test", counter(0, 0, "tasks"))
    env = tasks.make(50, 2)
    first = env.reset(drawn, counter(0, 0, "noise"))
    expected = drawn["cells"][:, 2] @ torch.tensor([4, 1])
    assert torch.equal(first, expected[:, None].expand(50, 2)) and torch.equal(env.restart(), first)
    assert len(expected.unique()) == 16 and (drawn["cells"][:, 2] != drawn["cells"][:, 0]).any(-1).all()


def said(mission: Mission, cell: int, things: list[int], words: list[int]) -> MissionState:
    """The beginning of an episode in which all is known."""
    zero = torch.tensor(0)
    return MissionState(torch.tensor(cell), torch.tensor(things), torch.tensor(words), NONE, zero, zero, zero.bool())


def test_things_pay_in_the_order_in_which_they_are_named():
    """A 3 x 3 grid: the agent in the lower left corner; things 0, 1, 2 lie to the right, further right, and above."""
    mission = Mission(size=3)
    task = {"last": torch.tensor(1.0)}  # the square
    start = said(mission, 0, [1, 2, 3, 8], [0, 2])
    parts = mission.observation_space.split(mission.observation(start, task))
    words = mission.observation_space.parts["text"]
    assert isinstance(words, Words) and words.decode(parts["text"].tolist()) == "first disc then triangle"
    assert parts["image"].nonzero().tolist() == [[0, 0, 0], [0, 1, 1], [0, 2, 2], [1, 0, 3], [2, 2, 4]]
    assert parts["vector"].tolist() == [1, 0]
    there, rewards, ends = lived(mission, start, task, [2, 3, 1])  # walls hold; right is thing 0
    assert rewards == [0, 0, 1] and ends == [False] * 3 and there.things.tolist() == [-1, 2, 3, 8]
    parts = mission.observation_space.split(mission.observation(there, task))
    assert parts["vector"].tolist() == pytest.approx([11 / 14, 1 / 3]) and not parts["image"][..., 1].any()
    second, rewards, ends = lived(mission, there, task, [3, 0])
    assert rewards == [0, 1] and not any(ends) and not mission.info(second, task)["success"]
    won, rewards, ends = lived(mission, second, task, [2, 1, 1])  # the last one, which nobody named
    assert rewards == [0, 0, 1] and ends == [False, False, True] and mission.info(won, task)["success"]
    for wrong in ([0], [1, 1]):  # the triangle before its turn, and the square
        lost, rewards, ends = lived(mission, start, task, wrong)
        assert rewards[-1] == 0 and ends[-1] and not mission.info(lost, task)["success"]


def test_what_comes_last_is_hidden_and_nothing_shows_it():
    mission, tasks = Mission(size=3), [{"last": torch.tensor(number)} for number in (1.0, 3.0)]
    start = said(mission, 0, [1, 2, 3, 8], [0, 2])
    seen = [mission.observation(start, each) for each in tasks]
    paid = [lived(mission, start, each, [1, 3, 0, 2, 1, 1])[1] for each in tasks]
    assert torch.equal(*seen) and paid == [[1, 0, 1, 0, 0, 1], [1, 0, 1, 0, 0, 0]]


@pytest.mark.parametrize("sense", ["text", "sound"])
def test_an_episode_begins_with_all_in_different_cells_and_all_words_as_likely(sense: Any):
    mission = Mission(sense=sense)
    task = {"last": torch.full((6000,), 2.0)}
    state = mission.initial(task, torch.rand(6000, mission.initial_noise, generator=counter(0, 0, "noise")))
    cells = torch.cat([state.cell[:, None], state.things], -1).sort(-1).values
    assert (cells.diff(dim=-1) > 0).all() and cells.min() == 0 and cells.max() == 15
    orders, counts = state.said.unique(dim=0, return_counts=True)
    assert not (state.said == 2).any(), "what comes last is never named"
    assert len(orders) == 6 and (orders[:, 0] != orders[:, 1]).all() and int((counts - 1000).abs().max()) < 130
    assert state.sound.shape == (6000, 2 * SAMPLES if sense == "sound" else 0)


def test_a_word_is_a_tone_of_its_own():
    luck = torch.rand(500, 3, 1 + SAMPLES, generator=counter(0, 0, "luck"))
    words = large_numbers(3, 1500, counter(0, 0, "words"))
    said = torch.tensor([number % 3 for number in words]).view(500, 3)
    sound = heard(said, luck)
    assert sound.shape == (500, 3 * SAMPLES) and float(sound.abs().max()) <= 1
    loudness = torch.fft.rfft(sound.view(500, 3, SAMPLES)).abs()
    assert torch.equal(loudness.argmax(-1), CYCLES * (said + 1))
    # of a tone of 0.8, phase and noise drawn for each word
    assert float(loudness.amax(-1).mean()) == pytest.approx(0.8 * SAMPLES / 2, rel=0.02)
    assert float(sound.view(500, 3, SAMPLES)[..., 0].mean()) == pytest.approx(0, abs=4 * 0.8 / math.sqrt(2 * 1500))


@pytest.mark.parametrize(
    ("options", "says"),
    [({"objects": 7}, "there are words for 6"), ({"named": 4}, "4 of 4 objects"), ({"size": 2}, "at least 3")],
)
def test_a_mission_that_cannot_be_said_is_refused(options: Any, says: str):
    with pytest.raises(qs.UsageError, match=says):
        families.make("mission", **options)
