"""Adapting a context alone (CAVIA: Zintgraf et al. 2019), or the biases: what each is equal to, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

import quickstudy as qs
from quickstudy.parts.gradient import Samples, Start, adapted, collected_stages, forward, outcomes, weights_at
from quickstudy.work import InProcess

SMALL = {"meta_batch_size": 3, "lanes": 4, "hidden_size": 8}
LEARNERS: dict[str, Any] = {"maml": qs.MAML, "promp": qs.ProMP}


def learner(name: str = "maml", family: str = "point-navigation", **options: Any) -> Any:
    tasks = qs.tasks.make(family, max_episode_steps=4)
    kind = LEARNERS[name]
    return kind(tasks, kind.Config(**{**SMALL, **options}), seed=3)


def lived(agent: Any, steps: int = 2) -> list[Samples]:
    return collected_stages(InProcess(agent.tasks), agent, agent.inner, 3, steps)[0]


def test_it_is_adapting_the_first_bias_preconditioned_by_what_reads_the_context():
    """phi enters as b + W phi, so that a step of -a dL/dphi is one of -a W W' dL/db: outcomes and gradients, to rounding."""
    agent, plain = learner(adapt="context", num_context=3, inner_rate=2.0), learner(adapt="all")
    stages = lived(agent)
    weights = agent.start.weights
    [found] = outcomes(agent.inner, agent.start, stages, 1)
    reads = weights["policy.0.weight"]
    base = {name: weights[name] for name in plain.start.weights} | {"policy.0.weight": reads[:, :-3]}
    rows = []
    for task in range(3):
        own = dict(base)
        for stage in stages[:-1]:
            # the bias is a leaf of its own in each step: what the step before made of it comes through `moved`
            def loss(bias: Tensor, own: dict[str, Tensor] = own, stage: Samples = stage, task: int = task) -> Tensor:
                parameters = functional_call(plain.net, own | {"policy.0.bias": bias}, (stage.inputs[task],))
                log_prob = plain.distribution.log_prob(parameters, stage.action[task])
                return -((log_prob - stage.log_prob[task]).exp() * stage.advantage[task]).mean()

            slope = torch.func.grad(loss)(own["policy.0.bias"])
            own["policy.0.bias"] = own["policy.0.bias"] - 2.0 * reads[:, -3:] @ (reads[:, -3:].mT @ slope)
        rows.append(functional_call(plain.net, own, (stages[-1].inputs[task],)))
    torch.testing.assert_close(found, torch.stack(rows), rtol=1e-4, atol=1e-6)
    names = [name for name in weights if name != "context"]
    ours, theirs = (
        torch.autograd.grad(value.square().sum(), [weights[name] for name in names], retain_graph=True)
        for value in (found, torch.stack(rows))
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert ours[0].abs().max() > 0


@pytest.mark.parametrize("steps", [1, 2])
def test_where_the_identity_reads_it_a_linear_policy_adapts_its_bias(steps: int):
    biases = learner(adapt="biases", hidden_layers=0)
    context = learner(adapt="context", hidden_layers=0, num_context=2)
    assert set(biases.start.rates) == {"policy.0.bias"}
    weight = biases.start.weights["policy.0.weight"].detach()
    same = {**context.start.weights, "policy.0.weight": torch.cat([weight, torch.eye(2)], dim=1)}
    stages = lived(biases, steps)
    found = [
        outcomes(agent.inner, start, stages, 1)[0]
        for agent, start in ((biases, biases.start), (context, Start(same, context.start.rates)))
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert not torch.equal(found[0], forward(biases.net, biases.start.weights, stages[-1].inputs, None))


def test_biases_alone_is_adapting_all_with_rates_of_zero_elsewhere_bit_for_bit():
    biases, whole = learner(adapt="biases", layer_norm=True), learner(layer_norm=True)
    assert set(biases.start.rates) == {name for name in whole.start.rates if name.endswith("bias")}
    rates = {name: rate if name in biases.start.rates else torch.zeros_like(rate) for name, rate in whole.start.rates.items()}
    stages = lived(biases)
    mine, theirs = (
        outcomes(agent.inner, start, stages, 1)[0]
        for agent, start in ((biases, biases.start), (whole, Start(whole.start.weights, rates)))
    )
    assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("family", ["point-navigation", "mission"])
def test_a_context_begins_at_zero_and_only_a_task_moves_it(name: str, family: str):
    """Meta-training moves all other weights, through it."""
    agent = learner(name, family, adapt="context")
    before = {key: weight.detach().clone() for key, weight in agent.start.weights.items()}
    agent.train_step(InProcess(agent.tasks))
    assert "context" not in agent.learned and "context" not in agent.state_dict()["learned"]
    assert torch.equal(agent.start.weights["context"], torch.zeros(2))
    assert all(not torch.equal(before[key], agent.learned[key]) for key in agent.learned)
    first, last = (weights for weights, _ in weights_at(agent.inner, agent.start, lived(agent, 1)))
    # nobody is paid on so short a mission
    assert last["context"].shape == (3, 2) and (bool(last["context"].all()) or family == "mission")
    assert all(last[key] is first[key] for key in agent.learned)


def test_a_trust_region_moves_what_reads_the_context():
    agent = learner(adapt="context", outer="trpo", learn_inner_rate=True, cg_damping=0.1)
    before = agent.learned["policy.0.weight"].detach().clone()
    assert agent.train_step(InProcess(agent.tasks))["train/approx_kl"] > 0
    assert not torch.equal(before[:, -2:], agent.learned["policy.0.weight"][:, -2:])
    assert agent.learned["rate of context"].shape == (2,) and set(agent.start.rates) == {"context"}


def test_biases_of_what_reads_images_stay_shared():
    agent = learner(family="mission", adapt="biases")
    assert set(agent.start.rates) == {f"policy.{place}.bias" for place in (0, 2, 4)}
    assert adapted(agent.inner, agent.start, lived(agent, 1)[0], None).weights["policy.0.bias"].shape == (3, 8)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_makes_no_context_is_refused(name: str):
    with pytest.raises(qs.UsageError, match=f"^{name}: num_context is 0, it must be at least 1$"):
        LEARNERS[name].Config(num_context=0)
    with pytest.raises(qs.UsageError, match=f"^{name}: adapt is context, which a network of one's own doesn't read; take"):
        own = LEARNERS[name].Config(adapt="context")
        LEARNERS[name](qs.tasks.make("bandit"), own, net=lambda inputs, outputs: torch.nn.Linear(inputs, outputs))
