"""Networks that are chosen, and networks of one's own: each trains, and goes on from what was stored."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest
import torch
from probes import HiddenLedge
from small import TINY, takes
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.nets.networks import Build
from quickstudy.ops.state import copy_state
from quickstudy.work import InProcess

CHOICES: dict[str, tuple[Any, ...]] = {
    "encoder": ("none", "layer"),
    "hidden_layers": (0, 1, 3),
    "activation": ("gelu",),
    "layer_norm": (True,),
    "memory": ("lstm", "gru-norm"),
}
LEARNERS = "rl2", "rl3", "multi-task", "varibad"
ENSEMBLES = {name for name, entry in ALGORITHMS.items() if entry.place.startswith("model.")}
"""Whose networks lie side by side in one product: nobody can give them others."""
CHOSEN = [
    (name, option, value)
    for name in LEARNERS
    for option, values in CHOICES.items()
    for value in values
    if getattr(ALGORITHMS[name].config(), option, value) != value
]


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_learner_can_be_told_of_its_network_and_refuses_what_is_none(name: str):
    config = ALGORITHMS[name].config
    options = {field.name for field in fields(config)}
    assert options >= {"hidden_size", "hidden_layers", "activation"}
    assert options >= {"encoder", "layer_norm"} or name in ENSEMBLES
    assert ("memory" in options) == (name in ("rl2", "rl3", "recurrent-sac", "varibad", "rebal"))
    for wrong in ({"hidden_size": 0}, {"hidden_layers": -1}, {"activation": "ReLU"}, {"learning_rate": -1e-3}):
        with pytest.raises(qs.UsageError, match=next(iter(wrong))):
            config(**wrong)


def ledge(name: str) -> Any:
    """A ledge whose places have numbers where an algorithm takes no others."""
    tasks = qs.NativeTasks(HiddenLedge())
    return tasks if takes(name, tasks) else qs.NativeTasks(HiddenLedge(numbered=True))


def goes_on(name: str, options: dict[str, Any], net: Build | None = None) -> Any:
    """A learner that has trained, after another one of its kind went on from its state as it does."""
    entry, tasks = ALGORITHMS[name], ledge(name)
    one, other = (entry.make(tasks, entry.config(**TINY[name] | options), seed=seed, net=net) for seed in (1, 1))
    work = InProcess(one.tasks)
    one.train_step(work)
    other.load_state_dict(copy_state(one.state_dict()))
    assert one.train_step(work) == other.train_step(work)
    return one


@pytest.mark.parametrize(("name", "option", "value"), CHOSEN)
def test_every_choice_of_a_network_is_trained_and_stored(name: str, option: str, value: Any):
    # a norm has something to do where there is a layer
    learner = goes_on(name, {option: value} | ({"hidden_layers": 1} if option == "layer_norm" else {}))
    assert not learner.own_net and all(weight.isfinite().all() for weight in learner.weights.values())


class Remembering(nn.Module):
    """A memory that is a running sum of what a layer makes of what is seen; policy and value read it through a layer each."""

    state_size = 5

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.reads = nn.Linear(inputs, 5)
        self.policy = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, outputs))
        self.value = nn.Linear(5, 1)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sums = state + self.reads(inputs).tanh().cumsum(0)
        return self.policy(sums), self.value(sums)[..., 0], sums[-1]


class Reading(nn.Module):
    """One that only reads, through a layer that policy and value share."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, 6), nn.LayerNorm(6), nn.GELU())
        self.policy, self.value = nn.Linear(6, outputs), nn.Linear(6, 1)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(inputs)
        return self.policy(hidden), self.value(hidden)[..., 0]


@pytest.mark.parametrize(
    ("name", "net"), [("rl2", Remembering), ("rl3", Remembering), ("multi-task", Reading), ("varibad", Reading)]
)
def test_a_network_of_ones_own_is_trained_and_stored(name: str, net: Any):
    learner = goes_on(name, {}, net)
    assert learner.own_net and isinstance(learner.net, net)
    assert list(learner.weights) == [key for key, _ in learner.net.named_parameters()]
    assert learner.value_head[0] is learner.weights["value.weight"]
    qs.evaluate(learner, num_tasks=3)


@pytest.mark.parametrize("name", ["maml", "promp"])
def test_first_weights_are_of_the_network_that_is_chosen_or_ones_own(name: str):
    chosen = goes_on(name, {"encoder": "layer", "layer_norm": True, "activation": "gelu", "hidden_layers": 1})
    assert {"encoder.norm.weight", "policy.1.weight", "policy.3.bias"} <= chosen.start.weights.keys()
    own = goes_on(name, {}, lambda inputs, outputs: nn.Sequential(nn.Linear(inputs, 4), nn.ELU(), nn.Linear(4, outputs)))
    assert own.own_net and list(own.start.weights) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def headless(inputs: int, outputs: int) -> nn.Module:
    return nn.Linear(inputs, outputs)


def counting(inputs: int, outputs: int) -> nn.Module:
    net = Remembering(inputs, outputs)
    net.register_buffer("steps", torch.zeros(3))
    return net


def bent(inputs: int, outputs: int) -> nn.Module:
    net = Remembering(inputs, outputs)
    net.value = nn.Identity()  # type: ignore[assignment]
    return net


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (headless, "rl2: a net needs modules called policy, value; this one has no policy, value"),
        (Reading, "rl2: a net needs `state_size`"),
        (counting, "rl2: a net has parameters and no buffers; this one has steps"),
        (bent, "the module value of a net must hold a linear layer with a bias"),
        (3, "RL2: net is 3, it must be a function"),
        (lambda inputs, outputs: Remembering(inputs, outputs + 1), r"gives \(2, 3, 3\), \(2, 3\), \(3, 5\), not \(2, 3, 2\)"),
        (lambda inputs, outputs: Remembering(inputs + 1, outputs), "the net's forward, given .* raised RuntimeError: "),
    ],
)
def test_a_network_that_a_learner_cannot_use_is_refused(net: Any, says: str):
    with pytest.raises(qs.UsageError, match=says):
        qs.RL2(qs.NativeTasks(HiddenLedge()), net=net)


class Chancy(Reading):
    """One whose training would be by chance."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        self.encoder.append(nn.Dropout(0.5))


def wider(config: Any, tasks: Any, actions: Any, nets: Any) -> Any:
    """Critics that value one action more than there are."""

    class Wider(nn.Module):
        def __init__(self):
            super().__init__()
            self.critics = nets.critics

        def forward(self, *inputs: Tensor) -> Tensor:
            return self.critics(*inputs).repeat_interleave(2, -1)

    return nets._replace(critics=Wider())


@pytest.mark.parametrize("name", sorted(ALGORITHMS.keys() - ENSEMBLES))
def test_each_learner_says_in_a_line_what_is_wrong_with_a_network(name: str):
    entry, tasks = ALGORITHMS[name], ledge(name)
    soft = hasattr(entry.config(), "tau")

    def refused(net: Any) -> str:
        with pytest.raises(qs.UsageError) as found:
            entry.make(tasks, entry.config(**TINY[name]), net=net)
        assert str(found.value).startswith(name) and "\n" not in str(found.value)
        return str(found.value)

    assert "net must build a" in refused(lambda *given: None)
    if soft:
        room = import_module(entry.make.__module__)
        made = room.nets_for if name == "pearl" else room.net_for
        assert "critics's forward, given" in refused(lambda *given: wider(*given, made(*given)))
        return
    assert "no chance of its own" in refused(Chancy)
    if name not in ("rl2", "rl3"):
        assert "the net's forward, given" in refused(lambda inputs, outputs: Reading(inputs, outputs + 1))
