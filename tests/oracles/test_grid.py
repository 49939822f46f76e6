"""The search for a goal on a grid: exact where exhaustive search says so, and never beaten."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.errors import UsageError
from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.oracles import oracle
from quickstudy.oracles.grid import MOVES, Search, ahead, best_walk, extend_walks
from quickstudy.protocol import counter


def worth(family: GridNavigation, actions: tuple[int, ...]) -> float:
    """The expected return of a search by a plain simulation of each goal: walk, and once it is met go straight there."""
    goals, limit = Search(family).goals(), family.max_episode_steps
    total = 0.0
    for goal in goals:
        cell, known = np.zeros(2, int), False
        for step, searching in enumerate(actions):
            if step % limit == 0:
                cell = np.zeros(2, int)
            if known:
                ahead_of = goal - cell
                move = np.sign(ahead_of) * ([1, 0] if ahead_of[0] else [0, 1])
            else:
                move = MOVES[searching]
            cell = (cell + move).clip(0, family.size - 1)
            there = bool((cell == goal).all())
            known |= there
            total += 1.0 if there else -0.1
    return total / len(goals)


@pytest.mark.parametrize(
    ("limit", "episodes"), [pytest.param(6, 1, marks=pytest.mark.slow), (3, 2), pytest.param(2, 3, marks=pytest.mark.slow)]
)
def test_the_walk_is_the_best_of_all_walks(limit: int, episodes: int):
    family = GridNavigation(size=3, max_episode_steps=limit, episodes_per_trial=episodes)
    walk = best_walk(family)
    every = max(worth(family, actions) for actions in product(range(1, 5), repeat=limit * episodes))
    assert walk.exact and walk.value == pytest.approx(every, abs=1e-9) == worth(family, walk.actions)


def test_pruning_loses_nothing():
    """Without a floor no walk is dropped, and the value is the same; every bound on the way is one."""
    family = GridNavigation(size=4, max_episode_steps=8, episodes_per_trial=2)
    search = Search(family)
    whole = extend_walks(search, 10**9, -np.inf)
    assert whole.exact and best_walk(family).value == pytest.approx(whole.value, abs=1e-9)
    optimum = (whole.value + 0.1 * search.steps) * len(search.goals())
    bound = ahead(search, 0, np.zeros(1, np.int64), np.zeros(1, np.int64))
    assert optimum <= float(bound[0]) + 1e-9


def test_the_optimum_of_the_published_grid():
    """VariBAD's grid (Zintgraf et al. 2020): a trial of four episodes."""
    walk = best_walk(GridNavigation())
    assert walk.exact and walk.value == pytest.approx(37.2143, abs=1e-4) == worth(GridNavigation(), walk.actions)


def test_the_agent_earns_the_optimum_on_each_goal():
    family = GridNavigation()
    evaluation = qs.evaluate(oracle("bayes-optimal", qs.NativeTasks(family)), num_tasks=2000)
    goals = qs.NativeTasks(family).sample(1024, "test", counter(0, 0, "tasks", 0))["goal"]
    assert len(goals.unique(dim=0)) == 21
    # goals are drawn: their luck is taken out by weighing each of the few possible returns alike
    returns = torch.unique(evaluation.returns.sum(1))
    assert len(returns) <= 21
    error = float(evaluation.returns.sum(1).std()) / 2000**0.5
    assert float(evaluation.returns.sum(1).mean()) == pytest.approx(best_walk(family).value, abs=3 * error)


def test_a_larger_grid_gets_a_walk_and_a_bound_and_says_so():
    family = GridNavigation(size=6, episodes_per_trial=2)
    search = Search(family)
    walk = extend_walks(search, 200, -np.inf)
    assert not walk.exact and walk.value < walk.bound
    assert walk.value == pytest.approx(worth(family, walk.actions), abs=1e-9)
    better = extend_walks(search, 3000, walk.value + 0.1 * search.steps)
    assert walk.value <= better.value <= better.bound <= walk.bound + 1e-9


def test_a_grid_too_large_for_a_walk_is_refused():
    with pytest.raises(UsageError, match="up to size 8"):
        oracle("bayes-optimal", qs.tasks.make("grid-navigation", size=9))


def test_posterior_sampling_finds_the_goal_in_about_six_episodes():
    """As Zintgraf et al. 2020 say; each episode rules out the cells that it crossed."""
    tasks = qs.tasks.make("grid-navigation", episodes_per_trial=20)
    success = qs.evaluate(oracle("posterior-sampling", tasks), num_tasks=500).success
    assert success is not None
    share = success.mean(0)
    assert 0.55 < float(share[5]) < 0.85 and float(share[-1]) == 1


def test_the_told_agent_walks_straight_to_the_goal():
    evaluation = qs.evaluate(oracle("optimal", qs.tasks.make("grid-navigation")), num_tasks=200)
    assert torch.equal(evaluation.returns[:, 0], evaluation.returns[:, 3])
    best = qs.evaluate(oracle("bayes-optimal", qs.tasks.make("grid-navigation")), num_tasks=200)
    assert torch.allclose(evaluation.returns[:, 3], best.returns[:, 3])


@pytest.mark.parametrize("name", ["bayes-optimal", "posterior-sampling", "optimal"])
def test_what_is_seen_drawn_is_done_alike(name: str):
    numbered, drawn = (
        qs.evaluate(oracle(name, qs.tasks.make("grid-navigation", view=view)), num_tasks=50, seed=3)
        for view in ("number", "drawn")
    )
    assert torch.equal(numbered.returns, drawn.returns) and numbered.returns.unique().numel() > 3
