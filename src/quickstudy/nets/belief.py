"""A belief about the task, learnt by predicting trials: the model of VariBAD (Zintgraf et al. 2020, arXiv:1910.08348, sec. 3).

A recurrent encoder reads what happened so far and gives a Gaussian over a latent, the belief. Decoders predict the rewards, and
if wanted the transitions, of the whole trial from a sample of it: those that were seen and those that are to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import gymnasium
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from quickstudy.nets.networks import Recurrent, Weights, multilayer, skeleton
from quickstudy.ops.features import as_vector, percept_size, percept_vector, unit_vector, vector_size
from quickstudy.ops.policy_gradient import masked_mean
from quickstudy.protocol import Experience, Percept, has_past

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


Nets = dict[str, nn.Module]
"""The encoder, the decoder of rewards and, where they are predicted, that of transitions: `encoder`, `reward`, `transition`."""


class Belief(NamedTuple):
    """Independent normals, one for each entry of the latent."""

    mean: Float[Tensor, "*lead latent"]
    log_variance: Float[Tensor, "*lead latent"]

    def sample(self, noise: Float[Tensor, "*lead latent"]) -> Float[Tensor, "*lead latent"]:
        """A latent, of standard normal noise."""
        return self.mean + (0.5 * self.log_variance).exp() * noise


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

    def __init__(self, inputs: int, hidden: int, latent: int):
        super().__init__()
        self.embedding = nn.Linear(inputs, hidden)
        self.memory = Recurrent("gru", hidden, hidden)
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

    def __init__(self, latent: int, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.outputs = outputs
        self.of_latent = multilayer(latent, hidden, 1, hidden, nn.ReLU)
        self.of_step = multilayer(inputs, hidden, 1, hidden * outputs, nn.ReLU)
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(
        self, latent: Float[Tensor, "trial term latent"], step: Float[Tensor, "trial time step"]
    ) -> Float[Tensor, "trial term time output"]:
        asked = self.of_step(step).unflatten(-1, (-1, self.outputs))
        answers = self.of_latent(latent) @ asked.movedim(2, 1).flatten(2)
        return answers.unflatten(-1, (step.shape[1], self.outputs)) + self.bias


def belief_nets(observation_space: Space, action_space: Space, latent: int, hidden: int, predicts: Predicts) -> Nets:
    """Skeletons of an encoder and the decoders."""
    observation = vector_size(observation_space)
    before = observation + vector_size(action_space)
    evidence = percept_size(observation_space, action_space) + observation
    asked = observation if predicts.reward_reads == "arrival" else before + observation
    nets: Nets = {
        "encoder": skeleton(lambda: Encoder(evidence, hidden, latent)),
        "reward": skeleton(lambda: Decoder(latent, asked, hidden, 1)),
    }
    if predicts.transition_weight:
        nets["transition"] = skeleton(lambda: Decoder(latent, before, hidden, observation))
    return nets


def evidence(percept: Percept, observation_space: Space, action_space: Space) -> Float[Tensor, "*lead size"]:
    """What the encoder reads at a step: the percept, and where the step before arrived, for which its reward was paid."""
    arrival = as_vector(observation_space, percept.arrival) * has_past(percept)[..., None]
    return torch.cat([percept_vector(percept, observation_space, action_space), arrival], dim=-1)


class Trials(NamedTuple):
    """Whole trials as the model reads and predicts them."""

    evidence: Float[Tensor, "trial time evidence"]
    asked: Float[Tensor, "trial time asked"]
    """What a reward is predicted from, beside the belief."""
    reward: Float[Tensor, "trial time"]
    before: Float[Tensor, "trial time before"]
    """Observation and action, from which a transition is predicted."""
    change: Float[Tensor, "trial time observation"]
    """What the transition did to the observation."""
    valid: Bool[Tensor, "trial time"]


def as_records(experience: Experience, horizon: int) -> dict[str, Shaped[Tensor, "trial horizon ..."]]:
    """Experience as trials for a buffer, with room for the longest."""
    transition = experience.transition
    fields = {
        "observation": experience.percept.observation,
        "action": experience.act.action,
        "reward": told_reward(experience),
        "arrival": transition.arrival,
        "terminated": transition.terminated,
        "truncated": transition.truncated,
        "valid": experience.valid,
    }

    def filled(values: Tensor) -> Tensor:
        trials = values.flatten(0, 1)
        return functional.pad(trials, (0, 0) * (trials.dim() - 2) + (0, horizon - trials.shape[1]))

    return {name: filled(values) for name, values in fields.items()}


def told_reward(experience: Experience) -> Float[Tensor, "task lane time"]:
    """The rewards as percepts tell them, also where those that a policy is trained on are scaled."""
    return experience.transition.info.get("raw_reward", experience.transition.reward)


def lived_percepts(records: Mapping[str, Shaped[Tensor, "trial time ..."]]) -> Percept:
    """The percepts of recorded trials: each tells of the step before."""
    last = {name: torch.cat([torch.zeros_like(value[:, :1]), value[:, :-1]], 1) for name, value in records.items()}
    first = last["terminated"] | last["truncated"]
    first[:, 0] = True
    return Percept(
        records["observation"], first, *(last[name] for name in ("action", "reward", "arrival", "terminated", "truncated"))
    )


def as_trials(
    records: Mapping[str, Shaped[Tensor, "trial time ..."]],
    observation_space: Space,
    action_space: Space,
    predicts: Predicts,
) -> Trials:
    """Recorded trials as vectors."""
    observation, arrival = (as_vector(observation_space, records[name]) for name in ("observation", "arrival"))
    before = torch.cat([observation, unit_vector(action_space, records["action"])], dim=-1)
    return Trials(
        evidence(lived_percepts(records), observation_space, action_space),
        arrival if predicts.reward_reads == "arrival" else torch.cat([before, arrival], dim=-1),
        records["reward"],
        before,
        arrival - observation,
        records["valid"],
    )


def reward_log_likelihood(
    kind: Literal["squared", "bernoulli"], predicted: Float[Tensor, "*axes"], reward: Float[Tensor, "*axes"]
) -> Float[Tensor, "*axes"]:
    """Of a reward under N(predicted, 1), less its constant; or of whether it is above zero, where `predicted` is its logit."""
    if kind == "squared":
        return -0.5 * (predicted - reward).square()
    return -functional.binary_cross_entropy_with_logits(predicted, (reward > 0).to(predicted), reduction="none")


def log_likelihoods(
    nets: Nets,
    weights: Mapping[str, Weights],
    latent: Float[Tensor, "trial term latent"],
    trials: Trials,
    predicts: Predicts,
) -> dict[str, Float[Tensor, "trial term time"]]:
    """Of each reward of the trial, past or future, given each latent; and, by its weight, of each transition if predicted."""
    predicted = functional_call(nets["reward"], weights["reward"], (latent, trials.asked))[..., 0]
    found = {"reward": reward_log_likelihood(predicts.reward_loss, predicted, trials.reward[:, None].expand_as(predicted))}
    if "transition" in nets:
        change = functional_call(nets["transition"], weights["transition"], (latent, trials.before))
        found["transition"] = -0.5 * predicts.transition_weight * (change - trials.change[:, None]).square().sum(-1)
    return found


def negative_elbo(
    nets: Nets,
    weights: Mapping[str, Weights],
    trials: Trials,
    term: Int[Tensor, "trial term"],
    noise: Float[Tensor, "trial term latent"],
    predicts: Predicts,
    kl_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Minus VariBAD's bound (Zintgraf et al. 2020, sec. 3.1), a mean over the steps of the trials, and its parts.

    At step t: the log-likelihood of all rewards and transitions of the trial, past and future, given a sample of the belief at
    t, less `kl_weight` times the KL to the belief before. The likelihood is taken at the steps in `term`, the KL at all.
    """
    start = trials.evidence.new_zeros(len(trials.evidence), weights["encoder"]["memory.from_hidden"].shape[-1])
    belief, _ = functional_call(nets["encoder"], weights["encoder"], (trials.evidence.transpose(0, 1), start))
    drawn = Belief(*(part.transpose(0, 1).take_along_dim(term[..., None], dim=1) for part in belief))
    kl = masked_mean(news(belief), trials.valid.T)
    loss, parts = kl_weight * kl, {"train/belief_kl": kl}
    for name, each in log_likelihoods(nets, weights, drawn.sample(noise), trials, predicts).items():
        lived = trials.valid[:, None].expand_as(each)
        loss = loss - (each * lived).sum(-1).mean()
        parts[f"train/{name}_error"] = -masked_mean(each, lived)
    return loss, {name: part.detach() for name, part in (parts | {"train/belief_loss": loss}).items()}


@torch.no_grad()
def surprise(
    nets: Nets,
    weights: Mapping[str, Weights],
    belief: Float[Tensor, "trial time latent"],
    trials: Trials,
    predicts: Predicts,
) -> Float[Tensor, "trial time"]:
    """How badly each step is predicted from the mean of the belief beside it."""
    alone = Trials(*(part.flatten(0, 1).unsqueeze(1) for part in trials))
    each = log_likelihoods(nets, weights, belief.flatten(0, 1).unsqueeze(1), alone, predicts)
    return -torch.stack(list(each.values())).sum(0).reshape(trials.reward.shape)
