"""The packed layer against torch's own GRU, and layouts against loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from quickstudy.nets.networks import Recurrent, initial_weights, skeleton
from quickstudy.nets.options import Cell
from quickstudy.nets.packed import Packed, layout_of
from quickstudy.protocol import counter

LENGTHS = [3, 7, 1, 7, 5]


def valid() -> Tensor:
    return torch.arange(9) < torch.tensor(LENGTHS)[:, None]


def test_a_layout_goes_step_by_step_through_the_longest_first():
    layout = layout_of(valid())
    assert layout.order.tolist() == [1, 3, 4, 0, 2] and layout.sizes == [5, 4, 4, 3, 3, 2, 2]
    sequence, step = torch.arange(5)[:, None].expand(5, 9), torch.arange(9).expand(5, 9)
    pairs = list(zip(layout.rows(sequence).tolist(), layout.rows(step).tolist(), strict=True))
    assert pairs == [(s, t) for t in range(9) for s in layout.order.tolist() if t < LENGTHS[s]]
    assert layout.sequence.tolist() == [s for s, _ in pairs]
    for (s, t), place in zip(pairs, layout.following.tolist(), strict=True):
        assert place == (pairs.index((s, t + 1)) if t + 1 < LENGTHS[s] else len(pairs))


def test_values_and_gradients_are_those_of_torch_gru_on_each_sequence_by_itself():
    torch.manual_seed(0)
    net, layout = skeleton(lambda: Packed("gru", 4, 6)), layout_of(valid())
    weights = {name: value.detach().double() for name, value in initial_weights(net, counter(0, 0, "w"), {}, "cpu").items()}
    weights = {name: (value + 0.1 * torch.randn_like(value)).requires_grad_() for name, value in weights.items()}
    padded, state = torch.randn(5, 9, 4, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    inputs, start = padded.clone().requires_grad_(), state.clone().requires_grad_()
    towards = torch.randn(5, 9, 6, dtype=torch.float64)

    held = functional_call(net, weights, (layout.rows(inputs), start[layout.order], layout.sizes))
    ours = torch.autograd.grad((held * layout.rows(towards)).sum(), [inputs, start, *weights.values()])

    flat = [weights["from_input"].flatten(0, 1), weights["from_hidden"].flatten(0, 1), *list(weights.values())[2:]]
    total = torch.zeros((), dtype=torch.float64)
    for number, length in enumerate(LENGTHS):
        one = inputs[number, :length, None]
        outputs, _ = torch.gru(one, start[None, number : number + 1], flat, True, 1, 0.0, True, False, False)
        torch.testing.assert_close(held[layout.sequence == number], outputs[:, 0])
        total = total + (outputs[:, 0] * towards[number, :length]).sum()
    theirs = torch.autograd.grad(total, [inputs, start, *weights.values()])
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("kind", ["gru", "lstm", "gru-norm"])
def test_each_kind_of_memory_is_the_layer_of_networks_step_by_step_on_each_sequence(kind: Cell):
    """States, with cells where there are any, and the gradients of inputs and weights."""
    torch.manual_seed(0)
    packed, plain, layout = Packed(kind, 4, 6), Recurrent(kind, 4, 6), layout_of(valid())
    weights = {name: (0.5 * torch.randn(value.shape)).requires_grad_() for name, value in plain.named_parameters()}
    assert weights.keys() == dict(packed.named_parameters()).keys() and packed.state_size == plain.state_size
    inputs, start = torch.randn(5, 9, 4, requires_grad=True), torch.randn(5, packed.state_size)
    towards = torch.randn(5, 9, packed.state_size)

    states = functional_call(packed, weights, (layout.rows(inputs), start[layout.order], layout.sizes))
    ours = torch.autograd.grad((states * layout.rows(towards)).sum(), [inputs, *weights.values()])

    total = torch.zeros(())
    for number, length in enumerate(LENGTHS):
        state, found = start[number : number + 1], []
        for step in range(length):
            _, state = functional_call(plain, weights, (inputs[number, step][None, None], state))
            found.append(state[0])
        torch.testing.assert_close(states[layout.sequence == number], torch.stack(found))
        total = total + (torch.stack(found) * towards[number, :length]).sum()
    theirs = torch.autograd.grad(total, [inputs, *weights.values()])
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)
