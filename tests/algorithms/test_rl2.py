"""RL2: each of its formulae against its definition, a loop over the steps of each trial that was really lived."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from loops import (
    advantages,
    batches_of,
    explained,
    learnt_scale,
    lived,
    moved_scale,
    perturbed,
    ppo_parts,
    standardised,
    trial_of,
)
from probes import HiddenLedge
from small import SMALL
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import get_total_norm

import quickstudy as qs
from quickstudy.algorithms.memory.rl2 import RL2, arrival_values
from quickstudy.parts.clock import counted, left, timed_percept
from quickstudy.parts.ppo import Batch, Cap, time_limits
from quickstudy.protocol import Experience, Percept
from quickstudy.work import InProcess

TRIALS, EPISODES, LIMIT = 24, 3, 5
BEFORE = (1.0, 9.0)
"""Targets that a learner has seen before: its values are on a scale of their own."""


def make(**options: Any) -> RL2:
    """A learner whose value scale has begun to move."""
    learner = RL2(qs.NativeTasks(HiddenLedge()), RL2.Config(**SMALL["rl2"] | {"trials": TRIALS} | options), seed=1)
    learner.scale = learnt_scale(BEFORE, learner.config.value_rate)
    return learner


def trials_of(learner: RL2) -> Experience:
    """Trials in which episodes fall and reach their limit, and some end before others."""
    experience = lived(learner, TRIALS, EPISODES, EPISODES * LIMIT)
    transition, valid = experience.transition, experience.valid
    assert (transition.terminated & valid).sum() > 10 and (transition.truncated & valid).sum() > 10 and not valid.all()
    return experience


def each_trial(experience: Experience) -> list[int]:
    """How many steps each trial has."""
    return experience.valid[:, 0].sum(-1).tolist()


def value_beyond(learner: RL2, experience: Experience, trial: int, step: int) -> float:
    """What the policy says of where a step arrived, asked as it acts: the episode goes on, one step later on its clock."""
    policy, transition = learner.explorer(), experience.transition
    at = (slice(trial, trial + 1), slice(0, 1), step)
    never = torch.zeros(1, 1, dtype=torch.bool)
    arrival = transition.arrival[at]
    percept = Percept(arrival, never, experience.act.action[at], transition.reward[at], arrival, never, never)
    episode = experience.percept.first[trial, 0, : step + 1].sum().float().expand(1, 1)
    memory = {"state": experience.act.notes["state"][at], "step": torch.full((1, 1), step + 1.0), "episode": episode}
    act, _ = policy.act(percept, memory, None)
    return float(act.notes["value"])


def defined(learner: RL2, experience: Experience) -> tuple[list[list[float]], list[list[float]]]:
    """Advantages and value targets of each trial, by the learner's kind of credit."""
    config, transition, scale = learner.config, experience.transition, learner.scale
    gains, aims = [], []
    for trial, length in enumerate(each_trial(experience)):
        reward = transition.reward[trial, 0, :length].tolist()
        value = [float(v * scale.std + scale.mean) for v in experience.act.notes["value"][trial, 0, :length]]
        successor, carried = [*value[1:], 0.0], [True] * length
        if config.credit == "episode":
            for step in range(length):
                if transition.terminated[trial, 0, step]:
                    successor[step], carried[step] = 0.0, False
                elif transition.truncated[trial, 0, step]:
                    beyond = value_beyond(learner, experience, trial, step)
                    successor[step], carried[step] = float(beyond * scale.std + scale.mean), False
        gains.append(advantages(reward, value, successor, carried, config.gamma, config.gae_lambda))
        aims.append([gain + v for gain, v in zip(gains[-1], value, strict=True)])
    return gains, aims


def flat(nested: list[list[float]]) -> list[float]:
    return [value for part in nested for value in part]


def lives(values: Tensor, lengths: list[int]) -> Tensor:
    """What a batch (time, trial) holds of each trial's steps, one trial after another."""
    return torch.cat([values[:length, trial] for trial, length in enumerate(lengths)])


@torch.no_grad()
@pytest.mark.parametrize("credit", ["trial", "episode"])
def test_advantages_and_targets_are_their_definition(credit: Any):
    learner = make(credit=credit)
    experience = trials_of(learner)
    gains, aims = defined(learner, experience)
    batch, metrics = learner.prepare(learner.explorer(), experience)
    lengths = each_trial(experience)
    assert batch.valid.sum(0).tolist() == lengths
    near = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(lives(batch.advantage, lengths), torch.tensor(standardised(flat(gains))), **near)
    mean, std = moved_scale(BEFORE, flat(aims), learner.config.value_rate)
    assert (float(learner.scale.mean), float(learner.scale.std)) == pytest.approx((mean, std), rel=1e-4)
    torch.testing.assert_close(lives(batch.target, lengths), (torch.tensor(flat(aims)) - mean) / std, **near)
    values = [float(aim - gain) for aim, gain in zip(flat(aims), flat(gains), strict=True)]
    assert metrics["train/explained_variance"] == pytest.approx(explained(values, flat(aims)), abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("credit", ["trial", "episode"])
def test_moving_the_scale_moves_no_value(credit: Any):
    learner = make(credit=credit)
    experience = trials_of(learner)
    before = learner.scale.restore(experience.act.notes["value"][:, 0]).T
    batch, _ = learner.prepare(learner.explorer(), experience)
    start = torch.zeros(TRIALS, learner.net.state_size)
    _, value, _ = functional_call(learner.net, learner.weights, (batch.inputs, start))
    torch.testing.assert_close(
        learner.scale.restore(value)[batch.valid], before[batch.valid], rtol=1e-4, atol=1e-4, check_dtype=False
    )


@torch.no_grad()
def test_the_value_beyond_a_time_limit_is_that_of_the_episode_going_on():
    learner = make(credit="episode")
    experience = trials_of(learner)
    found = arrival_values(learner.explorer(), experience)
    limits = experience.transition.truncated & experience.valid
    assert not found[~limits].any()
    for trial, _, step in limits.nonzero().tolist():
        assert float(found[trial, 0, step]) == pytest.approx(value_beyond(learner, experience, trial, step), abs=1e-5)


def test_beyond_a_time_limit_the_reward_is_told_as_percepts_tell_it():
    """Within a normaliser, training sees scaled rewards, and percepts the raw ones."""
    experience = trials_of(make(credit="episode"))
    transition = experience.transition
    scaled = transition._replace(reward=transition.reward / 7, info=transition.info | {"raw_reward": transition.reward})
    plain, limits = (time_limits(experience._replace(transition=each)) for each in (transition, scaled))
    assert torch.equal(plain.percept.reward, limits.percept.reward) and plain.percept.reward.any()


@torch.no_grad()
def test_the_network_reads_the_step_before_and_the_clock():
    learner = make()
    experience = trials_of(learner)
    batch, _ = learner.prepare(learner.explorer(), experience)
    percept, transition = experience.percept, experience.transition
    for trial, length in enumerate(each_trial(experience)):
        episode = 0
        for step in range(length):
            expected = [float(percept.observation[trial, 0, step, 0]), 0.0, 0.0, 0.0, 0.0]
            if step:
                ended = transition.terminated | transition.truncated
                expected[1 + int(experience.act.action[trial, 0, step - 1])] = 1.0
                expected[3:] = float(transition.reward[trial, 0, step - 1]), float(ended[trial, 0, step - 1])
            episode += 1 if step == 0 or expected[4] else 0
            expected += [step / (EPISODES * LIMIT), episode / EPISODES]
            assert batch.inputs[step, trial].tolist() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_the_policy_that_is_trained_first_is_the_one_that_acted():
    learner = make(ent_coef=0.0, vf_coef=0.0)
    batch, _ = learner.prepare(learner.explorer(), trials_of(learner))
    _, parts = learner.loss(learner.weights, batch)
    assert float(parts["train/approx_kl"]) == pytest.approx(0, abs=1e-6) and float(parts["train/clip_fraction"]) == 0
    assert float(parts["train/loss"]) == pytest.approx(0, abs=1e-5)  # standardised advantages sum to nothing


@torch.no_grad()
def test_the_loss_is_ppos_over_the_steps_that_were_lived():
    learner = make(vf_coef=0.7, ent_coef=0.3)
    experience = trials_of(learner)
    batch, _ = learner.prepare(learner.explorer(), experience)
    weights, lengths = perturbed(learner.weights, 0.2), each_trial(experience)
    total, parts = learner.loss(weights, batch)
    logits, value, _ = functional_call(learner.net, weights, (batch.inputs, torch.zeros(TRIALS, learner.net.state_size)))
    columns = (logits, value, batch.action, batch.log_prob, batch.advantage, batch.target)
    expected = ppo_parts(*(lives(column, lengths) for column in columns), learner.config.clip_range)
    assert 0.05 < expected["train/clip_fraction"] < 0.95
    for name, part in expected.items():
        assert float(parts[name]) == pytest.approx(part, rel=1e-4, abs=1e-5), name
    sums = expected["train/policy_loss"] + 0.7 * expected["train/value_loss"] - 0.3 * expected["train/entropy"]
    assert float(total) == float(parts["train/loss"]) == pytest.approx(sums, rel=1e-4)


def test_each_pass_takes_every_trial_once_and_whole(monkeypatch: pytest.MonkeyPatch):
    learner = make(n_epochs=2, minibatches=5)
    prepared, seen = batches_of(learner, monkeypatch)

    def whole(batches: list[Batch]) -> list[tuple[float, ...]]:
        """The trials of some batches, each as all that it holds, in order."""
        columns = [
            torch.cat([field.flatten(2) if field.dim() > 2 else field[..., None] for field in batch], 2) for batch in batches
        ]
        return [tuple(trial.flatten().tolist()) for part in columns for trial in part.unbind(1)]

    assert [batch.valid.shape[1] for batch in seen] == [5, 5, 5, 5, 4] * 2
    first, second = whole(seen[:5]), whole(seen[5:])
    assert Counter(first) == Counter(second) == Counter(whole(prepared)) and first != second


def test_step_size_and_entropy_bonus_fall_linearly_to_a_hundredth():
    learner = make(anneal_iterations=10, ent_coef=0.5, n_epochs=1, minibatches=1)
    assert [left(10, iteration) for iteration in (0, 4, 9, 10, 50)] == pytest.approx([1, 0.6, 0.1, 0.01, 0.01])
    assert left(0, 50) == 1
    learner.iteration = 4
    metrics = learner.train_step(InProcess(learner.tasks))
    assert learner.optimiser.param_groups[0]["lr"] == pytest.approx(0.6 * learner.config.learning_rate)
    bonus = metrics["train/policy_loss"] + 0.5 * metrics["train/value_loss"] - metrics["train/loss"]
    assert bonus == pytest.approx(0.6 * 0.5 * metrics["train/entropy"], rel=1e-4)


def test_gradients_are_scaled_down_to_their_bound():
    learner = make(max_grad_norm=0.01)
    batch, _ = learner.prepare(learner.explorer(), trials_of(learner))
    parts = learner.update(batch)
    judging, acting = set(learner.judging), learner.weights.keys() - set(learner.judging)
    assert judging and float(parts["train/grad_norm"]) > 0.02
    for names in (judging, acting):
        taken = [weight.grad for name in names if (weight := learner.weights[name]).grad is not None]
        assert float(get_total_norm(taken)) == pytest.approx(0.01, rel=1e-3)


def test_a_value_of_its_own_moves_nothing_of_the_policy():
    """Nor the policy anything of the value; where they share a memory, both move it."""
    for value in ("separate", "shared"):
        learner = make(value=value, ent_coef=0.0)
        batch, _ = learner.prepare(learner.explorer(), trials_of(learner))
        _, value_of, _ = functional_call(learner.net, learner.weights, (batch.inputs, torch.zeros(TRIALS, state_size(learner))))
        moved = grads(learner, value_of.square().sum())
        assert moved == ({*learner.judging} if value == "separate" else {n for n in learner.weights if "policy" not in n})
        parameters, _, _ = functional_call(
            learner.net, learner.weights, (batch.inputs, torch.zeros(TRIALS, state_size(learner)))
        )
        assert grads(learner, parameters.square().sum()) == {n for n in learner.weights if not n.startswith("value")}


def state_size(learner: RL2) -> int:
    return learner.net.state_size


def grads(learner: RL2, total: Tensor) -> set[str]:
    """The weights that a number depends on."""
    found = torch.autograd.grad(total, list(learner.weights.values()), allow_unused=True)
    return {name for name, each in zip(learner.weights, found, strict=True) if each is not None and bool(each.any())}


@torch.no_grad()
@pytest.mark.parametrize("value", ["separate", "shared"])
def test_a_cap_on_the_kl_holds_and_leaves_the_value_that_is_apart(value: str):
    """Passes that go far are taken back to within the cap; the value's own weights are those that the passes made."""
    options = {"learning_rate": 0.05, "n_epochs": 2, "value": value}
    free, capped = make(**options), make(kl_cap=0.003, **options)
    metrics = []
    for learner in (free, capped):
        batch, _ = learner.prepare(learner.explorer(), trials_of(learner))
        with torch.enable_grad():
            learner.improve(batch, torch.Generator().manual_seed(0))
        metrics.append(learner.loss(learner.weights, batch)[1]["train/approx_kl"].item())
    assert metrics[0] > 0.01 and 0 < metrics[1] <= 0.003
    # the first pass went too far, so that the capped one made no second
    one = make(**options | {"n_epochs": 1})
    batch, _ = one.prepare(one.explorer(), trials_of(one))
    with torch.enable_grad():
        one.improve(batch, torch.Generator().manual_seed(0))
    assert bool(one.judging) == (value == "separate")
    assert all(torch.equal(one.weights[name], capped.weights[name]) for name in one.judging)
    assert not torch.equal(one.weights["memory.from_hidden"], capped.weights["memory.from_hidden"])


@pytest.mark.parametrize(
    ("kls", "losses", "left", "passes"),
    [
        ([0.1, 0.1, 0.1], [3.0, 1.0, 2.0], 2.0, 3),  # the second pass is the best
        ([0.1, 0.9, 0.1], [3.0, 1.0, 2.0], 1.0, 2),  # the second went too far, and there is no third
    ],
)
def test_of_the_passes_within_the_cap_the_best_stays(kls: list[float], losses: list[float], left: float, passes: int):
    weights = {"w": torch.zeros(1)}
    told = iter(
        [{"train/approx_kl": torch.tensor(k), "train/policy_loss": torch.tensor(x)} for k, x in zip(kls, losses, strict=True)]
    )
    cap = Cap(0.5, weights, lambda: next(told))
    made = 0
    for number in range(3):
        weights["w"].fill_(number + 1)
        made += 1
        if cap.exceeded():
            break
    cap.judged = dict
    cap.settled()
    assert weights["w"].item() == left and made == passes


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["layer", "none"])
@pytest.mark.parametrize("family", ["bandit", "tabular-mdp", "point-navigation", "pendulum"])
def test_units_and_gates_spread_from_the_start(family: str, encoder: Any):
    """Their deviation is about one, whatever is seen; of gain 1 it is a fraction of that."""
    deviations = {}
    for initialisation in ("spread", "orthogonal"):
        tasks = qs.tasks.make(family)
        learner = RL2(tasks, RL2.Config(trials=64, hidden_size=64, encoder=encoder, initialisation=initialisation), seed=1)
        experience = lived(learner, 64, tasks.episodes_per_trial, 20)
        inputs = timed_percept(tasks, experience.percept, *counted(experience.percept))
        read = learner.net.encoder
        hidden = (
            inputs
            if encoder == "none"
            else functional_call(read, {n[8:]: w for n, w in learner.weights.items() if n.startswith("encoder.")}, (inputs,))
        )
        gates = hidden @ learner.weights["memory.from_input"].flatten(0, 1).T
        deviations[initialisation] = gates.std(dim=(0, 1, 2)).mean().item()
    assert 0.3 < deviations["spread"] < 2.5 and deviations["orthogonal"] < 0.6 * deviations["spread"]


@torch.no_grad()
def test_metrics_count_steps_and_returns_by_episode():
    learner = make()
    experience = trials_of(learner)
    _, metrics = learner.prepare(learner.explorer(), experience)
    transition, lengths = experience.transition, each_trial(experience)
    returns = [[0.0] * EPISODES for _ in range(TRIALS)]
    for trial, length in enumerate(lengths):
        episode = 0
        for step in range(length):
            returns[trial][episode] += float(transition.reward[trial, 0, step])
            episode += bool(transition.terminated[trial, 0, step] | transition.truncated[trial, 0, step])
        assert episode == EPISODES
    assert metrics["rollout/timesteps"] == sum(lengths)
    assert metrics["rollout/ep_len_mean"] == pytest.approx(sum(lengths) / (TRIALS * EPISODES))
    assert metrics["rollout/ep_rew_mean"] == pytest.approx(sum(flat(returns)) / (TRIALS * EPISODES), abs=1e-5)
    for number in range(EPISODES):
        mean = sum(trial[number] for trial in returns) / TRIALS
        assert metrics[f"adapt/episode_{number + 1}/return_mean"] == pytest.approx(mean, abs=1e-5)


def test_a_policy_remembers_over_episodes_and_begins_a_trial_blank():
    learner = make()
    experience = trials_of(learner)
    policy = learner.adapt(learner.explorer(), experience)
    assert all(torch.equal(policy.initial_memory(TRIALS, 1)[name], held) for name, held in experience.end_memory.items())
    assert experience.end_memory["step"][:, 0].tolist() == each_trial(experience)
    assert experience.end_memory["episode"].eq(EPISODES).all()
    assert not any(bool(part.any()) for part in learner.explorer().initial_memory(TRIALS, 1).values())


def test_what_is_known_is_what_the_memory_holds_in_the_end():
    learner = make()
    trial = trial_of(learner, 6, EPISODES)
    found = learner.known(trial)
    assert found.kind == "memory" and found.believed is None
    assert torch.equal(found.end, trial.policies[-1].initial_memory(6, 1)["state"][:, 0]) and found.end.shape == (6, 32)


@pytest.mark.parametrize("memory", ["gru", "lstm", "gru-norm"])
def test_a_trial_is_lived_once_more_as_it_was_and_its_decisions_depend_on_what_came_before(memory: Any):
    learner = make(memory=memory, hidden_layers=1)
    trial = trial_of(learner, 6, EPISODES)
    for task in (0, 5):
        once = learner.retrace(trial, task)
        acts = [(episode.act.log_prob, episode.valid) for episode in trial.episodes]
        recorded = torch.cat([log_prob[task, 0][valid[task, 0]] for log_prob, valid in acts if log_prob is not None])
        torch.testing.assert_close(once.log_prob.detach(), recorded, atol=1e-5, rtol=1e-5)
        [seen] = once.seen
        (slope,) = torch.autograd.grad(once.log_prob[3], seen)
        assert slope[:4].abs().sum(1).gt(0).all() and not slope[4:].any()
