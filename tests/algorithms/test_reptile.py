"""Reptile where it must be another method; its fixed points are held against closed forms in oracles_of_gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from probes import HiddenButton
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms.gradient.reptile import averaged
from quickstudy.data.rollout import Lifetime
from quickstudy.data.session import Session
from quickstudy.ops.tree import tensors_in, tree_map
from quickstudy.parts.collecting import collected_episodes
from quickstudy.parts.gradient import inner_loss, samples_of
from quickstudy.protocol import Experience
from quickstudy.work import InProcess

SMALL = {"meta_batch_size": 3, "lanes": 5, "hidden_size": 6, "inner_rate": 0.3}


def make(tasks: Any = None, **options: Any) -> qs.Reptile:
    tasks = tasks or qs.tasks.make("point-navigation", max_episode_steps=4)
    return qs.Reptile(tasks, qs.Reptile.Config(**{**SMALL, **options}), seed=2)


def lived(learner: qs.Reptile) -> list[Experience]:
    """The very episodes of its next meta-iteration."""
    life = Lifetime(learner.explorer(), learner.adapt, learner.lanes, learner.config.inner_steps)
    return collected_episodes(InProcess(learner.tasks), learner, life, 3)


def test_one_step_of_sgd_and_an_outer_rate_of_one_is_a_multi_task_step():
    """theta - alpha x the gradient of the mean loss over tasks: up to rounding, since it means weights and not gradients."""
    learner = make(inner_steps=1, outer_rate=1.0)
    samples = samples_of(learner.inner, lived(learner)[0])
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in learner.start.weights.items()}
    losses = [inner_loss(learner.inner, weights, tree_map(lambda part, task=task: part[task], samples)) for task in range(3)]
    slopes = torch.autograd.grad(torch.stack(losses).mean(), list(weights.values()))
    learner.train_step(InProcess(learner.tasks))
    for (name, before), slope in zip(weights.items(), slopes, strict=True):
        torch.testing.assert_close(learner.start.weights[name] - before, -0.3 * slope, rtol=1e-3, atol=1e-6)
    assert max(float(slope.abs().max()) for slope in slopes) > 1e-2


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_averaging_is_the_outer_rate_of_one_bit_for_bit(optimiser: Any):
    learner = make(inner_steps=2, outer_rate=1.0, inner_optimiser=optimiser)
    policy = learner.explorer()
    for experience in lived(learner):
        policy = learner.adapt(policy, experience)
    learner.train_step(InProcess(learner.tasks))
    ends = averaged(policy.start.weights)
    assert all(torch.equal(ends[name], weight) for name, weight in learner.start.weights.items())


def test_the_outer_rate_is_a_share_of_the_way_and_falls_to_nothing():
    short, whole = make(outer_rate=0.25), make(outer_rate=1.0)
    first = {name: weight.detach().clone() for name, weight in whole.start.weights.items()}
    moved = []
    for learner in (short, whole):
        learner.train_step(InProcess(learner.tasks))
        moved.append({name: weight.detach() - first[name] for name, weight in learner.start.weights.items()})
    for name in first:
        torch.testing.assert_close(4 * moved[0][name], moved[1][name], rtol=1e-4, atol=1e-6)
    falling, work = make(outer_rate=1.0, anneal_iterations=2), InProcess(short.tasks)
    steps = []
    for _ in range(3):
        before = torch.cat([weight.detach().flatten() for weight in falling.start.weights.values()])
        distance = falling.train_step(work)["train/grad_norm"]
        after = torch.cat([weight.detach().flatten() for weight in falling.start.weights.values()])
        steps.append(float((after - before).norm()) / distance)
    assert steps == pytest.approx([1.0, 0.5, 0.0], rel=1e-4)


def test_a_tasks_adam_begins_anew_with_it_and_goes_on_within_it():
    """Against torch's own, task by task, over three steps."""
    learner = make(inner_steps=3, inner_optimiser="adam", inner_rate=0.02)
    episodes = lived(learner)
    policy = learner.explorer()
    for experience in episodes:
        policy = learner.adapt(policy, experience)
    for task in range(3):
        own = {name: weight.detach().clone().requires_grad_() for name, weight in learner.start.weights.items()}
        adam = torch.optim.Adam(own.values(), lr=0.02, eps=1e-5)
        for experience in episodes:
            samples = tree_map(lambda part, task=task: part[task], samples_of(learner.inner, experience))
            adam.zero_grad()
            inner_loss(learner.inner, own, samples).backward()
            adam.step()
        for name, weight in own.items():
            torch.testing.assert_close(policy.start.weights[name][task], weight.detach(), rtol=1e-4, atol=1e-5)
    assert not any(value.any() for value in tensors_in(learner.explorer().start.moments))


def test_a_stored_session_keeps_its_adam(tmp_path: Path):
    agent = make(qs.NativeTasks(HiddenButton()), lanes=2, inner_optimiser="adam", inner_rate=0.1)

    def live(session: Session) -> Tensor:
        for _ in range(agent.lanes):
            session.feedback(float(session.act(0) == 1), truncated=True)
        return session._policy.start.weights["policy.4.bias"]

    session = agent.session(seed=3)
    first, after = agent.start.weights["policy.4.bias"], live(session)
    for _ in range(9):  # until both buttons were pressed in one round
        if not torch.equal(after[0], first):
            break
        after = live(session)
    session.save(tmp_path / "session.safetensors")
    again = Session.restore(tmp_path / "session.safetensors", agent)
    assert int(again._policy.start.moments["steps"]) > 0
    for _ in range(2):
        assert torch.equal(live(session), live(again))
    session.new_task()
    assert not any(value.any() for value in tensors_in(session._policy.start.moments))
