"""What reads each sense: images by convolutions, sounds by convolutions along time, texts by their words, numbers and choices.

Each is a module from a part of an observation (row, ...) to features (row, `hidden_size`), which a reader (`nets/reader.py`)
normalises and joins.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor, nn
from torch.func import debug_unwrap
from torch.nn import functional

from quickstudy.errors import UsageError
from quickstudy.nets.networks import Recurrent, gru_step
from quickstudy.nets.options import Senses as Options
from quickstudy.ops.senses import CODES_UP_TO, Words, as_planes, layout_of
from quickstudy.ops.spaces import ranges_of

FEW_CODES = 32
"""Images below `NATURE_FROM` whose space has at most so many values of a byte hold codes, whatever their size."""
CODE_SIZE = 8
"""Planes that a channel of codes becomes."""
GRID_FROM = 3
"""The least size that two small convolutions take."""
NATURE_FROM = 36
"""The least size that the convolutions of Mnih et al. 2015 take."""
WORD_SIZE = 32
"""Numbers that stand for a word."""
INSTANTS = 8
"""Stretches into which a sound is divided, in each of which what was heard is averaged."""
PIECE = 2**22
"""Numbers that a layer of convolutions gives at once on a CPU: 16 MiB, since from 32 on memory page-faults anew each time."""


def is_batched(value: Tensor) -> bool:
    """Whether `torch.vmap` stands around, under which no shape may depend on what is in a tensor."""
    return debug_unwrap(value).dim() > value.dim()


def in_pieces(layers: Callable[..., Tensor], widest: int, *values: Shaped[Tensor, "row ..."]) -> Float[Tensor, "row feature"]:
    """What layers make of rows, on a CPU some at once: as many as the `widest` of the layers makes `PIECE` numbers of."""
    rows = max(1, PIECE // widest)
    if values[0].device.type != "cpu" or len(values[0]) <= rows:
        return layers(*values)
    return torch.cat([layers(*piece) for piece in zip(*(value.split(rows) for value in values), strict=True)])


class Affine(nn.Module):
    """A linear map, of weights (out, in) whatever it is that they are folded over."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, inputs: Float[Tensor, "*lead in"]) -> Float[Tensor, "*lead out"]:
        return functional.linear(inputs, self.weight, self.bias)


class Table(nn.Module):
    """Rows that are looked up by their numbers. To build an `nn.Embedding` on the meta device imports seconds of PyTorch."""

    def __init__(self, rows: int, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, size))

    def forward(self, numbers: Int[Tensor, "*lead"]) -> Float[Tensor, "*lead size"]:
        if numbers.device.type != "cpu":
            return functional.embedding(numbers, self.weight)
        # a third of the time of an embedding's gradient; on a GPU its sums would come in any order
        at = numbers.long().flatten()[:, None].expand(-1, self.weight.shape[-1])
        return self.weight.gather(0, at).unflatten(0, numbers.shape)


class Convolution(nn.Module):
    """A convolution over the last one or two axes; its weights are a matrix, so that it begins orthogonal as a whole."""

    def __init__(self, planes: int, outputs: int, kernel: tuple[int, ...], stride: int = 1, padding: int = 0):
        super().__init__()
        self.kernel, self.stride, self.padding = (planes, *kernel), stride, padding
        self.weight = nn.Parameter(torch.empty(outputs, torch.Size(self.kernel).numel()))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, planes: Float[Tensor, "row plane *place"]) -> Float[Tensor, "row out *left"]:
        convolve = functional.conv2d if len(self.kernel) == 3 else functional.conv1d
        return convolve(planes, self.weight.unflatten(1, self.kernel), self.bias, self.stride, self.padding)


class Vector(nn.Module):
    """Numbers, those with two bounds on [-1, 1], and a 1 beside them: the norm behind takes away how large all are together."""

    def __init__(self, space: spaces.Box, options: Options):
        super().__init__()
        self.space = space
        self.out = Affine(max(1, torch.Size(space.shape).numel()) + 1, options.hidden_size)

    def forward(self, value: Float[Tensor, "row ..."]) -> Float[Tensor, "row feature"]:
        ranges = ranges_of(self.space, value.device)
        scaled = (value.reshape(len(value), ranges.half.numel()) - ranges.center) / ranges.half
        return self.out(functional.pad(scaled, (0, 1), value=1.0))


class Choices(nn.Module):
    """One or several choices: the sum of the rows that they pick out of a table, which is what one-hot vectors would give."""

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete, options: Options):
        super().__init__()
        sizes = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.flatten().tolist()
        self.begins = tuple(sum(sizes[:place]) for place in range(len(sizes)))
        self.table = Table(sum(sizes), options.hidden_size)

    def forward(self, value: Int[Tensor, "row ..."]) -> Float[Tensor, "row feature"]:
        if len(self.begins) == 1:
            return self.table(value.reshape(len(value)))
        return self.table(value.reshape(len(value), len(self.begins)) + whole(self.begins, str(value.device))).sum(-2)


@lru_cache(maxsize=64)
def whole(numbers: tuple[int, ...], device: str) -> Int[Tensor, "number"]:
    """Whole numbers as a tensor, which is made and sent to a device once."""
    return torch.tensor(numbers, dtype=torch.int32, device=device)


class Text(nn.Module):
    """A text by the words it has: a GRU over them (Chevalier-Boisvert et al. 2019, arXiv:1810.08272), or their mean."""

    def __init__(self, space: Words, options: Options):
        super().__init__()
        self.words = Table(space.numbers, WORD_SIZE)
        if options.language == "gru":
            self.recurrent, self.out = Recurrent("gru", WORD_SIZE, options.hidden_size), None
        else:
            self.recurrent, self.out = None, Affine(WORD_SIZE, options.hidden_size)

    def forward(self, value: Int[Tensor, "row word"]) -> Float[Tensor, "row feature"]:
        if is_batched(value) or not len(value):
            return self.understood(value)
        # a trial tells the same text at every step: each is read once, and no further than the longest goes
        some, which = distinct(value)
        texts = value[some]
        longest = max(1, int((texts > 0).sum(-1).max()))
        return functional.embedding(which, self.understood(texts[:, :longest]))

    def understood(self, texts: Int[Tensor, "text word"]) -> Float[Tensor, "text feature"]:
        """What texts say; nothing (zeros, or the bias) where they have no word."""
        there = (texts > 0)[..., None]
        words = self.words(texts.int())
        if self.out is not None:
            return self.out((words * there).sum(-2) / there.sum(-2).clamp(min=1))
        # step by step, since torch.gru can't be mapped over tasks
        gates = self.recurrent
        assert gates is not None
        read = functional.linear(words, gates.from_input.flatten(0, 1), gates.input_bias)
        from_hidden, state = gates.from_hidden.flatten(0, 1), words.new_zeros(len(words), gates.state_size)
        for now, goes_on in zip(read.unbind(-2), there.unbind(-2), strict=True):
            recalled = functional.linear(state, from_hidden, gates.hidden_bias)
            state = torch.where(goes_on, gru_step(now, recalled, state), state)
        return state


def distinct(texts: Int[Tensor, "row word"]) -> tuple[Int[Tensor, "text"], Int[Tensor, "row"]]:
    """A row of each distinct text, and which of these each row is; four words at a time, as one number that can be sorted."""
    fours = functional.pad(texts, (0, -texts.shape[1] % 4)).view(torch.int64)
    which = torch.zeros(len(texts), dtype=torch.long, device=texts.device)
    for column in fours.unbind(-1):
        known, rank = column.unique(return_inverse=True)
        which = (which * len(known) + rank).unique(return_inverse=True)[1]
    rows = torch.arange(len(texts), device=texts.device)
    return rows.new_zeros(int(which.max()) + 1).scatter(0, which, rows), which


class Sound(nn.Module):
    """A sound, on [-1, 1]: two convolutions along time, and what they heard in each of a few stretches of it."""

    def __init__(self, space: spaces.Box, options: Options):
        super().__init__()
        self.loudest = float(space.high[0])
        self.first, self.second = Convolution(1, 16, (16,), 4), Convolution(16, 32, (8,), 2)
        heard = ((space.shape[0] - 16) // 4 + 1 - 8) // 2 + 1
        self.stretches = min(INSTANTS, heard)
        self.out = Affine(32 * self.stretches, options.hidden_size)

    def forward(self, value: Float[Tensor, "row sample"]) -> Float[Tensor, "row feature"]:
        return in_pieces(self.heard, 4 * value.shape[1], value)

    def heard(self, value: Float[Tensor, "row sample"]) -> Float[Tensor, "row feature"]:
        """What sounds say, some at once."""
        heard = self.second(self.first(value[:, None] / self.loudest).relu()).relu()
        return self.out(functional.adaptive_avg_pool1d(heard, self.stretches).flatten(1))


class Image(nn.Module):
    """An image by convolutions; `told` numbers of features may say how its planes are scaled and shifted."""

    def __init__(self, space: spaces.Box, options: Options, told: int = 0):
        super().__init__()
        self.space, layout = space, layout_of(space.shape)
        smallest, kind = min(layout.height, layout.width), options.vision
        if kind == "auto":
            kind = "nature" if smallest >= NATURE_FROM else "grid"
        if kind == "grid" and smallest < GRID_FROM:
            raise UsageError(f"images of {layout.height} x {layout.width} are too small to be read; show them as a vector")
        if kind == "nature" and smallest < NATURE_FROM:
            raise UsageError(
                f"vision nature reads images of at least {NATURE_FROM} pixels, these have {layout.height} x {layout.width};"
                " set vision to grid or impala"
            )
        self.codes, planes = codes_in(space), layout.planes
        if self.codes:
            self.table = Table(planes * self.codes, CODE_SIZE)
            planes *= CODE_SIZE
        self.eye = {"grid": Grid, "nature": Nature, "impala": Impala}[kind](planes)
        self.widest = layout.height * layout.width * max(planes, self.eye.widest)
        shape = torch.Size(self.eye.shape(layout.height, layout.width))
        self.film = Affine(told, 2 * shape[0]) if told else None
        self.out = Affine(shape.numel(), options.hidden_size)

    def forward(
        self, value: Shaped[Tensor, "row ..."], told: Float[Tensor, "row told"] | None = None
    ) -> Float[Tensor, "row feature"]:
        return in_pieces(self.seen, self.widest, *((value,) if told is None else (value, told)))

    def seen(
        self, value: Shaped[Tensor, "row ..."], told: Float[Tensor, "row told"] | None = None
    ) -> Float[Tensor, "row feature"]:
        """What images show, some at once."""
        # planes last in memory, which convolutions on a CPU are fastest with
        planes = as_planes(self.space, value).movedim(-3, -1).contiguous().movedim(-1, -3)
        seen = self.eye(self.looked_up(planes) if self.codes else shades(self.space, planes))
        if self.film is not None and told is not None:
            scale, shift = self.film(told)[..., None, None].chunk(2, dim=-3)
            seen = (seen * (1 + scale) + shift).relu()
        return self.out(seen.movedim(-3, -1).flatten(-3))

    def looked_up(self, planes: UInt8[Tensor, "row plane height width"]) -> Float[Tensor, "row number height width"]:
        """Codes by what stands for them."""
        begin = self.codes * torch.arange(planes.shape[-3], dtype=torch.int32, device=planes.device)
        return self.table(planes.movedim(-3, -1) + begin).flatten(-2).movedim(-1, -3)


def codes_in(space: spaces.Box) -> int:
    """How many codes a channel of an image may have; 0 where its numbers are shades."""
    layout, highest = layout_of(space.shape), int(space.high.max()) if space.dtype == np.uint8 else 0
    smallest = min(layout.height, layout.width)
    few = smallest <= CODES_UP_TO or (smallest < NATURE_FROM and highest < FEW_CODES)
    return highest + 1 if highest > 1 and few else 0


def shades(space: spaces.Box, planes: Shaped[Tensor, "row plane height width"]) -> Float[Tensor, "row plane height width"]:
    """Images on [0, 1] by their bounds, each pixel's own where they differ; as they are where there are none."""
    low, high = float(space.low.min()), float(space.high.max())
    if low == space.low.max() and high == space.high.min():
        if not (-np.inf < low < high < np.inf):
            return planes.float()
        scaled = planes * (1 / (high - low))
        return scaled - low / (high - low) if low else scaled
    ranges = ranges_of(space, planes.device)
    center, half = (as_planes(space, each.reshape(1, *space.shape)) for each in (ranges.center, ranges.half))
    return torch.where(as_planes(space, ranges.bounded.reshape(1, *space.shape)), (planes - center) / (2 * half) + 0.5, planes)


class Grid(nn.Module):
    """Two small convolutions, for grids in which a cell is a pixel."""

    widest = 32
    """Numbers that a layer gives for each pixel, at most."""

    def __init__(self, planes: int):
        super().__init__()
        self.first, self.second = Convolution(planes, 16, (2, 2)), Convolution(16, 32, (2, 2))

    def forward(self, planes: Tensor) -> Tensor:
        return self.second(self.first(planes).relu()).relu()

    @staticmethod
    def shape(height: int, width: int) -> tuple[int, int, int]:
        return 32, height - 2, width - 2


class Nature(nn.Module):
    """The convolutions of Mnih et al. 2015 (Nature 518, Methods)."""

    widest = 2

    def __init__(self, planes: int):
        super().__init__()
        self.layers = nn.ModuleList(
            Convolution(*sizes) for sizes in ((planes, 32, (8, 8), 4), (32, 64, (4, 4), 2), (64, 64, (3, 3), 1))
        )

    def forward(self, planes: Tensor) -> Tensor:
        for layer in self.layers:
            planes = layer(planes).relu()
        return planes

    @staticmethod
    def shape(height: int, width: int) -> tuple[int, int, int]:
        for kernel, stride in ((8, 4), (4, 2), (3, 1)):
            height, width = ((size - kernel) // stride + 1 for size in (height, width))
        return 64, height, width


class Impala(nn.Module):
    """Three blocks of a convolution, a pooling that halves, and two residual pairs (Espeholt et al. 2018, arXiv:1802.01561)."""

    widest = 16

    def __init__(self, planes: int):
        super().__init__()
        widths = (planes, 16, 32, 32)
        self.entries = nn.ModuleList(Convolution(a, b, (3, 3), padding=1) for a, b in pairwise(widths))
        self.pairs = nn.ModuleList(Convolution(b, b, (3, 3), padding=1) for b in widths[1:] for _ in range(4))

    def forward(self, planes: Tensor) -> Tensor:
        pairs = iter(self.pairs)
        for entry in self.entries:
            planes = functional.max_pool2d(entry(planes), 3, 2, 1)
            for _ in range(2):
                planes = planes + next(pairs)(next(pairs)(planes.relu()).relu())
        return planes.relu()

    @staticmethod
    def shape(height: int, width: int) -> tuple[int, int, int]:
        for _ in range(3):
            height, width = ((size + 1) // 2 for size in (height, width))
        return 32, height, width
