"""Novelty falls where one has been, and a bonus is measured by its own discounted sums."""

from __future__ import annotations

import torch

from quickstudy.nets.novelty import Novelty, discounted_scale
from quickstudy.nets.reader import Inputs
from quickstudy.ops.moments import no_moments
from quickstudy.protocol import counter


def test_what_was_seen_becomes_old_and_the_rest_stays_new():
    novelty = Novelty(Inputs(2, None), 16, 1e-2, seed=0)
    left, right = (torch.randn(200, 2, generator=counter(0, 0, "points")) * 0.2 + torch.tensor([x, 0.0]) for x in (-2, 2))
    before = novelty(right).mean() / novelty(left).mean()
    target = {name: weight.clone() for name, weight in novelty.target.items()}
    for number in range(60):
        novelty.learn(left, 4, counter(0, number, "parts"))
    assert novelty(right).mean() / novelty(left).mean() > 20 * before
    assert all(torch.equal(novelty.target[name], weight) for name, weight in target.items())


def test_a_random_network_is_the_seeds_own():
    point = torch.tensor([[0.3, -0.8]])
    assert torch.equal(Novelty(Inputs(2, None), 8, 1e-3, seed=1)(point), Novelty(2, 8, 1e-3, seed=1)(point))
    assert not torch.equal(Novelty(Inputs(2, None), 8, 1e-3, seed=1)(point), Novelty(2, 8, 1e-3, seed=2)(point))


def test_a_bonus_is_measured_by_the_spread_of_its_sums_over_the_steps_so_far():
    bonus = torch.tensor([[1.0, 2.0, 4.0], [3.0, 9.0, 9.0]])
    valid = torch.tensor([[True, True, True], [True, False, False]])
    sums = torch.tensor([1.0, 2.5, 5.25, 3.0])
    first = discounted_scale(no_moments(()), bonus[:1], valid[:1], 0.5)
    both = discounted_scale(first, bonus[1:], valid[1:], 0.5)
    torch.testing.assert_close(both.std.float(), sums.std(unbiased=False))
    assert float(both.number) == 4
