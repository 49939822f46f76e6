"""Each algorithm on a shipped family, to a figure that is known: up to two minutes each, so in `make test-all` alone."""

from __future__ import annotations

import pytest

import quickstudy as qs
from quickstudy.oracles import oracle
from quickstudy.protocol import Agent, Learner
from quickstudy.recipes.tuned import built

pytestmark = pytest.mark.slow

MIDDLE = -38.26
"""What staying in the middle returns on point-navigation: 100 steps at the mean distance in a square of side 1, 0.3826."""


def trained(learner: Learner, iterations: int) -> Learner:
    qs.train(learner, iterations, quiet=True, threads=1, evaluate_every=0)
    return learner


def episodes(agent: Agent) -> list[float]:
    return qs.evaluate(agent, num_tasks=400).returns.mean(0).tolist()


def test_rl2_comes_close_to_the_optimum_of_bandits_and_passes_thompson_sampling():
    tasks = qs.tasks.make("bandit")
    learner = trained(qs.RL2(tasks, qs.RL2.Config(learning_rate=3e-3, gamma=1.0, anneal_iterations=200)), 200)
    ours, best, other = (
        float(qs.evaluate(agent, num_tasks=10_000).returns.mean())
        for agent in (learner, oracle("bayes-optimal", tasks), oracle("thompson-sampling", tasks))
    )
    assert ours > 0.96 * best and ours > other + 0.5
    assert ours < best + 0.05


def test_varibad_searches_first_and_then_walks_straight_to_the_goal():
    """The best search of the 3x3 grid meets the goal in the first episode or early in the second."""
    tasks = qs.tasks.make("grid-navigation", size=3, max_episode_steps=6, episodes_per_trial=3)
    belief = {"belief_rate": 1e-2, "belief_batch": 128, "reward_loss": "bernoulli", "reward_reads": "arrival"}
    learner = trained(qs.VariBAD(tasks, qs.VariBAD.Config(learning_rate=2e-3, anneal_iterations=120, **belief)), 120)
    ours, best = (
        float(qs.evaluate(agent, num_tasks=1000).returns.sum(1).mean()) for agent in (learner, oracle("bayes-optimal", tasks))
    )
    assert 0.9 * best < ours < best + 0.2


def test_maml_walks_to_the_goal_after_one_step():
    learner = trained(qs.MAML(qs.tasks.make("point-navigation", episodes_per_trial=2)), 12)
    before, after = episodes(learner)
    assert before < MIDDLE + 12 and after > before + 8


def test_pearl_finds_out_where_the_goal_is():
    """In episodes of 20 steps, staying in the middle returns a fifth of what it does in 100."""
    learner = trained(built("point-navigation/pearl").learner, 30)
    returns = episodes(learner)
    assert returns[-1] > MIDDLE / 5 + 2 and returns[-1] > returns[0] + 3


def test_without_memory_nothing_beats_the_middle():
    learner = trained(built("point-navigation/multi-task").learner, 150)
    assert all(MIDDLE - 4 < episode < MIDDLE + 3 for episode in episodes(learner))


def test_one_who_is_told_walks_straight_there():
    """The way to a goal takes up to seven steps, at most 1.4 in all is lost on it on average; sampled actions cost the rest."""
    learner = trained(built("point-navigation/task-informed").learner, 150)
    assert min(episodes(learner)) > -3


def test_a_fine_tuned_critic_finds_the_way_to_the_goal_and_the_pretrained_one_stays_in_the_middle():
    """One episode of a new task is enough to beat what no policy without adaptation can: about the middle."""
    learner = trained(built("point-navigation/multi-task-sac").learner, 60)
    first, *later = qs.evaluate(learner, num_tasks=60).returns.mean(0).tolist()
    assert first < MIDDLE + 3 and later[0] > MIDDLE + 12 and later[-1] > -14


def test_recurrent_sac_passes_thompson_sampling_on_bandits():
    tasks = qs.tasks.make("bandit")
    options = {
        "trials": 64,
        "updates": 30,
        "batch_size": 64,
        "gamma": 0.9,
        "tau": 0.02,
        "entropy_share": 0.1,
        "temperature": 0.01,
        "temperature_rate": 3e-2,
        "policy_rate": 3e-4,
        "value_rate": 0.0,
    }
    network = {"initialisation": "orthogonal", "shortcut": False, "shared_encoder": True}
    config = qs.RecurrentSAC.Config(**options, **network, anneal_iterations=150)
    learner = trained(qs.RecurrentSAC(tasks, config), 150)
    ours, best, other = (
        float(qs.evaluate(agent, num_tasks=10_000).returns.mean())
        for agent in (learner, oracle("bayes-optimal", tasks), oracle("thompson-sampling", tasks))
    )
    assert other + 0.2 < ours < best + 0.05
