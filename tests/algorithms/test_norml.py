"""NoRML where it must be another method: no reward moves it, and without what it learned to judge by it is MAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import quickstudy as qs
from quickstudy.data.rollout import Lifetime
from quickstudy.ops.tree import tensors_in
from quickstudy.parts.collecting import collected_episodes
from quickstudy.parts.gradient import samples_of
from quickstudy.protocol import Experience, Tasks
from quickstudy.tasks.parameters import Choice, Parameter
from quickstudy.work import InProcess

SMALL: dict[str, Any] = {"meta_batch_size": 4, "lanes": 5, "hidden_size": 6}


@dataclass(frozen=True, kw_only=True)
class SwappedButtons:
    """One step to the left or to the right, which one of the two buttons does is hidden and seen; the right pays 1."""

    max_episode_steps: int = 1
    episodes_per_trial: int = 2
    initial_noise = 0
    step_noise = 0

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-1, 1, (1,))

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"way": Choice(-1.0, 1.0)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return torch.zeros(*noise.shape[:-1], 1)

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state + ((2 * action - 1) * task["way"])[..., None]

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return (arrival[..., 0] > 0).float()

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state[..., 0], dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}


def make(tasks: Any = None, **options: Any) -> qs.NoRML:
    tasks = tasks or qs.tasks.make("point-navigation", max_episode_steps=4, layout="turned")
    return qs.NoRML(tasks, qs.NoRML.Config(**{**SMALL, **options}), seed=2)


def lived(learner: Any, stages: int = 2) -> list[Experience]:
    life = Lifetime(learner.explorer(), learner.adapt, learner.lanes, stages)
    return collected_episodes(InProcess(learner.tasks), learner, life, learner.config.meta_batch_size)


def paid(experience: Experience, seed: int) -> Experience:
    """The same experience with noise for rewards, in the percepts too."""
    noise = torch.randn(experience.valid.shape, generator=torch.Generator().manual_seed(seed))
    later = experience.percept._replace(reward=noise.roll(1, -1))
    return experience._replace(percept=later, transition=experience.transition._replace(reward=10 * noise))


@pytest.mark.parametrize("tasks", [None, qs.tasks.make("mission", size=3, max_episode_steps=4)], ids=["numbers", "read"])
def test_adapting_is_the_same_whatever_is_paid(tasks: Any):
    learner = make(tasks)
    learner.train_step(InProcess(learner.tasks))
    [experience] = lived(learner, 1)
    ends = [learner.adapt(learner.explorer(), each) for each in (experience, paid(experience, 1), paid(experience, 2))]
    one, *others = ([*tensors_in(end.start.weights)] for end in ends)
    assert all(torch.equal(*pair) for other in others for pair in zip(one, other, strict=True))
    moved = [(after - before).detach() for after, before in zip(one, tensors_in(learner.start.weights), strict=True)]
    assert any(float(each.abs().max()) > 1e-4 for each in moved)


def test_judged_by_what_was_paid_and_without_an_offset_it_adapts_as_maml_bit_for_bit():
    tasks = qs.tasks.make("point-navigation", max_episode_steps=4)
    ours = make(tasks, inner_rate=0.3)
    theirs = qs.MAML(tasks, qs.MAML.Config(**SMALL, inner_rate=0.3, learn_inner_rate=True), seed=2)
    [experience] = lived(theirs, 1)
    samples = samples_of(ours.inner, experience)
    end = ours.moved(ours.start, ours.learned, samples, None)
    expected = theirs.adapt(theirs.explorer(), experience)
    # log pi and the ratio to what collected have the same gradient there
    for name, weight in expected.start.weights.items():
        torch.testing.assert_close(end.weights[name], weight)


def test_the_offset_is_added_once():
    learner = make()
    with torch.no_grad():
        for name, value in learner.learned.items():
            value.fill_(0.25 if name.startswith("offset of") else 0.0 if name.startswith("judge of") else value.mean())
    first, second = lived(learner)
    once = learner.adapt(learner.explorer(), first)
    twice = learner.adapt(once, second)
    for name, weight in learner.start.weights.items():
        torch.testing.assert_close(once.start.weights[name], (weight + 0.25).expand_as(once.start.weights[name]))
        assert torch.equal(twice.start.weights[name], once.start.weights[name])


@pytest.mark.parametrize("part", ["judge", "offset", "rate"])
def test_each_learned_part_has_the_gradient_of_what_comes_of_it(part: str):
    """Finite differences of the loss along the gradient, where it collected."""
    learner = make(inner_rate=0.5)
    first, last = lived(learner)
    samples = samples_of(learner.inner, last)
    mine = {name: value for name, value in learner.learned.items() if name.startswith(part)}
    slopes = torch.autograd.grad(learner.loss([first], samples)[0], list(mine.values()))
    norm = torch.cat([slope.flatten() for slope in slopes]).norm()
    step, found = 0.02 / float(norm), []
    step = min(step, 0.05)
    for way in (1, -1):
        with torch.no_grad():
            for value, slope in zip(mine.values(), slopes, strict=True):
                value += way * step * slope / norm
            found.append(float(learner.loss([first], samples)[0]))
            for value, slope in zip(mine.values(), slopes, strict=True):
                value -= way * step * slope / norm
    assert float(norm) > 1e-5
    assert (found[0] - found[1]) / (2 * step) == pytest.approx(float(norm), rel=0.03, abs=2e-5)


def test_it_learns_to_learn_from_what_it_sees_where_nothing_is_paid():
    learner = make(qs.NativeTasks(SwappedButtons()), meta_batch_size=20, lanes=10, learning_rate=0.02)
    for _ in range(25):
        learner.train_step(InProcess(learner.tasks))
    before, after = lived(learner)
    first, second = (float(each.transition.reward.mean()) for each in (before, after))
    assert first < 0.6 and second > 0.9
