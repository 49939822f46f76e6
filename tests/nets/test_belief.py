"""The belief's mathematics against torch's distributions and its own definition, written as loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.func import functional_call

import quickstudy as qs
from quickstudy.data.rollout import Plan, collect
from quickstudy.nets.belief import Belief, Predicts, belief_nets, gaussian_kl, news, reward_log_likelihood
from quickstudy.nets.networks import initial_weights
from quickstudy.ops.tree import tree_map
from quickstudy.parts.belief import (
    Trials,
    as_records,
    as_trials,
    evidence,
    lived_percepts,
    log_likelihoods,
    negative_elbo,
    surprise,
)
from quickstudy.protocol import Experience, Shard, counter
from quickstudy.work import LocalSite

LATENT = 3
PREDICTS = Predicts("transition", "squared", 0.7)


def lived(family: str = "cart-pole", **options: Any) -> tuple[Any, Experience]:
    """Trials of a random policy; the episodes of cart-poles differ in length."""
    tasks = qs.tasks.make(family, **options)
    horizon = tasks.max_episode_steps * tasks.episodes_per_trial
    plan = Plan(qs.Random(tasks).explorer(), 1, horizon, tasks.episodes_per_trial)
    return tasks, collect(LocalSite(tasks), plan, Shard(0, 0, 0, 4, "train"))


def normal(belief: Belief) -> Independent:
    return Independent(Normal(belief.mean, (0.5 * belief.log_variance).exp()), 1)


def setting(predicts: Predicts = PREDICTS) -> tuple[dict[str, Any], dict[str, Any], Trials]:
    """Nets with weights, and trials of different lengths."""
    tasks, experience = lived(max_episode_steps=6, episodes_per_trial=2)
    records = {name: value[:, :8] for name, value in as_records(tasks, experience, 12).items()}
    records["valid"] = torch.arange(8) < torch.tensor([8, 5, 1, 7])[:, None]
    spaces = tasks.observation_space, tasks.action_space
    nets = belief_nets(*spaces, LATENT, 5, predicts)
    weights = {name: initial_weights(net, counter(0, 0, name), {}, "cpu") for name, net in nets.items()}
    return nets, weights, as_trials(records, *spaces, predicts)


def beliefs(nets: dict[str, Any], weights: dict[str, Any], seen: Tensor) -> Belief:
    """Of each trial at each step."""
    found, _ = functional_call(nets["encoder"], weights["encoder"], (seen.transpose(0, 1), torch.zeros(len(seen), 5)))
    return Belief(*(part.transpose(0, 1) for part in found))


def test_the_divergence_is_that_of_torchs_normals():
    one, other = (Belief(torch.randn(7, LATENT), torch.randn(7, LATENT)) for _ in range(2))
    torch.testing.assert_close(gaussian_kl(one, other), kl_divergence(normal(one), normal(other)))
    torch.testing.assert_close(gaussian_kl(one, one), torch.zeros(7))


def test_news_is_the_divergence_to_the_belief_before_and_first_to_the_standard_normal():
    belief = Belief(torch.randn(4, 2, LATENT), torch.randn(4, 2, LATENT))
    steps = [Belief(mean, log_variance) for mean, log_variance in zip(*belief, strict=True)]
    before = [Belief(torch.zeros(2, LATENT), torch.zeros(2, LATENT)), *steps]
    expected = [kl_divergence(normal(now), normal(then)) for now, then in zip(steps, before[:-1], strict=True)]
    torch.testing.assert_close(news(belief), torch.stack(expected))


def test_a_sample_has_the_beliefs_mean_and_spread():
    belief = Belief(torch.tensor([[2.0]]), torch.tensor([[0.5]]).square().log())
    drawn = Belief(*(part.expand(20_000, 1) for part in belief)).sample(torch.randn(20_000, 1))
    assert abs(float(drawn.mean()) - 2) < 0.02 and abs(float(drawn.std()) - 0.5) < 0.02


@pytest.mark.parametrize("family", ["cart-pole", "grid-navigation", "point-navigation"])
def test_recorded_trials_give_back_the_percepts_that_were_lived(family: str):
    tasks, experience = lived(family, max_episode_steps=6, episodes_per_trial=2)
    spaces, valid = (tasks.observation_space, tasks.action_space), experience.valid[:, 0]
    percepts = lived_percepts({name: value[:, : valid.shape[1]] for name, value in as_records(tasks, experience, 12).items()})
    for ours, theirs in zip(percepts, experience.percept, strict=True):
        assert torch.equal(ours[valid], theirs[:, 0][valid])
    assert torch.equal(evidence(percepts, *spaces)[valid], evidence(experience.percept, *spaces)[:, 0][valid])


def test_a_belief_knows_the_past_alone():
    """Its evidence holds nothing of the step's own action, reward and arrival, nor of anything later."""
    nets, weights, _ = setting()
    tasks, experience = lived("point-navigation", max_episode_steps=6, episodes_per_trial=2)
    spaces, records = (tasks.observation_space, tasks.action_space), as_records(tasks, experience, 12)
    nets = belief_nets(*spaces, LATENT, 5, PREDICTS)
    weights = {name: initial_weights(net, counter(0, 0, name), {}, "cpu") for name, net in nets.items()}
    before = beliefs(nets, weights, as_trials(records, *spaces, PREDICTS).evidence).mean
    for name in ("action", "reward", "arrival"):
        other = records | {name: records[name].clone()}
        other[name][:, 4] += 1
        after = beliefs(nets, weights, as_trials(other, *spaces, PREDICTS).evidence).mean
        assert torch.equal(before[:, :5], after[:, :5]) and not torch.equal(before[:, 5], after[:, 5])


@pytest.mark.parametrize("predicts", [PREDICTS, Predicts("arrival", "bernoulli", 0.0)])
def test_the_bound_is_its_definition(predicts: Predicts):
    """At each step t, all rewards and transitions of the trial, past and future, less the weighted KL to the belief before."""
    nets, weights, trials = setting(predicts)
    term = torch.stack([torch.randint(0, int(length), (6,)) for length in trials.valid.sum(1)])
    noise, kl_weight = torch.randn(4, 6, LATENT), 0.3
    loss, _ = negative_elbo(nets, weights, trials, term, noise, predicts, kl_weight)
    belief = beliefs(nets, weights, trials.evidence)
    likelihoods, divergences = [], []
    for trial in range(4):
        length, before = int(trials.valid[trial].sum()), Belief(torch.zeros(LATENT), torch.zeros(LATENT))
        for t in range(length):
            now = Belief(belief.mean[trial, t], belief.log_variance[trial, t])
            divergences.append(kl_divergence(normal(now), normal(before)))
            before = now
        for number, t in enumerate(term[trial]):
            z = belief.mean[trial, t] + (0.5 * belief.log_variance[trial, t]).exp() * noise[trial, number]
            total = torch.zeros(())
            for s in range(length):
                each = functional_call(nets["reward"], weights["reward"], (z[None, None], trials.asked[trial, s][None, None]))
                reward = trials.reward[trial, s]
                if predicts.reward_loss == "squared":
                    total = total - 0.5 * (each.squeeze() - reward).square()
                else:
                    total = total + Bernoulli(logits=each.squeeze()).log_prob((reward > 0).float())
                if "transition" in nets:
                    reads = z[None, None], trials.before[trial, s][None, None]
                    change = functional_call(nets["transition"], weights["transition"], reads).flatten()
                    total = total - 0.7 * 0.5 * (change - trials.change[trial, s]).square().sum()
            likelihoods.append(total)
    expected = kl_weight * torch.stack(divergences).mean() - torch.stack(likelihoods).mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("step", [0, 3, 6])
def test_what_is_predicted_covers_past_and_future_and_nothing_else(step: int):
    nets, weights, trials = setting()
    term, noise = torch.tensor([[3], [3], [0], [3]]), torch.randn(4, 1, LATENT)

    def loss(reward: Tensor) -> Tensor:
        return negative_elbo(nets, weights, trials._replace(reward=reward), term, noise, PREDICTS, 0.0)[0]

    reward = trials.reward.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(reward), reward)
    assert torch.equal(slope[:, step] != 0, trials.valid[:, step])


def test_terms_one_by_one_average_to_all_of_them():
    """So a bound from few steps drawn uniformly is right in expectation."""
    nets, weights, trials = setting()
    trials, noise = tree_map(lambda part: part[:1], trials), torch.randn(1, 8, LATENT)
    every = torch.arange(8)[None]
    whole, _ = negative_elbo(nets, weights, trials, every, noise, PREDICTS, 0.2)
    alone = [negative_elbo(nets, weights, trials, every[:, t : t + 1], noise[:, t : t + 1], PREDICTS, 0.2)[0] for t in range(8)]
    torch.testing.assert_close(torch.stack(alone).mean(), whole)


def test_reward_likelihoods_are_torchs():
    predicted, reward = torch.randn(9), torch.randn(9)
    constant = Normal(0.0, 1.0).log_prob(torch.zeros(()))
    torch.testing.assert_close(
        reward_log_likelihood("squared", predicted, reward), Normal(predicted, 1.0).log_prob(reward) - constant
    )
    torch.testing.assert_close(
        reward_log_likelihood("bernoulli", predicted, reward), Bernoulli(logits=predicted).log_prob((reward > 0).float())
    )


def test_a_surprise_is_what_the_belief_beside_a_step_makes_of_it():
    nets, weights, trials = setting()
    mean = torch.randn(4, 8, LATENT)
    likelihood = sum(log_likelihoods(nets, weights, mean, trials, PREDICTS).values())
    assert isinstance(likelihood, Tensor)
    torch.testing.assert_close(surprise(nets, weights, mean, trials, PREDICTS), -likelihood.diagonal(dim1=1, dim2=2))
