"""Noise that is a function of the state: its closed forms, and how long it is held."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch.distributions import Independent, Normal, kl_divergence

import quickstudy as qs
from quickstudy.data.rollout import Plan, collect
from quickstudy.nets.distributions import NoisyLayer, StateDependentGaussian
from quickstudy.parts.noise import drawn, first_noise
from quickstudy.protocol import Shard
from quickstudy.work import InProcess
from quickstudy.work.local import LocalSite

SPACE = spaces.Box(-2, 4, (2,))  # its centre is 1, half its range 3
PENDULUM = qs.tasks.make("pendulum", max_episode_steps=20)


def theirs(parameters: torch.Tensor) -> Independent:
    """PyTorch's own distribution of a single action."""
    mean, parts = parameters[..., :2], parameters[..., 2:].unflatten(-1, (-1, 2))
    return Independent(Normal(1 + 3 * mean, 3 * parts.square().sum(-2).sqrt()), 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_single_action_has_the_marginal_gaussian_of_closed_form():
    ours = StateDependentGaussian(SPACE, 4)
    one, other, direction = torch.randn(3, 5, ours.size, generator=generator(), dtype=torch.float64)
    action = 9 * torch.randn(5, 2, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(ours.log_prob(one, action), theirs(one).log_prob(action))
    torch.testing.assert_close(ours.entropy(one), theirs(one).entropy())
    torch.testing.assert_close(ours.mode(one), theirs(one).mean)
    torch.testing.assert_close(ours.kl(one, other), kl_divergence(theirs(one), theirs(other)))
    hessian = torch.func.jacrev(torch.func.jacrev(lambda p: ours.kl(one, p).sum()))(one).diagonal(dim1=0, dim2=2)
    torch.testing.assert_close(ours.fisher(one, direction), torch.einsum("ijn,nj->ni", hessian, direction))


def test_held_noise_over_many_draws_has_that_variance_and_one_draw_is_linear_in_the_features():
    ours, layer = StateDependentGaussian(SPACE, 4), NoisyLayer(3, 2)
    with torch.no_grad():
        layer.log_scale.normal_(generator=generator())
        parameters = layer(torch.randn(3, generator=generator(1)))
        noise = torch.randn(200_000, 4, 2, generator=generator(2))
        samples = ours.stirred(parameters.expand(200_000, -1), noise)
        torch.testing.assert_close(samples.mean(0), theirs(parameters).mean, atol=0.05, rtol=0)
        torch.testing.assert_close(samples.var(0), theirs(parameters).variance, atol=0, rtol=0.02)
        layer.mean.weight.zero_()
        layer.mean.bias.zero_()
        a, b = torch.randn(2, 3, generator=generator(3))
        pushes = [ours.stirred(layer(features), noise[0]) - 1 for features in (a, b, a + b, torch.zeros(3))]
        torch.testing.assert_close(pushes[0] + pushes[1], pushes[2] + pushes[3])


def test_noise_begins_as_strong_as_a_diagonal_gaussians_and_is_there_where_features_are_not():
    layer, ours = NoisyLayer(16, 2), StateDependentGaussian(SPACE, 17)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        for features, share in ((torch.full((16,), 0.5), 1.0), (torch.zeros(16), 0.1)):
            expected = math.log(share) / 2 + torch.zeros(2)
            torch.testing.assert_close(ours.marginal(layer(features))[2:], expected)


def test_no_gradient_goes_through_the_features():
    layer, features = NoisyLayer(3, 2), torch.ones(3, requires_grad=True)
    layer(features)[2:].sum().backward()
    assert features.grad is not None and not features.grad.any()


@pytest.mark.parametrize(("steps", "expected"), [(0, [0, 3]), (2, [0, 2, 3, 5]), (1, [0, 1, 2, 3, 4, 5])])
def test_noise_is_drawn_anew_after_its_steps_and_where_an_episode_begins(steps: int, expected: list[int]):
    ours = StateDependentGaussian(SPACE, 4, steps)
    memory = first_noise(ours, 2, 1, torch.device("cpu"))
    parameters, luck, changes = torch.zeros(2, 1, ours.size), generator(), []
    for step in range(6):
        before = memory["noise"]
        # the second lane's episode goes on where that of the first one ends
        first = torch.tensor([[step in (0, 3)], [step == 0]])
        action, memory = drawn(ours, parameters, first, memory, luck)
        assert torch.equal(action, ours.stirred(parameters, memory["noise"]))
        changes += [step] if not torch.equal(before[0], memory["noise"][0]) else []
        assert torch.equal(before[1], memory["noise"][1]) == (step > 0 if not steps else step % steps > 0)
    assert changes == expected


def learner(name: str, tasks: Any = PENDULUM, **options: Any) -> Any:
    small = {"hidden_size": 8, "minibatches": 1, "n_epochs": 1, "noise": "state-dependent"} | options
    if name == "multi-task":
        return qs.MultiTask(tasks, qs.MultiTask.Config(n_envs=4, **small))
    return qs.RL2(tasks, qs.RL2.Config(trials=4, **small))


@pytest.mark.parametrize("name", ["rl2", "multi-task"])
def test_learners_record_the_probability_of_the_marginal_and_train(name: str):
    agent = learner(name, noise_steps=3)
    site = LocalSite(PENDULUM)
    experience = collect(site, Plan(agent.explorer(), 1, 20, 1), Shard(0, 0, 0, 4, "train"))
    assert experience.act.log_prob is not None
    if name == "rl2":
        batch, _ = agent.prepare(agent.explorer(), experience)
        assert float(agent.loss(agent.weights, batch)[1]["train/approx_kl"].abs()) < 1e-5
    name = next(name for name in agent.weights if name.endswith("log_scale"))
    before = agent.weights[name].detach().clone()
    agent.train_step(InProcess(PENDULUM))
    assert not torch.equal(agent.weights[name], before)


@pytest.mark.parametrize("name", ["rl2", "multi-task"])
def test_a_session_that_is_stored_keeps_its_noise(name: str, tmp_path: Path):
    agent = learner(name)
    session = agent.session(seed=1)
    seen = [1.0, 0.0, 0.0]
    for _ in range(3):
        session.act(seen)
        session.feedback(-1.0, False, False, seen)
    session.save(tmp_path / "session.safetensors")
    restored = qs.Session.restore(tmp_path / "session.safetensors", agent)
    held = session._memory["noise"]
    assert held.any() and torch.equal(held, restored._memory["noise"])
    assert [session.act(seen)] == [restored.act(seen)]
    assert torch.equal(session._memory["noise"], held)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: learner("rl2", qs.tasks.make("cart-pole")), "continuous actions alone"),
        (lambda: learner("multi-task", qs.tasks.make("cart-pole")), "continuous actions alone"),
        (lambda: learner("multi-task", hidden_layers=0), "hidden_layers must be at least 1"),
        (lambda: qs.RL2.Config(noise_steps=4), "drawn anew at each step"),
    ],
)
def test_noise_that_can_not_be_is_refused(build: Any, says: str):
    with pytest.raises(qs.UsageError, match=says):
        build()
