"""A fall is told where one is: not of luck, not of what was never learnt, not of a little."""

from __future__ import annotations

import numpy as np
import pytest

from quickstudy.ops.falling import fall_of


def told(returns: np.ndarray):
    return fall_of(range(1, len(returns) + 1), returns.tolist())


def test_what_rises_and_falls_is_told_with_its_best_and_its_last():
    returns = np.concatenate([np.linspace(0, 10, 50), np.full(20, 10.0), np.linspace(10, 2, 20), np.full(10, 2.0)])
    fall = told(returns)
    assert fall is not None
    assert fall.best == pytest.approx(10) and fall.last == pytest.approx(2) and 50 <= fall.iteration <= 75
    assert str(fall) == f"the return fell from 10 (meta-iteration {fall.iteration}) to 2"


def test_a_fall_of_a_third_is_the_least_that_is_told():
    for last, is_told in ((6.0, True), (7.0, False)):
        returns = np.concatenate([np.linspace(0, 10, 80), np.full(20, last)])
        assert (told(returns) is not None) is is_told


def test_what_only_falls_is_told():
    assert told(np.linspace(0, -10, 40)) is not None


@pytest.mark.parametrize("returns", [np.linspace(0, 10, 100), np.full(100, 3.3), np.array([5.0, 1.0]), np.linspace(9, 0, 9)])
def test_what_rises_what_stays_and_what_is_short_is_not(returns: np.ndarray):
    assert told(returns) is None


def test_luck_is_not_told():
    draws = np.random.default_rng(0)
    for count in (12, 40, 300):
        assert sum(told(draws.normal(size=count)) is not None for _ in range(300)) <= 3


def test_luck_does_not_hide_a_fall():
    draws = np.random.default_rng(0)
    course = np.concatenate([np.linspace(0, 10, 50), np.linspace(10, 0, 50)])
    assert all(told(course + draws.normal(size=100)) is not None for _ in range(100))


def test_a_number_that_is_not_finite_says_nothing():
    assert told(np.array([*np.linspace(10, 0, 20), np.nan])) is None
