"""The multi-task policy: each of its formulae against its definition, a loop over the steps that were really lived."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from loops import advantages, batches_of, explained, learnt_scale, lived, moved_scale, perturbed, ppo_parts, standardised
from probes import HiddenLedge
from small import SMALL
from torch import Tensor
from torch.func import functional_call

import quickstudy as qs
from quickstudy.algorithms.baselines.multi_task import MultiTask
from quickstudy.parts.ppo import Batch
from quickstudy.protocol import Experience

LANES, STEPS = 40, 5
BEFORE = (1.0, 9.0)
"""Targets that a learner has seen before: its values are on a scale of their own."""


def make(told: bool = False, **options: Any) -> MultiTask:
    """A learner whose value scale has begun to move."""
    tasks: Any = qs.NativeTasks(HiddenLedge())
    config = MultiTask.Config(**SMALL["multi-task"] | {"n_envs": LANES, "minibatches": 4} | options)
    learner = MultiTask(qs.Informed(tasks) if told else tasks, config, seed=1)
    learner.scale = learnt_scale(BEFORE, learner.config.value_rate)
    return learner


def steps_of(learner: MultiTask) -> Experience:
    """As many steps in each lane as the longest episode has: some end earlier, and what they begin next is cut off."""
    experience = lived(learner, LANES, None, STEPS)
    transition = experience.transition
    last = transition.terminated[..., -1], transition.truncated[..., -1]
    assert all(int(kind.sum()) > 3 for kind in (*last, ~last[0] & ~last[1])) and experience.valid.all()
    return experience


def by_lane(values: Tensor) -> Tensor:
    """What a batch of steps holds, as (lane, time)."""
    return values.unflatten(0, (LANES, STEPS))


def defined(learner: MultiTask, experience: Experience) -> tuple[list[float], list[float], list[float]]:
    """Values, advantages and targets of every step, lane after lane."""
    policy, config, transition, scale = learner.explorer(), learner.config, experience.transition, learner.scale

    def value_of(observation: Tensor) -> float:
        return float(policy(observation)[1] * scale.std + scale.mean)

    values, gains = [], []
    for lane in range(LANES):
        value = [value_of(experience.percept.observation[lane, 0, step]) for step in range(STEPS)]
        successor, carried = [], []
        for step in range(STEPS):
            cut = bool(transition.truncated[lane, 0, step]) or step == STEPS - 1
            if transition.terminated[lane, 0, step]:
                successor.append(0.0)
            else:
                successor.append(value_of(transition.arrival[lane, 0, step]) if cut else value[step + 1])
            carried.append(not cut and not transition.terminated[lane, 0, step])
        reward = transition.reward[lane, 0].tolist()
        gains += advantages(reward, value, successor, carried, config.gamma, config.gae_lambda)
        values += value
    return values, gains, [gain + value for gain, value in zip(gains, values, strict=True)]


@torch.no_grad()
@pytest.mark.parametrize("told", [False, True])
def test_advantages_and_targets_are_their_definition(told: bool):
    learner = make(told)
    experience = steps_of(learner)
    values, gains, aims = defined(learner, experience)
    batch, metrics = learner.prepare(learner.explorer(), experience)
    near = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(batch.advantage, torch.tensor(standardised(gains)), **near)
    mean, std = moved_scale(BEFORE, aims, learner.config.value_rate)
    assert (float(learner.scale.mean), float(learner.scale.std)) == pytest.approx((mean, std), rel=1e-4)
    torch.testing.assert_close(batch.target, (torch.tensor(aims) - mean) / std, **near)
    assert metrics["train/explained_variance"] == pytest.approx(explained(values, aims), abs=1e-4)


@torch.no_grad()
def test_moving_the_scale_moves_no_value():
    learner = make()
    experience = steps_of(learner)
    before = learner.scale.restore(experience.act.notes["value"][:, 0])
    batch, _ = learner.prepare(learner.explorer(), experience)
    _, value = functional_call(learner.net, learner.weights, (batch.inputs,))
    torch.testing.assert_close(learner.scale.restore(by_lane(value)), before, rtol=1e-4, atol=1e-4, check_dtype=False)


@torch.no_grad()
@pytest.mark.parametrize("told", [False, True])
def test_the_network_reads_the_observation_alone(told: bool):
    """And where it is told, the side on which walking out pays."""
    learner = make(told)
    experience = steps_of(learner)
    batch, _ = learner.prepare(learner.explorer(), experience)
    assert torch.equal(by_lane(batch.inputs), experience.percept.observation[:, 0])
    assert batch.inputs.shape[-1] == 1 + told
    if told:
        out = experience.percept.observation[:, 0, :, 0].abs() == 1
        paid = experience.percept.reward[:, 0] * experience.percept.observation[:, 0, :, 0]
        side = by_lane(batch.inputs)[..., 1]
        assert torch.equal((paid > 0)[out & (paid != 0)], (side > side.mean())[out & (paid != 0)])


@torch.no_grad()
def test_the_policy_that_is_trained_first_is_the_one_that_acted():
    learner = make(ent_coef=0.0, vf_coef=0.0)
    batch, _ = learner.prepare(learner.explorer(), steps_of(learner))
    _, parts = learner.loss(learner.weights, batch)
    assert float(parts["train/approx_kl"]) == pytest.approx(0, abs=1e-6)
    assert float(parts["train/loss"]) == pytest.approx(0, abs=1e-5)  # standardised advantages sum to nothing


@torch.no_grad()
def test_the_loss_is_ppos():
    learner = make(vf_coef=0.7, ent_coef=0.3)
    batch, _ = learner.prepare(learner.explorer(), steps_of(learner))
    weights = perturbed(learner.weights, 0.2)
    total, parts = learner.loss(weights, batch)
    logits, value = functional_call(learner.net, weights, (batch.inputs,))
    expected = ppo_parts(logits, value, batch.action, batch.log_prob, batch.advantage, batch.target, learner.config.clip_range)
    assert 0.05 < expected["train/clip_fraction"] < 0.95
    for name, part in expected.items():
        assert float(parts[name]) == pytest.approx(part, rel=1e-4, abs=1e-5), name
    sums = expected["train/policy_loss"] + 0.7 * expected["train/value_loss"] - 0.3 * expected["train/entropy"]
    assert float(total) == float(parts["train/loss"]) == pytest.approx(sums, rel=1e-4)


def test_each_pass_takes_every_step_once(monkeypatch: pytest.MonkeyPatch):
    learner = make(n_epochs=2)
    prepared, seen = batches_of(learner, monkeypatch)

    def rows(batches: list[Batch]) -> list[tuple[float, ...]]:
        """The steps of some batches, each as all that it holds, in order."""
        return [
            tuple(row.tolist())
            for batch in batches
            for row in torch.cat([field if field.dim() > 1 else field[:, None] for field in batch], 1)
        ]

    assert [len(batch.target) for batch in seen] == [LANES * STEPS // 4] * 8
    first, second = rows(seen[:4]), rows(seen[4:])
    assert Counter(first) == Counter(second) == Counter(rows(prepared)) and first != second


def test_gradients_are_scaled_down_to_their_bound():
    learner = make(max_grad_norm=0.01)
    batch, _ = learner.prepare(learner.explorer(), steps_of(learner))
    parts = learner.update(batch)
    taken = sum(float(weight.grad.square().sum()) for weight in learner.weights.values() if weight.grad is not None) ** 0.5
    assert float(parts["train/grad_norm"]) > 0.02 and taken == pytest.approx(0.01, rel=1e-3)


@torch.no_grad()
def test_metrics_tell_of_the_first_episode_of_each_lane():
    """It is complete for certain: those that are begun after it are cut off by the rollout's end, the short ones less often."""
    learner = make()
    experience = steps_of(learner)
    _, metrics = learner.prepare(learner.explorer(), experience)
    transition, returns, lengths = experience.transition, 0.0, 0
    for lane in range(LANES):
        for step in range(STEPS):
            returns += float(transition.reward[lane, 0, step])
            lengths += 1
            if transition.terminated[lane, 0, step] or transition.truncated[lane, 0, step]:
                break
    assert metrics["rollout/timesteps"] == LANES * STEPS
    assert metrics["rollout/ep_rew_mean"] == pytest.approx(returns / LANES, abs=1e-5)
    assert metrics["rollout/ep_len_mean"] == pytest.approx(lengths / LANES)


def test_nothing_is_learnt_from_the_task():
    learner = make()
    policy = learner.explorer()
    assert learner.adapt(policy, steps_of(learner)) is policy and policy.initial_memory(3, 2) == {}
