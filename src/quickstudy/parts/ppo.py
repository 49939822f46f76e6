"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), whatever it is that a policy reads.

How far an action answers for rewards is the method's own; from advantages on, all go the same way: targets, the values' scale
moved on to them, minibatches, loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor

from quickstudy.nets.distributions import Distribution
from quickstudy.nets.networks import Weights, copied, copy_into
from quickstudy.nets.values import ValueScale, follow_targets, preserve_values
from quickstudy.ops.policy_gradient import clipped_surrogate, explained_variance, masked_mean, sampled_kl, standardise
from quickstudy.parts.collecting import told_reward
from quickstudy.protocol import Experience, Metrics, Percept


class Batch(NamedTuple):
    """Steps as the update reads them: whole trials behind time, (time, trial), or single ones, (step,)."""

    inputs: Shaped[Tensor, "*axes entry"]
    """What the network reads, as it was when the action was taken."""
    action: Shaped[Tensor, "*axes ..."]
    log_prob: Float[Tensor, "*axes"]
    advantage: Float[Tensor, "*axes"]
    """Standardised."""
    target: Float[Tensor, "*axes"]
    """Value targets on the value head's own scale."""
    valid: Bool[Tensor, "*axes"]
    taught: Float[Tensor, "*axes parameter"]
    """What a teacher would do, as parameters of the actions' distribution: none where there is no teacher."""


def batch_of(
    experience: Experience,
    inputs: Shaped[Tensor, "task lane time entry"],
    value: Float[Tensor, "task lane time"],
    advantage: Float[Tensor, "task lane time"],
    scale: ValueScale,
    head: tuple[Tensor, Tensor],
    rate: float,
) -> tuple[Batch, ValueScale, Metrics]:
    """The steps of experience, (task, lane, time), and the value scale moved on to their targets, `advantage + value`.

    `head`, weight and bias of the values' last layer, changes in place so that no value moves with its scale (PopArt).
    """
    valid, target = experience.valid, advantage + value
    moved = follow_targets(scale, target, valid, rate)
    preserve_values(*head, scale, moved)
    log_prob = cast(Tensor, experience.act.log_prob)
    gain = standardise(advantage, valid).float()
    untaught = gain.new_zeros(*gain.shape, 0)
    batch = Batch(inputs, experience.act.action, log_prob, gain, moved.normalise(target), valid, untaught)
    return batch, moved, {"train/explained_variance": explained_variance(value, target, valid).item()}


def minibatches(batch: Batch, passes: int, parts: int, generator: Generator) -> Iterator[Batch]:
    """Passes over single steps or whole trials, each in an order of its own and in so many parts."""
    axis = batch.target.dim() - 1
    for _ in range(passes):
        for chosen in torch.randperm(batch.target.shape[axis], generator=generator).chunk(parts):
            yield Batch(*(values.index_select(axis, chosen.to(values.device)) for values in batch))


class Cap:
    """A bound on how far the passes of a meta-iteration may move a policy, and what is kept of them.

    Of the passes after which the KL to the policy that collected is within the cap, that of the least loss stays. Where none
    is, the weights go back half of the way to where they were, again and again until it is (ten times at most, then all of
    the way): the first-order optimiser of Duan et al. 2016.
    """

    def __init__(self, most: float, weights: Weights, judged: Callable[[], dict[str, Tensor]]):
        self.most, self.weights, self.judged = most, weights, judged
        self.before, self.least = copied(weights), math.inf
        self.best: Weights | None = None

    @torch.no_grad()
    def exceeded(self) -> bool:
        """Whether the pass that has just been made went too far; if not, it may be the best one."""
        found = self.judged()
        if found["train/approx_kl"] > self.most:
            return True
        if found["train/policy_loss"] < self.least:
            self.best, self.least = copied(self.weights), found["train/policy_loss"].item()
        return False

    @torch.no_grad()
    def settled(self) -> dict[str, Tensor]:
        """Puts the best pass's weights in place, or what comes nearest; what they are like."""
        if self.best is not None:
            copy_into(self.weights, self.best)
            return self.judged()
        for _ in range(10):
            if (found := self.judged())["train/approx_kl"] <= self.most:
                return found
            copy_into(self.weights, {name: weight.lerp(self.before[name], 0.5) for name, weight in self.weights.items()})
        copy_into(self.weights, self.before)
        return self.judged()


def loss(
    distribution: Distribution,
    parameters: Float[Tensor, "*axes parameter"],
    value: Float[Tensor, "*axes"],
    batch: Batch,
    clip_range: float,
    vf_coef: float,
    ent_coef: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's loss, a mean over the valid steps, and its parts: surrogate + vf_coef (V - target)^2 / 2 - ent_coef entropy."""
    log_prob = distribution.log_prob(parameters, batch.action)
    surrogate = masked_mean(clipped_surrogate(log_prob, batch.log_prob, batch.advantage, clip_range), batch.valid)
    value_loss = 0.5 * masked_mean((value - batch.target).square(), batch.valid)
    entropy = masked_mean(distribution.entropy(parameters), batch.valid)
    total = surrogate + vf_coef * value_loss - ent_coef * entropy
    clipped = ((log_prob - batch.log_prob).exp() - 1).abs() > clip_range
    parts = {
        "train/loss": total,
        "train/policy_loss": surrogate,
        "train/value_loss": value_loss,
        "train/entropy": entropy,
        "train/approx_kl": masked_mean(sampled_kl(log_prob, batch.log_prob), batch.valid),
        "train/clip_fraction": masked_mean(clipped.float(), batch.valid),
    }
    return total, {name: part.detach() for name, part in parts.items()}


class Limits(NamedTuple):
    """Ends of episodes that were cut by their time limit, and what would be seen there if they went on."""

    at: tuple[Tensor, ...]
    """Task, lane and time of each."""
    percept: Percept
    step: Float[Tensor, "end"]
    episode: Float[Tensor, "end"]
    """The clock: an episode that goes on is the same one, a step later."""


def time_limits(experience: Experience) -> Limits:
    """Where the episodes of whole trials were truncated: values beyond are asked there (Pardo et al. 2018)."""
    transition = experience.transition
    at = (transition.truncated & experience.valid).nonzero(as_tuple=True)
    never = torch.zeros_like(at[0], dtype=torch.bool)
    arrival, reward = transition.arrival[at], told_reward(experience)[at]
    percept = Percept(arrival, never, experience.act.action[at], reward, arrival, never, never)
    return Limits(at, percept, at[2] + 1.0, experience.percept.first.float().cumsum(-1)[at])
