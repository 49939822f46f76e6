"""Soft values against sums and integrals, and what a policy that climbs them must become."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch.distributions import Normal, TanhTransform, TransformedDistribution

import quickstudy as qs
from quickstudy.nets.soft import SquashedGaussian, SquashedPoint, soft_actions
from quickstudy.protocol import counter

BOX = spaces.Box(np.array([-1.0, 2.0], dtype=np.float32), np.array([3.0, 2.5], dtype=np.float32))
LINE = spaces.Box(-2.0, 1.0, (1,))
SMALL_TEMPERATURE = torch.tensor(0.2)


def test_the_discrete_soft_value_is_its_sum():
    logits, values = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([[1.0, 2.0, 0.5], [0.5, 3.0, 1.0]])
    value, entropy = soft_actions(spaces.Discrete(3)).soft_value(logits, lambda _: values, SMALL_TEMPERATURE, torch.zeros(0))
    weights = [math.exp(x) for x in logits.tolist()]
    probs = [w / sum(weights) for w in weights]
    by_hand = sum(p * (min(column) - 0.2 * math.log(p)) for p, column in zip(probs, values.T.tolist(), strict=True))
    assert float(value) == pytest.approx(by_hand, rel=1e-5)
    assert float(entropy) == pytest.approx(-sum(p * math.log(p) for p in probs), rel=1e-5)


def climbed(actions, parameters: Tensor, critics, noise: Tensor, steps: int = 2000) -> Tensor:
    """The parameters after gradient ascent on the soft value."""
    parameters = parameters.requires_grad_()
    optimiser = torch.optim.Adam([parameters], lr=1e-2)
    for _ in range(steps):
        value, _ = actions.soft_value(parameters.expand(len(noise), -1), critics, SMALL_TEMPERATURE, noise)
        optimiser.zero_grad()
        (-value.mean()).backward()
        optimiser.step()
    return parameters.detach()


def test_a_policy_that_climbs_its_soft_value_on_a_bandit_becomes_the_softmax_of_reward_over_temperature():
    reward, actions = torch.tensor([1.0, 0.7, 0.2]), soft_actions(spaces.Discrete(3))
    logits = climbed(actions, torch.zeros(3), lambda _: reward.expand(2, 1, 3), torch.zeros(1, 0))
    torch.testing.assert_close(logits.softmax(-1), (reward / 0.2).softmax(-1), rtol=1e-3, atol=1e-4)


def test_a_gaussian_policy_goes_to_where_the_reward_is_highest():
    actions = SquashedGaussian(LINE)
    noise = actions.noise((256,), counter(0, 0, "noise"))
    parameters = climbed(actions, torch.zeros(2), lambda action: -4 * (action - 0.5).square().expand(2, -1, 1), noise, 500)
    unit = float(actions.action_vector(actions.mode(parameters)))
    assert unit == pytest.approx(0.5, abs=0.05)


def test_the_squashed_density_integrates_to_one_over_its_box():
    actions, parameters = SquashedGaussian(LINE), torch.tensor([0.4, -0.7])
    grid = torch.linspace(-2 + 1e-4, 1 - 1e-4, 20_001)
    density = actions.log_prob(parameters.expand(len(grid), 2), grid[:, None]).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, abs=1e-3)


def test_the_entropy_is_minus_the_mean_log_density_on_the_unit_box():
    actions, parameters = SquashedGaussian(BOX), torch.tensor([0.2, -0.4, -0.3, 0.1]).expand(50_000, 4)
    noise = actions.noise((50_000,), counter(0, 0, "noise"))
    _, entropy = actions.soft_value(parameters, lambda action: torch.zeros(2, len(action), 1), SMALL_TEMPERATURE, noise)
    action = actions.sample(parameters, counter(1, 0, "actions"))
    in_units = -actions.log_prob(parameters, action).mean()
    assert float(entropy.mean()) == pytest.approx(float(in_units) - float(actions.scale.log().sum()), abs=0.02)


@pytest.mark.parametrize("space", [LINE, BOX])
def test_actions_fit_their_box_and_the_unit_vector_undoes_their_units(space: spaces.Box):
    for actions in (SquashedGaussian(space), SquashedPoint(space, 0.3)):
        parameters = 3 * torch.randn(200, actions.size)
        for action in (actions.sample(parameters, counter(0, 0, "actions")), actions.mode(parameters)):
            assert all(space.contains(one) for one in action.numpy().clip(space.low, space.high))
            assert float((action - action.clamp(torch.as_tensor(space.low), torch.as_tensor(space.high))).abs().max()) < 1e-6
            assert actions.action_vector(action).abs().max() <= 1 + 1e-6


def test_the_continuous_soft_value_is_that_of_the_least_critic_less_the_log_density():
    actions, parameters = SquashedGaussian(BOX), torch.tensor([[0.2, -0.4, -0.3, 0.1], [1.0, 0.5, -1.0, -0.5]])
    noise = torch.tensor([[0.5, -1.0], [-0.2, 0.3]])
    value, entropy = actions.soft_value(
        parameters, lambda action: torch.stack([action.sum(-1), 1 - action[..., 0]])[..., None], SMALL_TEMPERATURE, noise
    )
    mean, std = parameters[:, :2], parameters[:, 2:].exp()
    squashed = TransformedDistribution(Normal(mean, std), [TanhTransform()])
    action = (mean + std * noise).tanh()
    log_prob = squashed.log_prob(action).sum(-1)
    least = torch.minimum(action.sum(-1), 1 - action[:, 0])
    assert (action.sum(-1) < 1 - action[:, 0]).tolist() == [True, False]
    torch.testing.assert_close(value, least - 0.2 * log_prob)
    torch.testing.assert_close(entropy, -log_prob)


def test_the_entropies_aimed_at_are_those_of_the_papers():
    """Minus one for each dimension (Haarnoja et al. 2018, appendix D), or a share of the highest; TD3 has none."""
    assert SquashedGaussian(BOX).target_entropy == -2
    assert soft_actions(spaces.Discrete(4), 0.3).target_entropy == pytest.approx(0.3 * math.log(4))
    assert SquashedPoint(BOX, 0.1).target_entropy == 0


def test_td3_values_the_least_critic_at_an_action_moved_by_noise_and_cut_off_at_the_bounds():
    actions = SquashedPoint(LINE, 0.1)
    parameters, noise = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.25], [0.4]])
    value, entropy = actions.soft_value(parameters, lambda action: torch.stack([action, 1 - action]), SMALL_TEMPERATURE, noise)
    torch.testing.assert_close(value, torch.tensor([0.25, 0.0]))  # min(0.25, 0.75) and min(1, 0)
    assert not entropy.any()
    drawn = actions.noise((20_000,), counter(0, 0, "noise"))
    assert float(drawn.abs().max()) == pytest.approx(0.5) and float(drawn.std()) == pytest.approx(0.2, abs=0.01)


def test_td3_explores_with_the_density_it_says():
    actions = SquashedPoint(LINE, 0.2)
    grid = torch.linspace(-6, 6, 20_001)
    density = actions.log_prob(torch.tensor([0.3]).expand(len(grid), 1), grid[:, None]).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, abs=1e-3)


def test_spaces_without_soft_actions_are_refused():
    with pytest.raises(qs.UsageError, match="takes Discrete, or Box with bounds"):
        soft_actions(spaces.Box(-np.inf, np.inf, (2,)))
