"""Bayesian policy reuse, by hand and by Monte Carlo; likelihoods that are fitted, beside exact ones."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from members import Alone, Fixed, sure_of  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.distributions import Normal

import quickstudy as qs
from quickstudy.data.rollout import Lifetime, live
from quickstudy.libraries.fitted import fitted
from quickstudy.libraries.foresight import beta_arms
from quickstudy.libraries.reuse import Choose, Performance, Reuse, performance_of
from quickstudy.libraries.rules import Bayes, Played
from quickstudy.protocol import Percept, Shard, begin_trial
from quickstudy.work import LocalSite

BANDIT = qs.tasks.make("bandit", arms=2, pulls=3, episodes_per_trial=4)
KNOWN = Performance(torch.tensor([[3.0, 1.0], [0.5, 2.0]]), torch.tensor([[0.5, 1.0], [0.4, 0.3]]))
NOBODY = Played(torch.zeros(1, 1, 2), torch.zeros(1, 1))


def paid(reward: float, first: bool) -> Percept:
    percept = begin_trial(torch.zeros(1, 1, dtype=torch.long), BANDIT.action_space)
    return percept._replace(
        first=torch.full((1, 1), first),
        truncated=torch.full((1, 1), first),
        action=torch.zeros(1, 1, dtype=torch.long),
        reward=torch.full((1, 1), reward),
    )


def test_the_belief_moves_by_what_a_whole_episode_of_the_acting_member_returned():
    rule = Reuse(KNOWN, "greedy", floor=0.1)
    start = begin_trial(torch.zeros(1, 1, dtype=torch.long), BANDIT.action_space)
    acting, memory = rule.weigh(start, NOBODY, rule.initial_memory(1, 1))
    assert acting[0, 0].tolist() == [1, 0]  # 1.75 and 1.5
    for reward in (0.5, 0.25):
        again, memory = rule.weigh(paid(reward, first=False), NOBODY, memory)
        assert torch.equal(again, acting) and memory["belief"][0, 0].tolist() == [0.5, 0.5]
    acting, memory = rule.weigh(paid(0.25, first=True), NOBODY, memory)
    likelihood = Normal(KNOWN.mean[:, 0], KNOWN.deviation[:, 0]).log_prob(torch.tensor(1.0)).exp()
    expected = 0.9 * likelihood / likelihood.sum() + 0.05
    assert memory["belief"][0, 0].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert acting[0, 0].tolist() == [0, 1] and memory["paid"].item() == 0


@pytest.mark.parametrize("choose", get_args(Choose))
def test_what_a_member_promises_is_what_draws_from_the_belief_come_to(choose: Any):
    belief = torch.tensor([0.3, 0.7])
    worth = Reuse(KNOWN, choose).worth(belief[None, None])[0, 0]
    draws = torch.Generator().manual_seed(0)
    family = torch.multinomial(belief, 400_000, replacement=True, generator=draws)
    returns = KNOWN.mean[family] + KNOWN.deviation[family] * torch.randn(400_000, 2, generator=draws)
    mean = returns.mean(0)
    beyond = returns - (belief @ KNOWN.mean).max()
    sampled = {
        "greedy": mean,
        "upper-confidence-bound": mean + returns.std(0),
        "probability-of-improvement": (beyond > 0).float().mean(0),
        "expected-improvement": beyond.clamp(min=0).mean(0),
    }
    assert torch.allclose(worth, sampled[choose], atol=0.005)


def arms(first: float, second: float) -> Any:
    """A member that pulls an arm with certainty, for a family in which that arm pays."""
    tasks = qs.tasks.make("bandit", arms=2, pulls=3, episodes_per_trial=4)
    return Alone(tasks, Fixed(sure_of([0 if first > second else 1], 2)))


def test_what_members_return_is_measured_on_each_family():
    agents = [arms(1, 0), Alone(qs.tasks.make("bandit", arms=2, pulls=6), Fixed(sure_of([0], 2)))]
    found = performance_of(agents, 2000)
    # an arm's chance is uniform: pulls/2 on average, of n draws with such a chance the variance is n/6 + n^2/12
    assert torch.allclose(found.mean, torch.tensor([[1.5, 1.5], [3.0, 3.0]]), atol=0.1)
    assert torch.allclose(found.deviation, torch.tensor([[1.25, 1.25], [4.0, 4.0]]).sqrt(), atol=0.1)


@pytest.mark.parametrize("steps", [False, True], ids=["returns", "steps"])
def test_one_member_acts_in_an_episode_and_the_one_that_fits_in_the_end(steps: bool):
    """A bandit on whose second arm alone there is something to earn; the first episode is the wrong member's."""
    agents = [arms(1, 0), arms(0, 1)]
    # either is sure that its own arm pays
    bayes = Bayes((beta_arms(((99.0, 1.0), (1.0, 99.0))), beta_arms(((1.0, 99.0), (99.0, 1.0)))), 0.01)
    rule = Reuse(Performance(torch.tensor([[3.0, 0.0], [0.0, 2.9]]), torch.full((2, 2), 0.3)), steps=bayes if steps else None)
    library = qs.Library(BANDIT, agents)
    library.rule = rule
    life = Lifetime(library.explorer(), library.adapt, 1, 4)
    task = {"means": torch.tensor([[0.0, 1.0]]).expand(5, -1).clone()}
    episodes = list(live(LocalSite(BANDIT), life, Shard(0, 0, 0, 5, "test"), as_tasks(task)))
    acting = torch.stack([each.act.notes["weights"].argmax(-1) for each in episodes])
    assert (acting == acting[..., :1]).all(), "a member acts for a whole episode"
    assert acting[:, 0, 0, 0].tolist() == [0, 1, 1, 1]


def as_tasks(task: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a bandit by the names that its family gives them."""
    [name] = BANDIT.sample(1, "test", torch.Generator().manual_seed(0))
    return {name: task["means"]}


def test_a_fitted_likelihood_is_near_the_exact_one_where_steps_are_drawn_anew():
    """An arm pays N(mean, 1), its mean N(0, 1), so that of a task drawn anew it pays N(0, 2)."""
    tasks = qs.tasks.make("bandit", arms=2, pulls=10, payoff="gaussian")
    told = fitted(qs.Random(tasks), num_tasks=1000, updates=300)
    rewards = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    percept = begin_trial(torch.zeros(1, 5, dtype=torch.long), tasks.action_space)
    percept = percept._replace(first=torch.zeros(1, 5, dtype=torch.bool), reward=rewards[None])
    found, _ = told.surprise(percept, {"seen": torch.ones(1, 5, 1)})
    exact = Normal(0.0, 2**0.5).log_prob(rewards)
    assert torch.allclose((found[0] - found[0, 2]), exact - exact[2], atol=0.3)


def test_fitted_likelihoods_tell_families_apart():
    options = {"max_episode_steps": 20, "episodes_per_trial": 1}
    families = [qs.tasks.make("point-navigation", **options), qs.tasks.make("point-navigation", layout="turned", **options)]
    members = [qs.Random(tasks) for tasks in families]
    told = [fitted(agent, updates=200) for agent in members]
    for number, tasks in enumerate(families):
        library = qs.Library(tasks, members, qs.Weighing(weights="bayes", floor=0.001), foresights=told)
        life = Lifetime(library.explorer(), library.adapt, 1, 1)
        [episode] = live(LocalSite(tasks), life, Shard(0, 0, 0, 16, "test"))
        assert episode.act.notes["weights"][:, :, -1, number].mean() > 0.9
