"""MAML's mathematics against enumeration and finite differences, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from probes import HiddenButton
from torch import Tensor, nn

import quickstudy as qs
from quickstudy.algorithms.gradient.maml import MAML
from quickstudy.data.rollout import Lifetime, collect_lives
from quickstudy.nets.distributions import Categorical
from quickstudy.ops.policy_gradient import masked_mean
from quickstudy.ops.tree import tree_map
from quickstudy.ops.trust_region import flatten, linear_maps, unflatten
from quickstudy.parts import gradient as parts
from quickstudy.parts.gradient import Inner, Samples, Start, adapted, forward, samples_of
from quickstudy.protocol import Experience, Shard
from quickstudy.work import InProcess, LocalSite

RATE = 0.7


class Table(nn.Module):
    """Logits of two actions in each state, read off a table."""

    def __init__(self, states: int):
        super().__init__()
        self.table = nn.Parameter(torch.empty(2, states))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.table.mT


class World:
    """A tiny MDP whose paths can be listed: `paths` gives every (state, action) sequence, `reward` its rewards."""

    def __init__(self, probabilities: list[list[float]], paths: list[tuple[tuple[int, int], ...]], rewards: list[list[float]]):
        self.logits = torch.tensor(probabilities, dtype=torch.float64).log().T.contiguous()
        self.paths, self.rewards = paths, torch.tensor(rewards, dtype=torch.float64)

    def path_probabilities(self, logits: Tensor) -> Tensor:
        log_probs = logits.log_softmax(0)
        return torch.stack([torch.stack([log_probs[a, s] for s, a in path]).sum() for path in self.paths]).exp()

    def value(self, logits: Tensor) -> Tensor:
        """The exact expected return."""
        return self.path_probabilities(logits) @ self.rewards.sum(1)

    def samples(self, copies: int, baseline: list[float]) -> Samples:
        """Lanes in which each path stands as often as the behaviour policy takes it: a mean over them is the expectation."""
        counts = (self.path_probabilities(self.logits) * copies).round().long()
        states = torch.tensor([[s for s, _ in path] for path in self.paths]).repeat_interleave(counts, 0)
        actions = torch.tensor([[a for _, a in path] for path in self.paths]).repeat_interleave(counts, 0)
        rewards = self.rewards.repeat_interleave(counts, 0)
        assert len(states) == copies
        to_go = rewards.flip(-1).cumsum(-1).flip(-1) - torch.tensor(baseline, dtype=torch.float64)[states]
        inputs = nn.functional.one_hot(states, self.logits.shape[1]).double()
        parameters = inputs @ self.logits.mT
        first = torch.zeros_like(states, dtype=torch.bool)
        first[:, 0] = True
        log_prob = Categorical(2).log_prob(parameters, actions)
        samples = Samples(inputs, actions, log_prob, parameters, to_go, first, torch.ones_like(first))
        return tree_map(lambda tensor: tensor[None], samples)


BANDIT = World([[0.25, 0.75]], [((0, 0),), ((0, 1),)], [[1.0], [0.2]])
# the first action chooses between state 1 and state 2; the second action pays
TWO_STEPS = World(
    [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]],
    [((0, a), (1 + a, b)) for a in (0, 1) for b in (0, 1)],
    [[0.1, 1.0], [0.1, -0.5], [0.0, 2.0], [0.0, 0.3]],
)
STEPS = {id(BANDIT): 1, id(TWO_STEPS): 2}


def true_meta_gradient(world: World) -> Tensor:
    """By central differences of the exact value after an exact inner step."""

    def objective(logits: Tensor) -> Tensor:
        leaf = logits.clone().requires_grad_()
        # the room's loss is a mean over steps
        (slope,) = torch.autograd.grad(world.value(leaf) / STEPS[id(world)], leaf)
        return world.value(logits + RATE * slope)

    gradient, small = torch.zeros_like(world.logits), 1e-5
    for index in range(world.logits.numel()):
        nudge = torch.zeros_like(world.logits)
        nudge.view(-1)[index] = small
        gradient.view(-1)[index] = (objective(world.logits + nudge) - objective(world.logits - nudge)) / (2 * small)
    return gradient


def meta_gradient(
    world: World, baseline: list[float] | None = None, inner_ratio: Any = "step", first_order: bool = False
) -> Tensor:
    """By the room's own inner step, differentiated."""
    samples = world.samples(32, baseline or [0.0] * world.logits.shape[1])
    weights = {"table": world.logits.clone().requires_grad_()}
    start = Start(weights, {"table": torch.tensor(RATE, dtype=torch.float64)})
    table: Any = Table(world.logits.shape[1])
    after = adapted(Inner(None, table, Categorical(2), inner_ratio, first_order, 1.0, 1.0), start, samples, None)  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(world.value(after.weights["table"][0]), weights["table"])
    return slope


def log_pi_loss(inner: Inner, weights: Any, samples: Samples) -> Tensor:
    """The usual mistake: the right gradient and the wrong Hessian."""
    log_prob = inner.distribution.log_prob(torch.func.functional_call(inner.net, weights, (samples.inputs,)), samples.action)
    return -masked_mean(log_prob * samples.advantage, samples.valid)


@pytest.mark.parametrize("world", [BANDIT, TWO_STEPS], ids=["bandit", "two steps"])
@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_the_meta_gradient_is_that_of_the_exact_expectation(world: World, baseline: float):
    gradient = meta_gradient(world, [baseline * (1 + s) for s in range(world.logits.shape[1])], inner_ratio="path")
    torch.testing.assert_close(gradient, true_meta_gradient(world), rtol=1e-6, atol=1e-8)


def test_per_step_ratios_are_exact_on_a_bandit_and_not_on_two_steps():
    torch.testing.assert_close(meta_gradient(BANDIT, inner_ratio="step"), true_meta_gradient(BANDIT), rtol=1e-6, atol=1e-8)
    error = (meta_gradient(TWO_STEPS, inner_ratio="step") - true_meta_gradient(TWO_STEPS)).norm()
    assert error > 1e-2 * true_meta_gradient(TWO_STEPS).norm()


@pytest.mark.parametrize("world", [BANDIT, TWO_STEPS], ids=["bandit", "two steps"])
def test_the_usual_mistake_fails_the_same_test(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "inner_loss", log_pi_loss)
    error = (meta_gradient(world) - true_meta_gradient(world)).norm()
    assert error > 1e-2 * true_meta_gradient(world).norm()


@pytest.mark.parametrize("world", [BANDIT, TWO_STEPS], ids=["bandit", "two steps"])
def test_first_order_is_the_gradient_at_the_adapted_weights(world: World):
    leaf = world.logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(world.value(leaf) / STEPS[id(world)], leaf)
    there = (world.logits + RATE * slope).requires_grad_()
    (theory,) = torch.autograd.grad(world.value(there), there)
    torch.testing.assert_close(meta_gradient(world, first_order=True), theory)
    assert (theory - true_meta_gradient(world)).norm() > 1e-2 * theory.norm()


def learner_and_stages(name: str = "point-navigation", **options: Any) -> tuple[MAML, list[Experience]]:
    """A small learner in double precision, with its weights moved off zero, and what it collected."""
    tasks = qs.tasks.make(name, max_episode_steps=6) if name != "bandit" else qs.tasks.make(name, pulls=6)
    learner = MAML(tasks, MAML.Config(meta_batch_size=3, lanes=4, hidden_size=5, **{"inner_rate": 0.1, **options}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in learner.learned.values():
            weight.data = weight.double() + 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    learner.start = Start(
        {name: learner.learned[name] for name in learner.start.weights},
        {name: learner.learned.get(f"rate of {name}", rate.double()) for name, rate in learner.start.rates.items()},
    )
    life = Lifetime(Doubled(learner), lambda policy, experience: policy.adapt(experience), 4, learner.config.inner_steps + 1)
    lives = collect_lives(LocalSite(tasks), life, Shard(0, 0, 0, 3, "train"))
    return learner, [doubled(experience) for experience in lives]


class Doubled:
    """A policy in double precision: what it sees is widened, so that ratios are exactly one where they should be."""

    def __init__(self, learner: MAML, policy: Any = None):
        self.learner, self.policy = learner, policy or learner.explorer()

    def initial_memory(self, tasks: int, lanes: int) -> dict[str, Tensor]:
        return {}

    def act(self, percept: Any, memory: Any, generator: Any) -> Any:
        return self.policy.act(doubled(percept), memory, generator)

    def adapt(self, experience: Experience) -> Doubled:
        return Doubled(self.learner, self.learner.adapt(self.policy, doubled(experience)))


def doubled(tree: Any) -> Any:
    return tree_map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, tree)


@pytest.fixture(autouse=True)
def widened_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs of networks keep the precision of the observation here."""
    original: Callable[..., Tensor] = parts.inputs_of
    monkeypatch.setattr(parts, "inputs_of", lambda *seen: original(*seen).double())


@pytest.mark.parametrize("name", ["point-navigation", "bandit"])
@pytest.mark.parametrize("steps", [1, 2])
def test_adapting_many_tasks_at_once_is_adapting_each_alone(name: str, steps: int):
    learner, lives = learner_and_stages(name, inner_steps=steps)
    policy = learner.explorer()
    for life in lives[:-1]:
        policy = learner.adapt(policy, life)
    for task in range(3):
        alone = learner.explorer()
        for life in lives[:-1]:
            alone = learner.adapt(alone, tree_map(lambda tensor, task=task: tensor[task : task + 1], life))
        for key, weight in alone.start.weights.items():
            torch.testing.assert_close(weight[0], policy.start.weights[key][task])


def test_many_lanes_of_one_episode_are_one_lane_of_many_episodes():
    learner, lives = learner_and_stages()
    wide = lives[0]
    over_time = ("percept", "act", "transition", "valid")
    long = wide._replace(
        **{part: tree_map(lambda tensor: tensor.flatten(1, 2)[:, None], getattr(wide, part)) for part in over_time}
    )
    ours, theirs = learner.adapt(learner.explorer(), wide), learner.adapt(learner.explorer(), long)
    for key, weight in ours.start.weights.items():
        torch.testing.assert_close(weight, theirs.start.weights[key])


FADING = {"inner_ratio": "path", "ratio_lambda": 0.5}


@pytest.mark.parametrize(
    "options", [{}, {"inner_ratio": "path"}, FADING, {"inner_steps": 2}, {"learn_inner_rate": True}], ids=str
)
@pytest.mark.parametrize("name", ["point-navigation", "bandit"])
def test_gauss_newton_products_are_the_double_backward_of_the_kl(name: str, options: dict[str, Any]):
    learner, lives = learner_and_stages(name, **options)
    stages = [samples_of(learner.inner, life) for life in lives]
    last, distribution = stages[-1], learner.distribution
    parameters, pull, push = linear_maps(lambda learned: learner.outcomes(learned, stages)[0], learner.learned)
    torch.testing.assert_close(parameters, last.parameters)
    leaves = {key: value.detach().requires_grad_() for key, value in learner.learned.items()}
    kl = distribution.kl(last.parameters, learner.outcomes(leaves, stages)[0]).mean()
    slope = torch.autograd.grad(kl, list(leaves.values()), create_graph=True, materialize_grads=True)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        vector = torch.randn(flatten(leaves).shape, generator=generator, dtype=torch.float64)
        along = sum((part * other).sum() for part, other in zip(slope, unflatten(vector, leaves).values(), strict=True))
        assert isinstance(along, Tensor)
        backward = torch.autograd.grad(along, list(leaves.values()), retain_graph=True, materialize_grads=True)
        ours = pull(distribution.fisher(last.parameters, push(vector)) / last.valid.numel())
        torch.testing.assert_close(ours, torch.cat([part.flatten() for part in backward]), rtol=1e-6, atol=1e-9)


def test_a_trust_region_step_moves_by_the_kl_it_may_and_improves():
    learner, lives = learner_and_stages()
    stages = [samples_of(learner.inner, life) for life in lives]
    before = {key: value.detach().clone() for key, value in learner.learned.items()}
    metrics = learner.trust_region(stages)
    assert 0 < metrics["train/approx_kl"] <= learner.config.max_kl
    parameters = learner.outcomes(learner.learned, stages)[0].detach()
    kl = learner.distribution.kl(stages[-1].parameters, parameters).mean()
    assert abs(float(kl) - metrics["train/approx_kl"]) < 1e-9
    assert any(not torch.equal(before[key], value) for key, value in learner.learned.items())


@pytest.mark.slow
def test_trust_regions_too_learn_to_find_the_hidden_button(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    config = MAML.Config(meta_batch_size=20, lanes=20, hidden_size=16, inner_rate=0.5, outer="trpo", max_kl=0.02)
    learner = MAML(qs.NativeTasks(HiddenButton()), config)
    work, before = InProcess(learner.tasks), qs.evaluate(learner, num_tasks=200).returns.sum(1).mean()
    for _ in range(60):
        learner.train_step(work)
    after = qs.evaluate(learner, num_tasks=200).returns.sum(1).mean()
    assert before < 2.2 and after > HiddenButton.optimum - 0.15


def test_learned_rates_move_with_meta_training(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()  # in single precision, as users train
    config = MAML.Config(meta_batch_size=4, lanes=4, learn_inner_rate=True)
    learner = MAML(qs.tasks.make("point-navigation", max_episode_steps=5), config)
    learner.train_step(InProcess(learner.tasks))
    rates = learner.start.rates
    assert rates["policy.0.weight"].shape == learner.start.weights["policy.0.weight"].shape
    assert any((rate != learner.config.inner_rate).any() for rate in rates.values())


def test_where_a_task_is_solved_rounding_makes_no_advantage(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    tasks = qs.NativeTasks(Solved())
    learner = MAML(tasks, MAML.Config(meta_batch_size=4, lanes=20))
    lives = collect_lives(LocalSite(tasks), Lifetime(learner.explorer(), learner.adapt, 20, 1), Shard(0, 0, 0, 4, "train"))
    assert samples_of(learner.inner, lives[0]).advantage.abs().max() < 1e-2


class Solved(HiddenButton):
    """Every press pays 1."""

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Any, noise: Tensor) -> Tensor:
        return torch.ones_like(action, dtype=torch.float32)


@pytest.mark.parametrize("outer", ["trpo", "ppo"])
def test_where_no_reward_was_met_nothing_moves_and_nothing_breaks(outer: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    tasks = qs.tasks.make("point-navigation", payoff="sparse", layout="half-circle", max_episode_steps=3)
    learner = MAML(tasks, MAML.Config(meta_batch_size=4, lanes=4, outer=outer))
    before = {key: value.detach().clone() for key, value in learner.learned.items()}
    metrics = learner.train_step(InProcess(tasks))
    assert metrics["rollout/ep_rew_mean"] == 0
    assert all(torch.equal(before[key], value) for key, value in learner.learned.items())


def test_weights_of_each_task_act_on_their_own_task():
    learner, lives = learner_and_stages()
    policy = learner.adapt(learner.explorer(), lives[0])
    inputs = lives[0].percept.observation
    together = forward(learner.net, policy.start.weights, inputs, 0)
    for task in range(3):
        own = {key: weight[task] for key, weight in policy.start.weights.items()}
        torch.testing.assert_close(forward(learner.net, own, inputs[task : task + 1], None)[0], together[task])


@pytest.mark.parametrize("outer", ["trpo", "ppo"])
def test_steps_that_were_not_lived_move_nothing(outer: Any):
    """Behind each episode stand steps that are not valid, whatever is in them: first weights move the same way."""
    learner, lives = learner_and_stages(outer=outer, cg_damping=0.1)
    other, same = learner_and_stages(outer=outer, cg_damping=0.1)
    assert all(torch.equal(one.transition.reward, two.transition.reward) for one, two in zip(lives, same, strict=True))
    over_time = ("percept", "act", "transition", "valid")
    padded = [
        life._replace(**{part: tree_map(lambda t: torch.cat([t, t[:, :, :3]], 2), getattr(life, part)) for part in over_time})
        for life in lives
    ]
    for life in padded:
        life.valid[:, :, 6:] = False
    moves = []
    for each, stages in ((learner, padded), (other, lives)):
        before = flatten(each.learned).detach().clone()
        samples = [samples_of(each.inner, life) for life in stages]
        each.trust_region(samples) if outer == "trpo" else each.proximal(samples)
        moves.append(flatten(each.learned).detach() - before)
    assert float((moves[0] - moves[1]).norm()) < 1e-3 * float(moves[1].norm())
