"""A trial gone through once more: its log-probabilities are those of the policy, its slopes those of finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probes import Survival
from small import SMALL
from torch import Tensor
from torch.func import functional_call

import quickstudy as qs
from quickstudy.data.rollout import Lifetime, collect_lives
from quickstudy.insight import KnowsTasks, Retraces, Trial
from quickstudy.ops.features import as_vector
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import Experience, Shard
from quickstudy.work import InProcess, LocalSite

TASK = 1


@torch.no_grad()
def lived(agent: Any) -> Trial:
    policies = [agent.explorer()]

    def adapt(policy: Any, experience: Experience) -> Any:
        policies.append(agent.adapt(policy, experience))
        return policies[-1]

    life = Lifetime(policies[0], adapt, 1, agent.tasks.episodes_per_trial)
    episodes = collect_lives(LocalSite(agent.tasks), life, Shard(3, 0, 0, 3, "test"))
    if len(policies) == len(episodes):
        adapt(policies[-1], episodes[-1])
    return Trial(policies, episodes)


def navigator(name: str) -> Any:
    """A learner on goals in the plane, in trials of three episodes, after a meta-iteration."""
    tasks = qs.tasks.make("point-navigation", max_episode_steps=4, episodes_per_trial=3)
    kind = {"pearl": qs.PEARL, "recurrent-sac": qs.RecurrentSAC}[name]
    agent = kind(tasks, kind.Config(**SMALL[name], activation="tanh"), seed=2)
    agent.train_step(InProcess(tasks))
    return agent


def changed(trial: Trial, episode: int, step: int, by: float, what: str, place: int = 0) -> Trial:
    """The same trial, but for one number that was seen at a step: its observation, its reward, or where it arrived."""
    episodes = [tree_map(lambda value: value.clone(), each) for each in trial.episodes]
    transition = episodes[episode].transition
    if what == "reward":
        transition.reward[TASK, 0, step] += by
    else:
        (transition.arrival if what == "arrival" else episodes[episode].percept.observation)[TASK, 0, step, place] += by
    return trial._replace(episodes=episodes)


def pearls_decisions(agent: qs.PEARL, trial: Trial, noise: list[Tensor]) -> Tensor:
    """Log-probabilities of the actions of a trial, belief by belief, each folded by `adapt`."""
    policy, found = agent.explorer(), []
    for experience, drawn in zip(trial.episodes, noise, strict=True):
        latent = (policy.belief.mean + policy.belief.std * drawn).expand(len(experience.valid), -1)[TASK]
        now = as_vector(agent.tasks.observation_space, experience.percept.observation)[TASK, 0]
        read = torch.cat([now, latent.expand(len(now), -1)], -1)
        parameters = functional_call(agent.nets.policy, policy.weights["policy"], (read,))
        found.append(agent.actions.log_prob(parameters, experience.act.action[TASK, 0]))
        policy = agent.adapt(policy, experience)
    return torch.cat(found)


@pytest.mark.parametrize("what", ["reward", "arrival", "observation"])
def test_pearls_slopes_are_those_of_the_belief_folded_anew(what: str):
    """From a step of the second episode to a decision of the third, which reads it through the latent alone."""
    agent = navigator("pearl")
    with torch.no_grad():
        for weight in agent.weights["policy"].values():
            weight *= 3  # a policy that heeds its latent
    trial = lived(agent)
    beliefs = [tree_map(lambda part: part.expand(3, -1), policy.belief) for policy in trial.policies[:-1]]
    noise = [
        (experience.end_memory["latent"][:, 0] - belief.mean) / belief.std
        for experience, belief in zip(trial.episodes, beliefs, strict=True)
    ]
    retraced = agent.retrace(trial, TASK)
    with torch.no_grad():
        torch.testing.assert_close(retraced.log_prob, pearls_decisions(agent, trial, noise), rtol=1e-4, atol=1e-4)
    decision, episode, step, place = 10, 1, 2, 1
    [slopes] = torch.autograd.grad(retraced.log_prob[decision], retraced.seen)
    # what is seen at a step: the observation; and of the transition, the observation, the arrival, the action, reward and end
    places = {"reward": [8], "arrival": [4 + place], "observation": [place, 2 + place]}[what]
    with torch.no_grad():
        up, down = (
            pearls_decisions(agent, changed(trial, episode, step, by, what, place), noise)[decision] for by in (2e-3, -2e-3)
        )
    slope = float(slopes[4 * episode + step, places].sum())
    assert abs(slope) > 1e-3
    assert slope == pytest.approx(float(up - down) / 4e-3, rel=0.05, abs=1e-3)
    assert not slopes[8:decision].any() and bool(slopes[decision].any()) and not slopes[decision + 1 :].any()


def test_of_recurrent_sac_the_decisions_are_those_that_were_made_step_by_step():
    agent = navigator("recurrent-sac")
    trial = lived(agent)
    retraced, percept, action = agent.retrace(trial, TASK), trial.percept(TASK), trial.action(TASK)
    policy, memory = trial.policies[0], trial.policies[0].initial_memory(1, 1)
    for step in range(12):
        _, memory = policy.act(tree_map(lambda value, step=step: value[:, :, step], percept), memory, None)
        parameters = functional_call(agent.net.policy, policy.actor.head, (memory["state"],))
        expected = agent.actions.log_prob(parameters, action[step].expand(1, 1, -1))
        torch.testing.assert_close(retraced.log_prob[step], expected[0, 0], rtol=1e-4, atol=1e-4)
    [slopes] = torch.autograd.grad(retraced.log_prob[8], retraced.seen)
    assert bool(slopes[:9].any(1).all()) and not slopes[9:].any()


def test_a_trial_is_joined_without_the_steps_in_which_its_lane_waited():
    agent = qs.PEARL(qs.NativeTasks(Survival()), qs.PEARL.Config(**SMALL["pearl"]))
    trial = lived(agent)
    lengths = [int(episode.valid[TASK, 0].sum()) for episode in trial.episodes]
    assert any(length < episode.valid.shape[-1] for length, episode in zip(lengths, trial.episodes, strict=True))
    assert trial.lengths(TASK) == lengths
    rewards = [episode.transition.reward for episode in trial.episodes]
    parts = [reward[TASK, 0, :length] for reward, length in zip(rewards, lengths, strict=True)]
    assert torch.equal(trial.joined(TASK, rewards), torch.cat(parts))
    percept = trial.percept(TASK)
    assert percept.first.shape == (1, 1, sum(lengths)) and len(trial.action(TASK)) == sum(lengths)
    assert percept.first[0, 0].nonzero()[:, 0].tolist() == torch.tensor([0, *lengths[:-1]]).cumsum(0).tolist()
    assert agent.retrace(trial, TASK).log_prob.shape == (sum(lengths),)


@pytest.mark.parametrize("name", ["pearl", "recurrent-sac"])
def test_what_is_known_of_each_task_is_what_the_policies_end_with(name: str):
    agent = navigator(name)
    assert isinstance(agent, KnowsTasks) and isinstance(agent, Retraces)
    trial = lived(agent)
    known = agent.known(trial)
    if name == "recurrent-sac":
        assert known.kind == "memory" and known.end.shape == (3, trial.policies[0].net.encoder.state_size)
        return
    believed = known.believed
    assert believed is not None and [mean.shape[:2] for mean in believed.mean] == [(3, 4)] * 3
    assert not believed.mean[0].any() and bool((believed.std[0] == 1).all())
    assert torch.equal(believed.std[2][:, 0], trial.policies[2].belief.std)
    assert torch.equal(known.end, trial.policies[3].belief.mean)
