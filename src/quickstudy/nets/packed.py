"""A recurrent layer over sequences of different lengths, laid out step by step without padding.

Sequences stand in order of length, the longest first, so that those that still go on are the first ones at every step. A layout
is the rows of the first step, then those of the second, and so on; `sizes` is how many rows each step has.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from quickstudy.nets.gru import gru
from quickstudy.nets.networks import encoder, gru_step, normed
from quickstudy.nets.options import Cell, Network


class Layout(NamedTuple):
    """Where the steps of some sequences lie."""

    order: Int[Tensor, "sequence"]
    """The sequences, the longest first."""
    lived: Bool[Tensor, "time sequence"]
    """Which of their steps there are, in that order."""
    sizes: list[int]
    """The rows of each step."""

    def rows(self, values: Shaped[Tensor, "sequence time ..."]) -> Shaped[Tensor, "row ..."]:
        """Padded values as rows."""
        return values[self.order].transpose(0, 1)[: len(self.lived)][self.lived]

    @property
    def sequence(self) -> Int[Tensor, "row"]:
        """The sequence of each row."""
        return self.order.expand(self.lived.shape)[self.lived]

    @property
    def following(self) -> Int[Tensor, "row"]:
        """The row of the step after each; where there is none, the number of rows."""
        place = torch.where(self.lived, self.lived.flatten().cumsum(0).view(self.lived.shape) - 1, self.lived.sum())
        return torch.cat([place[1:], self.lived.sum().expand(1, place.shape[1])])[self.lived]


def layout_of(valid: Bool[Tensor, "sequence time"]) -> Layout:
    """The layout of sequences whose first steps are valid, at least one each."""
    order = valid.sum(1).argsort(descending=True, stable=True)
    lived = valid[order, : int(valid.sum(1).max())].T
    return Layout(order, lived, lived.sum(1).tolist())


class Packed(nn.Module):
    """`nets.networks.Recurrent` of the same kind over rows; what a row holds is the state after its step."""

    def __init__(self, kind: Cell, inputs: int, hidden: int):
        super().__init__()
        gates = {"gru": 3, "lstm": 4, "gru-norm": 3}[kind]
        self.kind, self.hidden_size = kind, hidden
        self.state_size = 2 * hidden if kind == "lstm" else hidden
        self.from_input = nn.Parameter(torch.empty(gates, hidden, inputs))
        self.from_hidden = nn.Parameter(torch.empty(gates, hidden, hidden))
        self.input_bias = nn.Parameter(torch.empty(gates * hidden))
        self.hidden_bias = nn.Parameter(torch.empty(gates * hidden))
        if kind == "gru-norm":
            self.input_gain, self.hidden_gain = (nn.Parameter(torch.empty(gates * hidden)) for _ in range(2))

    def forward(
        self, inputs: Float[Tensor, "row feature"], state: Float[Tensor, "sequence state"], sizes: list[int]
    ) -> Float[Tensor, "row state"]:
        if self.kind == "gru":
            return gru(inputs, state, self.from_input, self.from_hidden, self.input_bias, self.hidden_bias, sizes)
        from_input, from_hidden = self.from_input.flatten(0, 1).T, self.from_hidden.flatten(0, 1)
        if self.kind == "lstm":
            read, step = torch.addmm(self.input_bias, inputs, from_input), self.lstm_step
        else:
            read, step = normed(inputs @ from_input, self.input_gain, self.input_bias), self.gru_norm_step
        states = []
        for now in read.split(sizes):
            state = step(now, state[: now.shape[0]], from_hidden.T)
            states.append(state)
        return torch.cat(states)

    def lstm_step(self, read: Tensor, state: Tensor, from_hidden: Tensor) -> Float[Tensor, "row state"]:
        """c' = f c + i g, h' = o tanh(c') (Hochreiter & Schmidhuber 1997); gates in torch's order."""
        hidden, cell = state.chunk(2, dim=-1)
        take, keep, new, show = (read + torch.addmm(self.hidden_bias, hidden, from_hidden)).chunk(4, dim=-1)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        return torch.cat([show.sigmoid() * cell.tanh(), cell], dim=-1)

    def gru_norm_step(self, read: Tensor, state: Tensor, from_hidden: Tensor) -> Float[Tensor, "row state"]:
        """A GRU's step from gates that are normalised (Ba et al. 2016)."""
        return gru_step(read, normed(state @ from_hidden, self.hidden_gain, self.hidden_bias), state)


class PackedEncoder(nn.Module):
    """A memory behind what reads its inputs first."""

    def __init__(self, inputs: int, kind: Cell, network: Network):
        super().__init__()
        self.encoder, size = encoder(inputs, network)
        self.memory = Packed(kind, size, network.hidden_size)
        self.state_size, self.hidden_size = self.memory.state_size, network.hidden_size

    def forward(
        self, inputs: Float[Tensor, "row feature"], state: Float[Tensor, "sequence state"], sizes: list[int]
    ) -> Float[Tensor, "row state"]:
        return self.memory(self.encoder(inputs), state, sizes)
