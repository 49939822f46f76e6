"""Multi-task SAC against numbers worked by hand, finite differences and loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from gymnasium import spaces
from small import SMALL, TINY
from torch import Tensor, nn
from torch.func import functional_call

import quickstudy as qs
from quickstudy.algorithms.baselines.multi_task_sac import Batch, draws_of, fine_tuned, joined, losses, records_of
from quickstudy.check.learner import CLAUSES, Subject, lived
from quickstudy.data.rollout import Plan, collect
from quickstudy.nets.soft import soft_actions
from quickstudy.ops.adaptation import AdamMoments, adam_step
from quickstudy.ops.tree import tensors_in, tree_map
from quickstudy.parts.soft import ActorCritic, Brain, Heads
from quickstudy.protocol import Shard, counter
from quickstudy.work import InProcess, LocalSite

GAMMA, TEMPERATURE = 0.9, 0.5
ACTIONS = soft_actions(spaces.Discrete(2))


class TwoTables(nn.Module):
    """Values of two actions in each of two states, read off two tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.Parameter(torch.empty(2, 2, 2))

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        return observation @ self.tables


class OneTable(nn.Module):
    """Logits of two actions in each of two states."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(2, 2))

    def forward(self, observation: Tensor) -> Tensor:
        return observation @ self.table


def world() -> tuple[ActorCritic, Heads, dict[str, Tensor], Batch, Tensor]:
    """A two-state MDP with tables for networks, in double precision; in neither state is the policy its own optimum."""
    net = ActorCritic(OneTable(), TwoTables(), ACTIONS)
    policy = {"table": torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)}
    critics = {"tables": torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[2.0, 1.0], [5.0, 3.0]]], dtype=torch.float64)}
    target = {"tables": critics["tables"] + torch.tensor([[[0.5]], [[-0.5]]], dtype=torch.float64)}
    state = torch.eye(2, dtype=torch.float64)
    batch = Batch(state, torch.tensor([1, 0]), torch.tensor([1.0, 10.0]).double(), torch.tensor([False, True]), state.flip(0))
    learned = Heads(policy, critics, torch.tensor(TEMPERATURE, dtype=torch.float64).log())
    return net, learned, target, batch, torch.zeros(2, 2, 0)


def loss_of(learned: Heads) -> Any:
    net, _, target, batch, noise = world()
    return losses(net, GAMMA, Brain(learned, target), batch, noise, torch.ones(2))


def test_the_targets_of_two_states_are_those_worked_by_hand():
    """Action 1 leads from state 0 to state 1, action 0 in state 1 ends the episode."""
    _, learned, _, _, _ = world()
    _, (error, parts) = loss_of(learned)
    probs = torch.tensor([1.0, 0.0]).double().softmax(0)
    least = torch.tensor([3.5, 2.5]).double()  # of [3.5, 4.5] and [4.5, 2.5]
    value = (probs * (least - TEMPERATURE * probs.log())).sum()
    aims = torch.stack([1 + GAMMA * value, torch.tensor(10.0).double()])  # nothing follows a termination
    taken = torch.tensor([[2.0, 3.0], [1.0, 5.0]]).double()
    torch.testing.assert_close(error, (taken - aims).abs().mean(0))
    torch.testing.assert_close(parts["train/critic_loss"], 0.5 * (taken - aims).square().sum(0).mean())


def test_each_part_of_the_gradient_is_that_of_its_own_loss():
    """By central differences: critics with their targets held, the policy under the critics, the temperature by the entropy."""
    _, learned, _, batch, _ = world()
    leaves = tree_map(lambda part: part.clone().requires_grad_(), learned)
    gradients = torch.autograd.grad(loss_of(leaves)[0], tensors_in(leaves))
    probs = batch.observation @ learned.policy["table"]
    entropy = -(probs.softmax(-1) * probs.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(gradients[2], entropy - ACTIONS.target_entropy)
    for place, (name, kept) in enumerate([("policy", "train/policy_loss"), ("critics", "train/critic_loss")]):
        own = getattr(learned, name)
        (key,) = own
        for index in range(own[key].numel()):
            nudge = torch.zeros_like(own[key])
            nudge.view(-1)[index] = 1e-6
            plus, minus = (
                float(loss_of(learned._replace(**{name: {key: own[key] + sign * nudge}}))[1][1][kept]) for sign in (1, -1)
            )
            assert float(gradients[place].view(-1)[index]) == pytest.approx((plus - minus) / 2e-6, abs=1e-6)


def test_adam_on_trees_is_torchs_own():
    torch.manual_seed(0)
    weights = {"a": torch.randn(3, dtype=torch.float64), "b": torch.randn(2, 2, dtype=torch.float64)}
    theirs = {name: value.clone().requires_grad_() for name, value in weights.items()}
    optimiser = torch.optim.Adam(theirs.values(), lr=0.03, eps=1e-5)
    moments = AdamMoments(*(tree_map(torch.zeros_like, weights) for _ in range(2)))
    for step in range(1, 6):
        gradients = {name: torch.randn_like(value) for name, value in weights.items()}
        for name, value in theirs.items():
            value.grad = gradients[name].clone()
        optimiser.step()
        weights, moments = adam_step(weights, gradients, moments, step, 0.03)
    for name, value in weights.items():
        torch.testing.assert_close(value, theirs[name].detach())


def learner(kind: str = "point-navigation", **options: Any) -> qs.MultiTaskSAC:
    tasks = qs.tasks.make(kind, **({"max_episode_steps": 5} if kind == "point-navigation" else {"max_episode_steps": 30}))
    return qs.MultiTaskSAC(tasks, qs.MultiTaskSAC.Config(**SMALL["multi-task-sac"] | options))


@pytest.mark.parametrize("kind", ["point-navigation", "cart-pole"])
def test_fine_tuning_many_tasks_at_once_is_fine_tuning_each_by_itself(kind: str):
    """On cart-poles whose episodes differ in length, padded steps must not count."""
    agent, experience = learner(kind), None
    plan = Plan(agent.explorer(), 1, agent.tasks.max_episode_steps, 1)
    experience = collect(LocalSite(agent.tasks), plan, Shard(0, 0, 0, 4, "test"))
    assert kind != "cart-pole" or not experience.valid.all()
    together = agent.adapt(agent.explorer(), experience).brain
    for task in range(4):
        lived = int(experience.valid[task].sum())
        own = {name: value[task, :lived] for name, value in records_of(agent.tasks, experience).items()}
        draws = draws_of(agent.config, agent.actions, counter(agent.seed, 0, "fine-tuning"))
        alone = fine_tuned(agent.net, agent.config, agent.explorer().brain, own, draws)
        for one, all_of_them in zip(tensors_in(alone), tensors_in(together), strict=True):
            torch.testing.assert_close(one, all_of_them[task], rtol=1e-3, atol=1e-4)


def test_without_steps_the_policy_stays_as_it_is():
    agent = learner(fine_tune_steps=0)
    episodes = lived(agent, agent.explorer(), tasks=3, greedy=False)
    assert agent.adapt(policy := agent.explorer(), episodes[0]) is policy
    returns = qs.evaluate(agent, num_tasks=6).returns
    assert not torch.equal(returns, qs.evaluate(learner(), num_tasks=6).returns)  # with steps it changes


def test_what_was_seen_is_joined_in_the_order_it_was_lived():
    before = {"x": torch.tensor([[1, 2, 0], [1, 0, 0]]), "valid": torch.tensor([[True, True, False], [True, False, False]])}
    new = {"x": torch.tensor([[3, 0], [2, 3]]), "valid": torch.tensor([[True, False], [True, True]])}
    seen = joined(before, new)
    assert seen["x"].tolist() == [[1, 2, 3], [1, 2, 3]] and bool(seen["valid"].all())
    longer = joined(seen, {"x": torch.tensor([[4], [9]]), "valid": torch.tensor([[True], [False]])})
    assert longer["x"][0].tolist() == [1, 2, 3, 4] and longer["valid"].tolist() == [[True] * 4, [True] * 3 + [False]]


@pytest.mark.slow
def test_a_fine_tuned_critic_learns_the_values_of_its_own_task():
    """One state, two buttons: after many steps on both, each is worth what it pays, whatever it was worth before."""
    tasks = qs.tasks.make("bandit", arms=2, pulls=1)
    agent = qs.MultiTaskSAC(tasks, qs.MultiTaskSAC.Config(hidden_size=16, fine_tune_steps=150, fine_tune_rate=2e-2, gamma=0.01))
    explorer, one = agent.explorer(), torch.zeros(2, 1, dtype=torch.float32)
    size = explorer.brain.learned.policy["0.weight"].shape[1]
    observation = torch.zeros(2, 2, size)
    reward = torch.tensor([[0.0, 1.0], [0.6, 0.2]])
    seen = {
        "observation": observation,
        "action": torch.tensor([[0, 1], [0, 1]]),
        "reward": reward,
        "terminated": torch.ones(2, 2, dtype=torch.bool),
        "arrival": observation,
        "valid": torch.ones(2, 2, dtype=torch.bool),
    }
    draws = draws_of(agent.config, agent.actions, counter(0, 0, "fine-tuning"))
    for task in range(2):
        brain = fine_tuned(agent.net, agent.config, explorer.brain, {name: value[task] for name, value in seen.items()}, draws)
        values = functional_call(agent.net.critics, brain.learned.critics, (observation[task, :1], one[:1, :0]))
        torch.testing.assert_close(values[:, 0], reward[task].expand(2, 2), rtol=0, atol=0.02)
        assert isinstance(brain, Brain)


@pytest.mark.usefixtures("one_kind")
@pytest.mark.parametrize("options", [{"prioritised": 0.6}, {"buffer_on_disk": True}, {"buffer_size": 4}], ids=str)
def test_every_way_of_drawing_resumes_bit_for_bit(options: dict[str, Any]):
    subject = Subject(qs.MultiTaskSAC, qs.MultiTaskSAC.Config(**TINY["multi-task-sac"] | options))
    CLAUSES["resuming"](subject)


def test_transitions_with_large_errors_are_drawn_more_often():
    agent = learner(prioritised=1.0)
    agent.train_step(InProcess(agent.tasks))
    priorities = agent.replay.priorities
    assert priorities is not None
    values = torch.where(priorities.values > 0, 1e-6, 0.0)
    favourite = int(values.argmax())
    values[favourite] = 1.0
    priorities.load(values)
    _, weight, leaf = agent.draw(counter(0, 0, "draw"))
    assert (leaf == favourite).float().mean() > 0.95
    assert float(weight[leaf == favourite].max()) <= float(weight.max())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_envs": 64, "num_train_tasks": 32}, "no more than num_train_tasks"),
        ({"shards": 3}, "multiple of shards"),
        ({"gamma": 0.0}, "gamma"),
        ({"temperature": 0.0}, "temperature"),
        ({"fine_tune_steps": -1}, "fine_tune_steps is -1"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(options: dict[str, Any], says: str):
    with pytest.raises(qs.UsageError, match=says):
        replace(qs.MultiTaskSAC.Config(), **options)
