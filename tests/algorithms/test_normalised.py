"""Normalisers: exact statistics, still outside training, and raw rewards where tasks are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from probes import HiddenSide, Survival
from small import SMALL

import quickstudy as qs
from quickstudy.data.rollout import Plan, collect
from quickstudy.ops.moments import merged, moments_of, no_moments
from quickstudy.ops.state import leaves
from quickstudy.protocol import Learner, Shard, counter
from quickstudy.work import InProcess, LocalSite
from quickstudy.wrappers.normalised import NormalisedPolicy, NormalisedWork, Statistics, discounted_returns


def test_merged_moments_are_those_of_all_values():
    generator = counter(0, 0, "values")
    parts = [torch.randn(size, 3, generator=generator) * 5 + 100 for size in (1, 7, 200, 50)]
    moments = no_moments((3,))
    for part in parts:
        moments = merged(moments, moments_of(part))
    everything = torch.cat(parts).double().numpy()
    np.testing.assert_allclose(moments.mean.numpy(), everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.std.numpy(), everything.std(0), rtol=1e-10)
    normalised = moments.normalise(torch.cat(parts))
    assert abs(float(normalised.mean())) < 1e-5 and abs(float(normalised.std()) - 1) < 0.01
    assert torch.equal(no_moments((3,)).normalise(parts[0]), parts[0].clamp(-10, 10))


class Scaled(HiddenSide):
    """Hidden sides whose observations and rewards are a thousand times larger, and off."""

    def observation(self, state: Any, task: Any) -> Any:
        return state + 5000

    def reward(self, *arguments: Any) -> Any:
        return super().reward(*arguments) * 1000


def make(name: str, observation: bool = True, reward: bool = True) -> qs.Normalised:
    makers: dict[str, Any] = {"rl2": qs.RL2, "maml": qs.MAML, "multi-task": qs.MultiTask}
    learner = makers[name](qs.tasks.make("pendulum", max_episode_steps=30), makers[name].Config(**SMALL[name]), seed=0)
    return qs.Normalised(learner, qs.Normalisation(normalise_observation=observation, normalise_reward=reward))


@pytest.mark.parametrize("name", ["rl2", "maml", "multi-task"])
def test_statistics_follow_what_training_saw_and_nothing_else(name: str):
    learner = make(name)
    assert qs.evaluate(learner, num_tasks=3).returns.isfinite().all()
    assert learner.statistics.observation is not None and float(learner.statistics.observation.number) == 0
    metrics = learner.train_step(InProcess(learner.tasks))
    seen = learner.statistics.observation
    assert seen is not None and float(seen.number) >= metrics["rollout/timesteps"]
    assert abs(float(seen.mean[2])) < 3 and 0.3 < float(seen.std[0]) < 1.0  # cos of an angle that is anywhere
    before = {place: value for place, value in leaves(learner.state_dict())}
    qs.evaluate(learner, num_tasks=5)
    session = learner.session(seed=0)
    for _ in range(5):
        session.act(np.array([1.0, 0.0, 0.0], np.float32))
        session.feedback(-1.0)
    after = dict(leaves(learner.state_dict()))
    assert all(torch.equal(value, after[place]) for place, value in before.items() if isinstance(value, torch.Tensor))
    # returns are told in the environment's own units: a pendulum loses at most 16.3 a step
    assert -16.3 * 30 < metrics["rollout/ep_rew_mean"] < -30


def test_the_policy_sees_normalised_observations_and_raw_rewards():
    learner = make("rl2")
    for _ in range(2):
        learner.train_step(InProcess(learner.tasks))
    policy = learner.explorer()
    assert isinstance(policy, NormalisedPolicy)
    site = LocalSite(learner.tasks)
    experience = collect(site, Plan(policy, 1, 60, 2), Shard(0, 0, 0, 4, "test"))
    assert float(experience.percept.observation[..., 2].abs().max()) > 1.5  # raw speeds are kept in what was lived
    assert torch.equal(experience.percept.reward[..., 1:], experience.transition.reward[..., :-1])
    inside: Any = policy.policy
    memory = inside.initial_memory(4, 1)
    sixth = type(experience.percept)(*(part[:, :, 5] for part in experience.percept))
    shown = sixth._replace(observation=policy.statistics.normalise(sixth.observation))
    expected, _ = inside.act(shown, memory, None)
    assert float(sixth.reward.abs().min()) > 0
    torch.testing.assert_close(policy.act(sixth, memory, None)[0].notes["value"], expected.notes["value"])


class Uneven(Survival):
    """One step at +1 where the first button lives, else two at -1 and -2; what a lane shows while it waits must not count."""

    @property
    def observation_space(self) -> Any:
        return spaces.Box(-9, 9, (1,))

    def initial(self, task: Any, noise: Any) -> Any:
        return torch.zeros(noise.shape[:-1])

    def transition(self, state: Any, action: Any, task: Any, noise: Any) -> Any:
        return state + 1

    def observation(self, state: Any, task: Any) -> Any:
        return torch.where(task["button"] == 0, 1 + state, -1 - state)[..., None]

    def terminal(self, state: Any, task: Any) -> Any:
        return (task["button"] == 0) & (state >= 1)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_lane_that_waits_shows_nothing_that_counts(shards: int):
    tasks = qs.NativeTasks(Uneven(max_episode_steps=2, episodes_per_trial=1))
    learner = qs.Normalised(
        qs.RL2(tasks, qs.RL2.Config(trials=64, n_epochs=1, shards=shards)), qs.Normalisation(normalise_observation=True)
    )
    steps = learner.train_step(InProcess(tasks))["rollout/timesteps"]
    brief = 128 - steps  # trials of one step
    seen = learner.statistics.observation
    assert 0 < brief < 64 and seen is not None and float(seen.number) == steps + 64
    total = brief * (1 + 2) - (64 - brief) * (1 + 2 + 3)
    assert float(seen.mean) == pytest.approx(total / float(seen.number), rel=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("apart", [0.0, 1e4])
def test_normalising_knows_no_units(unit: float, apart: float):
    """A deviation is small beside the mean, or it isn't small."""
    values = (torch.randn(1000, generator=counter(0, 0, "values")) + apart) * unit
    normalised = moments_of(values).normalise(values)
    assert abs(float(normalised.mean())) < 1e-3 and float(normalised.std()) == pytest.approx(1, abs=1e-2)
    assert torch.equal(moments_of(torch.full((5,), unit)).normalise(torch.full((5,), unit)), torch.zeros(5))


def test_discounted_returns_stop_at_episodes():
    learner = make("rl2")
    experience = collect(LocalSite(learner.tasks), Plan(learner.explorer(), 1, 60, 2), Shard(0, 0, 0, 2, "train"))
    sums = discounted_returns(experience, 0.9)
    reward, ended = experience.transition.reward[1, 0], experience.transition.truncated[1, 0]
    total = 0.0
    for step in range(60):
        total = 0.9 * total + float(reward[step])
        assert float(sums[1, 0, step]) == pytest.approx(total, rel=1e-5)
        total = 0.0 if ended[step] else total


def test_rewards_are_divided_by_the_deviation_of_discounted_returns():
    learner = make("rl2")
    work = NormalisedWork(InProcess(learner.tasks), Statistics(None, no_moments(())), 0.9)
    (experience,) = work.map(collect, Plan(learner.explorer(), 1, 60, 2), [Shard(0, 0, 0, 4, "train")])
    transition = experience.transition
    raw = experience._replace(transition=transition._replace(reward=transition.info["raw_reward"]))
    deviation = discounted_returns(raw, 0.9)[experience.valid].double().std(correction=0)
    assert float(deviation) > 3
    torch.testing.assert_close(transition.reward, (transition.info["raw_reward"] / deviation).float())


@pytest.mark.slow
def test_a_task_on_another_scale_is_learnt_with_normalisers_and_not_without():
    """Observations near 5,000 saturate every unit of a network that reads them raw."""
    scores = []
    for normalised in (False, True):
        tasks = qs.Informed(qs.NativeTasks(Scaled()))
        learner: Learner = qs.MultiTask(tasks, qs.MultiTask.Config(**SMALL["multi-task"]), seed=0)
        if normalised:
            learner = qs.Normalised(learner, qs.Normalisation(normalise_observation=True, normalise_reward=True))
        qs.train(learner, 60, quiet=True)
        scores.append(float(qs.evaluate(learner, num_tasks=200, greedy=True).returns.sum(1).mean()))
    assert scores[1] > 1000 * (HiddenSide.informed_optimum - 0.1) and scores[0] < 1000 * (HiddenSide.memoryless_optimum + 0.1)


def test_numbers_of_states_have_nothing_to_normalise():
    with pytest.raises(qs.UsageError, match="nothing to normalise"):
        qs.Normalised(qs.RL2(qs.tasks.make("bandit")), qs.Normalisation(normalise_observation=True))
