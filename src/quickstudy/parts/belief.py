"""How a belief is learnt (VariBAD: Zintgraf et al. 2020, arXiv:1910.08348, sec. 3): recorded trials, and the bound on them.

The encoder reads what happened so far; decoders predict the whole trial from a sample of the belief, what was seen and what is
to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from quickstudy.nets.belief import Belief, Nets, Predicts, Space, news, reward_log_likelihood
from quickstudy.nets.networks import Weights
from quickstudy.nets.reader import reader_of
from quickstudy.ops.features import (
    PERCEIVED,
    active_entries,
    as_vector,
    inputs_of,
    percept_numbers,
    percept_vector,
    unit_vector,
)
from quickstudy.ops.policy_gradient import masked_mean
from quickstudy.ops.senses import as_row, is_read
from quickstudy.parts.collecting import told_reward
from quickstudy.parts.trials import arrivals_of, endings_of
from quickstudy.protocol import Experience, Percept, TaskDistribution, has_past


def evidence(percept: Percept, observation_space: Space, action_space: Space) -> Shaped[Tensor, "*lead entry"]:
    """What the encoder reads at a step: the percept, and where the step before arrived, for which its reward was paid."""
    if is_read(observation_space):
        numbers = percept_numbers(percept, action_space)
        return as_row(observation_space, (percept.observation, percept.arrival), *numbers)
    arrival = as_vector(observation_space, percept.arrival) * has_past(percept)[..., None]
    return torch.cat([percept_vector(percept, observation_space, action_space), arrival], dim=-1)


def active_evidence(observation_space: Space, action_space: Space, encoder: nn.Module) -> float:
    """How many entries of what a belief's encoder reads aren't zero at once, about."""
    reader = reader_of(encoder)
    seen = reader.features / 2 if reader else active_entries(observation_space)
    return 2 * seen + active_entries(action_space) + PERCEIVED


class Trials(NamedTuple):
    """Whole trials as the model reads and predicts them."""

    evidence: Shaped[Tensor, "trial time evidence"]
    asked: Shaped[Tensor, "trial time asked"]
    """What a reward is predicted from, beside the belief."""
    reward: Float[Tensor, "trial time"]
    before: Float[Tensor, "trial time before"]
    """Observation and action, from which a transition is predicted; empty, as what follows, where a reader reads them."""
    change: Float[Tensor, "trial time observation"]
    """What the transition did to the observation."""
    valid: Bool[Tensor, "trial time"]


def as_records(tasks: TaskDistribution, experience: Experience, horizon: int) -> dict[str, Shaped[Tensor, "trial horizon ..."]]:
    """Experience as trials for a buffer, with room for the longest; what a reader reads is kept once."""
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

    whole = {}
    if is_read(tasks.observation_space):
        whole["ending"] = endings_of(experience, fields.pop("arrival"), tasks.episodes_per_trial)
    return whole | {name: filled(values) for name, values in fields.items()}


def lived_percepts(records: Mapping[str, Shaped[Tensor, "trial time ..."]]) -> Percept:
    """The percepts of recorded trials, with `arrival` among them: each tells of the step before."""
    told = {name: value for name, value in records.items() if name != "ending"}
    last = {name: torch.cat([torch.zeros_like(value[:, :1]), value[:, :-1]], 1) for name, value in told.items()}
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
    """Recorded trials as networks read them."""
    if is_read(observation_space):
        seen = records["observation"], arrivals_of(records)
        percept, action = lived_percepts({**records, "arrival": seen[1]}), unit_vector(action_space, records["action"])
        asked = (
            inputs_of(observation_space, seen[1])
            if predicts.reward_reads == "arrival"
            else as_row(observation_space, seen, action)
        )
        nothing = action[..., :0]
        told = evidence(percept, observation_space, action_space)
        return Trials(told, asked, records["reward"], nothing, nothing, records["valid"])
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
    start = trials.reward.new_zeros(len(trials.evidence), nets["encoder"].state_size)
    belief, _ = functional_call(nets["encoder"], weights["encoder"], (trials.evidence.transpose(0, 1), start))
    drawn = Belief(*(part.transpose(0, 1).take_along_dim(term[..., None], dim=1) for part in belief))
    kl = masked_mean(news(belief), trials.valid.T)
    loss, parts = kl_weight * kl, {"train/belief_kl": kl}
    for name, each in log_likelihoods(nets, weights, drawn.sample(noise), trials, predicts).items():
        lived = trials.valid[:, None].expand_as(each)
        loss = loss - (each * lived).sum(-1).mean()
        parts[f"train/{name}_error"] = -masked_mean(each, lived)
    return loss, {name: part.detach() for name, part in (parts | {"train/belief_loss": loss}).items()}


def terms(
    trials: Trials, count: int, latent: int, generator: Generator
) -> tuple[Int[Tensor, "trial term"], Float[Tensor, "trial term latent"]]:
    """Steps of each trial, drawn uniformly from those it lived, and the noise of the samples of their beliefs."""
    shape, device = (len(trials.valid), count), trials.valid.device
    share = torch.rand(shape, generator=generator).to(device)
    noise = torch.randn(*shape, latent, generator=generator).to(device)
    return (share * trials.valid.sum(1, keepdim=True)).long(), noise


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


@torch.no_grad()
def paying(
    nets: Nets,
    weights: Mapping[str, Weights],
    believed: tuple[Float[Tensor, "step latent"], Float[Tensor, "step latent"]],
    arrival: Shaped[Tensor, "place observation"],
    samples: int,
    generator: Generator,
) -> Float[Tensor, "step place"]:
    """The chance that arriving in each place pays, as a decoder tells that reads the arrival alone: a mean over samples.

    Beliefs are mean and deviation.
    """
    mean, std = believed
    total = torch.zeros((), device=mean.device)
    for _ in range(samples):
        latent = mean + std * torch.randn(mean.shape, generator=generator).to(mean.device)
        logit = functional_call(nets["reward"], weights["reward"], (latent[None], arrival[None]))[0, :, :, 0]
        total = total + logit.sigmoid()
    return total / samples
