"""VariBAD: what its belief knows, who trains it, and what HyperX's bonuses touch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import advantages, explained, learnt_scale, moved_scale, standardised, trial_of
from probes import HiddenButton, HiddenLedge
from small import SMALL, TINY
from torch.func import functional_call

import quickstudy as qs
from quickstudy.algorithms.belief.varibad import VariBAD, beyond
from quickstudy.check.learner import CLAUSES, Subject
from quickstudy.check.report import judge
from quickstudy.data.rollout import Plan, collect
from quickstudy.parts import ppo
from quickstudy.parts.belief import as_records, as_trials, surprise
from quickstudy.protocol import Experience, Percept, Shard, counter
from quickstudy.work import InProcess, LocalSite


def make(tasks: Any, **options: Any) -> VariBAD:
    return VariBAD(tasks, VariBAD.Config(**SMALL["varibad"] | options))


def lived(learner: VariBAD, trials: int = 8) -> Experience:
    tasks = learner.tasks
    plan = Plan(learner.explorer(), 1, tasks.episodes_per_trial * tasks.max_episode_steps, tasks.episodes_per_trial)
    return collect(LocalSite(tasks), plan, Shard(0, 0, 0, trials, "train"))


def copies(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: copies(each) if isinstance(each, dict) else each.detach().clone() for name, each in weights.items()}


@pytest.mark.parametrize("family", ["cart-pole", "grid-navigation"])
def test_the_beliefs_that_were_acted_on_are_those_that_are_trained(family: str):
    """The encoder along a recorded trial at once gives what it gave step by step, over the borders of episodes."""
    learner = make(qs.tasks.make(family, max_episode_steps=9, episodes_per_trial=3))
    experience = lived(learner)
    spaces = learner.tasks.observation_space, learner.tasks.action_space
    seen = as_trials(as_records(learner.tasks, experience, 27), *spaces, learner.predicts).evidence.transpose(0, 1)
    start = torch.zeros(seen.shape[1], SMALL["varibad"]["belief_size"])
    belief, _ = functional_call(learner.model["encoder"], learner.model_weights["encoder"], (seen, start))
    valid = experience.valid[:, 0]
    for ours, theirs in zip(belief, learner.beliefs(experience), strict=True):
        torch.testing.assert_close(ours.transpose(0, 1)[:, : valid.shape[1]][valid], theirs[:, 0][valid])


def test_ppo_trains_the_policy_alone_and_the_elbo_the_belief_alone():
    learner = make(qs.tasks.make("bandit", arms=3, pulls=3))
    experience = lived(learner)
    batch, _ = learner.prepare(learner.explorer(), experience, torch.zeros_like(experience.transition.reward))
    model, policy = copies(learner.model_weights), copies(learner.weights)
    learner.update(batch)
    assert all(weight.grad is None for weight in learner.model_parameters)
    assert all(
        torch.equal(model[name][key], weight) for name, each in learner.model_weights.items() for key, weight in each.items()
    )
    assert not any(torch.equal(policy[name], weight) for name, weight in learner.weights.items() if name.endswith("weight"))
    policy = copies(learner.weights)
    learner.replay.extend(torch.zeros(8, dtype=torch.long), as_records(learner.tasks, experience, 3))
    learner.update_belief(counter(0, 0, "belief"))
    assert all(torch.equal(policy[name], weight) for name, weight in learner.weights.items())
    assert not torch.equal(model["encoder"]["belief.weight"], learner.model_weights["encoder"]["belief.weight"])


def test_a_belief_holds_what_one_press_tells():
    """Half a chance for either button before the first press, certainty after it: the decoder's answers are the posterior."""
    learner = make(qs.NativeTasks(HiddenButton()), reward_loss="bernoulli", belief_batch=256, belief_terms=3)
    experience = lived(learner, 1024)
    learner.replay.extend(torch.zeros(1024, dtype=torch.long), as_records(learner.tasks, experience, 3))
    for number in range(250):
        learner.update_belief(counter(0, number, "belief"))
    experience = lived(learner, 1024)  # the same trials, and beliefs as they are now
    mean = learner.beliefs(experience).mean[:, 0]
    presses = torch.tensor([[1.0, 1, 0, 1], [1, 0, 1, 1]]).expand(len(mean), 2, 4)  # observation, action, arrival
    with torch.no_grad():
        chance = functional_call(learner.model["reward"], learner.model_weights["reward"], (mean, presses))[..., 0].sigmoid()
    first, paid = experience.act.action[:, 0, 0], experience.transition.reward[:, 0, 0]
    right = torch.where(paid > 0, first, 1 - first)
    truth = torch.nn.functional.one_hot(right, 2).float()
    assert float((chance[:, 0] - 0.5).abs().max()) < 0.1
    assert float((chance[:, 1:] - truth[:, None]).abs().mean()) < 0.05


def test_bonuses_are_ppos_alone_and_fall_to_nothing():
    tasks, options = qs.tasks.make("point-navigation", max_episode_steps=5), {"novelty_weight": 1.0, "error_weight": 1.0}
    learner, plain = make(tasks, bonus_iterations=2, **options), make(tasks)
    work, metrics = InProcess(tasks), []
    for _ in range(3):
        metrics.append(learner.train_step(work))
    assert [row["rollout/novelty_bonus"] > 0 and row["rollout/error_bonus"] > 0 for row in metrics] == [True, True, False]
    assert metrics[2]["rollout/novelty_bonus"] == metrics[2]["rollout/error_bonus"] == 0
    first = plain.train_step(work)
    assert all(first[name] == metrics[0][name] for name in ("rollout/ep_rew_mean", "train/belief_loss", "train/reward_error"))
    assert first["train/explained_variance"] != metrics[0]["train/explained_variance"]


def test_a_bonus_is_paid_for_the_step_that_led_there():
    """Where only the arrival of the third step is new, and no belief, the bonus is the third step's."""
    learner = make(qs.tasks.make("point-navigation", max_episode_steps=6, episodes_per_trial=1), novelty_weight=1.0)
    experience = lived(learner)
    learner.novelty = lambda inputs: (inputs[..., 0] == 7.0).float()  # type: ignore[assignment]
    learner.novelty.learn = lambda *given: None  # type: ignore[attr-defined]
    experience.transition.arrival[:, :, 2, 0] = 7.0
    bonus, _ = learner.bonus(experience, as_records(learner.tasks, experience, 6))
    assert torch.equal(bonus > 0, (torch.arange(6) == 2).expand(8, 1, 6))


def test_the_error_bonus_asks_the_belief_that_has_seen_the_step():
    """One who has pressed knows the button: the press itself is no surprise, however unknown it was before."""
    learner = make(qs.NativeTasks(HiddenButton()), reward_loss="bernoulli", belief_terms=3, error_weight=1.0)
    experience = lived(learner, 1024)
    records = as_records(learner.tasks, experience, 3)
    learner.replay.extend(torch.zeros(1024, dtype=torch.long), records)
    for number in range(250):
        learner.update_belief(counter(0, number, "belief"))
    experience = lived(learner, 1024)  # the same trials, and beliefs as they are now
    mean = learner.beliefs(experience).mean[:, 0]
    before = surprise(learner.model, learner.model_weights, mean, learner.trials(records), learner.predicts)
    bonus, _ = learner.bonus(experience, records)
    assert float(before[:, 0].mean()) > 0.5
    assert float((bonus[:, 0, 0] * learner.bonuses["error"].std).mean()) < 0.2


@pytest.mark.usefixtures("one_kind")
@pytest.mark.parametrize("clause", ["resuming", "metrics"])
def test_keeps_its_contract_with_every_option(clause: str):
    options = {"transition_weight": 1.0, "novelty_weight": 0.1, "error_weight": 0.1, "credit": "episode", "buffer_trials": 70}
    finding = judge(clause, lambda: CLAUSES[clause](Subject(VariBAD, VariBAD.Config(**TINY["varibad"] | options))))
    assert finding.passed, finding.detail


def test_at_a_time_limit_the_policy_reads_what_it_would_if_the_episode_went_on():
    learner = make(qs.tasks.make("point-navigation", max_episode_steps=4, episodes_per_trial=2), credit="episode")
    experience, policy, never = lived(learner), learner.explorer(), torch.zeros(8, 1, dtype=torch.bool)
    limits = ppo.time_limits(experience)
    at, inputs = limits.at, beyond(policy, experience, limits)
    assert len(inputs) == 16 and set(at[2].tolist()) == {3, 7}
    for episode, step in ((1.0, 3), (2.0, 7)):
        arrival, reward = experience.transition.arrival[:, :, step], experience.transition.reward[:, :, step]
        percept = Percept(arrival, never, experience.act.action[:, :, step], reward, arrival, never, never)
        clock = {"step": torch.full((8, 1), step + 1.0), "episode": torch.full((8, 1), episode)}
        with torch.no_grad():
            act, _ = policy.act(percept, {"state": experience.act.notes["state"][:, :, step], **clock}, None)
        torch.testing.assert_close(inputs[at[2] == step], act.notes["inputs"][:, 0])


def test_the_distance_between_two_beliefs_of_one_trial_is_news():
    """With nothing to tell tasks apart, a belief that is trained stays what it was: what is seen is no news."""
    learner = make(qs.tasks.make("bandit", arms=2, pulls=4), kl_weight=1.0, transition_weight=0.0)
    experience = lived(learner, 64)
    records = as_records(learner.tasks, experience, 4)
    records["reward"] = torch.ones_like(records["reward"])
    learner.replay.extend(torch.zeros(64, dtype=torch.long), records)
    kl = [float(learner.update_belief(counter(0, number, "belief"))["train/belief_kl"]) for number in range(200)]
    assert kl[-1] < 0.01


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trials": 10, "shards": 3}, r"varibad: trials \(10\) must be a multiple of shards \(3\)"),
        ({"gamma": 1.5}, r"varibad: gamma \(1.5\) must be in \(0, 1\]"),
        ({"latent_size": 0}, "varibad: latent_size is 0, it must be at least 1"),
        ({"novelty_weight": -1.0}, "varibad: novelty_weight is -1.0, it must be at least 0"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(options: dict[str, Any], says: str):
    with pytest.raises(qs.UsageError, match=says):
        VariBAD.Config(**options)


@torch.no_grad()
@pytest.mark.parametrize("credit", ["trial", "episode"])
def test_advantages_and_targets_are_their_definition_and_moving_the_scale_moves_no_value(credit: str):
    """On rewards and bonus together, trial by trial, with the values of where episodes arrived at their limits."""
    learner, before = make(qs.NativeTasks(HiddenLedge()), credit=credit, trials=24), (1.0, 9.0)
    learner.scale = learnt_scale(before, learner.config.value_rate)
    experience, policy, scale = lived(learner, 24), learner.explorer(), learner.scale
    transition, valid, lengths = experience.transition, experience.valid[:, 0], experience.valid[:, 0].sum(-1).tolist()
    assert (transition.terminated & experience.valid).any() and not valid.all()
    bonus = torch.rand(transition.reward.shape, generator=counter(0, 0, "bonus"))
    limits = ppo.time_limits(experience)
    at, inputs = limits.at, beyond(policy, experience, limits)
    later = dict(zip(zip(at[0].tolist(), at[2].tolist(), strict=True), learner.values(inputs).tolist(), strict=True))
    assert later.keys() == {(trial, step) for trial, _, step in (transition.truncated & experience.valid).nonzero().tolist()}
    _, heads = functional_call(learner.net, learner.weights, (experience.act.notes["inputs"][:, 0],))
    values, gains = [], []
    for trial, length in enumerate(lengths):
        value = [float(head * scale.std + scale.mean) for head in heads[trial, :length]]
        reward = (transition.reward + bonus)[trial, 0, :length].tolist()
        successor, carried = [*value[1:], 0.0], [True] * length
        if credit == "episode":
            for step in range(length):
                if transition.terminated[trial, 0, step] or (trial, step) in later:
                    successor[step], carried[step] = later.get((trial, step), 0.0), False
        gains += advantages(reward, value, successor, carried, learner.config.gamma, learner.config.gae_lambda)
        values += value
    aims = [gain + value for gain, value in zip(gains, values, strict=True)]
    batch, metrics = learner.prepare(policy, experience, bonus)
    near = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(batch.advantage, torch.tensor(standardised(gains)), **near)
    mean, std = moved_scale(before, aims, learner.config.value_rate)
    assert (float(learner.scale.mean), float(learner.scale.std)) == pytest.approx((mean, std), rel=1e-4)
    torch.testing.assert_close(batch.target, (torch.tensor(aims) - mean) / std, **near)
    torch.testing.assert_close(learner.values(batch.inputs), torch.tensor(values), check_dtype=False, **near)
    assert metrics["train/explained_variance"] == pytest.approx(explained(values, aims), abs=1e-4)
    assert metrics["rollout/timesteps"] == sum(lengths) == len(batch.target)


GRID = {"size": 3, "max_episode_steps": 4, "episodes_per_trial": 2}
TELLS = {"reward_loss": "bernoulli", "reward_reads": "arrival"}


def test_what_is_known_is_the_belief_at_each_step():
    learner = make(qs.tasks.make("grid-navigation", **GRID), memory="lstm")
    trial = trial_of(learner, 5, 2)
    found = learner.known(trial)
    assert found.kind == "belief" and found.believed is not None
    for experience, mean, std in zip(trial.episodes, *found.believed, strict=True):
        held = learner.beliefs(experience)
        torch.testing.assert_close(mean, held.mean[:, 0])
        torch.testing.assert_close(std.square().log(), held.log_variance[:, 0], atol=1e-4, rtol=1e-4)
    assert torch.equal(found.end, found.believed.mean[-1][:, -1])


@pytest.mark.parametrize("memory", ["gru", "lstm", "gru-norm"])
def test_a_trial_is_lived_once_more_as_it_was_and_its_decisions_depend_on_what_came_before(memory: str):
    learner = make(qs.tasks.make("grid-navigation", **GRID), memory=memory, encoder="layer")
    trial = trial_of(learner, 5, 2)
    once = learner.retrace(trial, 3)
    recorded = [episode.act.log_prob[3, 0] for episode in trial.episodes if episode.act.log_prob is not None]
    torch.testing.assert_close(once.log_prob.detach(), torch.cat(recorded), atol=1e-5, rtol=1e-5)
    told, now = torch.autograd.grad(once.log_prob[5], once.seen)
    assert told[:6].abs().sum(1).gt(0).all() and not told[6:].any()
    assert now[5].any() and not now[:5].any() and not now[6:].any()


def test_what_is_foretold_is_a_mean_over_samples_of_the_decoders_chance():
    learner = make(qs.tasks.make("grid-navigation", **GRID), **TELLS)
    mean, std, places = torch.randn(3, 4), torch.rand(3, 4) * 3, torch.arange(9)
    chances = learner.foretold((mean, std), places, 2000)
    assert chances is not None and chances.shape == (3, 9)
    generator = torch.Generator().manual_seed(5)
    net, weights = learner.model["reward"], learner.model_weights["reward"]
    for step in range(3):
        latents = mean[step] + std[step] * torch.randn(4000, 4, generator=generator)
        with torch.no_grad():
            logits = functional_call(net, weights, (latents[None], torch.eye(9)[None]))[0, :, :, 0]
        torch.testing.assert_close(chances[step], logits.sigmoid().mean(0), atol=0.03, rtol=0)
    for option in TELLS:
        assert make(learner.tasks, **{option: TELLS[option]}).foretold((mean, std), places, 2) is None
