"""A GRU over sequences (Cho et al. 2014), of one length or of several, that does each step's work while the step is in cache.

What is read of the inputs, the slopes and the gradients of the weights are made for a few steps at a time, within the loop over
them. A gate's numbers lie together, (gate, row, unit), so that no product and no gate reads across others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

slope_of_sigmoid = torch.ops.aten.sigmoid_backward.grad_input
slope_of_tanh = torch.ops.aten.tanh_backward.grad_input
IN_CACHE = 2**20
"""Numbers that the gates of a piece hold at most, where it has several steps."""


def gru(
    inputs: Float[Tensor, "row feature"],
    state: Float[Tensor, "sequence hidden"],
    from_input: Float[Tensor, "gate hidden feature"],
    from_hidden: Float[Tensor, "gate hidden hidden"],
    input_bias: Float[Tensor, "gates"],
    hidden_bias: Float[Tensor, "gates"],
    sizes: Sequence[int],
) -> Float[Tensor, "row hidden"]:
    """The state after each row, of `torch.gru`'s weights; it can be differentiated once.

    Rows stand step by step, `sizes` are those of each step, none more than the one before or than the states to begin with.
    """
    if len(sizes) == 1 and not torch.is_grad_enabled():
        weights = from_input.flatten(0, 1), from_hidden.flatten(0, 1), input_bias, hidden_bias
        return torch.gru_cell(inputs, state[: sizes[0]], *weights)
    values = inputs, state, from_input, from_hidden, input_bias, hidden_bias
    if torch.is_grad_enabled() and any(value.requires_grad for value in values):
        return cast(Tensor, Steps.apply(*values, sizes))
    return steps(*values, pieces_of(sizes, state.shape[1]))[0]


class Piece(NamedTuple):
    """A few steps at once."""

    rows: slice
    sizes: list[int]
    """The rows of each step."""


def pieces_of(sizes: Sequence[int], hidden: int) -> list[Piece]:
    """The steps in pieces that stay in cache."""
    most, ends = IN_CACHE // (4 * hidden), [0, *accumulate(sizes)]
    pieces: list[Piece] = []
    for start, end, size in zip(ends, ends[1:], sizes, strict=False):
        if pieces and end - pieces[-1].rows.start <= most:
            pieces[-1] = Piece(slice(pieces[-1].rows.start, end), [*pieces[-1].sizes, size])
        else:
            pieces.append(Piece(slice(start, end), [size]))
    return pieces


def steps(
    inputs: Tensor,
    state: Tensor,
    from_input: Tensor,
    from_hidden: Tensor,
    input_bias: Tensor,
    hidden_bias: Tensor,
    pieces: list[Piece],
    keep: bool = False,
) -> tuple[Float[Tensor, "row hidden"], list[Float[Tensor, "4 _ hidden"]]]:
    """h = n + z (before - n), n = tanh(x_n + r m), m = h_n, r and z the sigmoids of x_r + h_r and x_z + h_z; and n, r, z, m."""
    hidden, held = state.shape[1], inputs.new_empty(len(inputs), state.shape[1])
    read, recalled = input_bias.view(3, 1, hidden), hidden_bias.view(3, 1, hidden)
    bias = torch.cat([read[2:], read[:2] + recalled[:2], recalled[2:]])
    to_nrz, to_rzm = (weight.transpose(1, 2).contiguous() for weight in (from_input.roll(1, 0), from_hidden))
    before, kept = state, []
    for rows, sizes in pieces:
        x = inputs[rows]
        gates = bias.expand(4, len(x), hidden).contiguous()
        gates[:3].baddbmm_(x.expand(3, -1, -1), to_nrz)
        parts = (gates[1:], gates[1:3], gates[0], gates[1], gates[2], gates[3], held[rows])
        for rzm, rz, n, r, z, m, h in zip(*(part.split(sizes, -2) for part in parts), strict=True):
            before = before[: len(h)]
            rzm.baddbmm_(before.expand(3, -1, -1), to_rzm)
            rz.sigmoid_()
            n.addcmul_(r, m).tanh_()
            before = torch.lerp(n, before, z, out=h)
        if keep:
            kept.append(gates)
    return held, kept


class Steps(torch.autograd.Function):
    """The steps and their gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        state: Tensor,
        from_input: Tensor,
        from_hidden: Tensor,
        input_bias: Tensor,
        hidden_bias: Tensor,
        sizes: Sequence[int],
    ) -> Tensor:
        ctx.pieces, ctx.sizes = pieces_of(sizes, state.shape[1]), list(sizes)
        held, kept = steps(inputs, state, from_input, from_hidden, input_bias, hidden_bias, ctx.pieces, keep=True)
        ctx.save_for_backward(inputs, state, from_input, from_hidden, held, *kept)
        return held

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        inputs, state, from_input, from_hidden, held, *kept = ctx.saved_tensors
        read = from_input.roll(1, 0)
        d_read, d_recalled, d_bias = torch.zeros_like(read), torch.zeros_like(from_hidden), state.new_zeros(4, state.shape[1])
        d_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        d_state = torch.zeros_like(state)
        before = [h[:size] for h, size in zip([state, *held.split(ctx.sizes)], ctx.sizes, strict=False)]
        room = state.new_empty(max(map(torch.numel, kept), default=0))
        for (rows, sizes), gates in zip(ctx.pieces[::-1], kept[::-1], strict=True):
            before, olds = before[: -len(sizes)], before[-len(sizes) :]
            old = olds[0] if len(olds) == 1 else torch.cat(olds)
            slopes = slopes_of(gates, old, room[: gates.numel()].view_as(gates))
            parts = slopes[::2], slopes[1::2], slopes[1:], slopes[0], gates[2], gradients[0][rows]
            for nz, rm, rzm, n, z, arrived in zip(*(part.split(sizes, -2)[::-1] for part in parts), strict=True):
                d = d_state[: len(arrived)]
                d += arrived
                nz *= d
                rm *= n
                d.mul_(z).addbmm_(rzm, from_hidden)
            x = inputs[rows]
            if d_inputs is not None:
                torch.addbmm(x, slopes[:3], read, beta=0, out=d_inputs[rows])
            d_read.baddbmm_(slopes[:3].transpose(1, 2), x.expand(3, -1, -1))
            d_recalled.baddbmm_(slopes[1:].transpose(1, 2), old.expand(3, -1, -1))
            d_bias += slopes.sum(1)
        biases = d_bias[:3].roll(-1, 0).flatten(), d_bias[1:].flatten()
        return d_inputs, d_state, d_read.roll(-1, 0), d_recalled, *biases, None


def slopes_of(
    gates: Float[Tensor, "4 row hidden"], before: Float[Tensor, "row hidden"], slopes: Float[Tensor, "4 row hidden"]
) -> Float[Tensor, "4 row hidden"]:
    """How the state moves with what n and z read, and n with what r reads and with m; written into `slopes`."""
    (n, r, z, m), (of_n, of_r, of_z, of_m) = gates, slopes
    slope_of_sigmoid(torch.sub(before, n, out=of_m), z, grad_input=of_z)
    slope_of_sigmoid(m, r, grad_input=of_r)
    slope_of_tanh(torch.sub(1, z, out=of_m), n, grad_input=of_n)
    of_m.copy_(r)
    return slopes
