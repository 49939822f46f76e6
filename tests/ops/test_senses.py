"""Observations of several senses as one row of bytes, and what an observation is taken for."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.errors import UsageError
from quickstudy.ops import senses
from quickstudy.ops.features import inputs_of, vector_size
from quickstudy.ops.senses import Senses, Words, as_bytes, as_planes, as_row, from_bytes, layout_of, numbers_in, sense_of

PARTS = {
    "image": spaces.Box(0, 255, (7, 7, 3), np.uint8),
    "shades": spaces.Box(0, 1, (5, 3, 2), np.float32),
    "sound": spaces.Box(-1, 1, (65,), np.float32),
    "text": Words(5, ("go", "red")),
    "vector": spaces.Box(-2, 2, (3,), np.float32),
    "number": spaces.Box(-2, 2, (), np.float32),
    "choice": spaces.Discrete(300),
    "choices": spaces.MultiDiscrete([2, 70_000]),
}


def value_of(space: spaces.Space, lead: tuple[int, ...]) -> torch.Tensor:
    """Random elements of a space."""
    shape = (*lead, *(space.shape or ()))
    if isinstance(space, Words):
        return torch.randint(0, space.numbers, shape, dtype=torch.int16)
    if isinstance(space, spaces.Box) and space.dtype == np.uint8:
        return torch.randint(0, 256, shape, dtype=torch.uint8)
    if isinstance(space, spaces.Box):
        return torch.randn(shape)
    highest = torch.as_tensor(space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n)
    return (torch.rand(shape) * highest).long()


@settings(max_examples=40, deadline=None)
@given(names=st.sets(st.sampled_from(sorted(PARTS)), min_size=1), lead=st.lists(st.integers(0, 3), max_size=3))
def test_parts_are_what_was_joined(names: set[str], lead: list[int]):
    space = Senses({name: PARTS[name] for name in names})
    values = {name: value_of(PARTS[name], tuple(lead)) for name in names}
    row = space.join(values)
    assert row.dtype == torch.uint8 and row.shape == (*lead, *space.shape)
    found = space.split(row)
    assert list(found) == sorted(names)
    for name, value in values.items():
        assert found[name].shape == value.shape and torch.equal(found[name].to(value.dtype), value), name


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_single_observation_as_bytes_is_itself_again(name: str):
    value = value_of(PARTS[name], (4, 2))
    row = as_bytes(PARTS[name], value)
    assert row.dtype == torch.uint8 and row.shape[:2] == (4, 2) and row.shape[-1] % 4 == 0
    assert torch.equal(from_bytes(PARTS[name], row).to(value.dtype), value)


def test_a_row_has_one_byte_for_each_channel_of_a_pixel():
    assert Senses({"image": PARTS["image"]}).shape == (148,)  # 147, and one so that what follows begins at a multiple of 4
    assert Senses({"image": spaces.Box(0, 255, (84, 84, 4), np.uint8)}).shape == (28_224,)
    assert Senses({"text": Words(5), "choice": spaces.Discrete(3), "vector": PARTS["vector"]}).shape == (4 + 12 + 12,)


def test_the_order_of_keys_does_not_matter():
    turned = dict(reversed(PARTS.items()))
    one, other = Senses(PARTS), Senses(turned)
    assert one.places == other.places and list(one.parts) == list(other.parts)
    values = {name: value_of(part, (2,)) for name, part in PARTS.items()}
    assert torch.equal(one.join(values), other.join(dict(reversed(values.items()))))


def test_one_observation_is_encoded_as_tensors_are_joined():
    space, values = Senses(PARTS), {name: value_of(part, ()) for name, part in PARTS.items()}
    row = space.encode({name: value.numpy() for name, value in values.items()} | {"text": "Go, RED robot!"})
    values["text"] = torch.tensor([1, 2, 3, 0, 0])
    assert torch.equal(torch.from_numpy(row), space.join(values))
    assert np.array_equal(space.encode(row), row) and space.encode(row) is not row
    for wrong, message in (
        ({"image": 0}, "has .*image.*, not choice"),
        (np.zeros(3), "is no mapping of choice, choices"),
        (
            {name: value.numpy() for name, value in values.items()} | {"image": np.zeros((7, 7))},
            "'image' is .*, not an element",
        ),
        ({name: value.numpy() for name, value in values.items()} | {"text": "a b c d e f"}, "has 6 words, there is room for 5"),
    ):
        with pytest.raises(ValueError, match=message):
            space.encode(wrong)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["go", "red", "ball"]), max_size=6))
def test_known_words_are_read_back(words: list[str]):
    space = Words(6, ("go", "red"))
    numbers = space.encode(" ".join(words))
    assert numbers.dtype == np.int16 and space.contains(numbers)
    assert space.decode(numbers.tolist()) == " ".join(word if word in space.vocabulary else "?" for word in words)


def test_unknown_words_have_the_same_bucket_everywhere():
    """A stored run depends on it: the numbers are BLAKE2b's."""
    assert Words(3).encode("Go to Rome.").tolist() == [99, 293, 913]
    assert Words(3).numbers == 1025


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        # frames, channels, height, width, channels first
        ((7, 7, 3), (1, 3, 7, 7, False)),
        ((3, 36, 36), (1, 3, 36, 36, True)),
        ((20, 7, 7), (1, 20, 7, 7, True)),
        ((7, 7, 20), (1, 20, 7, 7, False)),
        ((84, 84, 4), (1, 4, 84, 84, False)),
        ((4, 84, 84, 3), (4, 3, 84, 84, False)),
        ((4, 3, 84, 84), (4, 3, 84, 84, True)),
        ((5, 5, 5), (1, 5, 5, 5, False)),
        ((3, 48, 64), (1, 3, 48, 64, True)),
        ((48, 64, 3), (1, 3, 48, 64, False)),
        ((3, 64, 3), (1, 3, 3, 64, False)),
        ((64, 48), (1, 1, 64, 48, True)),
    ],
)
def test_axes_of_an_image_are_told_by_its_shape(shape: tuple[int, ...], layout: tuple[int, int, int, int, bool]):
    assert layout_of(shape) == layout
    space = spaces.Box(0, 255, shape, np.uint8)
    image = torch.arange(2 * int(np.prod(shape))).reshape(2, *shape)
    planes = as_planes(space, image)
    frames, channels, height, width, first = layout
    assert planes.shape == (2, frames * channels, height, width)
    # the last pixel's last channel of the last frame is the last number
    assert planes[1, -1, -1, -1] == image[1].flatten()[-1]
    step = height * width if first else 1
    assert frames * channels == 1 or channels == 1 or planes[0, 1, 0, 0] - planes[0, 0, 0, 0] == step


@pytest.mark.parametrize(
    ("space", "sense"),
    [
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), "image"),
        (spaces.Box(0, 1, (3, 8, 8), np.float32), "image"),
        (spaces.Box(0, 255, (4, 84, 84, 3), np.uint8), "image"),
        (spaces.Box(0, 255, (16, 20), np.uint8), "image"),
        (spaces.Box(0, 255, (15, 20), np.uint8), "vector"),
        (spaces.Box(0, 255, (16, 20), np.float32), "vector"),
        (spaces.Box(-1, 1, (64,), np.float32), "sound"),
        (spaces.Box(-(2**15), 2**15 - 1, (64,), np.int16), "sound"),
        (spaces.Box(-1, 1, (63,), np.float32), "vector"),
        (spaces.Box(0, 1, (64,), np.float32), "vector"),
        (spaces.Box(-np.inf, np.inf, (64,), np.float32), "vector"),
        (spaces.Box(np.append(-np.ones(63), -2), np.ones(64), dtype=np.float64), "vector"),
        (Words(3), "text"),
        (Senses({"image": PARTS["image"]}), "senses"),
        (spaces.Discrete(3), "choice"),
        (spaces.MultiDiscrete([3, 2]), "choices"),
    ],
)
def test_what_an_observation_is_taken_for(space: spaces.Space, sense: str):
    assert sense_of(space) == sense
    assert senses.is_read(space) == (sense in ("image", "sound", "text", "senses"))


def test_what_cannot_be_read_is_refused():
    with pytest.raises(UsageError, match="5 axes can't be read"):
        sense_of(spaces.Box(0, 1, (2, 2, 2, 2, 2)))
    with pytest.raises(UsageError, match="is no vector but image"):
        vector_size(PARTS["image"])


@pytest.mark.parametrize("space", [PARTS["image"], PARTS["text"], Senses(PARTS)])
def test_numbers_stand_behind_observations(space: spaces.Space):
    parts = {name: value_of(part, (2, 3)) for name, part in senses.parts_of(space).items()}
    seen = space.join(parts) if isinstance(space, Senses) else parts[""]
    numbers = torch.randn(2, 3, 4)
    row = inputs_of(space, seen, numbers[..., :1], numbers[..., 1:])
    assert row.dtype == torch.uint8 and torch.equal(numbers_in(row, 4), numbers)
    twice = as_row(space, (seen, seen), numbers)
    size = senses.bytes_of(space)
    assert torch.equal(twice[..., :size], twice[..., size : 2 * size]) and torch.equal(numbers_in(twice, 4), numbers)
    assert torch.equal(numbers_in(numbers, 2), numbers[..., 2:])


def test_a_number_that_is_none_is_found_in_any_part():
    space = Senses(PARTS)
    values = {name: value_of(part, (2,)) for name, part in PARTS.items()}
    assert senses.is_finite(space, space.join(values))
    values["sound"][1, 3] = torch.nan
    assert not senses.is_finite(space, space.join(values))
