"""Inverse distribution functions against SciPy's, number by number."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

from quickstudy.ops import draws

SHARES = torch.linspace(0.0005, 0.9995, 1000)


def test_normal_is_the_quantile_and_finite_at_both_ends() -> None:
    assert torch.allclose(draws.normal(SHARES), torch.tensor(scipy.stats.norm.ppf(SHARES.numpy())).float(), atol=1e-5)
    assert bool(draws.normal(torch.tensor([0.0, 1 - 2.0**-24])).isfinite().all())


@pytest.mark.parametrize("rate", [0.0, 0.05, 1.0, 7.5, 25.0])
def test_poisson_is_the_quantile(rate: float) -> None:
    found = draws.poisson(SHARES, torch.full_like(SHARES, rate), 80)
    answer = torch.tensor(scipy.stats.poisson.ppf(SHARES.double().numpy(), rate)).long()
    # float32 may put a share that is on the edge to its other side
    assert (found - answer).abs().max() <= 1 and (found == answer).float().mean() > 0.99


def test_poisson_is_cut() -> None:
    assert draws.poisson(torch.tensor([0.999999]), torch.tensor([50.0]), 10).tolist() == [10]


def test_bernoulli_and_permutation() -> None:
    assert draws.bernoulli(SHARES, 0.3).float().mean().item() == pytest.approx(0.3, abs=2e-3)
    shares = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws.permutation(shares).sort(-1).values, torch.arange(5).expand(6, 5))


def test_a_category_is_drawn_as_often_as_it_weighs() -> None:
    drawn = draws.category(SHARES, torch.tensor([2.0, 0.0, 6.0]).expand(1000, 3))
    assert torch.bincount(drawn, minlength=3).tolist() == [250, 0, 750]
    assert draws.category(torch.tensor(1 - 2.0**-24), torch.tensor([0.1] * 7)).item() == 6
