"""The networks of the soft actor-critics: each option changes what it says, and networks of one's own take their place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probes import HiddenSide
from small import TINY
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.algorithms.baselines import multi_task_sac
from quickstudy.algorithms.belief import pearl
from quickstudy.algorithms.memory import recurrent_sac
from quickstudy.nets.networks import head
from quickstudy.ops.state import copy_state
from quickstudy.ops.tree import tensors_in
from quickstudy.parts.soft import Twin
from quickstudy.work import InProcess

ANY: list[dict[str, Any]] = [{"hidden_size": 8}, {"hidden_layers": 3}, {"hidden_layers": 0}, {"activation": "silu"}]
ANY += [{"layer_norm": True}, {"layer_norm": True, "encoder": "layer", "hidden_layers": 2}]
CHOICES = [(name, options) for name in ("pearl", "recurrent-sac", "multi-task-sac") for options in ANY]
CHOICES += [(name, {"encoder": "layer"}) for name in ("pearl", "multi-task-sac")]
CHOICES += [("recurrent-sac", options) for options in ({"encoder": "none"}, {"memory": "lstm"}, {"memory": "gru-norm"})]


def make(name: str, net: Any = None, **options: Any) -> Any:
    entry = ALGORITHMS[name]
    return entry.make(qs.NativeTasks(HiddenSide()), entry.config(**TINY[name] | options), seed=1, net=net)


def shapes(agent: Any) -> list[torch.Size]:
    return [weight.shape for weight in tensors_in(agent.weights if agent.name == "pearl" else agent.learned)]


def goes_on(agent: Any, again: Any) -> dict[str, float]:
    """The metrics of a meta-iteration; another learner takes over its state and does what it does."""
    work = InProcess(agent.tasks)
    first = agent.train_step(work)
    again.load_state_dict(copy_state(agent.state_dict()))
    assert agent.train_step(work) == again.train_step(work)
    assert torch.equal(qs.evaluate(agent, num_tasks=3).returns, qs.evaluate(again, num_tasks=3).returns)
    return first


@pytest.mark.parametrize(("name", "options"), CHOICES, ids=str)
def test_each_option_changes_the_networks_that_are_trained_and_kept(name: str, options: dict[str, Any]):
    agent, plain = make(name, **options), make(name)
    found = goes_on(agent, make(name, **options))
    same = shapes(agent) == shapes(plain)
    assert same == (options in ({"activation": "silu"},))
    assert not same or found["train/critic_loss"] != plain.train_step(InProcess(plain.tasks))["train/critic_loss"]


class Squared(nn.Module):
    """A network of one's own: a linear layer on what is read and its squares."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.layer = nn.Linear(2 * inputs, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(torch.cat([inputs, inputs.square()], -1))


def policies_of_ones_own(name: str, config: Any, tasks: Any, actions: Any) -> Any:
    own = {"pearl": pearl.nets_for, "recurrent-sac": recurrent_sac.net_for, "multi-task-sac": multi_task_sac.net_for}[name]
    nets = own(config, tasks, actions)
    return nets._replace(policy=Squared(nets.policy[0].in_features, actions.size))


@pytest.mark.parametrize("name", ["pearl", "recurrent-sac", "multi-task-sac"])
def test_a_network_of_ones_own_is_trained_and_adapts(name: str):
    build = lambda *sizes: policies_of_ones_own(name, *sizes)  # noqa: E731
    agent = make(name, build)
    assert agent.own_net and not make(name).own_net
    before = [weight.detach().clone() for weight in policy_weights(agent)]
    goes_on(agent, make(name, build))
    assert len(before) == 2  # what is seen is all zeros in some, which leaves the matrix as it is
    assert any(not torch.equal(one, other) for one, other in zip(before, policy_weights(agent), strict=True))


def policy_weights(agent: Any) -> list[Tensor]:
    if agent.name == "pearl":
        return tensors_in(agent.weights["policy"])
    return tensors_in(agent.learned.policy if agent.name == "multi-task-sac" else agent.learned.actor.head)


@pytest.mark.parametrize("listed", ["", "heads"])
def test_a_twin_is_two_critics_of_all_that_it_reads(listed: str):
    config = pearl.Config(hidden_size=4)
    twin = Twin(lambda: head(5, 2, config), listed)
    read = torch.randn(3, 2), torch.randn(3, 0), torch.randn(3, 3)
    found = twin(*read)
    names = [f"{listed}.0", f"{listed}.1"] if listed else ["first", "second"]
    for values, name in zip(found, names, strict=True):
        torch.testing.assert_close(values, twin.get_submodule(name)(torch.cat(read, -1)))
    assert found.shape == (2, 3, 2) and not torch.equal(found[0], found[1])
