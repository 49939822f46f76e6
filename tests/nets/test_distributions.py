"""Action distributions against torch.distributions and against what their bounds mean."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from quickstudy.algorithms.baselines.random import UniformPolicy
from quickstudy.errors import UsageError
from quickstudy.nets.distributions import distribution_over
from quickstudy.nets.soft import soft_actions
from quickstudy.protocol import begin_trial


def test_categorical_agrees_with_torch():
    ours = distribution_over(spaces.Discrete(4))
    logits = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    theirs = Categorical(logits=logits)
    action = theirs.probs.argmin(-1)
    torch.testing.assert_close(ours.log_prob(logits, action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(logits), theirs.entropy())
    assert (ours.mode(logits) == theirs.mode).all()


def test_categorical_samples_at_its_probabilities():
    ours = distribution_over(spaces.Discrete(3))
    logits = torch.tensor([0.1, 0.3, 0.6]).log().expand(100_000, 3)
    counts = ours.sample(logits, torch.Generator().manual_seed(0)).bincount() / 100_000
    torch.testing.assert_close(counts, torch.tensor([0.1, 0.3, 0.6]), atol=0.006, rtol=0)


def test_gaussian_agrees_with_torch():
    ours = distribution_over(spaces.Box(-2, 4, (2,)))
    parameters = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    theirs = Independent(Normal(1 + 3 * parameters[:, :2], 3 * (parameters[:, 2:] - 0.5).exp()), 1)
    action = ours.sample(parameters, torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours.log_prob(parameters, action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(parameters), theirs.entropy())
    torch.testing.assert_close(ours.mode(parameters), theirs.mean)


def test_gaussian_samples_have_its_mean_and_spread_in_the_boxs_shape():
    ours = distribution_over(spaces.Box(-1, 1, (1, 2)))
    samples = ours.sample(torch.tensor([0.5, -0.5, 0.0, 0.5]).expand(100_000, 4), torch.Generator().manual_seed(0))
    assert samples.shape == (100_000, 1, 2)
    torch.testing.assert_close(samples.mean(0), torch.tensor([[0.5, -0.5]]), atol=0.02, rtol=0)
    torch.testing.assert_close(samples.std(0), torch.tensor([[0.6065, 1.0]]), atol=0.02, rtol=0)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-2, 4, (2,))], ids=str)
def test_kl_agrees_with_torch_and_fisher_is_its_hessian(space: spaces.Space):
    ours = distribution_over(space)
    generator = torch.Generator().manual_seed(0)
    one, other, direction = torch.randn(3, 5, ours.size, generator=generator, dtype=torch.float64)

    def theirs(parameters: torch.Tensor) -> torch.distributions.Distribution:
        if isinstance(space, spaces.Discrete):
            return Categorical(logits=parameters)
        return Independent(Normal(1 + 3 * parameters[:, :2], 3 * (parameters[:, 2:] - 0.5).exp()), 1)

    torch.testing.assert_close(ours.kl(one, other), kl_divergence(theirs(one), theirs(other)))
    hessian = torch.func.jacrev(torch.func.jacrev(lambda p: ours.kl(one, p).sum()))(one).diagonal(dim1=0, dim2=2)
    product = torch.einsum("ijn,nj->ni", hessian, direction)
    torch.testing.assert_close(ours.fisher(one, direction), product)


def test_an_entry_is_explored_within_its_own_bounds_whatever_its_neighbours_have():
    largest = np.finfo(np.float32).max
    low, high = np.array([0, -np.inf, -largest, 2], np.float32), np.array([1000, np.inf, largest, 2], np.float32)
    ours, alone = distribution_over(spaces.Box(low, high)), distribution_over(spaces.Box(0, 1000, (1,)))
    parameters = torch.zeros(50_000, 8)
    action = ours.sample(parameters, torch.Generator().manual_seed(0))
    deviation = torch.tensor([500.0, 1, 1, 1]) * math.exp(-0.5)
    torch.testing.assert_close(action.std(0), deviation, rtol=0.02, atol=0)
    torch.testing.assert_close(action.mean(0) / deviation, torch.tensor([500.0, 0, 0, 2]) / deviation, atol=0.02, rtol=0)
    assert ours.log_prob(parameters, action).isfinite().all() and ours.entropy(parameters).isfinite().all()
    torch.testing.assert_close(ours.mode(parameters)[0, :1], alone.mode(torch.zeros(1, 2))[0])


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(0)], ids=["mode", "drawn"])
def test_a_uniform_policy_keeps_to_each_entrys_bounds(generator: torch.Generator | None):
    low, high = np.array([0, -np.inf, 7, -np.inf, 2], np.float32), np.array([1000, np.inf, np.inf, -7, 2], np.float32)
    space = spaces.Box(low, high)
    action = UniformPolicy(space).act(begin_trial(torch.zeros(20_000, 1), space), {}, generator)[0].action[:, 0]
    assert ((action >= torch.as_tensor(low)) & (action <= torch.as_tensor(high))).all()
    if generator is not None:
        torch.testing.assert_close(action.mean(0), torch.tensor([500.0, 0, 8, -8, 2]), rtol=0.02, atol=0.03)
        torch.testing.assert_close(action.std(0), torch.tensor([288.7, 1, 1, 1, 0]), rtol=0.03, atol=1e-6)


def test_a_bound_that_stands_for_none_is_none_for_a_soft_actor_critic():
    largest = float(np.finfo(np.float32).max)
    with pytest.raises(UsageError, match="Box with bounds"):
        soft_actions(spaces.Box(-largest, largest, (2,)))
    half = soft_actions(spaces.Box(np.array([-1, 2], np.float32), np.array([1, 2], np.float32)))
    assert half.log_prob(torch.zeros(1, 4), torch.tensor([[0.5, 2.0]])).isfinite().all()


def test_other_action_spaces_are_refused_in_one_line():
    with pytest.raises(UsageError, match=r"MultiBinary.*not supported"):
        distribution_over(spaces.MultiBinary(3))
