"""Building blocks against PyTorch's own, and weights that are values."""

import math
from fractions import Fraction
from typing import Any

import cloudpickle
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.algorithms.memory.rl2 import RL2
from quickstudy.families import make
from quickstudy.nets.networks import Recurrent, bound, follow, initial_weights, multilayer, skeleton
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.nets.values import follow_targets, preserve_values, stored_scale, unit_scale


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


def test_a_step_of_the_normalised_gru_is_its_definition():
    """Ba et al. 2016, supplement: what each gate reads from input and state is normalised over its units, by itself."""
    net = skeleton(lambda: Recurrent("gru-norm", 3, 5))
    generator = torch.Generator().manual_seed(0)
    weights = initial_weights(net, generator, {}, "cpu")
    weights = {name: weight.detach() + 0.3 * torch.randn(weight.shape, generator=generator) for name, weight in weights.items()}
    inputs, state = torch.randn(4, 2, 3), torch.randn(2, 5)
    outputs, last = functional_call(net, weights, (inputs, state))
    for t in range(4):
        new = []
        for lane in range(2):
            gates: dict[str, list[torch.Tensor]] = {"input": [], "hidden": []}
            for gate in range(3):
                for name, reads in (("input", inputs[t, lane]), ("hidden", state[lane])):
                    units = torch.stack([(row * reads).sum() for row in weights[f"from_{name}"][gate]])
                    apart = (units - units.mean()) / (units.var(correction=0) + 1e-5).sqrt()
                    gain, bias = (weights[f"{name}_{part}"][5 * gate : 5 * gate + 5] for part in ("gain", "bias"))
                    gates[name].append(apart * (1 + gain) + bias)
            reset, keep = (1 / (1 + (-(gates["input"][gate] + gates["hidden"][gate])).exp()) for gate in (0, 1))
            candidate = torch.tanh(gates["input"][2] + reset * gates["hidden"][2])
            new.append((1 - keep) * candidate + keep * state[lane])
        state = torch.stack(new)
        torch.testing.assert_close(outputs[t], state)
    torch.testing.assert_close(last, state)


@pytest.mark.parametrize("kind", ["gru", "lstm", "gru-norm"])
def test_a_sequence_at_once_is_the_sequence_step_by_step(kind: str):
    net = skeleton(lambda: Recurrent(kind, 3, 5))
    weights = initial_weights(net, torch.Generator().manual_seed(0), {}, "cpu")
    inputs, state = torch.randn(6, 4, 3), torch.zeros(4, net.state_size)
    outputs, last = functional_call(net, weights, (inputs, state))
    for t in range(6):
        step, state = functional_call(net, weights, (inputs[t : t + 1], state))
        torch.testing.assert_close(step[0], outputs[t])
    torch.testing.assert_close(state, last)


def moved(net: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return args[0] + net.first.bias, *args[1:]


class Tied(nn.Module):
    """A layer that stands twice, a list that is no module, and a hook before it."""

    def __init__(self):
        super().__init__()
        self.first, self.memory = nn.Linear(3, 3), Recurrent("gru", 3, 5)
        self.again, self.plain = self.first, [self.first.weight]
        self.register_forward_pre_hook(moved)

    def forward(self, inputs: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.memory(self.again(self.first(inputs)) @ self.plain[0], state)
        return outputs


def test_a_bound_network_is_its_skeleton_with_these_weights():
    net = skeleton(Tied)
    weights = initial_weights(net, torch.Generator().manual_seed(0), {}, "cpu")
    own = bound(net, weights)
    inputs, state = torch.randn(4, 2, 3), torch.randn(2, 5)
    before = own(inputs, state)
    with torch.no_grad():
        weights["first.bias"] += 1
    assert not torch.equal(own(inputs, state), before) and own.plain[0] is weights["first.weight"]
    plain = Tied()
    plain.load_state_dict(weights, strict=False)
    assert torch.equal(own(inputs, state), plain(inputs, state))
    gradients = torch.autograd.grad(own(inputs, state).sum(), list(weights.values()))
    theirs = torch.autograd.grad(plain(inputs, state).sum(), list(plain.parameters()))
    assert all(map(torch.equal, gradients, theirs))
    assert all(parameter.is_meta for parameter in net.parameters())


def test_what_a_policy_acts_with_holds_its_weights_in_another_process_too():
    policy = RL2(make("bandit"), RL2.Config(trials=4, minibatches=1)).explorer()
    assert policy.acting is policy.acting
    sent = cloudpickle.loads(cloudpickle.dumps(policy))
    for each in (policy, sent):
        assert {name: id(weight) for name, weight in each.acting.named_parameters()} == {
            name: id(weight) for name, weight in each.weights.items()
        }


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
    old = follow_targets(unit_scale("cpu"), torch.randn(10) * 3 - 20, every, 0.1)
    before = old.restore(head(inputs))
    new = follow_targets(old, torch.randn(10) * 30 + 100, every, 0.1)
    preserve_values(head.weight, head.bias, old, new)
    torch.testing.assert_close(new.restore(head(inputs)), before, atol=1e-4, rtol=1e-4)


def test_before_the_first_targets_there_is_no_value_to_keep():
    head, every = nn.Linear(4, 1), torch.ones(10, dtype=torch.bool)
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    preserve_values(head.weight, head.bias, unit_scale("cpu"), follow_targets(unit_scale("cpu"), torch.ones(10), every, 0.1))
    assert torch.equal(head.weight, weight) and torch.equal(head.bias, bias)


def test_the_first_targets_set_the_scale_at_once():
    targets, every = torch.randn(1000) * 30 + 100, torch.ones(1000, dtype=torch.bool)
    scale = follow_targets(unit_scale("cpu"), targets, every, 0.1)
    torch.testing.assert_close(scale.mean, targets.double().mean())
    torch.testing.assert_close(scale.std, targets.double().std(correction=0))
    torch.testing.assert_close(scale.restore(scale.normalise(targets)).float(), targets)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_the_scale_is_the_bias_corrected_average_of_moments_however_large_the_mean(offset: float):
    """Against first and second moments averaged in exact fractions, as Adam corrects them."""
    generator, scale, rate = torch.Generator().manual_seed(0), unit_scale("cpu"), 0.1
    first = second = weight = Fraction(0)
    for _ in range(5):
        targets, valid = torch.randn(20, generator=generator) + offset, torch.rand(20, generator=generator) < 0.7
        scale = follow_targets(scale, targets, valid, rate)
        exact = [Fraction(value) for value in targets[valid].tolist()]
        share = Fraction(rate)
        first += share * (sum(exact) / len(exact) - first)
        second += share * (sum(value**2 for value in exact) / len(exact) - second)
        weight += share * (1 - weight)
    mean = first / weight
    assert float(scale.mean) == pytest.approx(float(mean), rel=1e-12)
    assert float(scale.std) == pytest.approx(math.sqrt(second / weight - mean**2), rel=1e-6)


def test_a_scale_that_an_older_version_stored_is_read_as_what_it_was():
    old = {"first": torch.tensor(3.0), "second": torch.tensor(40.0), "weight": torch.tensor(0.3)}
    scale = stored_scale(old, "cpu")
    assert float(scale.mean) == pytest.approx(10) and float(scale.variance) == pytest.approx(40 / 0.3 - 100, rel=1e-6)
    assert stored_scale(scale._asdict(), "cpu") == scale


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
