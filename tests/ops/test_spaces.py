"""Spaces as tensors: what comes in is encoded, what goes out is decoded, and what has no such form is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from quickstudy.errors import UsageError
from quickstudy.ops.features import as_vector, unit_vector, vector_size
from quickstudy.ops.senses import Senses
from quickstudy.ops.spaces import action_fault, decode, encode, observed, ranges_of, taken

COMPOSITE = spaces.Dict(
    where=spaces.Box(-1, 1, (2,)),
    colour=spaces.Discrete(3, start=5),
    bits=spaces.MultiBinary(2),
    dials=spaces.MultiDiscrete([2, 3]),
    pair=spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 9, (1, 2), np.int64))),
)


@pytest.mark.parametrize("seed", range(5))
def test_a_composite_observation_is_one_flat_vector(seed: int):
    COMPOSITE.seed(seed)
    value = COMPOSITE.sample()
    space = observed(COMPOSITE)
    encoded = encode(COMPOSITE, value)
    assert encoded.dtype == np.float32 and encoded.shape == space.shape == (2 + 3 + 2 + 5 + 2 + 2,)
    np.testing.assert_array_equal(encoded, spaces.flatten(COMPOSITE, value).astype(np.float32))
    assert vector_size(space) == 16


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4, start=-1),
        spaces.MultiDiscrete([3, 2, 5]),
        spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 1], [0, -2]]),
        spaces.MultiBinary((2, 2)),
        spaces.Box(-2, 3, (3,), np.float64),
        spaces.Box(np.array([0, -5]), np.array([9, 5]), (2,), np.int32),
    ],
)
def test_every_decoded_action_is_in_its_space(space: Any):
    plain, generator = taken(space), torch.Generator().manual_seed(0)
    for _ in range(50):
        if isinstance(plain, spaces.Discrete):
            action = torch.randint(int(plain.n), (3,), generator=generator)
        elif isinstance(plain, spaces.MultiDiscrete):
            action = (torch.rand(3, len(plain.nvec), generator=generator) * torch.as_tensor(plain.nvec)).long()
        else:
            action = torch.randn(3, *plain.shape, generator=generator) * 9  # beyond the bounds: clipped
        assert action_fault(plain, action) is None
        for each in decode(space, action.numpy()):
            assert space.contains(each), each


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_actions_of_a_box_of_floats_are_not_rounded(kind: Any):
    taken = decode(spaces.Box(-1, 1, (2,), kind), np.array([0.25, -0.5], np.float32))
    assert taken.dtype == kind and taken.tolist() == [0.25, -0.5]
    assert decode(spaces.Box(-3, 3, (2,), np.int8), np.array([0.75, -1.6], np.float32)).tolist() == [1, -2]


@pytest.mark.parametrize(
    ("space", "given"),
    [
        (spaces.Box(-9, 9, (3,)), np.arange(3, dtype=np.float32)),
        (spaces.Box(-9, 9, (3,)), np.arange(3, dtype=np.float32)[::-1]),
        (spaces.MultiBinary(3), np.ones(3, np.int8)),
        (spaces.Dict(only=spaces.Box(-9, 9, (3,))), {"only": np.arange(3, dtype=np.float32)}),
    ],
    ids=["box", "backwards", "flags", "dictionary"],
)
def test_an_observation_is_copied_and_contiguous(space: Any, given: Any):
    encoded = encode(space, given)
    before = encoded.copy()
    for array in given.values() if isinstance(given, dict) else [given]:
        array[:] = 7
    assert np.array_equal(encoded, before) and torch.from_numpy(encoded).is_contiguous()


def test_each_entry_of_a_box_has_its_own_range():
    largest = float(np.finfo(np.float32).max)
    low, high = np.array([[0, -np.inf, -largest], [2, 0, -np.inf]]), np.array([[10, np.inf, largest], [2, np.inf, 5]])
    ranges = ranges_of(spaces.Box(low, high, dtype=np.float64))
    assert ranges.center.tolist() == [5, 0, 0, 2, 1, 4] and ranges.half.tolist() == [5, 1, 1, 1, 1, 1]
    assert ranges.bounded.tolist() == [True, False, False, True, False, False]


@pytest.mark.parametrize(
    "space", [spaces.Box(1e8, 1e8 + 1, (1,), np.float64), spaces.Box(2**30, 2**30 + 3, (2,), np.int64)], ids=str
)
def test_a_box_whose_numbers_float32_rounds_together_is_refused(space: Any):
    for plain in (observed, taken):
        with pytest.raises(UsageError, match="so narrow so far from 0"):
            plain(space)
    assert taken(spaces.Box(np.array([0, 5]), np.array([255, 5]), dtype=np.int64)).high.tolist() == [255, 5]


def test_discrete_observations_count_from_zero():
    space = spaces.Discrete(3, start=7)
    assert observed(space) == spaces.Discrete(3) and [int(encode(space, n)) for n in (7, 8, 9)] == [0, 1, 2]
    with pytest.raises(ValueError, match="not in Discrete"):
        encode(space, 10)


def test_several_choices_are_several_one_hots():
    space = spaces.MultiDiscrete([2, 3])
    expected = torch.tensor([[0.0, 1, 0, 0, 1], [1, 0, 0, 1, 0]])
    assert torch.equal(as_vector(space, torch.tensor([[1, 2], [0, 1]])), expected)
    assert torch.equal(unit_vector(space, torch.tensor([[1, 2], [0, 1]])), expected) and vector_size(space) == 5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3, np.float32), r"shape \(3,\), its space says \(2,\)"),
        (np.array(["a", "b"]), "not numbers"),
        (None, "not numbers"),
    ],
)
def test_what_does_not_fit_is_refused(value: Any, message: str):
    with pytest.raises(ValueError, match=message):
        encode(spaces.Box(-1, 1, (2,)), value)


def test_what_has_no_such_form_is_named():
    with pytest.raises(UsageError, match="no fixed size"):
        observed(spaces.Sequence(spaces.Discrete(2)))
    with pytest.raises(UsageError, match="the observation's 'film/1': a Box with 5 axes can't be read"):
        observed(spaces.Dict(film=spaces.Tuple((spaces.Text(9), spaces.Box(0, 1, (2,) * 5)))))
    with pytest.raises(UsageError, match=r"action space .* is not supported"):
        taken(spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2))))


def test_actions_outside_are_said():
    assert "it is 3, not in Discrete(3)" in (action_fault(spaces.Discrete(3), torch.tensor([0, 3])) or "")
    assert "it is -1" in (action_fault(spaces.Discrete(3), torch.tensor([-1, 0])) or "")
    assert "not whole numbers" in (action_fault(spaces.Discrete(3), torch.tensor([1.0])) or "")
    assert "NaN" in (action_fault(spaces.Box(-1, 1, (1,)), torch.tensor([[float("nan")]])) or "")
    assert "not in MultiDiscrete" in (action_fault(spaces.MultiDiscrete([2, 2]), torch.tensor([[0, 2]])) or "")


SENSES = spaces.Dict(
    image=spaces.Box(0, 255, (3, 4, 2), np.uint8),
    said=spaces.Tuple((spaces.Text(11), spaces.Discrete(3, start=2))),
    sound=spaces.Box(-1, 1, (64,)),
    dials=spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 0], [1, 1]]),
)


def test_several_senses_are_one_row_of_bytes_of_which_each_part_comes_back():
    shown = observed(SENSES, ("red", "go", "to"))
    SENSES.seed(0)
    value = SENSES.sample() | {"said": ("Go to red!", 4)}
    row = torch.as_tensor(encode(SENSES, value, shown))
    assert row.dtype == torch.uint8 and row.shape == shown.shape
    assert isinstance(shown, Senses)
    parts = shown.split(row)
    assert parts["image"].dtype == torch.uint8 and np.array_equal(parts["image"], value["image"])
    assert np.array_equal(parts["sound"], value["sound"])
    assert parts["said/0"].tolist() == [2, 3, 1, 0, 0, 0]  # places in the vocabulary, from 1 on
    assert parts["said/1"].item() == 4 - 2
    assert parts["dials"].tolist() == (value["dials"] - [[0, 0], [1, 1]]).flatten().tolist()
    assert torch.equal(shown.join(parts), row)


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (SENSES, {"image": np.zeros((4, 3, 2), np.uint8)}, r"'image': the observation has shape \(4, 3, 2\)"),
        (SENSES, {"said": ("go to the red", 2)}, "'said/0': the text 'go to the red' has 4 words, there is room for 3"),
        (SENSES, {"said": ("go", 5)}, "'said/1': the observation 5 is not in"),
        (SENSES, {"said": (7, 2)}, "'said/0': the observation 7 is no text"),
        (SENSES, {"dials": np.full((2, 2), 9)}, "'dials': the observation .* is not in"),
        (COMPOSITE, {"colour": 4}, "the observation's 'colour' is 4, not in"),
        (COMPOSITE, {"pair": (2, np.zeros((1, 2), np.int64))}, "the observation's 'pair/0' is 2, not in"),
    ],
    ids=["image", "long", "choice", "no text", "choices", "flat", "flat pair"],
)
def test_the_part_that_does_not_fit_is_named(space: Any, value: Any, message: str):
    space.seed(0)
    short = {"said": ("go", 2)} if space is SENSES else {}
    shown = observed(spaces.Dict(SENSES.spaces | {"said": spaces.Tuple((spaces.Text(6), spaces.Discrete(3, start=2)))}))
    with pytest.raises(ValueError, match=message):
        encode(space, space.sample() | short | value, shown if space is SENSES else None)
