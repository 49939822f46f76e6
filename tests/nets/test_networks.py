"""Building blocks against PyTorch's own, and weights that are values."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.nets.networks import Recurrent, follow, initial_weights, multilayer, skeleton
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.nets.values import follow_targets, preserve_values, unit_scale


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_recurrent_is_torchs_layer(kind: str):
    net = skeleton(lambda: Recurrent(kind, 3, 5))
    weights = initial_weights(net, torch.Generator().manual_seed(0), {}, "cpu")
    theirs = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](3, 5)
    with torch.no_grad():
        for parameter, name in zip(
            theirs.parameters(), ["from_input", "from_hidden", "input_bias", "hidden_bias"], strict=True
        ):
            parameter.copy_(weights[name].reshape(parameter.shape))
    inputs, state = torch.randn(7, 2, 3), torch.randn(2, {"gru": 5, "lstm": 10}[kind])
    outputs, last = functional_call(net, weights, (inputs, state))
    start = state[None] if kind == "gru" else tuple(part[None].contiguous() for part in state.chunk(2, -1))
    expected, expected_last = theirs(inputs, start)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(last, expected_last[0] if kind == "gru" else torch.cat([part[0] for part in expected_last], -1))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_sequence_at_once_is_the_sequence_step_by_step(kind: str):
    net = skeleton(lambda: Recurrent(kind, 3, 5))
    weights = initial_weights(net, torch.Generator().manual_seed(0), {}, "cpu")
    inputs, state = torch.randn(6, 4, 3), torch.zeros(4, net.state_size)
    outputs, last = functional_call(net, weights, (inputs, state))
    for t in range(6):
        step, state = functional_call(net, weights, (inputs[t : t + 1], state))
        torch.testing.assert_close(step[0], outputs[t])
    torch.testing.assert_close(state, last)


def test_first_weights_depend_on_the_generator_alone():
    before = torch.get_rng_state()
    net = skeleton(lambda: multilayer(3, 8, 2, 2))
    first, again = (initial_weights(net, torch.Generator().manual_seed(5), {"4": 0.01}, "cpu") for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    torch.testing.assert_close(first["2.weight"] @ first["2.weight"].T, torch.eye(8))
    torch.testing.assert_close(first["4.weight"] @ first["4.weight"].T, torch.eye(2) * 1e-4)


def test_popart_keeps_every_value_while_its_scale_moves():
    head = nn.Linear(4, 1)
    inputs, every = torch.randn(10, 4), torch.ones(10, dtype=torch.bool)
    old = unit_scale("cpu")
    before = old.restore(head(inputs))
    new = follow_targets(old, torch.randn(10) * 30 + 100, every, 0.1)
    preserve_values(head.weight, head.bias, old, new)
    torch.testing.assert_close(new.restore(head(inputs)), before, atol=1e-4, rtol=1e-4)


def test_the_first_targets_set_the_scale_at_once():
    targets, every = torch.randn(1000) * 30 + 100, torch.ones(1000, dtype=torch.bool)
    scale = follow_targets(unit_scale("cpu"), targets, every, 0.1)
    torch.testing.assert_close(scale.mean, targets.mean())
    torch.testing.assert_close(scale.std, targets.std(correction=0), rtol=1e-5, atol=0)
    torch.testing.assert_close(scale.restore(scale.normalise(targets)), targets)


def test_adams_state_survives_its_flat_form():
    def steps(weight: torch.Tensor, optimiser: Adam, count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            weight.square().sum().backward()
            optimiser.step()

    weight = torch.ones(3, requires_grad=True)
    optimiser = Adam([weight], lr=0.1)
    steps(weight, optimiser, 3)
    other = weight.detach().clone().requires_grad_()
    resumed = Adam([other], lr=0.1)
    load_adam_state(resumed, {name: value.clone() for name, value in adam_state(optimiser).items()})
    steps(weight, optimiser, 3)
    steps(other, resumed, 3)
    assert torch.equal(weight, other)


def test_target_weights_move_a_share_of_the_way():
    target, weights = (
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(4.0)},
        {"a": torch.tensor([3.0, 2.0]), "b": torch.tensor(0.0)},
    )
    follow(target, weights, 0.25)
    assert target["a"].tolist() == [1.5, 2.0] and float(target["b"]) == 3.0
    assert weights["a"].tolist() == [3.0, 2.0]
