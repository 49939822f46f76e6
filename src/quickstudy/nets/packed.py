"""A recurrent layer over sequences of different lengths, laid out step by step without padding.

Sequences stand in order of length, the longest first, so that those that still go on are the first ones at every step. A layout
is the rows of the first step, then those of the second, and so on; `sizes` is how many rows each step has.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

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
    """`nets.networks.Recurrent` of the same kind over rows; what a row holds is the state after its step.

    The gradient of each weight of a GRU is one product over all rows, which `torch.gru` makes step by step.
    """

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
        from_input, from_hidden = self.from_input.flatten(0, 1).T, self.from_hidden.flatten(0, 1)
        if self.kind == "gru":
            read = torch.addmm(self.input_bias, inputs, from_input)
            return cast(Tensor, Steps.apply(read, from_hidden, self.hidden_bias, state, sizes))
        if self.kind == "lstm":
            read, step = torch.addmm(self.input_bias, inputs, from_input), self.lstm_step
        else:
            read, step = normed(inputs @ from_input, self.input_gain, self.input_bias), self.gru_norm_step
        states = []
        for now in read.split(sizes):
            state = step(now, state[: len(now)], from_hidden.T)
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


class Steps(torch.autograd.Function):
    """The steps of a GRU from what its gates read: h = n + z (before - n), with the reset r inside the candidate n."""

    @staticmethod
    def forward(ctx: Any, read: Tensor, weight: Tensor, bias: Tensor, state: Tensor, sizes: list[int]) -> Tensor:
        rows, hidden = len(read), state.shape[1]
        recalled, gates, new, held = (read.new_empty(rows, parts * hidden) for parts in (3, 2, 1, 1))
        columns = [
            *read.split([2 * hidden, hidden], dim=1),
            *recalled.split([2 * hidden, hidden], dim=1),
            *gates.split(hidden, dim=1),
        ]
        before, transposed = state, weight.T.contiguous()
        for all_gates, all_recalled, n, h, read_gates, read_new, recalled_gates, recalled_new, r, z in zip(
            *(values.split(sizes) for values in (gates, recalled, new, held, *columns)), strict=True
        ):
            before = before[: len(h)]
            torch.addmm(bias, before, transposed, out=all_recalled)
            torch.add(read_gates, recalled_gates, out=all_gates).sigmoid_()
            torch.addcmul(read_new, r, recalled_new, out=n).tanh_()
            before = torch.lerp(n, before, z, out=h)
        ctx.save_for_backward(weight, state, recalled, gates, new, held)
        ctx.sizes = sizes
        return held

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        weight, state, recalled, gates, new, held = ctx.saved_tensors
        sizes, hidden = ctx.sizes, state.shape[1]
        before = torch.cat([state, *(h[:size] for h, size in zip(held.split(sizes), sizes[1:], strict=False))])
        r, z = gates.split(hidden, dim=1)
        to_z, to_new = (before - new) * z * (1 - z), (1 - z) * (1 - new.square())
        to_r = recalled[:, 2 * hidden :] * r * (1 - r)
        into_recalled, into_new = torch.empty_like(recalled), torch.empty_like(new)
        columns = [values.split(sizes)[::-1] for values in (gradients[0], into_recalled, into_new, to_r, to_z, to_new, r, z)]
        columns += [values.split(sizes)[::-1] for values in into_recalled.split(hidden, dim=1)]
        carried = torch.zeros_like(state)
        for gradient, whole, d_new, slope_r, slope_z, slope_new, reset, kept, d_r, d_z, d_recalled in zip(
            *columns, strict=True
        ):
            here = carried[: len(gradient)]
            here += gradient
            torch.mul(here, slope_z, out=d_z)
            torch.mul(here, slope_new, out=d_new)
            torch.mul(d_new, slope_r, out=d_r)
            torch.mul(d_new, reset, out=d_recalled)
            here.mul_(kept).addmm_(whole, weight)
        into_read = torch.cat([into_recalled[:, : 2 * hidden], into_new], dim=1)
        return into_read, into_recalled.T @ before, into_recalled.sum(0), carried, None
