"""Replay, held against a list for each task, and its files, held against what was in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from quickstudy.data.priorities import Priorities
from quickstudy.data.replay import Replay, rank_among_equals
from quickstudy.protocol import counter
from quickstudy.runs.checkpoint import DamagedCheckpoint, load_checkpoint, load_latest, prune, save_checkpoint, sealed
from quickstudy.storage import read_json, to_json


def generator(seed: int = 0) -> Generator:
    return counter(seed, 0, "test")


def numbered(first: int, count: int) -> dict[str, Tensor]:
    """Records that tell which they are, in fields of several shapes and kinds."""
    number = torch.arange(first, first + count)
    return {"number": number, "pair": torch.stack([number, -number], -1).float(), "even": number % 2 == 0}


def whole(replay: Replay) -> dict[str, Tensor]:
    """Everything in a replay, by task and number."""
    tables = [table for _, table in replay.ledger().tables()]
    return tables[0] if tables else {}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@settings(deadline=None, max_examples=60)
@given(
    batches=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=12),
    capacity=st.integers(1, 7),
    spare=st.integers(0, 9),
    on_disk=st.booleans(),
)
def test_a_row_holds_the_newest_records_of_its_task(batches: list[list[int]], capacity: int, spare: int, on_disk: bool):
    replay, lists, made = Replay(4, capacity, spare, on_disk=on_disk, prioritised=True), [[], [], [], []], 0
    for tasks in batches:
        records = numbered(made, len(tasks))
        replay.extend(torch.tensor(tasks), records)
        for task, number in zip(tasks, records["number"].tolist(), strict=True):
            lists[task].append(number)
        made += len(tasks)
    assert replay.counts.tolist() == [min(capacity, len(kept)) for kept in lists]
    assert len(replay) == sum(min(capacity, len(kept)) for kept in lists)
    table = whole(replay)
    assert table["record.number"].tolist() == [number for kept in lists for number in kept[-capacity:]]
    assert torch.equal(table["record.pair"][:, 1], -table["record.number"].float())
    assert replay.priorities is not None and int((replay.priorities.values > 0).sum()) == len(replay)


def test_sampling_is_uniform_over_a_tasks_records_and_takes_no_others():
    replay = Replay(3, 10, 5)
    replay.extend(torch.zeros(25, dtype=torch.long), numbered(0, 25))
    replay.extend(torch.ones(4, dtype=torch.long), numbered(100, 4))
    drawn = replay.sample(torch.tensor([0, 1, 0]), 20_000, generator())
    assert drawn["pair"].shape == (3, 20_000, 2)
    for row, kept in ((0, range(15, 25)), (1, range(100, 104)), (2, range(15, 25))):
        values, counts = drawn["number"][row].unique(return_counts=True)
        assert values.tolist() == list(kept)
        expected = 20_000 / len(kept)
        assert float(((counts - expected) ** 2 / expected).sum()) < 30  # chi-squared, 9 degrees of freedom: 30 is 1 in 2,500
    recent = replay.sample(torch.tensor([0, 1]), 1000, generator(), recent=3)["number"]
    assert recent[0].unique().tolist() == [22, 23, 24] and recent[1].unique().tolist() == [101, 102, 103]


def test_a_draw_depends_on_the_generator_alone():
    replay = Replay(2, 100, 0)
    replay.extend(torch.arange(60) % 2, numbered(0, 60))
    one, again, other = (replay.sample(torch.tensor([0, 1]), 9, generator(seed))["number"] for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def trials(lengths: list[int], longest: int) -> dict[str, Tensor]:
    """Trials of the given lengths; each step says which trial it is of and when it was."""
    step = torch.arange(longest).expand(len(lengths), longest)
    valid = step < torch.tensor(lengths)[:, None]
    return {"trial": torch.arange(len(lengths))[:, None].expand_as(step), "step": step, "valid": valid}


def test_slices_lie_within_one_trial_and_every_start_is_as_likely():
    replay = Replay(1, 8, 0)
    replay.extend(torch.zeros(2, dtype=torch.long), trials([10, 6], 12))
    drawn = replay.slices(torch.zeros(1, dtype=torch.long), 12_000, 4, generator())
    trial, step = drawn["trial"][0], drawn["step"][0]
    assert bool(drawn["valid"].all()) and bool((trial == trial[:, :1]).all())
    assert bool((step.diff(dim=-1) == 1).all())
    for number, starts in ((0, 7), (1, 3)):
        values, counts = step[trial[:, 0] == number, 0].unique(return_counts=True)
        assert values.tolist() == list(range(starts))
        expected = counts.sum() / starts
        assert float(((counts - expected) ** 2 / expected).sum()) < 25  # 6 degrees of freedom: 1 in 3,000


def test_a_slice_of_a_trial_that_is_shorter_is_the_whole():
    replay = Replay(1, 4, 0)
    replay.extend(torch.zeros(1, dtype=torch.long), trials([3], 5))
    drawn = replay.slices(torch.zeros(1, dtype=torch.long), 7, 4, generator())
    assert torch.equal(drawn["step"][0], torch.tensor([[0, 1, 2, 3]] * 7))
    assert torch.equal(drawn["valid"][0], torch.tensor([[True, True, True, False]] * 7))


def test_memory_and_disk_draw_the_same_bits():
    replays = [Replay(2, 40, 20, on_disk=on_disk) for on_disk in (False, True)]
    for first in range(0, 90, 30):
        for replay in replays:
            replay.extend(torch.arange(30) % 2, numbered(first, 30))
    one, other = (dict(replay.sample(torch.tensor([1, 0]), 50, generator())) for replay in replays)
    assert same(one, other) and same(whole(replays[0]), whole(replays[1]))


def test_ranks_count_equal_values_before():
    assert rank_among_equals(torch.tensor([3, 1, 3, 3, 1, 0])).tolist() == [0, 0, 1, 2, 1, 0]


@pytest.mark.parametrize("eighths", [[1, 0, 3, 0, 4], [1, 1, 0, 2, 1, 0, 1, 2]])
def test_priorities_are_drawn_in_proportion(eighths: list[int]):
    priorities, each = Priorities(len(eighths)), torch.tensor(eighths)
    priorities.update(torch.arange(len(eighths)), each.double())
    counts = torch.bincount(priorities.draw(8000, generator()), minlength=len(eighths))
    # one from each of 8,000 equal shares: at most one to either side
    assert bool(((counts - 1000 * each).abs() <= 1).all())


@settings(deadline=None, max_examples=50)
@given(
    changes=st.lists(st.tuples(st.integers(0, 12), st.floats(0, 1e6)), min_size=1, max_size=40),
    seed=st.integers(0, 99),
)
def test_sums_stay_right_and_nothing_of_no_priority_is_drawn(changes: list[tuple[int, float]], seed: int):
    priorities, known = Priorities(13), [0.0] * 13
    for leaf, value in changes:
        priorities.update(torch.tensor([leaf]), torch.tensor([value], dtype=torch.float64))
        known[leaf] = value
    assert priorities.values.tolist() == known
    assert float(priorities.tree[1]) == pytest.approx(sum(known))
    if sum(known):
        assert all(known[leaf] > 0 for leaf in priorities.draw(20, generator(seed)).tolist())


def test_importance_weights_are_those_of_the_paper():
    priorities = Priorities(4)
    priorities.update(torch.arange(3), torch.tensor([1.0, 2.0, 5.0]))
    chances = torch.tensor([1 / 8, 2 / 8, 5 / 8])
    expected = (1 / 3 / chances) ** 0.4
    assert torch.allclose(priorities.weights(torch.tensor([0, 1, 2]), 0.4), expected / expected.max())


def test_draws_by_priority_are_records_that_are_there():
    replay = Replay(3, 6, 4, prioritised=True)
    for first in range(0, 60, 10):
        replay.extend(torch.arange(first, first + 10) % 3, numbered(first, 10))
    assert replay.priorities is not None
    task, number, leaf = replay.draw_by_priority(500, generator())
    drawn = replay.at(task, number)["number"]
    assert set(drawn.tolist()) == set(whole(replay)["record.number"].tolist())
    replay.priorities.update(leaf[drawn != 59], torch.zeros(int((drawn != 59).sum())))
    task, number, _ = replay.draw_by_priority(20, generator())
    assert replay.at(task, number)["number"].unique().tolist() == [59]
    replay.extend(torch.tensor([0]), numbered(60, 1))
    assert float(replay.priorities.values.max()) == float(replay.priorities.values[replay.place(task[:1], number[:1])])


def filled(rounds: int, capacity: int = 20, spare: int = 15) -> Replay:
    replay = Replay(3, capacity, spare)
    for number in range(rounds):
        add(replay, number)
    return replay


def add(replay: Replay, number: int) -> None:
    replay.extend(torch.randint(3, (12,), generator=generator(number)), numbered(12 * number, 12))


def state(replay: Replay, number: int) -> dict[str, Any]:
    return {"iteration": number, "learner": {"replay": replay.ledger(), "weight": torch.ones(2)}}


def loaded(folder: Path) -> Replay:
    replay = Replay(3, 20, 15)
    replay.load(load_checkpoint(folder)["learner"]["replay"])
    return replay


def segments(run: Path) -> set[str]:
    return {path.name for path in (run / "replay").iterdir()}


def test_a_save_writes_what_is_new_and_each_checkpoint_is_whole(tmp_path: Path):
    replay, seen = Replay(3, 20, 15), {}
    for number in range(9):
        add(replay, number)
        before = segments(tmp_path) if number else set()
        saved = save_checkpoint(tmp_path / "checkpoints", number, state(replay, number))
        seen[number] = whole(replay)
        fresh = segments(tmp_path) - before
        assert len(fresh) == 1 and saved.replay_bytes == (tmp_path / "replay" / fresh.pop()).stat().st_size
        assert saved.replay_bytes < 12 * 50 + 800  # the new records, and the names of the columns
    for number, table in seen.items():
        assert same(whole(loaded(tmp_path / "checkpoints" / f"{number:08d}")), table)


def test_nothing_new_writes_nothing(tmp_path: Path):
    replay = filled(3)
    save_checkpoint(tmp_path / "checkpoints", 1, state(replay, 1))
    assert save_checkpoint(tmp_path / "checkpoints", 2, state(replay, 2)).replay_bytes == 0
    assert same(whole(loaded(tmp_path / "checkpoints" / "00000002")), whole(replay))


def test_an_empty_replay_is_saved_too(tmp_path: Path):
    save_checkpoint(tmp_path / "checkpoints", 0, state(Replay(3, 20, 15), 0))
    assert len(loaded(tmp_path / "checkpoints" / "00000000")) == 0


def test_the_state_before_can_be_saved_while_the_next_iteration_is_under_way(tmp_path: Path):
    """As a stopped run does: nothing that came after the complete meta-iteration gets in, nothing of it is lost."""
    replay = filled(7)
    complete, table = state(replay, 7), whole(replay)
    add(replay, 7)
    save_checkpoint(tmp_path / "checkpoints", 7, complete)
    assert same(whole(loaded(tmp_path / "checkpoints" / "00000007")), table)
    save_checkpoint(tmp_path / "checkpoints", 8, state(replay, 8))
    assert same(whole(loaded(tmp_path / "checkpoints" / "00000008")), whole(replay))


def test_what_came_after_a_state_stays_out_of_its_segment(tmp_path: Path):
    """Also where the folder holds earlier ones, so that only what is new is written."""
    replay = filled(3)
    save_checkpoint(tmp_path / "checkpoints", 3, state(replay, 3))
    add(replay, 3)
    complete, table = state(replay, 4), whole(replay)
    add(replay, 4)
    save_checkpoint(tmp_path / "checkpoints", 4, complete)
    assert same(whole(loaded(tmp_path / "checkpoints" / "00000004")), table)


def test_a_resumed_replay_sees_nothing_of_the_future_and_goes_on_the_same(tmp_path: Path):
    never_stopped = filled(9)
    replay = filled(4)
    save_checkpoint(tmp_path / "checkpoints", 4, state(replay, 4))
    add(replay, 4)
    save_checkpoint(tmp_path / "checkpoints", 5, state(replay, 5))
    latest = tmp_path / "checkpoints" / "00000005" / "state.json"
    latest.write_bytes(latest.read_bytes()[:-1])  # so that the one before is used
    content, complaints = load_latest(tmp_path)
    resumed = Replay(3, 20, 15)
    resumed.load(content["learner"]["replay"])
    assert len(complaints) == 1 and same(whole(resumed), whole(filled(4)))
    for number in range(4, 9):
        add(resumed, number)
        save_checkpoint(tmp_path / "checkpoints", number + 1, state(resumed, number + 1))
    assert same(whole(resumed), whole(never_stopped))
    assert same(whole(loaded(tmp_path / "checkpoints" / "00000009")), whole(never_stopped))


def test_segments_that_no_checkpoint_needs_are_removed(tmp_path: Path):
    replay = Replay(3, 20, 15)
    for number in range(20):
        add(replay, number)
        save_checkpoint(tmp_path / "checkpoints", number, state(replay, number))
        prune(tmp_path / "checkpoints", 2)
    needed = {
        segment["name"]
        for folder in (tmp_path / "checkpoints").iterdir()
        for segment in read_json(folder / "manifest.json")["segments"]["learner/replay"]
    }
    assert segments(tmp_path) == needed and len(needed) < 10
    assert same(whole(loaded(tmp_path / "checkpoints" / "00000018")), whole(filled(19)))


def test_another_folder_gets_all_of_it(tmp_path: Path):
    replay = filled(3)
    for run in ("one", "two"):
        save_checkpoint(tmp_path / run / "checkpoints", 3, state(replay, 3))
        assert same(whole(loaded(tmp_path / run / "checkpoints" / "00000003")), whole(replay))


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_a_damaged_segment_is_named_and_the_checkpoint_before_is_used(tmp_path: Path, damage: str):
    replay = filled(2)
    save_checkpoint(tmp_path / "checkpoints", 2, state(replay, 2))
    first, table = segments(tmp_path), whole(replay)
    add(replay, 2)
    save_checkpoint(tmp_path / "checkpoints", 3, state(replay, 3))
    path = tmp_path / "replay" / (segments(tmp_path) - first).pop()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if damage != "missing":
        path.write_bytes(content if damage == "flip" else content[:-1])
    found, complaints = load_latest(tmp_path)
    assert len(complaints) == 1 and path.name in complaints[0]
    resumed = Replay(3, 20, 15)
    resumed.load(found["learner"]["replay"])
    assert same(whole(resumed), table)


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "00000002-0123456789abcdef.pickle", ""])
def test_a_manifest_names_segments_alone(tmp_path: Path, name: str):
    save_checkpoint(tmp_path / "checkpoints", 2, state(filled(2), 2))
    manifest = tmp_path / "checkpoints" / "00000002" / "manifest.json"
    segment = (segments(tmp_path)).pop()
    manifest.write_text(to_json(sealed(json.loads(manifest.read_text().replace(segment, name)))))
    with pytest.raises(DamagedCheckpoint, match="no segment of a replay"):
        load_checkpoint(tmp_path / "checkpoints" / "00000002")


def test_records_of_tasks_that_are_not_there_are_refused(tmp_path: Path):
    save_checkpoint(tmp_path / "checkpoints", 2, state(filled(2), 2))
    small = Replay(2, 20, 15)
    with pytest.raises(ValueError, match="column task has entries from 0 to 2"):
        small.load(load_checkpoint(tmp_path / "checkpoints" / "00000002")["learner"]["replay"])


def test_steps_around_a_moment_are_those_of_its_trial_and_every_moment_is_as_likely():
    """Steps before the trial began, and after it was over, are told as never lived."""
    replay = Replay(1, 2, 0)
    valid = torch.tensor([[True] * 5 + [False], [True] * 2 + [False] * 4])
    replay.extend(torch.zeros(2, dtype=torch.long), {"step": 10 * torch.arange(2)[:, None] + torch.arange(6), "valid": valid})
    drawn = replay.around(torch.zeros(1, dtype=torch.long), 8000, 2, 2, generator())
    step, lived = drawn["step"][0], drawn["valid"][0]
    moment, trial = step[:, 2] % 10, step[:, 2] // 10
    offset = torch.arange(-2, 2)
    wanted = moment[:, None] + offset
    expected = (wanted >= 0) & (wanted < torch.tensor([5, 2])[trial][:, None])
    assert torch.equal(lived, expected) and bool((step - 10 * trial[:, None] == wanted)[expected].all())
    for number, length in enumerate((5, 2)):
        counts = torch.bincount(moment[trial == number], minlength=length).float()
        torch.testing.assert_close(counts / 4000, torch.full((length,), 1 / length), rtol=0, atol=0.04)
