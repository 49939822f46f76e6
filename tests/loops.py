"""What the learners' formulae are defined as, for one life at a time, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from quickstudy.data.rollout import Lifetime, Plan, collect, collect_lives
from quickstudy.insight import Trial
from quickstudy.nets.values import ValueScale, follow_targets, unit_scale
from quickstudy.protocol import Experience, Shard
from quickstudy.work import InProcess, LocalSite


def lived(learner: Any, tasks: int, episodes: int | None, steps: int) -> Experience:
    """What a learner's explorer lives in one lane of each of some training tasks."""
    return collect(LocalSite(learner.tasks), Plan(learner.explorer(), 1, steps, episodes), Shard(0, 0, 0, tasks, "train"))


def advantages(
    reward: Sequence[float],
    value: Sequence[float],
    successor: Sequence[float],
    carried: Sequence[bool],
    gamma: float,
    trace: float,
) -> list[float]:
    """Generalised advantage estimates of one life: r + gamma V(next) - V, and gamma trace A(next) where credit is carried."""
    found, later = [], 0.0
    for r, v, v_next, goes_on in reversed(list(zip(reward, value, successor, carried, strict=True))):
        later = r + gamma * v_next - v + gamma * trace * later * goes_on
        found.append(later)
    return found[::-1]


def learnt_scale(targets: Sequence[float], rate: float) -> ValueScale:
    """The scale after a first batch of targets."""
    return follow_targets(unit_scale("cpu"), torch.tensor(targets), torch.ones(len(targets), dtype=torch.bool), rate)


def moved_scale(before: Sequence[float], now: Sequence[float], rate: float) -> tuple[float, float]:
    """Mean and deviation after two batches of targets: exponential averages of x and of x^2, each over the weight it has."""
    shares = rate * (1 - rate), rate
    weight = sum(shares)
    first, second = (
        sum(share * sum(x**power for x in batch) / len(batch) for share, batch in zip(shares, (before, now), strict=True))
        for power in (1, 2)
    )
    mean = first / weight
    return mean, (second / weight - mean**2) ** 0.5


def standardised(values: Sequence[float]) -> list[float]:
    """Values less their mean, over their deviation."""
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return [(value - mean) / deviation for value in values]


def explained(value: Sequence[float], target: Sequence[float]) -> float:
    """The share of the targets' variance that is not left in what the values miss."""

    def variance(x: Sequence[float]) -> float:
        return sum((each - sum(x) / len(x)) ** 2 for each in x) / len(x)

    return 1 - variance([t - v for t, v in zip(target, value, strict=True)]) / variance(target)


def ppo_parts(
    logits: Tensor, value: Tensor, action: Tensor, log_prob: Tensor, advantage: Tensor, target: Tensor, clip: float
) -> dict[str, float]:
    """The parts of PPO's loss on single steps with discrete actions (step, ...), one after another."""
    sums = dict.fromkeys(("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"), 0.0)
    for scores, v, a, before, gain, aim in zip(logits, value, action, log_prob, advantage, target, strict=True):
        chances = (scores - scores.max()).exp() / (scores - scores.max()).exp().sum()
        ratio = float(chances[a] / before.exp())
        bounded = max(1 - clip, min(1 + clip, ratio))
        sums["policy_loss"] -= min(ratio * float(gain), bounded * float(gain))
        sums["value_loss"] += 0.5 * float(v - aim) ** 2
        sums["entropy"] -= sum(float(chance * chance.log()) for chance in chances)
        sums["approx_kl"] += ratio - 1 - float(torch.tensor(ratio).log())
        sums["clip_fraction"] += abs(ratio - 1) > clip
    return {f"train/{name}": total / len(value) for name, total in sums.items()}


def perturbed(weights: dict[str, Tensor], size: float) -> dict[str, Tensor]:
    """Weights nearby."""
    generator = torch.Generator().manual_seed(1)
    return {name: weight.detach() + size * torch.randn(weight.shape, generator=generator) for name, weight in weights.items()}


def batches_of(learner: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Any]]:
    """What a meta-iteration of a learner prepares, and the parts of it that its updates would read, which aren't made."""
    prepared: list[Any] = []
    seen: list[Any] = []
    prepare = learner.prepare

    def kept(*given: Any) -> Any:
        result = prepare(*given)
        prepared.append(result[0])
        return result

    monkeypatch.setattr(learner, "prepare", kept)
    monkeypatch.setattr(learner, "update", lambda batch: seen.append(batch) or {})
    learner.train_step(InProcess(learner.tasks))
    return prepared, seen


def trial_of(learner: Any, tasks: int, episodes: int) -> Trial:
    """What a learner lives, episode by episode, on some training tasks."""
    policies = [learner.explorer()]

    def adapt(policy: Any, experience: Experience) -> Any:
        policies.append(learner.adapt(policy, experience))
        return policies[-1]

    life = Lifetime(policies[0], adapt, learner.lanes, episodes, False)
    lived = collect_lives(LocalSite(learner.tasks), life, Shard(0, 0, 0, tasks, "train"))
    adapt(policies[-1], lived[-1])
    return Trial(policies, lived)
