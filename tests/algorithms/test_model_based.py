"""Methods that plan in a model, against what they are in the limit: no adaptation, least squares, each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces
from probes import HiddenLedge, HiddenSide
from small import TINY
from torch import Tensor
from torch.func import functional_call

import quickstudy as qs
from quickstudy.algorithms import algorithm
from quickstudy.algorithms.model.cadm import turned
from quickstudy.algorithms.model.grbal import GrBAL, Start, adapted, by_row
from quickstudy.algorithms.model.rebal import ReBAL, held_before
from quickstudy.ops.tree import tree_map
from quickstudy.parts import modelled
from quickstudy.parts.dynamics import (
    Steps,
    Units,
    evidence_of,
    imagined_returns,
    model_loss,
    model_net,
    read,
    steps_of,
    units_of,
)
from quickstudy.protocol import Learner, counter
from quickstudy.work import InProcess

PLAIN = Units(torch.zeros(1), torch.ones(1), torch.zeros(2), torch.ones(2), torch.tensor(0.0))
"""One feature, and everything in its own unit."""


def trained(name: str, world: Any, iterations: int = 2, **options: Any) -> Learner:
    entry = algorithm(name)
    settings = {**TINY[name], **options}
    learner = entry.make(qs.NativeTasks(world), entry.config(**settings), seed=1)
    work = InProcess(learner.tasks)
    for _ in range(iterations):
        learner.train_step(work)
    return learner


def linear(tasks: int, past: int, future: int) -> tuple[Tensor, Steps]:
    """Steps of worlds in which a step changes what is seen by w . (seen, action) and noise, w of N(0, I) for each world."""
    draws = counter(0, 0, "worlds")
    weights = torch.randn(tasks, 2, generator=draws)
    seen, action, noise = (torch.randn(tasks, past + future, 1, generator=draws) for _ in range(3))
    change = torch.einsum("bte,be->bt", torch.cat([seen, action], -1), weights)[..., None] + 0.3 * noise
    nothing = torch.zeros(tasks, past + future)
    return weights, Steps(seen, action, nothing, seen + change, nothing.bool(), ~nothing.bool())


def parted(steps: Steps, past: int) -> tuple[Steps, Steps]:
    return Steps(*(part[:, :past] for part in steps)), Steps(*(part[:, past:] for part in steps))


class Pushed(HiddenSide):
    """A push along a line."""

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1, 1, (1,))


def plain_net() -> tuple[Any, dict[str, Tensor]]:
    """A linear model that tells no change at all."""
    sizes = GrBAL.Config(hidden_layers=0)
    net = model_net(qs.NativeTasks(Pushed()), sizes, 1)
    return net, {name: torch.zeros(each.shape) for name, each in net.named_parameters()}


def started(weights: dict[str, Tensor], rate: float) -> Start:
    return Start(weights, {name: torch.tensor(rate) for name in weights})


def test_without_a_step_size_the_model_is_the_plain_one_bit_for_bit():
    learner: Any = trained("grbal", HiddenLedge(), inner_rate=0.0, learn_inner_rate=False)
    policy = learner.explorer()
    past = torch.randn(2, 1, 2, 7, generator=counter(0, 0, "past"))
    past[..., -1] = 1
    weights = policy.adapted(past)
    for name, first in policy.first.weights.items():
        assert torch.equal(weights[name], first.expand_as(weights[name]))
    inputs = torch.randn(2, 5, 3, generator=counter(0, 0, "inputs"))
    plain = functional_call(policy.net, policy.first.weights, (inputs.flatten(0, 1)[None],))[0].view(2, 5, -1)
    torch.testing.assert_close(by_row(policy.net, weights, inputs), plain)


def test_the_inner_step_is_the_closed_form_one_of_a_linear_model():
    """L = 1/2 mean (w . x - y)^2, so w' = w - alpha mean (w . x - y) x; from steps that were, and no others."""
    _, steps = linear(3, 6, 0)
    steps = steps._replace(valid=torch.arange(6) < torch.tensor([[6], [4], [0]]))
    net, weights = plain_net()
    weights["weights.0"] = torch.randn(weights["weights.0"].shape, generator=counter(0, 0, "w"))
    found = adapted(net, started(weights, 0.2), PLAIN, steps)
    inputs, change = read(PLAIN, steps.seen, steps.action), steps.arrival - steps.seen
    for row, count in enumerate((6, 4, 0)):
        x, y = inputs[row, :count], change[row, :count, 0]
        first = weights["weights.0"][0, 0]
        slope = (x @ first - y) @ x / max(1, count)
        torch.testing.assert_close(found["weights.0"][row, 0, 0], first - 0.2 * slope)


def test_the_inner_step_of_any_model_goes_down_its_own_loss():
    """Against finite differences, in double precision."""
    _, steps = linear(1, 8, 0)
    net = model_net(qs.NativeTasks(Pushed()), GrBAL.Config(hidden_size=4, hidden_layers=1), 1)
    draws = counter(0, 0, "w")
    weights = {name: torch.randn(each.shape, generator=draws).double() for name, each in net.named_parameters()}
    steps = tree_map(lambda each: each.double() if each.is_floating_point() else each, steps)
    units = tree_map(lambda each: each.double(), PLAIN)

    def loss(own: dict[str, Tensor]) -> Tensor:
        alone = Steps(*(part[0] for part in steps))
        return model_loss(units, functional_call(net, own, (read(units, alone.seen, alone.action)[None],))[0], alone)

    moved = adapted(net, started(weights, 1.0), units, steps)
    for name, weight in weights.items():
        for place in range(weight.numel()):
            shift = torch.zeros(weight.numel(), dtype=torch.float64).index_fill(0, torch.tensor(place), 1e-5).view_as(weight)
            slope = (loss({**weights, name: weight + shift}) - loss({**weights, name: weight - shift})) / 2e-5
            assert abs(float((weight - moved[name][0]).flatten()[place] - slope)) < 1e-7


@pytest.mark.parametrize("past", [4, 16])
def test_one_gradient_step_lies_between_no_adaptation_and_least_squares(past: int):
    """Of Gaussian worlds the best that can be known is Kalman's; one step from the mean world gets part of the way."""
    _, steps = linear(4000, past, 8)
    before, after = parted(steps, past)
    net, weights = plain_net()
    inputs, change = read(PLAIN, before.seen, before.action), (before.arrival - before.seen)[..., 0]
    later, truth = read(PLAIN, after.seen, after.action), (after.arrival - after.seen)[..., 0]
    gram = inputs.mT @ inputs + 0.3**2 * torch.eye(2)
    known = torch.linalg.solve(gram, inputs.mT @ change[..., None])[..., 0]
    least = (torch.einsum("bte,be->bt", later, known) - truth).square().mean()
    errors = {}
    for rate in (0.0, 0.5):
        own = adapted(net, started(weights, rate), PLAIN, before)
        errors[rate] = (by_row(net, own, later)[..., 0] - truth).square().mean()
    assert float(least) < float(errors[0.5]) < 0.8 * float(errors[0.0])
    torch.testing.assert_close(errors[0.0], truth.square().mean())


def test_without_last_steps_a_context_model_is_the_plain_ensemble_bit_for_bit():
    options = {"members": 2, "particles": 2, "batch_size": 8, "dynamics": "probabilistic"}
    alone = {"past_steps": 0, "future_steps": 1, "backward_weight": 0.0}
    plain: Any = trained("mpc", HiddenLedge(), **options)
    context: Any = trained("cadm", HiddenLedge(), **options, **alone)
    for name, weight in plain.weights["model"].items():
        assert torch.equal(weight, context.weights["model"][name])
    assert torch.equal(qs.evaluate(plain, num_tasks=8).returns, qs.evaluate(context, num_tasks=8).returns)


def test_members_with_the_same_weights_are_one_network():
    """And one member in one particle plans as a network by itself, step after step."""
    learner: Any = trained("mpc", HiddenLedge(), members=1, particles=1)
    policy = learner.explorer()
    seen, plans = torch.tensor([[[0.5]]]), torch.nn.functional.one_hot(torch.tensor([0, 1, 1]), 2).float()[None, None, None]
    one = lambda inputs: policy.foreseeing(inputs.flatten(1, 3)).view(*inputs.shape[:-1], -1)  # noqa: E731
    alone = imagined_returns(one, policy.units, seen, plans, 0.9)
    three = lambda inputs: torch.cat([one(part[None]) for part in inputs])  # noqa: E731
    torch.testing.assert_close(imagined_returns(three, policy.units, seen, plans, 0.9, particles=3), alone)
    state, total, alive = torch.tensor([0.5]), 0.0, 1.0
    for time in range(3):
        inputs = torch.cat([(state - policy.units.center) / policy.units.spread, plans[0, 0, 0, time]])
        for layer in range(3):
            weight, bias = (policy.weights[f"{kind}.{layer}"] for kind in ("weights", "biases"))
            inputs = weight[0] @ inputs + bias
            inputs = inputs.relu() if layer < 2 else inputs
        total += 0.9**time * alive * float(policy.units.aim_center[1] + policy.units.aim_spread[1] * inputs[1])
        alive *= 1 - float(inputs[2].sigmoid() * policy.units.ending)
        state = state + policy.units.aim_spread[0] * inputs[0]
    assert abs(float(alone) - total) < 1e-4


def test_steps_backwards_lead_from_where_they_arrived_to_where_they_began():
    _, steps = linear(2, 3, 0)
    back = turned(steps._replace(ends=torch.ones(2, 3, dtype=torch.bool)))
    assert torch.equal(back.seen, steps.arrival) and torch.equal(back.arrival, steps.seen) and not bool(back.ends.any())
    assert torch.equal(back.action, steps.action)


def test_a_memory_in_training_holds_what_the_policy_would_hold():
    learner: Any = trained("rebal", HiddenLedge())
    assert isinstance(learner, ReBAL)
    policy, units = learner.explorer(), units_of(learner.scales)
    trial = learner.replay.at(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    steps = steps_of(learner.tasks, trial)
    told = evidence_of(units, steps).transpose(0, 1)
    held = held_before(learner.recurrent, learner.weights["memory"], told)
    state = policy.initial_memory(1, 1)["state"]
    for time in range(int(steps.valid.sum())):
        torch.testing.assert_close(held[time], state[0])
        state = policy.remember(Steps(*(part[:, time : time + 1] for part in steps)), state)


def test_what_follows_a_moment_stays_within_its_episode_and_what_came_before_may_not():
    learner: Any = trained("grbal", HiddenLedge(), trials=8)
    before, after = modelled.windows(learner, 500, 4, 4, counter(0, 0, "windows"))
    assert before.seen.shape[:2] == (500, 4) and after.seen.shape[:2] == (500, 4)
    assert bool(after.valid[:, 0].all())
    # each next step begins where the one before led, which no step of another episode does by rule
    for time in range(3):
        both = after.valid[:, time + 1]
        assert torch.equal(after.seen[both, time + 1], after.arrival[both, time])
    crossed = before.valid[:, 1:].all(1) & (before.seen[:, 1:] != before.arrival[:, :-1]).any(-1).any(-1)
    assert bool(crossed.any()) and not bool(before.valid.all())


@pytest.mark.parametrize("name", ["mpc", "grbal", "rebal", "cadm"])
def test_what_cannot_be_is_refused(name: str):
    entry: Any = algorithm(name)
    with pytest.raises(qs.UsageError, match=f"{name}: elite_share"):
        entry.config(elite_share=0.0)
    with pytest.raises(qs.UsageError, match=f"{name} predicts vectors"):
        entry.make(qs.tasks.make("mission"))
    if name in ("mpc", "cadm"):
        with pytest.raises(qs.UsageError, match=rf"{name}: particles \(4\) must be a multiple of members \(3\)"):
            entry.config(particles=4)
