"""What methods know of their tasks, and what moved their decisions, against other ways to the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

import quickstudy as qs
from quickstudy.algorithms import algorithm
from quickstudy.insight import Retraced
from quickstudy.nets.belief import FIRST_LOG_VARIANCE
from quickstudy.ops.features import as_vector
from quickstudy.ops.tree import tree_map
from quickstudy.parts.belief import evidence
from quickstudy.parts.clock import counted
from quickstudy.parts.posterior import posterior, transition_vectors
from quickstudy.report.causes import causes
from quickstudy.report.inner import alike, inner_steps
from quickstudy.report.minds import embedding, inside, known, principal
from quickstudy.report.steps import steps
from quickstudy.report.trials import Lived, live_trials
from quickstudy.wrappers.normalised import Normalisation, Normalised

GRID = {"size": 3, "max_episode_steps": 3, "episodes_per_trial": 2}
SMALL = {
    "rl2": {"hidden_size": 8},
    "recurrent-sac": {"hidden_size": 8},
    "varibad": {
        "hidden_size": 8,
        "belief_size": 8,
        "latent_size": 6,
        "reward_loss": "bernoulli",
        "reward_reads": "arrival",
    },
}


def lived_by(name: str, **options: Any) -> Lived:
    make = algorithm(name)
    agent = make.make(qs.tasks.make("grid-navigation", **GRID), make.config(**SMALL[name]), **options)
    return live_trials(agent, batch=32, num_tasks=5)


def test_varibads_belief_is_what_its_encoder_makes_of_the_whole_trial():
    lived = lived_by("varibad")
    found = known(lived)
    assert found is not None and found.kind == "belief" and found.believed is not None
    percept = lived.trial.percept(3)
    tasks, learner = lived.agent.tasks, lived.agent
    told = evidence(percept, tasks.observation_space, tasks.action_space)[0, 0, :, None]
    weights = learner.model_weights["encoder"]  # type: ignore[attr-defined]
    belief, _ = functional_call(learner.model["encoder"], weights, (told, torch.zeros(1, 8)))  # type: ignore[attr-defined]
    torch.testing.assert_close(torch.cat([each[3] for each in found.believed.mean]), belief.mean[:, 0])
    torch.testing.assert_close(torch.cat([each[3] for each in found.believed.std]), (0.5 * belief.log_variance[:, 0]).exp())
    torch.testing.assert_close(found.end[3], belief.mean[-1, 0])


def test_pearls_belief_is_the_product_of_all_it_has_seen_before_the_episode():
    tasks = qs.tasks.make("point-navigation", max_episode_steps=4, episodes_per_trial=3)
    agent = qs.PEARL(tasks, qs.PEARL.Config(num_train_tasks=4, trials=2, hidden_size=8))
    lived = live_trials(agent, batch=32, num_tasks=3)
    found = known(lived)
    assert found is not None and found.believed is not None
    torch.testing.assert_close(found.believed.mean[0], torch.zeros(3, 4, 5))
    torch.testing.assert_close(found.believed.std[0], torch.ones(3, 4, 5))
    seen = torch.cat([agent.moments.normalise(transition_vectors(tasks, each)).flatten(1, 2) for each in lived.episodes], 1)
    whole = posterior(agent.nets.encoder, agent.weights["encoder"], seen, torch.ones(3, 12, dtype=torch.bool))
    torch.testing.assert_close(found.end, whole.mean)
    two = posterior(agent.nets.encoder, agent.weights["encoder"], seen[:, :8], torch.ones(3, 8, dtype=torch.bool))
    torch.testing.assert_close(found.believed.std[2], two.std[:, None].expand(-1, 4, -1))


def test_gradients_agree_as_the_weights_move_by_them():
    """With one rate for all, a step goes along the gradient: two tasks' steps have the cosine of their gradients."""
    tasks = qs.tasks.make("point-navigation", max_episode_steps=5, episodes_per_trial=1)
    agent = qs.MAML(tasks, qs.MAML.Config(hidden_size=4, lanes=3, learn_inner_rate=False, inner_rate=0.05))
    lived = live_trials(agent, batch=32, num_tasks=6)
    found, shown = known(lived), inner_steps(lived)
    assert found is not None and found.kind == "weights" and shown is not None
    cosines = alike(found.end)
    torch.testing.assert_close(cosines.diagonal(), torch.ones(6))
    one, other = torch.triu_indices(6, 6, offset=1)
    apart = (tasks.normalise(lived.tasks)[one] - tasks.normalise(lived.tasks)[other]).norm(dim=1)
    pairs = torch.tensor(shown["pairs"])
    torch.testing.assert_close(pairs, torch.stack([apart, cosines[one, other]], 1), atol=6e-3, rtol=6e-3)
    # standardised advantages have the mean zero, and a small step goes downhill
    [(before, after)] = shown["losses"]
    assert before == pytest.approx([0] * 6, abs=1e-6) and max(after) < 0


def test_two_gradients_of_which_one_is_zero_have_the_cosine_zero():
    torch.testing.assert_close(alike(torch.tensor([[3.0, 4.0], [0.0, 0.0]])), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


def test_principal_components_keep_the_distances_of_a_plane_and_tell_its_share():
    generator = np.random.default_rng(0)
    plane = generator.normal(size=(7, 2)) * [3.0, 1.0]
    turned = plane @ np.linalg.qr(generator.normal(size=(9, 9)))[0][:2] + 5
    places, shares = principal(turned)
    apart = lambda rows: np.linalg.norm(rows[:, None] - rows, axis=-1)  # noqa: E731
    np.testing.assert_allclose(apart(places), apart(turned), atol=1e-9)
    assert sum(shares) == pytest.approx(1) and shares[0] > shares[1]
    assert (np.take_along_axis(places, np.abs(places).argmax(0)[None], 0) > 0).all()
    places, shares = principal(np.ones((3, 4)))
    assert not places.any() and shares == [0, 0]


def test_a_learner_within_a_normaliser_is_looked_into():
    tasks = qs.tasks.make("point-navigation", max_episode_steps=4, episodes_per_trial=2)
    agent = Normalised(qs.RL2(tasks, qs.RL2.Config(hidden_size=8)), Normalisation(normalise_observation=True))
    lived = inside(live_trials(agent, batch=8, num_tasks=3))
    found = known(lived)
    assert found is not None and embedding(lived, found)["kind"] == "memory"
    assert len(embedding(lived, found)["tasks"]) == 3
    assert "causes" in steps(lived, found)["trials"][0]
    assert known(live_trials(qs.Random(tasks), batch=8, num_tasks=1)) is None


def test_what_is_known_of_tasks_of_single_numbers_lies_where_those_say():
    agent = qs.RL2(qs.tasks.make("pendulum", max_episode_steps=3, episodes_per_trial=1), qs.RL2.Config(hidden_size=8))
    lived = live_trials(agent, batch=8, num_tasks=4)
    found = known(lived)
    assert found is not None
    shown = embedding(lived, found)
    assert shown["axes"] == list(lived.tasks) and len(shown["tasks"]) == 4
    torch.testing.assert_close(
        torch.tensor([task["at"] for task in shown["tasks"]]), torch.stack(list(lived.tasks.values()), 1), rtol=1e-5, atol=0
    )


def test_a_trial_is_told_step_by_step():
    lived = lived_by("varibad")
    told = steps(lived, known(lived))
    assert told["size"] == 3 and len(told["entries"]) == 4
    for row, trial in zip(lived.shown, told["trials"], strict=True):
        assert trial["lengths"] == [3, 3] and trial["moments"] == list(range(6))
        total = sum(float(experience.transition.reward[row].sum()) for experience in lived.episodes)
        assert sum(trial["rewards"]) == pytest.approx(total)
        for chances in (*trial["exact"], *trial["decoded"]):
            assert len(chances) == 9 and sum(chances) == pytest.approx(1, abs=0.01)
        assert [len(row) for row in trial["causes"]] == [1, 2, 3, 4, 5, 6]
        assert np.array(trial["belief"]["mean"]).shape == np.array(trial["belief"]["std"]).shape == (4, 6)


def test_a_long_trial_is_looked_at_at_some_of_its_steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("quickstudy.report.steps.MOMENTS", 4)
    lived = lived_by("rl2")
    [trial, *_] = steps(lived, known(lived))["trials"]
    assert trial["moments"] == [0, 2, 3, 5] and [len(row) for row in trial["causes"]] == [1, 2, 3, 4]


def retraced(lived: Lived, task: int) -> Retraced:
    """A trial once more."""
    return lived.agent.retrace(lived.trial, task)  # type: ignore[attr-defined]


def in_double(lived: Lived) -> Lived:
    """The same trials, rewards and policies' weights in double precision."""
    [policy, *others] = lived.policies
    fields = {name: getattr(policy, name) for name in ("weights", "encoder_weights", "actor") if hasattr(policy, name)}
    doubled = {name: tree_map(lambda weight: weight.detach().double(), value) for name, value in fields.items()}
    episodes = [each._replace(percept=each.percept._replace(reward=each.percept.reward.double())) for each in lived.episodes]
    policies = [replace(policy, **doubled), *others]  # pyright: ignore[reportArgumentType]
    return lived._replace(policies=policies, episodes=episodes)


def rl2_by_steps(policy: Any, clock: Tensor, action: Tensor, seen: list[Tensor]) -> Tensor:
    state, found = torch.zeros(1, policy.net.state_size).double(), []
    for now, time in zip(seen[0], clock, strict=True):
        parameters, _, state = functional_call(policy.net, policy.weights, (torch.cat([now, time])[None, None], state))
        found.append(parameters[0])
    return policy.distribution.log_prob(torch.cat(found), action)


def recurrent_sac_by_steps(policy: Any, clock: Tensor, action: Tensor, seen: list[Tensor]) -> Tensor:
    state, found = torch.zeros(1, policy.net.encoder.state_size).double(), []
    for now, time in zip(seen[0], clock, strict=True):
        state = functional_call(policy.net.encoder, policy.actor.encoder, (torch.cat([now, time])[None], state, [1]))
        found.append(functional_call(policy.net.policy, policy.actor.head, (policy.net.shown(state),)))
    return policy.actions.log_prob(torch.cat(found), action)


def varibad_by_steps(policy: Any, clock: Tensor, action: Tensor, seen: list[Tensor]) -> Tensor:
    state, found = torch.zeros(1, 8).double(), []
    for told, now, time in zip(*seen, clock, strict=True):
        belief, state = functional_call(policy.encoder, policy.encoder_weights, (told[None, None], state))
        spread = belief.log_variance[0, 0] - FIRST_LOG_VARIANCE
        inputs = torch.cat([now, belief.mean[0, 0], spread, time])
        found.append(functional_call(policy.net, policy.weights, (inputs[None],)))
    return policy.distribution.log_prob(torch.cat(found), action)


BY_STEPS: dict[str, Callable[[Any, Tensor, Tensor, list[Tensor]], Tensor]] = {
    "rl2": rl2_by_steps,
    "recurrent-sac": recurrent_sac_by_steps,
    "varibad": varibad_by_steps,
}


@pytest.mark.parametrize("name", BY_STEPS)
def test_a_cause_is_what_a_little_more_of_its_step_does(name: str):
    """Scale all that was seen at a step: the central difference of the action's log-probability, living step by step."""
    lived = in_double(lived_by(name, seed=3))
    once, policy, action = retraced(lived, 1), lived.policies[0], lived.trial.action(1)
    step, episode = (values[0, 0].double() for values in counted(lived.trial.percept(1)))
    clock = torch.stack([step / 6, (episode / 2).clamp(max=1)], 1)
    torch.testing.assert_close(BY_STEPS[name](policy, clock, action, [part.detach() for part in once.seen]), once.log_prob)
    recorded = [experience.act.log_prob for experience in lived.episodes]
    if recorded[0] is not None:
        first_lane = lived.trial.joined(1, [each.double() for each in recorded if each is not None])
        torch.testing.assert_close(first_lane, once.log_prob.detach(), atol=1e-5, rtol=1e-5)
    moved, little = causes(once, range(6)), 1e-4
    for cause in range(6):
        differences = []
        for way in (little, -little):
            scaled = [part.detach().double().clone() for part in once.seen]
            for part in scaled:
                part[cause] = part[cause] * (1 + way)
            differences.append(BY_STEPS[name](policy, clock, action, scaled))
        expected = (differences[0] - differences[1]) / (2 * little)
        torch.testing.assert_close(moved[:, cause], expected.detach(), atol=1e-7, rtol=1e-4)
    assert bool((moved.tril(-1).abs().sum(1)[1:] > 0).all()) and not moved.triu(1).any()


def test_a_memory_that_forgets_has_no_causes_but_the_present():
    lived = lived_by("rl2")
    [policy, *others] = lived.policies
    weights = dict(policy.weights)  # type: ignore[attr-defined]
    # the gate that keeps the state is shut, and nothing is recalled
    weights["memory.input_bias"] = torch.cat([torch.zeros(8), torch.full((8,), -60.0), torch.zeros(8)])
    weights["memory.from_hidden"] = torch.zeros_like(weights["memory.from_hidden"])
    lived = lived._replace(policies=[replace(policy, weights=weights), *others])  # pyright: ignore[reportArgumentType]
    moved = causes(retraced(lived, 0), range(6))
    assert not moved.tril(-1).abs().gt(1e-12).any() and moved.diagonal().abs().gt(0).all()


def test_steps_between_two_moments_are_counted_together():
    lived = lived_by("recurrent-sac")
    once = retraced(lived, 0)
    fine, coarse = causes(once, range(6)), causes(once, [0, 2, 5])
    torch.testing.assert_close(coarse[2], torch.stack([fine[5, :2].sum(), fine[5, 2:5].sum(), fine[5, 5]]))


def test_what_is_seen_now_is_the_last_of_a_trials_percepts():
    lived = lived_by("rl2")
    percept = lived.trial.percept(2)
    assert percept.first[0, 0].tolist() == [True, False, False, True, False, False]
    vectors = as_vector(lived.agent.tasks.observation_space, percept.observation)[0, 0]
    torch.testing.assert_close(vectors.sum(1), torch.ones(6))
    assert percept.reward[0, 0, 3] == lived.episodes[0].transition.reward[2, 0, 2]
