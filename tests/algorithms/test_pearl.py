"""PEARL: the belief is a product of Gaussians, and each loss reaches the weights it is meant for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from gymnasium import spaces
from probes import HiddenButton, HiddenSide, Survival
from small import SMALL
from torch import Tensor
from torch.distributions import Normal, kl_divergence

import quickstudy as qs
from quickstudy.algorithms.belief.pearl import PEARL, Batch, Noise, critic_loss, loss, place_of
from quickstudy.data.rollout import Lifetime, collect_lives
from quickstudy.nets.soft import soft_actions
from quickstudy.ops.state import copy_state
from quickstudy.ops.tree import tree_map
from quickstudy.parts.posterior import Posterior, context_vector, posterior
from quickstudy.protocol import Experience, Shard, counter
from quickstudy.work import InProcess, LocalSite


def learner(dynamics: Any = None, **options: Any) -> PEARL:
    return PEARL(qs.NativeTasks(dynamics or HiddenSide()), PEARL.Config(**SMALL["pearl"] | options), seed=2)


def navigator(**options: Any) -> PEARL:
    tasks = qs.tasks.make("point-navigation", max_episode_steps=4, episodes_per_trial=3, payoff="sparse")
    return PEARL(tasks, PEARL.Config(**SMALL["pearl"] | options), seed=2)


@torch.no_grad()
def trial(agent: PEARL, tasks: int = 3) -> list[Experience]:
    life = Lifetime(agent.explorer(), agent.adapt, 1, agent.tasks.episodes_per_trial)
    return collect_lives(LocalSite(agent.tasks), life, Shard(0, 0, 0, tasks, "test"))


def context(tasks: int = 4, transitions: int = 7, features: int = 5) -> Tensor:
    return torch.randn(tasks, transitions, features)


def encoder(features: int = 5, latent: int = 3) -> tuple[torch.nn.Module, dict[str, Tensor]]:
    net = torch.nn.Linear(features, 2 * latent)
    return net, {name: weight.detach() for name, weight in net.named_parameters()}


def close(one: Posterior, other: Posterior) -> bool:
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(one, other, strict=True))


def test_the_belief_is_the_product_of_its_factors_and_the_prior():
    """On a grid: the normalised product of the densities has the mean and the spread of the belief."""
    net, weights = encoder(latent=1)
    seen = context(tasks=1, transitions=3)
    belief = posterior(net, weights, seen, torch.ones(1, 3, dtype=torch.bool))
    mean, spread = net(seen).detach().double().chunk(2, -1)
    factors = Normal(mean.flatten(), (torch.nn.functional.softplus(spread) + 1e-4).sqrt().flatten())
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    log_density = factors.log_prob(grid[:, None]).sum(-1) + Normal(0, 1).log_prob(grid)
    share = log_density.softmax(0)
    expected = (share * grid).sum()
    assert float(belief.mean) == pytest.approx(float(expected), abs=1e-4)
    assert float(belief.std) == pytest.approx(float((share * (grid - expected).square()).sum().sqrt()), abs=1e-4)


def test_the_order_of_what_was_seen_makes_no_difference():
    net, weights = encoder()
    seen, known = context(), torch.rand(4, 7) < 0.7
    order = torch.randperm(7)
    assert close(posterior(net, weights, seen, known), posterior(net, weights, seen[:, order], known[:, order]))


def test_what_is_not_known_leaves_the_prior():
    net, weights = encoder()
    belief = posterior(net, weights, context(), torch.zeros(4, 7, dtype=torch.bool))
    assert torch.equal(belief.mean, torch.zeros(4, 3)) and torch.equal(belief.std, torch.ones(4, 3))
    explorer = learner().explorer()
    assert not explorer.belief.mean.any() and (explorer.belief.std == 1).all()


def test_more_context_never_widens_the_belief():
    net, weights = encoder()
    seen = context()
    spreads = [posterior(net, weights, seen, (torch.arange(7) < count).expand(4, 7)).std for count in range(8)]
    assert all((after < before).all() for before, after in pairwise(spreads))


def test_the_divergence_is_the_one_of_the_textbook():
    belief = Posterior(torch.rand(4, 3) * 5, torch.randn(4, 3))
    expected = kl_divergence(Normal(belief.mean, belief.std), Normal(0.0, 1.0)).sum(-1)
    assert torch.allclose(belief.divergence, expected, atol=1e-5)


def test_adapting_episode_by_episode_is_adapting_on_all_at_once():
    agent = navigator()
    episodes = trial(agent)
    folded = agent.explorer()
    for episode in episodes:
        folded = agent.adapt(folded, episode)
    lanes = tree_map(lambda *parts: torch.cat(parts, 1), *episodes)
    assert close(folded.belief, agent.adapt(agent.explorer(), lanes).belief)


def test_steps_that_were_not_lived_say_nothing():
    agent = navigator()
    episode = trial(agent)[0]
    valid = episode.valid.clone()
    valid[..., 2:] = False
    cut = tree_map(lambda value: value[:, :, :2], episode._replace(start_memory={}, end_memory={}, end_percept=episode.percept))
    short = agent.adapt(agent.explorer(), episode._replace(valid=valid)).belief
    assert close(short, agent.adapt(agent.explorer(), cut).belief)


def test_the_end_of_an_episode_is_seen():
    agent = navigator()
    episode = trial(agent)[0]
    endless = episode._replace(transition=episode.transition._replace(truncated=torch.zeros_like(episode.valid)))
    assert not close(agent.adapt(agent.explorer(), episode).belief, agent.adapt(agent.explorer(), endless).belief)


def test_a_latent_task_is_drawn_where_an_episode_begins_and_stays():
    agent = navigator()
    first, second = trial(agent)[:2]
    policy, memory = agent.explorer(), {}
    latents = []
    generator = counter(0, 0, "test")
    memory = policy.initial_memory(3, 1)
    for episode in (first, second):
        for step in range(4):
            percept = tree_map(lambda value, step=step: value[:, :, step], episode.percept)
            _, memory = policy.act(percept, memory, generator)
            latents.append(memory["latent"])
    assert all(torch.equal(latents[0], latent) for latent in latents[1:4])
    assert all(torch.equal(latents[4], latent) for latent in latents[5:])
    assert not torch.isclose(latents[0], latents[4]).any()
    assert len(latents[0].unique()) == latents[0].numel()


def test_samples_of_the_belief_have_its_mean_and_spread_and_the_likeliest_is_its_mean():
    agent = learner()
    policy = replace(agent.explorer(), belief=Posterior(torch.tensor([[3.0, 0.0]]), torch.tensor([[8.0, 1.0]])))
    percept = tree_map(lambda value: value[:1, :, 0].expand(1, 4000, *value.shape[3:]), trial(agent)[0].percept)
    _, memory = policy.act(percept, policy.initial_memory(1, 4000), counter(0, 0, "test"))
    drawn = memory["latent"][0]
    assert torch.allclose(drawn.mean(0), torch.tensor([2.0, 1.0]), atol=0.06)
    assert torch.allclose(drawn.std(0), torch.tensor([0.5, 1.0]), atol=0.05)
    _, memory = policy.act(percept, policy.initial_memory(1, 4000), None)
    assert (memory["latent"] == torch.tensor([2.0, 1.0])).all()


def stocked(agent: PEARL) -> tuple[PEARL, Batch, Noise]:
    """An agent with something in its replay, a batch of it, and noise."""
    agent.collect(InProcess(agent.tasks))
    batch = agent.batch(counter(0, 0, "draws"))
    lead, generator = batch.reward.shape, counter(0, 0, "noise")
    latent = torch.randn(lead[0], agent.config.latent_size, generator=generator)
    return agent, batch, Noise(latent, agent.actions.noise(lead, generator), agent.actions.noise(lead, generator))


def losses_of(agent: PEARL, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
    belief = posterior(agent.nets.encoder, agent.weights["encoder"], batch.context, batch.known)
    return loss(agent.net, agent.brain, agent.config, belief, batch, noise)


def gradients(agent: PEARL, value: Tensor) -> dict[str, float]:
    """How much of a gradient each part of the weights gets."""
    found = torch.autograd.grad(value, agent.learned, allow_unused=True, retain_graph=True)
    sizes = iter(0.0 if gradient is None else float(gradient.norm()) for gradient in found)
    return {part: sum(next(sizes) for _ in weights) for part, weights in agent.weights.items()}


@pytest.mark.parametrize("dynamics", [HiddenSide(), HiddenButton()])
def test_the_encoder_learns_from_critics_and_divergence_alone(dynamics: Any):
    """The gradient of all losses is, for the encoder, that of these two; the policy's and temperature's don't reach it."""
    agent, batch, noise = stocked(learner(dynamics, kl_weight=0.3))
    total, _ = losses_of(agent, batch, noise)
    belief = posterior(agent.nets.encoder, agent.weights["encoder"], batch.context, batch.known)
    latent = (belief.mean + belief.std * noise.latent)[:, None].expand(-1, batch.reward.shape[1], -1)
    critic = critic_loss(agent.net, agent.brain, agent.config.gamma, batch, place_of(batch.observation, latent), noise.later)
    weights = list(agent.weights["encoder"].values())
    whole = torch.autograd.grad(total, weights, retain_graph=True)
    parts = torch.autograd.grad(critic + 0.3 * belief.divergence.mean(), weights, retain_graph=True)
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-7) for one, other in zip(whole, parts, strict=True))
    reached = gradients(agent, critic)
    assert reached["encoder"] > 0 and reached["critics"] > 0
    assert reached["policy"] == reached["temperature"] == 0
    assert all(size > 0 for size in gradients(agent, total).values())


def test_the_policy_climbs_the_critics_and_leaves_them_where_they_are():
    """The critics' gradient of all losses is that of their own; the policy's is minus that of the soft value."""
    agent, batch, noise = stocked(learner())
    total, parts = losses_of(agent, batch, noise)
    belief = posterior(agent.nets.encoder, agent.weights["encoder"], batch.context, batch.known)
    latent = (belief.mean + belief.std * noise.latent)[:, None].expand(-1, batch.reward.shape[1], -1)
    own = critic_loss(agent.net, agent.brain, agent.config.gamma, batch, place_of(batch.observation, latent), noise.later)
    critics = list(agent.weights["critics"].values())
    for one, other in zip(*(torch.autograd.grad(each, critics, retain_graph=True) for each in (total, own)), strict=True):
        torch.testing.assert_close(one, other)
    total.backward()
    with torch.no_grad():
        for weight in agent.weights["policy"].values():
            weight -= 1e-2 * weight.grad
    after = losses_of(agent, batch, noise)[1]
    assert after["train/policy_loss"] < parts["train/policy_loss"]
    assert after["train/critic_loss"] == pytest.approx(float(parts["train/critic_loss"]), rel=0.05)


def test_the_critics_target_by_hand():
    """Target critics that are constants and two equal actions: V = min Q + alpha log 2, and none of it at a termination."""
    agent, batch, noise = stocked(learner(HiddenButton()))
    nothing = tree_map(torch.zeros_like, agent.brain)
    nothing.target.update({"first.4.bias": torch.tensor([2.0, 2.0]), "second.4.bias": torch.tensor([3.0, 3.0])})
    brain = nothing._replace(learned=nothing.learned._replace(log_temperature=agent.brain.learned.log_temperature))
    latent = torch.zeros(*batch.reward.shape, agent.config.latent_size)
    for over in (False, True):
        ended = batch._replace(terminated=torch.full_like(batch.terminated, over))
        value = critic_loss(agent.net, brain, 0.5, ended, place_of(ended.observation, latent), noise.later)
        soft = 2 + agent.config.temperature * torch.tensor(2.0).log()
        expected = (batch.reward + (0.0 if over else 0.5) * soft).square().mean()  # half of two critics' squared errors
        assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_the_temperature_follows_the_entropy_beside_its_aim():
    """Its gradient is what entropy is left over: it falls where there is enough and rises where there is too little."""
    agent, batch, noise = stocked(learner())
    for aim in (-5.0, 5.0):
        agent.actions.target_entropy = aim
        total, parts = losses_of(agent, batch, noise)
        (slope,) = torch.autograd.grad(total, [agent.weights["temperature"]["log"]])
        assert float(slope) == pytest.approx(float(parts["train/entropy"]) - aim, rel=1e-5)
        assert (slope > 0) == (aim < 0)


def test_the_target_critics_follow_at_their_rate():
    agent, batch, _ = stocked(learner(tau=0.25))
    before = {name: weight.clone() for name, weight in agent.targets.items()}
    agent.update(batch, counter(0, 0, "noise"))
    for name, target in agent.targets.items():
        torch.testing.assert_close(target, 0.75 * before[name] + 0.25 * agent.weights["critics"][name].detach())
    assert any(not torch.equal(before[name], target) for name, target in agent.targets.items())


def test_the_context_is_of_the_newest_trial_and_ends_with_an_episode():
    agent = navigator(context_size=50, num_train_tasks=16)
    work, generator = InProcess(agent.tasks), counter(0, 0, "draws")
    agent.collect(work)
    agent.iteration = 1
    agent.collect(work)
    tasks = torch.arange(16)
    seen, known = agent.context(tasks, generator)
    assert seen.shape[1] == agent.replay.size - agent.replay.capacity == 12
    assert set(known.sum(1).tolist()) == {4, 8, 12}
    newest = agent.replay.at(tasks[:, None], agent.replay.added[tasks][:, None] - 12 + torch.arange(12))
    reward = agent.moments.mean[-2] + agent.moments.std[-2] * seen[..., -2].double()
    assert torch.allclose(reward.float().sort(-1).values, newest["paid"].sort(-1).values, atol=1e-5)


def test_a_context_of_short_episodes_holds_no_more_than_their_trial():
    """A belief in training is made of as much evidence as one at test, though the longest trial would have more."""
    tasks, rows = qs.NativeTasks(Survival(max_episode_steps=50)), torch.arange(4)
    config = PEARL.Config(**SMALL["pearl"] | {"num_train_tasks": 4, "trials": 4, "context_size": 200})
    agent, work = PEARL(tasks, config), InProcess(tasks)
    for agent.iteration in range(5):
        before = agent.replay.added.clone()
        agent.collect(work)
    newest = agent.replay.added - before
    assert (newest < before).all() and (newest < agent.replay.size - agent.replay.capacity).all()
    found = [agent.context(rows, counter(0, draw, "draws"))[1] for draw in range(20)]
    assert torch.stack([known.sum(1) for known in found]).amax(0).tolist() == newest.tolist()
    resumed = PEARL(tasks, config)
    resumed.load_state_dict(copy_state(agent.state_dict()))
    assert torch.equal(resumed.context(rows, counter(0, 3, "draws"))[1], found[3])


def test_what_the_encoder_reads_has_mean_0_and_deviation_1_over_all_that_was_met():
    agent = navigator(num_train_tasks=16)
    work = InProcess(agent.tasks)
    for agent.iteration in range(3):
        agent.collect(work)
    every = agent.replay.at(torch.arange(16)[:, None], torch.arange(36).expand(16, 36))
    fields = (every[name] for name in ("observation", "action", "paid", "arrival", "ended"))
    read = agent.moments.normalise(context_vector(agent.tasks, *fields), limit=1e9).flatten(0, 1)
    assert torch.allclose(read.mean(0), torch.zeros(read.shape[1]), atol=1e-5)
    assert torch.allclose(read.std(0, correction=0), torch.ones(read.shape[1]), atol=1e-5)


def test_where_training_is_dense_the_context_stays_sparse():
    agent = navigator(dense_training=True)
    agent.collect(InProcess(agent.tasks))
    kept = agent.replay.at(torch.arange(32)[:, None], (agent.replay.added - 1).clamp(min=0)[:, None])
    met = agent.replay.counts > 0
    goals = agent.train_tasks["goal"]
    assert torch.allclose(kept["reward"][met, 0], -(kept["arrival"][met, 0] - goals[met]).norm(dim=-1), atol=1e-6)
    assert ((kept["paid"][met, 0] == 0) | (kept["paid"][met, 0] >= 0.8)).all()


def test_a_normaliser_scales_what_is_trained_on_and_not_what_the_encoder_reads():
    agent = navigator()
    inside = qs.Normalised(agent, qs.Normalisation(normalise_reward=True))
    inside.train_step(InProcess(agent.tasks))
    met = agent.replay.counts.nonzero()[:, 0]
    kept = agent.replay.at(met[:, None], torch.arange(12).expand(len(met), 12))
    paid = kept["paid"][kept["paid"] != 0]
    assert len(paid) and (paid >= 0.8).all() and (paid <= 1).all()
    scale = kept["reward"][kept["paid"] != 0] / paid
    assert not torch.allclose(scale[0], torch.ones(())) and torch.allclose(scale, scale[0])


def test_a_tasks_trials_go_to_its_own_row():
    agent = navigator(dense_training=True, num_train_tasks=20)
    work = InProcess(agent.tasks)
    for agent.iteration in range(6):
        agent.collect(work)
    assert agent.replay.added.sum() == 6 * 16 * 12 and (agent.replay.added % 12 == 0).all()
    for task in range(20):
        kept = agent.replay.at(torch.tensor([[task]]), torch.arange(int(agent.replay.added[task]))[None])
        expected = -(kept["arrival"][0] - agent.train_tasks["goal"][task]).norm(dim=-1)
        assert torch.allclose(kept["reward"][0], expected, atol=1e-6)


def test_training_tasks_are_of_the_training_split_and_the_seeds_own():
    one, again, other = (PEARL(qs.tasks.make("point-navigation"), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.train_tasks["goal"], again.train_tasks["goal"])
    assert not torch.equal(one.train_tasks["goal"], other.train_tasks["goal"])
    held = one.tasks.sample(5000, "test", counter(0, 0, "held out"))["goal"]
    assert not (one.train_tasks["goal"][:, None] == held).all(-1).any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trials": 5, "shards": 2}, "multiple of shards"),
        ({"trials": 20, "num_train_tasks": 10}, "no more than num_train_tasks"),
        ({"gamma": 0.0}, "gamma"),
        ({"temperature": 0.0}, "temperature"),
        ({"latent_size": 0}, "latent_size is 0, it must be at least 1"),
    ],
)
def test_bad_settings_are_refused_in_one_line(options: dict[str, Any], says: str):
    with pytest.raises(qs.UsageError, match=says) as refused:
        PEARL.Config(**options)
    assert str(refused.value).startswith("pearl: ") and "\n" not in str(refused.value)


def test_dense_training_needs_tasks_that_tell_a_dense_reward():
    agent = learner(dense_training=True)
    with pytest.raises(qs.UsageError, match="tell no dense reward"):
        agent.train_step(InProcess(agent.tasks))


def test_a_gradient_that_is_not_finite_stops_training():
    agent = learner()
    with torch.no_grad():
        agent.weights["critics"]["first.0.weight"][0, 0] = float("nan")
    with pytest.raises(qs.QuickstudyError, match=r"pearl: the gradient is not finite in iteration 0; lower --learning-rate"):
        agent.train_step(InProcess(agent.tasks))


def test_what_takes_no_soft_actor_critic_is_refused():
    with pytest.raises(qs.UsageError, match="soft actor-critic"):
        soft_actions(spaces.MultiDiscrete([2, 2]))
