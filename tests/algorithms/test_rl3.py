"""RL3: without its advice it is RL2, and its advice is the replanning oracle's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from loops import lived, trial_of
from probes import HiddenLedge
from small import SMALL
from torch import Tensor
from torch.func import functional_call

import quickstudy as qs
from quickstudy.algorithms.memory.rl3 import RL3
from quickstudy.ops.returns import trial_advantages
from quickstudy.oracles import oracle
from quickstudy.parts.recurrent import Net
from quickstudy.protocol import Percept
from quickstudy.work import InProcess

TABULAR: dict[str, Any] = {"states": 4, "actions": 3, "horizon": 4, "episodes_per_trial": 3}


def make(tasks: Any = None, **options: Any) -> RL3:
    tasks = tasks or qs.NativeTasks(HiddenLedge(numbered=True))
    return RL3(tasks, RL3.Config(**SMALL["rl3"] | {"trials": 24} | options), seed=1)


class Unadvised(Net):
    """The network of both, behind which the planner's numbers, between percept and clock, are not read."""

    def __init__(self, config: Any, inputs: int, outputs: int, advice: int):
        super().__init__(config, inputs - advice, outputs, True)
        self.advice = advice

    def forward(self, inputs: Tensor, state: Tensor) -> Any:
        before, clock = inputs[..., : -2 - self.advice], inputs[..., -2:]
        return super().forward(torch.cat([before, clock], -1), state)


@pytest.mark.parametrize("tasks", [qs.NativeTasks(HiddenLedge(numbered=True)), qs.tasks.make("tabular-mdp", **TABULAR)])
def test_whoever_does_not_read_the_advice_is_rl2_bit_for_bit(tasks: Any):
    config, rl2 = make(tasks).config, qs.RL2.Config(**SMALL["rl2"] | {"trials": 24})
    advice = 2 * int(tasks.action_space.n)
    learners = (
        RL3(tasks, config, seed=1, net=lambda inputs, outputs: Unadvised(config, inputs, outputs, advice)),
        qs.RL2(tasks, rl2, seed=1, net=lambda inputs, outputs: Net(rl2, inputs, outputs, True)),
    )
    work = InProcess(tasks)
    ours, theirs = ([learner.train_step(work) for _ in range(3)] for learner in learners)
    assert ours == theirs
    assert learners[0].weights.keys() == learners[1].weights.keys()
    assert all(torch.equal(learners[0].weights[name], weight) for name, weight in learners[1].weights.items())


def test_advice_of_zeros_makes_it_rl2_bit_for_bit(monkeypatch: pytest.MonkeyPatch):
    """With RL2's first weights and a bound that no gradient reaches: what reads zeros has no gradient, and stays."""
    monkeypatch.setattr("quickstudy.algorithms.memory.rl3.advice", lambda reckoned: torch.zeros_like(torch.cat(reckoned, -1)))
    free: dict[str, Any] = {"max_grad_norm": 1e6}
    learner = make(**free)
    rl2 = qs.RL2(learner.tasks, qs.RL2.Config(**SMALL["rl2"] | {"trials": 24} | free), seed=1)
    size = learner.planner.advice_size
    reads = [number for number in range(7 + 2 + 2 + size + 2) if not 11 <= number < 11 + size]
    parts = {name: (slice(None), reads) if name.endswith("encoder.weight") else ... for name in rl2.weights}
    with torch.no_grad():
        for name, weight in rl2.weights.items():
            learner.weights[name][parts[name]] = weight
    for each in (learner, rl2):
        each.train_step(InProcess(each.tasks))
    for name, weight in rl2.weights.items():
        assert torch.equal(learner.weights[name][parts[name]], weight), name


def test_the_best_advised_action_is_the_replanning_oracles():
    tasks = qs.tasks.make("tabular-mdp", **TABULAR)
    learner = make(tasks)
    experience = lived(learner, 24, 3, 12)
    advised = experience.act.notes["advice"][..., :3].argmax(-1)
    policy = oracle("replanning", tasks).explorer()
    memory = policy.initial_memory(24, 1)
    for step in range(12):
        act, memory = policy.act(Percept(*(part[:, :, step] for part in experience.percept)), memory, None)
        assert torch.equal(act.action, advised[:, :, step])


@torch.no_grad()
def test_the_network_reads_percept_advice_and_clock_as_it_acted():
    learner = make(ent_coef=0.0, vf_coef=0.0)
    experience = lived(learner, 24, 3, 15)
    value = learner.scale.restore(experience.act.notes["value"])
    batch, _ = learner.prepare(experience)
    told = experience.act.notes["advice"]
    assert torch.equal(batch.inputs[..., 7 + 2 + 2 : -2], told[:, 0].transpose(0, 1))
    start = torch.zeros(24, learner.net.state_size)
    parameters, _, _ = functional_call(learner.net, learner.weights, (batch.inputs, start))
    log_prob = learner.distribution.log_prob(parameters, batch.action)
    torch.testing.assert_close(log_prob[batch.valid], batch.log_prob[batch.valid], atol=1e-5, rtol=1e-5)
    config, transition = learner.config, experience.transition
    gains = trial_advantages(transition.reward, value, experience.valid, config.gamma, config.gae_lambda)[experience.valid]
    gains = (gains - gains.mean()) / gains.std(correction=0)
    torch.testing.assert_close(
        batch.advantage.transpose(0, 1)[experience.valid[:, 0]], gains.float(), atol=1e-3, rtol=1e-3, check_dtype=False
    )


def test_a_policy_remembers_and_counts_over_episodes_and_begins_a_trial_blank():
    learner = make()
    experience = lived(learner, 24, 3, 15)
    policy = learner.adapt(learner.explorer(), experience)
    assert all(torch.equal(policy.initial_memory(24, 1)[name], held) for name, held in experience.end_memory.items())
    # the last step of a trial is counted with the next episode's first
    assert torch.equal(experience.end_memory["visits"].sum((-1, -2)), experience.valid.sum(-1) - 1.0)
    assert not any(bool(part.any()) for part in learner.explorer().initial_memory(24, 1).values())


def test_a_wiped_memory_has_counted_nothing():
    """Its advice at the first step of every episode is that of a blank trial."""
    learner = make()
    trial = trial_of(qs.Forgetful(learner), 6, 3)
    for episode in trial.episodes:
        assert not episode.act.notes["advice"][:, :, 0].any()


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_a_trial_is_lived_once_more_as_it_was_and_its_decisions_depend_on_what_came_before(memory: Any):
    learner = make(memory=memory)
    trial = trial_of(learner, 6, 3)
    for task in (0, 5):
        once = learner.retrace(trial, task)
        acts = [(episode.act.log_prob, episode.valid) for episode in trial.episodes]
        recorded = torch.cat([log_prob[task, 0][valid[task, 0]] for log_prob, valid in acts if log_prob is not None])
        torch.testing.assert_close(once.log_prob.detach(), recorded, atol=1e-5, rtol=1e-5)
        [seen] = once.seen
        (slope,) = torch.autograd.grad(once.log_prob[3], seen)
        assert slope[:4].abs().sum(1).gt(0).all() and not slope[4:].any()


def test_what_untried_rewards_are_taken_for_is_what_the_planner_expects():
    told = [replace(make().planner, prior_mean=mean) for mean in (0.0, 2.0)]
    percept = lived(make(), 2, 1, 1).percept
    first = Percept(*(part[:, :, 0] for part in percept))
    values = [planner.look(first, planner.initial_memory(2, 1))[0].values for planner in told]
    assert not values[0].any() and torch.allclose(values[1], torch.tensor(2.0 * 5), atol=1e-4)
