"""Exact posteriors against Bayes' rule, goal by goal."""

from __future__ import annotations

import torch

import quickstudy as qs
from quickstudy.data.rollout import Plan, collect
from quickstudy.oracles.posteriors import posterior_of
from quickstudy.protocol import Percept, Shard
from quickstudy.tasks.informed import Informed
from quickstudy.work import LocalSite


def test_the_goal_is_where_it_would_have_paid_as_it_did():
    tasks = qs.tasks.make("grid-navigation", size=3, max_episode_steps=4, episodes_per_trial=3)
    posterior = posterior_of(tasks)
    assert posterior is not None and posterior.size == 3 and posterior.arrivals.tolist() == list(range(9))
    experience = collect(LocalSite(tasks), Plan(qs.Random(tasks).explorer(), 1, 12, 3), Shard(0, 0, 0, 20, "test"))
    steps = [Percept(*(part[:, :, step] for part in experience.percept)) for step in range(12)]
    found = posterior.after_each(steps, posterior.prior.expand(20, 1, -1))[:, 0]
    arrival, paid = experience.transition.arrival[:, 0], experience.transition.reward[:, 0] > 0
    for step in range(12):
        # a goal is possible that would have paid at these arrivals and at no others
        fits = (arrival[:, :step, None] == torch.arange(9)) == paid[:, :step, None]
        chances = posterior.prior * fits.all(1)
        torch.testing.assert_close(found[:, step], chances / chances.sum(1, keepdim=True))
    assert bool((found[:, -1].max(1).values == 1).any()) and bool((found[:, -1].max(1).values < 1).any())


def test_nobody_has_reckoned_the_posterior_of_other_tasks():
    assert posterior_of(qs.tasks.make("cart-pole")) is None
    assert posterior_of(Informed(qs.tasks.make("grid-navigation"))) is None
