"""A belief about the task, and what makes and reads it: the model of VariBAD (Zintgraf et al. 2020, arXiv:1910.08348, sec. 3).

A recurrent encoder reads what happened so far and gives a Gaussian over a latent, the belief. Decoders predict the rewards, and
if wanted the transitions, of the whole trial from a sample of it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import gymnasium
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from quickstudy.nets.networks import Recurrent, multilayer, skeleton
from quickstudy.nets.options import Cell, Senses
from quickstudy.nets.reader import Inputs, behind, inputs_for
from quickstudy.ops.features import PERCEIVED, vector_size

FIRST_LOG_VARIANCE = -3.0
"""A belief begins precise: its noise would hide what it says from decoders that have not learnt to listen."""
Space = gymnasium.Space[Any]


class Predicts(NamedTuple):
    """What the decoders predict, from what, and how that is judged."""

    reward_reads: Literal["transition", "arrival"]
    """A reward is predicted from observation, action and arrival, or from where the step arrived alone."""
    reward_loss: Literal["squared", "bernoulli"]
    """The reward is predicted, or only whether it is above zero."""
    transition_weight: float
    """Weight of the likelihood of the transitions; 0: there is no net for them."""


Nets = dict[str, Any]
"""The encoder, the decoder of rewards and, where they are predicted, that of transitions: `encoder`, `reward`, `transition`."""


class Belief(NamedTuple):
    """Independent normals, one for each entry of the latent."""

    mean: Float[Tensor, "*lead latent"]
    log_variance: Float[Tensor, "*lead latent"]

    @property
    def std(self) -> Float[Tensor, "*lead latent"]:
        return (0.5 * self.log_variance).exp()

    def sample(self, noise: Float[Tensor, "*lead latent"]) -> Float[Tensor, "*lead latent"]:
        """A latent, of standard normal noise."""
        return self.mean + self.std * noise


def gaussian_kl(one: Belief, other: Belief) -> Float[Tensor, "*lead"]:
    """KL(one || other)."""
    apart = one.log_variance.exp() + (one.mean - other.mean).square()
    return 0.5 * (other.log_variance - one.log_variance + apart * (-other.log_variance).exp() - 1).sum(-1)


def news(belief: Belief) -> Float[Tensor, "time trial"]:
    """KL of each step's belief to that of the step before, the first to N(0, I); time is the first axis."""
    before = Belief(*(torch.cat([torch.zeros_like(part[:1]), part[:-1]]) for part in belief))
    return gaussian_kl(belief, before)


class Encoder(nn.Module):
    """A memory of what happened, and the belief that follows from it."""

    def __init__(self, inputs: int, hidden: int, latent: int, memory: Cell = "gru"):
        super().__init__()
        self.embedding = nn.Linear(inputs, hidden)
        self.memory = Recurrent(memory, hidden, hidden)
        self.state_size = self.memory.state_size
        self.belief = nn.Linear(hidden, 2 * latent)

    def forward(
        self, inputs: Float[Tensor, "time batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Belief, Float[Tensor, "batch state"]]:
        hidden, state = self.memory(self.embedding(inputs).relu(), state)
        mean, log_variance = self.belief(hidden).chunk(2, dim=-1)
        return Belief(mean, log_variance + FIRST_LOG_VARIANCE), state


class Decoder(nn.Module):
    """What each latent says about each step of its trial: the dot product of two networks' outputs, one reads the latent, one
    the step, as in DeepONet (Lu et al. 2021, arXiv:1910.03193).

    So all pairs of a trial's latents and steps cost one batched matrix product, beside one pass for each latent and each step.
    """

    def __init__(self, latent: int, inputs: Inputs, hidden: int, outputs: int):
        super().__init__()
        self.outputs = outputs
        self.of_latent = multilayer(latent, hidden, 1, hidden, nn.ReLU)
        self.of_step = behind(inputs.reader, multilayer(inputs.size, hidden, 1, hidden * outputs, nn.ReLU))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(
        self, latent: Float[Tensor, "trial term latent"], step: Shaped[Tensor, "trial time step"]
    ) -> Float[Tensor, "trial term time output"]:
        asked = self.of_step(step).unflatten(-1, (-1, self.outputs))
        answers = self.of_latent(latent) @ asked.movedim(2, 1).flatten(2)
        return answers.unflatten(-1, (step.shape[1], self.outputs)) + self.bias


def belief_nets(
    observation_space: Space,
    action_space: Space,
    latent: int,
    hidden: int,
    predicts: Predicts,
    memory: Cell = "gru",
    options: Senses | None = None,
) -> Nets:
    """Skeletons of an encoder and the decoders; `options` say how observations are read that are no vectors."""
    action = vector_size(action_space)

    def inputs(looks: int, numbers: int) -> Inputs:
        return inputs_for(observation_space, numbers, cast(Senses, options), looks)

    evidence = inputs(2, action + PERCEIVED)
    asked = inputs(1, 0) if predicts.reward_reads == "arrival" else inputs(2, action)
    nets: Nets = {
        "encoder": behind(evidence.reader, skeleton(lambda: Encoder(evidence.size, hidden, latent, memory))),
        "reward": skeleton(lambda: Decoder(latent, asked, hidden, 1)),
    }
    if predicts.transition_weight:
        seen = vector_size(observation_space)
        nets["transition"] = skeleton(lambda: Decoder(latent, inputs(1, action), hidden, seen))
    return nets


def reward_log_likelihood(
    kind: Literal["squared", "bernoulli"], predicted: Float[Tensor, "*axes"], reward: Float[Tensor, "*axes"]
) -> Float[Tensor, "*axes"]:
    """Of a reward under N(predicted, 1), less its constant; or of whether it is above zero, where `predicted` is its logit."""
    if kind == "squared":
        return -0.5 * (predicted - reward).square()
    return -functional.binary_cross_entropy_with_logits(predicted, (reward > 0).to(predicted), reduction="none")
