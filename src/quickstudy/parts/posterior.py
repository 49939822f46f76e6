"""A belief about the task that is a product of Gaussians, one for each transition (PEARL: Rakelly et al. 2019, sec. 4.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.nets.networks import Weights
from quickstudy.nets.options import Senses
from quickstudy.nets.reader import Inputs, inputs_for
from quickstudy.ops.features import as_vector, unit_vector, vector_size
from quickstudy.ops.moments import Moments
from quickstudy.ops.senses import as_row, is_read
from quickstudy.parts.collecting import told_reward
from quickstudy.protocol import Experience, TaskDistribution


class Posterior(NamedTuple):
    """A Gaussian belief about the latent task: what the factors of the transitions add up to, beside the prior N(0, I)."""

    precision: Float[Tensor, "*task latent"]
    """The sum of their precisions."""
    weighted: Float[Tensor, "*task latent"]
    """The sum of their means, each times its precision."""

    @property
    def mean(self) -> Float[Tensor, "*task latent"]:
        return self.weighted / (1 + self.precision)

    @property
    def std(self) -> Float[Tensor, "*task latent"]:
        return (1 + self.precision).rsqrt()

    @property
    def divergence(self) -> Float[Tensor, "*task"]:
        """KL(belief || N(0, I))."""
        variance = 1 / (1 + self.precision)
        return 0.5 * (variance + self.mean.square() - 1 - variance.log()).sum(-1)


def posterior(
    encoder: nn.Module,
    weights: Weights,
    context: Shaped[Tensor, "task transition entry"],
    known: Bool[Tensor, "task transition"],
) -> Posterior:
    """What the known transitions of each task say: the product of their Gaussian factors (Rakelly et al. 2019, sec. 4.1)."""
    mean, spread = functional_call(encoder, weights, (context,)).chunk(2, -1)
    precision = known[..., None] / (nn.functional.softplus(spread) + 1e-4)
    return Posterior(precision.sum(1), (precision * mean).sum(1))


def context_size(tasks: TaskDistribution) -> int:
    """The length of the vector that `context_vector` makes."""
    seen = 0 if is_read(tasks.observation_space) else 2 * vector_size(tasks.observation_space)
    return seen + vector_size(tasks.action_space) + 2


def context_inputs(tasks: TaskDistribution, options: Senses) -> Inputs:
    """Of an encoder that reads what `context` makes."""
    return inputs_for(tasks.observation_space, vector_size(tasks.action_space) + 2, options, looks=2)


def context_vector(
    tasks: TaskDistribution,
    observation: Shaped[Tensor, "*lead ..."],
    action: Shaped[Tensor, "*lead ..."],
    reward: Float[Tensor, "*lead"],
    arrival: Shaped[Tensor, "*lead ..."],
    ended: Bool[Tensor, "*lead"],
) -> Float[Tensor, "*lead feature"]:
    """A transition's numbers, with a flag where the episode ended: all but what a reader reads."""
    space, numbers = tasks.observation_space, torch.stack([reward, ended.to(reward)], dim=-1)
    states = () if is_read(space) else (as_vector(space, value) for value in (observation, arrival))
    return torch.cat([*states, unit_vector(tasks.action_space, action), numbers], dim=-1)


def context(
    tasks: TaskDistribution,
    observation: Shaped[Tensor, "*lead ..."],
    arrival: Shaped[Tensor, "*lead ..."],
    standardised: Float[Tensor, "*lead feature"],
) -> Shaped[Tensor, "*lead entry"]:
    """A transition as the encoder reads it: its numbers, standardised, and what a reader reads."""
    space = tasks.observation_space
    return as_row(space, (observation, arrival), standardised) if is_read(space) else standardised


def transition_vectors(tasks: TaskDistribution, experience: Experience) -> Float[Tensor, "task lane time feature"]:
    """The numbers of what was lived, before they are standardised."""
    transition = experience.transition
    ended = transition.terminated | transition.truncated
    reward = told_reward(experience)
    return context_vector(tasks, experience.percept.observation, experience.act.action, reward, transition.arrival, ended)


def lived_context(tasks: TaskDistribution, experience: Experience, moments: Moments) -> Shaped[Tensor, "task lane time entry"]:
    """What was lived as the encoder reads it."""
    seen = experience.percept.observation, experience.transition.arrival
    return context(tasks, *seen, moments.normalise(transition_vectors(tasks, experience)))
