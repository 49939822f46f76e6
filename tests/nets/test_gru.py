"""The GRU against torch's own and against finite differences, in one piece and in many."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from quickstudy.nets import gru as module
from quickstudy.nets.gru import Piece, gru, pieces_of

SIZES = [5, 4, 4, 1]
"""Rows of each step, of six sequences, one of which has no step."""


def weights(inputs: int, hidden: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (3, hidden, inputs), (3, hidden, hidden), (3 * hidden,), (3 * hidden,)
    made = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    return [weight / hidden**0.5 if weight.dim() > 1 else weight for weight in made]


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def states(values: Sequence[Tensor], sizes: list[int]) -> Tensor:
    inputs, state, from_input, from_hidden, input_bias, hidden_bias = values
    return gru(inputs, state, from_input, from_hidden, input_bias, hidden_bias, sizes)


def torchs(inputs: Tensor, state: Tensor, own: list[Tensor]) -> Tensor:
    flat = [own[0].flatten(0, 1), own[1].flatten(0, 1), *own[2:]]
    return torch.gru(inputs, state[None], flat, True, 1, 0.0, False, False, False)[0]


def test_pieces_are_steps_that_fit_and_single_ones_that_do_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "IN_CACHE", 4 * 3 * 8)
    found = pieces_of([9, 5, 3, 2, 2, 1], hidden=3)
    pairs = [(0, 9, [9]), (9, 17, [5, 3]), (17, 22, [2, 2, 1])]
    assert found == [Piece(slice(start, end), sizes) for start, end, sizes in pairs]
    assert pieces_of([], hidden=3) == []


@pytest.mark.parametrize("room", [1, 4 * 3 * 8, 2**20])
def test_gradients_are_those_of_finite_differences(room: int, monkeypatch: pytest.MonkeyPatch):
    """Of inputs, states and weights, however the steps lie in pieces, one of which ends where a sequence does."""
    monkeypatch.setattr(module, "IN_CACHE", room)
    values = [normal(sum(SIZES), 2), normal(6, 3), *weights(2, 3, torch.float64)]
    for value in values:
        value.requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: states(given, SIZES), values)


@pytest.mark.parametrize(("batch", "room"), [(32, 2**20), (32, 1), (1, 2**20)])
def test_values_and_gradients_in_single_precision_are_torchs(batch: int, room: int, monkeypatch: pytest.MonkeyPatch):
    """States are no further from what double precision gives than torch's own are."""
    monkeypatch.setattr(module, "IN_CACHE", room)
    inputs, state, towards = normal(40, batch, 24), normal(batch, 16), normal(40, batch, 16)
    found: dict[str, list[Tensor]] = {}
    for name, dtype in (("exact", torch.float64), ("torch", torch.float32), ("ours", torch.float32)):
        leaves = [value.to(dtype).requires_grad_() for value in (inputs, state, *weights(24, 16, torch.float32))]
        if name == "ours":
            held = states([leaves[0].flatten(0, 1), *leaves[1:]], [batch] * 40).unflatten(0, (40, batch))
        else:
            held = torchs(leaves[0], leaves[1], leaves[2:])
        found[name] = [held.detach(), *torch.autograd.grad((held * towards.to(dtype)).sum(), leaves)]
    for mine, its, exact in zip(found["ours"], found["torch"], found["exact"], strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=2e-6 * float(exact.abs().max()))
    mine, its = (float((found[name][0] - found["exact"][0]).square().mean().sqrt()) for name in ("ours", "torch"))
    assert mine < max(6e-8, 1.2 * its) and mine < 1e-7


def test_what_is_asked_for_no_gradient_is_the_same():
    own, inputs, state = weights(4, 5, torch.float64), normal(6, 3, 4), normal(3, 5)
    with_gradient = states([inputs.flatten(0, 1).requires_grad_(), state, *own], [3] * 6).detach()
    with torch.no_grad():
        whole, now, one_by_one = states([inputs.flatten(0, 1), state, *own], [3] * 6), state, []
        for step in inputs:
            now = states([step, now, *own], [3])
            one_by_one.append(now)
    assert torch.equal(with_gradient, whole)
    torch.testing.assert_close(torch.cat(one_by_one), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_no_rows_give_no_states_and_gradients_of_nothing(sizes: list[int]):
    inputs, state = torch.zeros(0, 4, requires_grad=True), torch.ones(2, 5, requires_grad=True)
    held = states([inputs, state, *weights(4, 5, torch.float32)], sizes)
    assert held.shape == (0, 5)
    of_inputs, of_state = torch.autograd.grad(held.sum(), [inputs, state])
    assert of_inputs.shape == (0, 4) and torch.equal(of_state, torch.zeros(2, 5))


def test_what_was_differentiated_once_says_that_it_cannot_be_again():
    inputs = normal(3, 4).requires_grad_()
    held = states([inputs, normal(3, 5), *weights(4, 5, torch.float64)], [3])
    (gradient,) = torch.autograd.grad(held.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
