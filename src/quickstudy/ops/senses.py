"""What an observation is for a network: a vector, or an image, a sound, a text, or several senses at once.

Several senses travel as one row of bytes, so that an observation is one tensor everywhere: images with a byte for each channel
of a pixel, texts as numbers of words, all else as float32 or int32. `Senses` says where each part lies in the row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from quickstudy.errors import UsageError, shorten

Space = gymnasium.Space[Any]
Sense = Literal["vector", "choice", "choices", "image", "sound", "text", "senses"]
READ: tuple[Sense, ...] = ("image", "sound", "text", "senses")
"""What a reader of its own stands before (`nets/reader.py`); the rest is a vector at once."""
FEWEST_SAMPLES = 64
"""A sound has at least so many; a shorter row of numbers is a vector."""
SMALLEST_GREY = 16
"""Two axes of bytes are an image without channels from this size on; smaller, they are a table of numbers."""
LONGEST_TEXT = 32
"""Words of a text whose space says no length."""
BUCKETS = 1024
"""Words that are in no vocabulary are told apart by as many numbers, which a hash of their letters gives."""
CODES_UP_TO = 11
"""Images of bytes up to this size aren't shades but codes of things, as MiniGrid's are: looked up, not scaled."""
ALIGNED = 4
"""Parts of a row begin at multiples of so many bytes, so that they can be looked at as numbers where they lie."""


class Words(spaces.Box):
    """A text as the numbers of its words, int16 (length,): 0 behind its end.

    Words are what stands between spaces, in small letters, punctuation aside. With a `vocabulary`, each word has its place in
    it from 1 on, and all others share the one behind; without, a hash of a word gives one of 1,024 numbers.
    """

    def __init__(self, length: int, vocabulary: Sequence[str] = ()):
        self.vocabulary = tuple(vocabulary)
        self.numbers = 1 + (len(self.vocabulary) + 1 if self.vocabulary else BUCKETS)
        """How many numbers there are, that of no word among them."""
        super().__init__(0, self.numbers - 1, (length,), np.int16)

    def __repr__(self) -> str:
        return f"Words({self.shape[0]}, {f'{len(self.vocabulary)} known' if self.vocabulary else f'{BUCKETS} buckets'})"

    def encode(self, text: str) -> Shaped[np.ndarray, "length"]:
        """The numbers of a text's words; ValueError where it has more words than there is room."""
        words = words_of(text)
        if len(words) > self.shape[0]:
            raise ValueError(f"the text {shorten(text)} has {len(words)} words, there is room for {self.shape[0]}")
        numbers = np.zeros(self.shape[0], np.int16)
        numbers[: len(words)] = [self._number(word) for word in words]
        return numbers

    def decode(self, numbers: Sequence[int]) -> str:
        """The words again, those of the vocabulary; "?" for others."""
        known = ("", *self.vocabulary)
        return " ".join(known[number] if number < len(known) else "?" for number in numbers if number)

    def _number(self, word: str) -> int:
        if self.vocabulary:
            return self.vocabulary.index(word) + 1 if word in self.vocabulary else len(self.vocabulary) + 1
        return 1 + int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little") % BUCKETS


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters, without punctuation at their ends."""
    return [word for part in text.lower().split() if (word := part.strip(".,;:!?\"'()"))]


class Place(NamedTuple):
    """Where a part lies in a row, and as what."""

    start: int
    stop: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Senses(spaces.Box):
    """Several observations side by side, as one row of bytes, uint8 (bytes,); parts are in the order of their names."""

    def __init__(self, parts: Mapping[str, Space]):
        self.parts: dict[str, Space] = dict(sorted(parts.items()))
        self.places: dict[str, Place] = {}
        start = 0
        for name, part in self.parts.items():
            dtype, shape = packed_dtype(part), tuple(part.shape or ())
            size = torch.Size(shape).numel() * dtype.itemsize
            self.places[name] = Place(start, start + size, dtype, shape)
            start += aligned(size)
        super().__init__(0, 255, (start,), np.uint8)

    def __repr__(self) -> str:
        return f"Senses({', '.join(f'{name}: {part}' for name, part in self.parts.items())})"

    def join(self, values: Mapping[str, Shaped[Tensor, "*lead ..."]]) -> UInt8[Tensor, "*lead bytes"]:
        """Each part's values, over the same leading axes, as rows."""
        found = []
        for name, (start, stop, dtype, shape) in self.places.items():
            found.append(functional.pad(packed(values[name], dtype, shape), (0, aligned(stop - start) - (stop - start))))
        return torch.cat(found, dim=-1)

    def split(self, row: UInt8[Tensor, "*lead bytes"]) -> dict[str, Shaped[Tensor, "*lead ..."]]:
        """The parts of rows, where they lie: numbers of things as int32, those of words as int16, images as uint8."""
        return {name: unpacked(row[..., start:stop], dtype, shape) for name, (start, stop, dtype, shape) in self.places.items()}

    def replaced(
        self, row: UInt8[Tensor, "*lead bytes"], values: Mapping[str, Shaped[Tensor, "*lead ..."]]
    ) -> UInt8[Tensor, "*lead bytes"]:
        """Rows with other values in some of their parts; the rest stays as it is."""
        row = row.clone()
        for name, value in values.items():
            start, stop, dtype, shape = self.places[name]
            row[..., start:stop] = packed(value, dtype, shape)
        return row

    def encode(self, value: Any) -> UInt8[np.ndarray, "bytes"]:
        """One observation as a row: a mapping of the parts as their spaces have them (texts as texts), or the row itself."""
        if not isinstance(value, Mapping):
            row = np.asarray(value)
            if row.dtype != np.uint8 or row.shape != self.shape:
                raise ValueError(f"the observation {shorten(value)} is no mapping of {', '.join(self.parts)}")
            return row.copy()
        if value.keys() != self.parts.keys():
            raise ValueError(f"the observation has {shorten(sorted(map(str, value)))}, not {', '.join(self.parts)}")
        row = np.zeros(self.shape, np.uint8)
        for name, place in self.places.items():
            part = self.parts[name]
            given = part.encode(value[name]) if isinstance(part, Words) and isinstance(value[name], str) else value[name]
            array = np.asarray(given)
            if array.shape != place.shape or array.dtype.kind not in "fiub":
                raise ValueError(f"the observation's '{name}' is {shorten(value[name])}, not an element of {part}")
            with np.errstate(over="ignore"):
                packed = np.ascontiguousarray(array, NUMPY[place.dtype])
            row[place.start : place.stop] = packed.reshape(-1).view(np.uint8)
        return row


NUMPY = {torch.uint8: np.uint8, torch.int16: np.int16, torch.int32: np.int32, torch.float32: np.float32}


def packed(value: Shaped[Tensor, "*lead ..."], dtype: torch.dtype, shape: tuple[int, ...]) -> UInt8[Tensor, "*lead bytes"]:
    """A part of that shape as bytes."""
    value = value.to(dtype)
    flat = value.flatten(value.dim() - len(shape)) if shape else value[..., None]
    return flat.contiguous().view(torch.uint8)


def unpacked(row: UInt8[Tensor, "*lead bytes"], dtype: torch.dtype, shape: tuple[int, ...]) -> Shaped[Tensor, "*lead ..."]:
    """And back, where it lies."""
    flat = row.view(dtype)
    return flat.unflatten(-1, shape) if shape else flat[..., 0]


def aligned(size: int) -> int:
    """The next multiple of the alignment."""
    return -(-size // ALIGNED) * ALIGNED


def sense_of(space: Space) -> Sense:
    """What an observation in its tensor form is (`ops.spaces.observed`); UsageError for a space that has no such form.

    An image is a Box with three axes or four (frames first), or with two of bytes, at least 16 each. A sound is a Box with one
    axis of at least 64 entries whose common bounds are as far below zero as above it.
    """
    if isinstance(space, Senses):
        return "senses"
    if isinstance(space, Words):
        return "text"
    if isinstance(space, spaces.Discrete):
        return "choice"
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return "choices"
    if not isinstance(space, spaces.Box):
        raise UsageError(f"space {space} is not supported: use Discrete, MultiDiscrete or Box; see ops.spaces.observed")
    axes = len(space.shape)
    if axes > 4:
        raise UsageError(f"a Box with {axes} axes can't be read: an image has rows, columns, channels and frames at most")
    if axes > 2 or (axes == 2 and space.dtype == np.uint8 and min(space.shape) >= SMALLEST_GREY):
        return "image"
    if axes == 1 and space.shape[0] >= FEWEST_SAMPLES:
        low, high = float(space.low[0]), float(space.high[0])
        symmetric = np.isfinite(high) and high > 0 and abs(low + high) <= high / 1000  # int16 reaches one further down
        if symmetric and bool((space.low == low).all() and (space.high == high).all()):
            return "sound"
    return "vector"


def is_read(space: Space) -> bool:
    """Whether a reader stands between observations and networks; otherwise they are vectors at once."""
    return sense_of(space) in READ


def dtype_of(space: Space) -> torch.dtype:
    """What elements of a space are as tensors."""
    if not isinstance(space, spaces.Box):
        return torch.int64
    return {np.dtype(np.uint8): torch.uint8, np.dtype(np.int16): torch.int16}.get(np.dtype(space.dtype), torch.float32)


def numbers_of(space: Space) -> Any:
    """How many numbers there are, from 0 on, for each entry of what is known by number: choices, words; None of others."""
    if isinstance(space, Words):
        return space.numbers
    if isinstance(space, spaces.Discrete):
        return space.n
    return space.nvec if isinstance(space, spaces.MultiDiscrete) else None


def packed_dtype(space: Space) -> torch.dtype:
    """And within a row."""
    dtype = dtype_of(space)
    return torch.int32 if dtype == torch.int64 else dtype


def parts_of(space: Space) -> dict[str, Space]:
    """The senses by name; a single one has none."""
    return space.parts if isinstance(space, Senses) else {"": space}


def split(space: Space, observation: Shaped[Tensor, "*lead ..."]) -> dict[str, Shaped[Tensor, "*lead ..."]]:
    """An observation's parts by name, as `parts_of` names them."""
    return space.split(observation) if isinstance(space, Senses) else {"": observation}


def is_finite(space: Space, observation: Tensor) -> bool:
    """Whether no number in an observation is infinite or NaN."""
    return all(bool(torch.isfinite(part).all()) for part in split(space, observation).values() if part.is_floating_point())


def bytes_of(space: Space) -> int:
    """The bytes of an observation in a row."""
    return aligned(torch.Size(space.shape or ()).numel() * packed_dtype(space).itemsize)


def as_bytes(space: Space, observation: Shaped[Tensor, "*lead ..."]) -> UInt8[Tensor, "*lead bytes"]:
    """An observation as a row of bytes."""
    if isinstance(space, Senses):
        return observation
    row = packed(observation, packed_dtype(space), tuple(space.shape or ()))
    return functional.pad(row, (0, bytes_of(space) - row.shape[-1]))


def from_bytes(space: Space, row: UInt8[Tensor, "*lead bytes"]) -> Shaped[Tensor, "*lead ..."]:
    """What `as_bytes` made a row of."""
    if isinstance(space, Senses):
        return row
    dtype, shape = packed_dtype(space), tuple(space.shape or ())
    return unpacked(row[..., : torch.Size(shape).numel() * dtype.itemsize], dtype, shape)


def as_row(
    space: Space, observations: Sequence[Shaped[Tensor, "*lead ..."]], *numbers: Float[Tensor, "*lead _"]
) -> UInt8[Tensor, "*lead bytes"]:
    """What a network with a reader reads: one or several observations, and numbers behind them, as one row."""
    rows = [as_bytes(space, each) for each in observations]
    return torch.cat([*rows, *(packed(each, torch.float32, each.shape[-1:]) for each in numbers)], dim=-1)


def extended(inputs: Shaped[Tensor, "*lead entry"], numbers: Float[Tensor, "*lead number"]) -> Shaped[Tensor, "*lead more"]:
    """What a network reads with more numbers behind it, be it a vector or a row."""
    more = numbers if inputs.is_floating_point() else packed(numbers, torch.float32, numbers.shape[-1:])
    return torch.cat([inputs, more], dim=-1)


def numbers_in(row: Shaped[Tensor, "*lead entry"], count: int) -> Float[Tensor, "*lead {count}"]:
    """The last numbers of what a network reads, a row of bytes or a vector."""
    if row.is_floating_point():
        return row[..., row.shape[-1] - count :]
    return row[..., row.shape[-1] - count * ALIGNED :].view(torch.float32)


class Layout(NamedTuple):
    """The axes of an image."""

    frames: int
    channels: int
    height: int
    width: int
    channels_first: bool

    @property
    def planes(self) -> int:
        """Channels of all frames."""
        return self.frames * self.channels


def layout_of(shape: Sequence[int]) -> Layout:
    """An image's axes by its shape: of three, two that are equal are rows and columns, or else the smaller end is the channels.

    Where that leaves both, channels are last, as Gymnasium has them. A fourth axis in front counts frames.
    """
    if len(shape) == 2:
        return Layout(1, 1, shape[0], shape[1], True)
    frames, (first, middle, last) = (shape[0] if len(shape) == 4 else 1), shape[-3:]
    channels_first = (middle == last != first) or (first != middle != last and first < last)
    height, width, channels = (middle, last, first) if channels_first else (first, middle, last)
    return Layout(frames, channels, height, width, channels_first)


def as_planes(space: spaces.Box, image: Shaped[Tensor, "*lead ..."]) -> Shaped[Tensor, "*lead plane height width"]:
    """Images of a space with their planes first, frames and channels as one axis."""
    axes, layout = len(space.shape), layout_of(space.shape)
    lead = image.shape[: image.dim() - axes]
    value = image.reshape(*lead, layout.frames, *space.shape[-3:]) if axes > 2 else image[..., None, None, :, :]
    value = value if layout.channels_first else value.movedim(-1, -3)
    return value.flatten(-4, -3)
