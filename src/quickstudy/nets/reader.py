"""The reader: what stands before a network where observations are no vectors, and makes features of them.

Networks then read rows of bytes (`ops/senses.py`): one or several observations, and numbers behind them. Each part of an
observation is read by what fits it, normalised, and joined with the others. What comes as float32 was read before and passes:
one reading may serve several networks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import gymnasium
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.nets.networks import ACTIVATIONS, Weights
from quickstudy.nets.options import Senses as Options
from quickstudy.nets.senses import Choices, Image, Sound, Text, Vector, is_batched
from quickstudy.ops.features import vector_size
from quickstudy.ops.senses import bytes_of, from_bytes, is_read, numbers_in, parts_of, sense_of, split
from quickstudy.ops.tree import within

Space = gymnasium.Space[Any]
Net = TypeVar("Net", bound=nn.Module)


class Inputs(NamedTuple):
    """What a network reads: how many numbers, and the reader that makes them, where they aren't a vector at once."""

    size: int
    reader: Reader | None


def inputs_for(space: Space, numbers: int, options: Options, looks: int = 1) -> Inputs:
    """Of a network that reads observations of a space, so many at a time, and numbers behind them."""
    if not is_read(space):
        return Inputs(looks * vector_size(space) + numbers, None)
    with torch.device("meta"):
        reader = Reader(space, numbers, options, looks)
    return Inputs(reader.size, reader)


def behind(reader: Reader | None, net: Net) -> Net:
    """The network with a reader before it, which is one of its modules; as it is where there is nothing to read."""
    if reader is None:
        return net
    if isinstance(net, nn.Sequential):
        return type(net)(OrderedDict([("reader", reader), *net.named_children()]))
    net.add_module("reader", reader)
    net.register_forward_pre_hook(_read_first)
    return net


def _read_first(net: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (net.get_submodule("reader")(args[0]), *args[1:])


def read(net: nn.Module, weights: Weights, inputs: Shaped[Tensor, "*lead entry"]) -> Float[Tensor, "*lead feature"]:
    """What a network's reader makes of its inputs; they themselves where it has none, or where they have been read."""
    if inputs.is_floating_point():
        return inputs
    return functional_call(net.get_submodule("reader"), within("reader.", weights), (inputs,))


class Reader(nn.Module):
    """Features of observations, (*lead, size): those of the first one, the numbers behind, those of the other ones."""

    def __init__(self, space: Space, numbers: int, options: Options, looks: int = 1):
        super().__init__()
        self.space, self.numbers, self.looks = space, numbers, looks
        parts = parts_of(space)
        self.names = list(parts)
        senses = {name: sense_of(part) for name, part in parts.items()}
        texts = [name for name, sense in senses.items() if sense == "text"]
        told = len(texts) * options.hidden_size if options.film else 0
        makers: dict[str, Callable[..., nn.Module]] = {"image": partial(Image, told=told), "sound": Sound, "text": Text}
        makers |= {"choice": Choices, "choices": Choices, "vector": Vector}
        # texts first, since they may say how images are read
        self.order = sorted(self.names, key=lambda name: senses[name] != "text")
        self.texts = texts if told else []
        self.told = {name for name in self.names if told and senses[name] == "image"}
        self.parts = nn.ModuleList(makers[senses[name]](parts[name], options) for name in self.names)
        self.norms = nn.ModuleList(nn.LayerNorm(options.hidden_size) for _ in self.names)
        self.activation = ACTIVATIONS[options.activation]()
        self.features = len(self.names) * options.hidden_size
        self.size = looks * self.features + numbers

    def forward(self, inputs: Shaped[Tensor, "*lead entry"]) -> Float[Tensor, "*lead feature"]:
        if inputs.is_floating_point():
            return inputs
        lead, size = inputs.shape[:-1], bytes_of(self.space)
        rows = inputs.reshape(lead.numel(), inputs.shape[-1])
        seen = [rows[:, look * size : (look + 1) * size] for look in range(self.looks)]
        first, numbers = self.look(seen[0]), numbers_in(rows, self.numbers)
        others = [self.look_again(seen[0], first, each) for each in seen[1:]]
        return torch.cat([first, numbers, *others], dim=-1).reshape(*lead, self.size)

    def look(self, rows: UInt8[Tensor, "row bytes"]) -> Float[Tensor, "row feature"]:
        """The features of one observation."""
        values = split(self.space, from_bytes(self.space, rows))
        layers = dict(zip(self.names, zip(self.parts, self.norms, strict=True), strict=True))
        found: dict[str, Tensor] = {}
        for name in self.order:
            part, norm = layers[name]
            beside = (torch.cat([found[text] for text in self.texts], dim=-1),) if name in self.told else ()
            found[name] = self.activation(norm(part(values[name], *beside)))
        return torch.cat([found[name] for name in self.names], dim=-1)

    def look_again(
        self, rows: UInt8[Tensor, "row bytes"], features: Float[Tensor, "row feature"], others: UInt8[Tensor, "row bytes"]
    ) -> Float[Tensor, "row feature"]:
        """The features of others, of which those that are the same need no second look."""
        if is_batched(rows) or is_batched(others):
            return self.look(others)
        (at,) = (rows != others).any(-1).nonzero(as_tuple=True)
        return features.index_put((at,), self.look(others[at])) if len(at) else features


def reader_of(net: nn.Module) -> Reader | None:
    """A network's reader, where it has one."""
    reader = getattr(net, "reader", None)
    return reader if isinstance(reader, Reader) else None
