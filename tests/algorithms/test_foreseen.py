"""What models foresee of lived trials, against worlds that they know, direct calls, and each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from gymnasium import spaces
from loops import trial_of
from probes import HiddenLedge
from small import TINY
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS, algorithm
from quickstudy.insight import Foreseen, Foresees, Trial, foreseen_by, innermost
from quickstudy.ops.features import as_vector
from quickstudy.parts.dynamics import by_member, foretold, imagined_returns, imagined_steps, read, steps_of
from quickstudy.protocol import Tasks, counter
from quickstudy.tasks.parameters import Parameter, Uniform
from quickstudy.work import InProcess
from quickstudy.wrappers.normalised import Normalisation, Normalised

PLANNERS = sorted(name for name, entry in ALGORITHMS.items() if entry.place.startswith("model."))
FAMILIES: dict[str, dict[str, Any]] = {
    "pendulum": {"changes": True, "max_episode_steps": 8, "episodes_per_trial": 2},
    "grid-navigation": {"size": 3, "max_episode_steps": 3, "episodes_per_trial": 2},
    "cart-pole": {"max_episode_steps": 12, "episodes_per_trial": 2},
}


def made(name: str, tasks: Any, **options: Any) -> Any:
    entry = algorithm(name)
    return entry.make(tasks, entry.config(**{**TINY[name], **options}), seed=1)


def trained(name: str, tasks: Any, iterations: int = 1, **options: Any) -> Any:
    learner, work = made(name, tasks, **options), InProcess(tasks)
    for _ in range(iterations):
        learner.train_step(work)
    return learner


@dataclass(frozen=True, kw_only=True)
class Glide:
    """A place and a speed: a push changes the speed, the speed the place, and the reward is the speed. Nothing is hidden."""

    max_episode_steps: int = 9
    episodes_per_trial: int = 2
    initial_noise = 2
    step_noise = 0

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-50, 50, (2,))

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1, 1, (1,))

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {"nothing": Uniform(0.0, 1.0)}

    def initial(self, task: Tasks, noise: Tensor) -> Tensor:
        return noise

    def transition(self, state: Tensor, action: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state + torch.stack([0.5 * state[..., 1], 0.25 * action[..., 0] - 0.125 * state[..., 1]], -1)

    def observation(self, state: Tensor, task: Tasks) -> Tensor:
        return state

    def reward(self, state: Tensor, action: Tensor, arrival: Tensor, task: Tasks, noise: Tensor) -> Tensor:
        return state[..., 1]

    def terminal(self, state: Tensor, task: Tasks) -> Tensor:
        return torch.zeros_like(state[..., 0], dtype=torch.bool)

    def info(self, state: Tensor, task: Tasks) -> dict[str, Tensor]:
        return {}


RULE = torch.tensor([[0.0, 0.5, 0.0], [0.0, -0.125, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
"""Of `Glide`, what becomes of place, speed and push: changes, reward and the logit of an end."""


def knowing(name: str) -> Any:
    """A learner whose model is the rule of `Glide`, and that has lived nothing: its units are 1."""
    learner = made(name, qs.NativeTasks(Glide()), hidden_layers=0)
    weights = learner.weights["model"]
    with torch.no_grad():
        for weight in weights.values():
            weight.zero_()
        weights["weights.0"][:, :, :3] = RULE
    return learner


@pytest.mark.parametrize("name", PLANNERS)
def test_of_a_world_that_the_model_knows_nothing_surprises(name: str):
    learner = knowing(name)
    trial = trial_of(learner, 3, 2)
    found = foreseen_by(learner, trial, 4)
    for episode, (features, reward, error) in enumerate(zip(*found, strict=True)):
        lived = trial.episodes[episode].transition
        torch.testing.assert_close(error, torch.zeros(3, 9), atol=1e-6, rtol=0)
        for step in range(9):
            for later in range(min(4, 9 - step)):
                where, paid = (values[:, 0, step + later] for values in (lived.arrival, lived.reward))
                torch.testing.assert_close(features[:, step, later], where, atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(reward[:, step, later], paid, atol=1e-5, rtol=1e-5)
        assert float(features[:, 0, 0].abs().max()) > 0.1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLANNERS)
def test_the_first_step_is_what_the_model_says_of_it(name: str, family: str):
    """Of each planner on each family: the policy's memory folded by its own acts, and a direct call of the network."""
    learner = trained(name, qs.tasks.make(family, **FAMILIES[family]))
    trial = trial_of(learner, 3, 2)
    found = foreseen_by(learner, trial, 2)
    space, members = learner.tasks.observation_space, getattr(learner.config, "members", 1)
    for policy, experience, features, error in zip(trial.policies, trial.episodes, found.features, found.error, strict=False):
        memory = experience.start_memory
        for time in range(experience.valid.shape[2]):
            percept = type(experience.percept)(*(part[:, :, time] for part in experience.percept))
            there = experience.valid[:, 0, time]
            assert torch.equal(~error[:, time].isnan(), there)
            forward, beside, _ = policy.model(percept, memory)
            seen, lived = (
                as_vector(space, part[:, :, time]) for part in (experience.percept.observation, experience.transition.arrival)
            )
            step = steps_of(learner.tasks, step_records(experience, time))
            inputs = read(policy.units, seen, step.action, *([] if beside is None else [beside]))
            told = foretold(policy.units, forward(inputs[None, :, :, None].expand(members, -1, -1, 1, -1)))
            change = (told.aim * policy.units.aim_spread)[..., :-1].mean(0)[:, 0, 0]
            torch.testing.assert_close(features[there, time, 0], (seen[:, 0] + change)[there])
            missed = (seen[:, 0] + change - lived[:, 0]) / policy.units.aim_spread[:-1]
            torch.testing.assert_close(error[there, time], missed.square().mean(-1).sqrt()[there])
            _, memory = policy.act(percept, memory, counter(0, 0, "act"))


def step_records(experience: Any, time: int) -> dict[str, Tensor]:
    """One step of an experience as a replay names it."""
    transition, valid = experience.transition, experience.valid
    parts = {"observation": experience.percept.observation, "arrival": transition.arrival, "action": experience.act.action}
    parts |= {"reward": transition.reward, "terminated": transition.terminated, "valid": valid}
    return {name: value[:, :, time] for name, value in parts.items()}


def test_weights_that_do_not_adapt_foresee_what_the_plain_model_foresees():
    """GrBAL with a step size of zero, and MPC with its weights and its units, on the same trials."""
    tasks = qs.tasks.make("pendulum", **FAMILIES["pendulum"])
    adapting = trained("grbal", tasks, inner_rate=0.0, learn_inner_rate=False)
    plain = plain_twin(adapting)
    trial = trial_of(adapting, 3, 2)
    same_foresight(adapting.foreseen(trial, 3), plain.foreseen(as_lived_by(plain, trial), 3))


def plain_twin(adapting: Any) -> Any:
    """MPC with the first weights and the units of GrBAL."""
    sizes = {name: getattr(adapting.config, name) for name in ("hidden_size", "hidden_layers", "activation")}
    plain = made("mpc", adapting.tasks, members=1, particles=1, **sizes)
    plain.weights["model"], plain.scales = adapting.weights["model"], adapting.scales
    return plain


def as_lived_by(learner: Any, trial: Trial) -> Trial:
    """The same trial as if a policy that doesn't adapt had lived it."""
    return trial._replace(policies=[learner.explorer()] * len(trial.policies))


def same_foresight(one: Foreseen, other: Foreseen) -> None:
    for parts in zip(one, other, strict=True):
        for mine, theirs in zip(*parts, strict=True):
            torch.testing.assert_close(mine, theirs, equal_nan=True, atol=1e-5, rtol=1e-4)


def test_before_anything_was_lived_the_adapting_model_is_the_plain_one_and_then_no_longer():
    adapting = trained("grbal", qs.tasks.make("pendulum", **FAMILIES["pendulum"]), inner_rate=0.5)
    plain, trial = plain_twin(adapting), trial_of(adapting, 3, 2)
    [ours, *_], [theirs, *_] = adapting.foreseen(trial, 1).error, plain.foreseen(as_lived_by(plain, trial), 1).error
    torch.testing.assert_close(ours[:, 0], theirs[:, 0])
    assert bool(((ours - theirs)[:, 1:].abs() > 1e-4).any(1).all())


@pytest.mark.parametrize("name", PLANNERS)
def test_where_an_episode_is_over_nothing_is_foreseen(name: str):
    learner = trained(name, qs.NativeTasks(HiddenLedge()))
    trial = trial_of(learner, 24, 3)
    found = foreseen_by(learner, trial, 2)
    lengths = torch.tensor([trial.lengths(task) for task in range(24)])
    assert int(lengths.min()) < 5
    for episode, (features, reward, error) in enumerate(zip(*found, strict=True)):
        for task in range(24):
            length = int(lengths[task, episode])
            assert int((~error[task].isnan()).sum()) == length and not bool(error[task, :length].isnan().any())
            there = torch.arange(error.shape[1])[:, None] + torch.arange(2) < length
            assert torch.equal(~reward[task].isnan(), there) and torch.equal(~features[task, ..., 0].isnan(), there)


@pytest.mark.parametrize("name", ["mpc", "cadm"])
def test_a_gaussian_model_tells_its_mean_and_the_same_each_time(name: str):
    learner = trained(name, qs.tasks.make("pendulum", **FAMILIES["pendulum"]), dynamics="probabilistic")
    trial = trial_of(learner, 2, 2)
    same_foresight(learner.foreseen(trial, 3), learner.foreseen(trial, 3))


def test_steps_under_a_plan_are_those_by_which_it_is_judged():
    """What `imagined_returns` sums up, without noise and without ends."""
    policy = trained("mpc", qs.tasks.make("pendulum", **FAMILIES["pendulum"])).explorer()
    members, draws = policy.config.members, counter(0, 0, "plans")
    seen, actions = torch.randn(2, 3, 4, generator=draws), torch.randn(2, 3, 5, 1, generator=draws)
    forward = by_member(policy.foreseeing, members)
    _, rewards = imagined_steps(forward, policy.units, seen, actions, None, members)
    returns = imagined_returns(forward, policy.units, seen, actions[:, :, None], 0.9, particles=members)
    torch.testing.assert_close((rewards * 0.9 ** torch.arange(5)).sum(-1), returns[:, :, 0])


def test_a_learner_within_a_normaliser_foresees_what_it_sees():
    """In normalised units: the trial as the learner saw it, and the units of its model."""
    tasks = qs.tasks.make("pendulum", **FAMILIES["pendulum"])
    agent = Normalised(made("grbal", tasks), Normalisation(normalise_observation=True))
    agent.train_step(InProcess(tasks))
    learner, trial = innermost(agent, trial_of(agent, 3, 2))
    assert isinstance(learner, Foresees)
    found = foreseen_by(learner, trial, 1)
    assert found.features[0].shape == (3, 8, 1, 4)
    seen, arrival = trial.episodes[0].percept.observation[:, 0], trial.episodes[0].transition.arrival[:, 0]
    spread = trial.policies[0].units.aim_spread[:-1]
    torch.testing.assert_close((found.features[0][:, :, 0] - arrival).div(spread).square().mean(-1).sqrt(), found.error[0])
    assert float((found.features[0][:, :, 0] - seen).abs().mean()) < float(arrival.abs().mean())
