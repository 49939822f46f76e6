"""Losses and their means against enumeration, closed forms and torch.distributions."""

import torch
from torch.distributions import Categorical, kl_divergence

from quickstudy.ops.policy_gradient import clipped_surrogate, explained_variance, masked_mean, root, sampled_kl, standardise


def test_the_surrogate_clips_only_what_would_improve_it():
    log_prob = torch.tensor([0.5, 0.5, -0.5, -0.5]).log1p()  # ratios 1.5, 1.5, 0.5, 0.5
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    loss = clipped_surrogate(log_prob, torch.zeros(4), advantage, 0.2)
    torch.testing.assert_close(loss, torch.tensor([-1.2, 1.5, -0.5, 0.8]))


def test_at_the_behaviour_policy_the_surrogate_has_the_gradient_of_the_expected_advantage():
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    advantage = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    probs = logits.softmax(0)
    log_prob = logits.log_softmax(0)
    loss = (probs.detach() * clipped_surrogate(log_prob, log_prob.detach(), advantage, 0.2)).sum()
    (surrogate_gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (true_gradient,) = torch.autograd.grad((probs * advantage).sum(), logits)
    torch.testing.assert_close(surrogate_gradient, -true_gradient)


def test_sampled_kl_has_the_exact_kl_as_its_mean():
    behaviour, policy = torch.tensor([0.2, 1.0, -1.0]).log_softmax(0), torch.tensor([0.5, 0.1, 0.0]).log_softmax(0)
    estimate = (behaviour.exp() * sampled_kl(policy, behaviour)).sum()
    torch.testing.assert_close(estimate, kl_divergence(Categorical(logits=behaviour), Categorical(logits=policy)))
    assert (sampled_kl(policy, behaviour) >= 0).all()


def test_masked_means_see_only_what_is_valid():
    values = torch.tensor([[1.0, 3.0, 1e9], [5.0, 7.0, -1e9]])
    valid = torch.tensor([[True, True, False], [True, True, False]])
    assert masked_mean(values, valid) == 4
    inside = standardise(values, valid)[valid]
    torch.testing.assert_close(inside, (values[valid] - 4) / values[valid].std(correction=0))


def test_explained_variance_of_a_perfect_and_a_constant_critic():
    target, every = torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3, dtype=torch.bool)
    assert explained_variance(target + 5, target, every) == 1
    torch.testing.assert_close(explained_variance(torch.ones(1, 3), target, every), torch.tensor(0.0))


def test_the_spread_of_what_is_all_alike_has_a_slope():
    values = torch.full((2, 3), 1.5, requires_grad=True)
    known = torch.ones(2, 3, dtype=torch.bool)
    [slope] = torch.autograd.grad(standardise(values, known, 1.0)[0, 0], values)
    torch.testing.assert_close(slope, torch.tensor([[5 / 6, -1 / 6, -1 / 6], [-1 / 6] * 3]))
    numbers = torch.tensor([0.0, 4.0, float("nan")])
    torch.testing.assert_close(root(numbers), torch.tensor([0.0, 2.0, float("nan")]), equal_nan=True)
