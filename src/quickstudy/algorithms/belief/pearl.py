"""PEARL: a belief about the task, and a soft actor-critic that is told a sample of it (Rakelly et al. 2019, arXiv:1903.08254).

An encoder makes a Gaussian factor of each transition that was seen; the belief about the task is their product with the prior.
At the start of an episode a latent task is drawn from it, and the policy acts as if that were the task. Critics and policy are
trained off-policy, on a replay of every training task (SAC: Haarnoja et al. 2018, arXiv:1812.05905).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.utils import get_total_norm
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.replay import Records, Replay
from quickstudy.data.rollout import Chosen, Lifetime, collect_chosen, concatenate
from quickstudy.data.session import Session
from quickstudy.errors import NotFinite, UsageError, require_at_least
from quickstudy.nets.networks import Weights, copy_into, follow, initial_weights, multilayer, skeleton
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.nets.soft import SoftActions, soft_actions
from quickstudy.ops.features import as_vector, unit_vector, vector_size
from quickstudy.ops.moments import Moments, merged, moments_of, no_moments
from quickstudy.protocol import (
    Act,
    Experience,
    Memory,
    Metrics,
    Percept,
    Shard,
    State,
    TaskDistribution,
    Transition,
    Work,
    counter,
)


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What PEARL can be told."""

    num_train_tasks: int = 100
    """Training tasks, drawn once; each has a replay of its own."""
    trials: int = 20
    """Trials collected in a meta-iteration, each on another of the training tasks."""
    updates: int = 100
    """Steps of the optimiser in a meta-iteration."""
    meta_batch_size: int = 16
    """Training tasks in an update."""
    batch_size: int = 128
    """Transitions of each, from all of its replay, that policy and critics are trained on."""
    context_size: int = 128
    """Transitions of each, from its newest trial, that the encoder reads; those of a shorter trial are read whole."""
    latent_size: int = 5
    """Numbers that stand for a task."""
    hidden_size: int = 128
    """Units of each hidden layer of encoder, policy and critics."""
    hidden_layers: int = 2
    """Hidden layers of each."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    gamma: float = 0.99
    """Discount factor, a step of the episode."""
    tau: float = 0.005
    """How far the target critics follow in an update."""
    kl_weight: float = 0.1
    """Weight of the belief's divergence from the prior, a task."""
    temperature: float = 0.1
    """Weight of the policy's entropy at first; it is tuned towards a target entropy."""
    entropy_share: float = 0.3
    """Discrete actions: the target entropy, as a share of the highest."""
    dense_training: bool = False
    """Train policy and critics on `info["dense_reward"]`; the context and the scores keep the reward that is paid."""
    buffer_size: int = 10_000
    """Transitions that the replay keeps of each task."""
    replay_on_disk: bool = False
    """Keep the replay in a temporary file instead of memory."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "pearl", self, "shards", "trials", "updates", "meta_batch_size", "batch_size", "context_size")
        require_at_least(1, "pearl", self, "latent_size", "hidden_size", "hidden_layers", "buffer_size")
        if self.trials % self.shards or self.trials > self.num_train_tasks:
            raise UsageError(
                f"pearl: trials ({self.trials}) must be a multiple of shards ({self.shards}), no more than"
                f" num_train_tasks ({self.num_train_tasks})"
            )
        if not 0 < self.gamma <= 1 or not 0 < self.tau <= 1:
            raise UsageError(f"pearl: gamma ({self.gamma}) and tau ({self.tau}) must be in (0, 1]")
        if self.temperature <= 0 or self.kl_weight < 0:
            raise UsageError(
                f"pearl: temperature ({self.temperature}) must be above 0 and kl_weight ({self.kl_weight}) at least 0"
            )


class Critics(nn.Module):
    """Two critics of one input."""

    def __init__(self, build: Callable[[], nn.Module]):
        super().__init__()
        self.first, self.second = build(), build()

    def forward(self, inputs: Float[Tensor, "*lead feature"]) -> Float[Tensor, "critic *lead value"]:
        return torch.stack([self.first(inputs), self.second(inputs)])


class Nets(NamedTuple):
    """The networks, without weights."""

    encoder: nn.Module
    policy: nn.Module
    critics: nn.Module


def nets_for(config: Config, tasks: TaskDistribution, actions: SoftActions) -> Nets:
    """Networks of the sizes that these tasks take."""
    seen, latent = vector_size(tasks.observation_space), config.latent_size
    build = partial(multilayer, hidden=config.hidden_size, layers=config.hidden_layers, activation=nn.ReLU)
    return Nets(
        skeleton(lambda: build(context_vector_size(tasks), outputs=2 * latent)),
        skeleton(lambda: build(seen + latent, outputs=actions.size)),
        skeleton(lambda: Critics(lambda: build(seen + actions.action_size + latent, outputs=actions.values))),
    )


def context_vector_size(tasks: TaskDistribution) -> int:
    """The length of the vector that `context_vector` makes."""
    return 2 * vector_size(tasks.observation_space) + vector_size(tasks.action_space) + 2


def context_vector(
    tasks: TaskDistribution,
    observation: Shaped[Tensor, "*lead ..."],
    action: Shaped[Tensor, "*lead ..."],
    reward: Float[Tensor, "*lead"],
    arrival: Shaped[Tensor, "*lead ..."],
    ended: Bool[Tensor, "*lead"],
) -> Float[Tensor, "*lead feature"]:
    """A transition as the encoder reads it, with a flag where the episode ended."""
    states = (as_vector(tasks.observation_space, value) for value in (observation, arrival))
    numbers = torch.stack([reward, ended.to(reward)], dim=-1)
    return torch.cat([*states, unit_vector(tasks.action_space, action), numbers], dim=-1)


def transition_vectors(tasks: TaskDistribution, experience: Experience) -> Float[Tensor, "task lane time feature"]:
    """What was lived as the encoder reads it, before its standardisation."""
    transition = experience.transition
    ended = transition.terminated | transition.truncated
    return context_vector(
        tasks, experience.percept.observation, experience.act.action, paid(transition), transition.arrival, ended
    )


def paid(transition: Transition) -> Float[Tensor, "task lane time"]:
    """The rewards as the task paid them: a normaliser scales only those that are trained on."""
    return transition.info.get("raw_reward", transition.reward)


class Belief(NamedTuple):
    """A Gaussian belief about the latent task: what the factors of the transitions add up to, beside the prior N(0, I)."""

    precision: Float[Tensor, "*task latent"]
    """The sum of their precisions."""
    weighted: Float[Tensor, "*task latent"]
    """The sum of their means, each times its precision."""

    @property
    def mean(self) -> Float[Tensor, "*task latent"]:
        return self.weighted / (1 + self.precision)

    @property
    def std(self) -> Float[Tensor, "*task latent"]:
        return (1 + self.precision).rsqrt()


def evidence(
    encoder: nn.Module,
    weights: Weights,
    context: Float[Tensor, "task transition feature"],
    known: Bool[Tensor, "task transition"],
) -> Belief:
    """What the known transitions of each task say: the product of their Gaussian factors (Rakelly et al. 2019, sec. 4.1)."""
    mean, spread = functional_call(encoder, weights, (context,)).chunk(2, -1)
    precision = known[..., None] / (nn.functional.softplus(spread) + 1e-4)
    return Belief(precision.sum(1), (precision * mean).sum(1))


def divergence(belief: Belief) -> Float[Tensor, "task"]:
    """KL(belief || N(0, I))."""
    variance = 1 / (1 + belief.precision)
    return 0.5 * (variance + belief.mean.square() - 1 - variance.log()).sum(-1)


@dataclass(frozen=True)
class PosteriorPolicy:
    """Acts in each episode as if a sample of the belief were the task; without a generator, as if its mean were."""

    nets: Nets
    weights: Mapping[str, Weights]
    tasks: TaskDistribution
    actions: SoftActions
    moments: Moments
    """Of the transitions met in training, by which the encoder's inputs are standardised."""
    belief: Belief
    """With a task axis once something was seen."""

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"latent": self.belief.mean.new_zeros(tasks, lanes, self.belief.mean.shape[-1])}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        mean, std = (moment[..., None, :].expand_as(memory["latent"]) for moment in (self.belief.mean, self.belief.std))
        drawn = mean if generator is None else mean + std * torch.empty_like(mean).normal_(generator=generator)
        latent = torch.where(percept.first[..., None], drawn, memory["latent"])
        seen = as_vector(self.tasks.observation_space, percept.observation)
        parameters = functional_call(self.nets.policy, self.weights["policy"], (torch.cat([seen, latent], -1),))
        action = self.actions.mode(parameters) if generator is None else self.actions.sample(parameters, generator)
        return Act(action, None, {}), {"latent": latent}


class Batch(NamedTuple):
    """What an update reads."""

    context: Float[Tensor, "task transition feature"]
    known: Bool[Tensor, "task transition"]
    """Which transitions of the context the belief is made of."""
    observation: Float[Tensor, "task step feature"]
    action: Shaped[Tensor, "task step ..."]
    arrival: Float[Tensor, "task step feature"]
    reward: Float[Tensor, "task step"]
    terminated: Bool[Tensor, "task step"]


class Noise(NamedTuple):
    """What an update draws."""

    latent: Float[Tensor, "task latent"]
    now: Float[Tensor, "task step noise"]
    """For the policy's actions where it was."""
    later: Float[Tensor, "task step noise"]
    """And where it arrived."""


def soft_value(
    nets: Nets,
    weights: Mapping[str, Weights],
    critics: Weights,
    actions: SoftActions,
    seen: Float[Tensor, "task step feature"],
    latent: Float[Tensor, "task step latent"],
    noise: Float[Tensor, "task step noise"],
) -> tuple[Float[Tensor, "task step"], Float[Tensor, "task step"]]:
    """The policy's soft value under these critics, and its entropy."""
    parameters = functional_call(nets.policy, weights["policy"], (torch.cat([seen, latent], -1),))
    temperature = weights["temperature"]["log"].detach().exp()

    def judged(action: Float[Tensor, "task step action"]) -> Float[Tensor, "critic task step value"]:
        return functional_call(nets.critics, critics, (torch.cat([seen, action, latent], -1),))

    return actions.soft_value(parameters, judged, temperature, noise)


def critic_loss(
    nets: Nets,
    weights: Mapping[str, Weights],
    targets: Weights,
    actions: SoftActions,
    gamma: float,
    batch: Batch,
    latent: Float[Tensor, "task step latent"],
    noise: Float[Tensor, "task step noise"],
) -> Float[Tensor, ""]:
    """Half the squared error of both critics against r + gamma V(arrival); its gradient reaches the encoder by the latent."""
    with torch.no_grad():
        value, _ = soft_value(nets, weights, targets, actions, batch.arrival, latent, noise)
        target = batch.reward + gamma * ~batch.terminated * value
    inputs = torch.cat([batch.observation, actions.action_vector(batch.action), latent], -1)
    values = actions.taken(functional_call(nets.critics, weights["critics"], (inputs,)), batch.action)
    return 0.5 * (values - target).square().mean((1, 2)).sum()


def loss(
    nets: Nets,
    weights: Mapping[str, Weights],
    targets: Weights,
    actions: SoftActions,
    config: Config,
    batch: Batch,
    noise: Noise,
) -> tuple[Tensor, dict[str, Tensor]]:
    """All losses in one, and its parts: each reaches its own weights alone, and the encoder those of critics and KL."""
    belief = evidence(nets.encoder, weights["encoder"], batch.context, batch.known)
    drawn = belief.mean + belief.std * noise.latent
    latent = drawn[:, None].expand(-1, batch.reward.shape[1], -1)
    critic = critic_loss(nets, weights, targets, actions, config.gamma, batch, latent, noise.later)
    kl = divergence(belief).mean()
    fixed = {name: weight.detach() for name, weight in weights["critics"].items()}
    value, entropy = soft_value(nets, weights, fixed, actions, batch.observation, latent.detach(), noise.now)
    log_temperature = weights["temperature"]["log"]
    surplus = entropy.detach().mean() - actions.target_entropy
    total = critic + config.kl_weight * kl - value.mean() + log_temperature * surplus
    parts = {
        "train/critic_loss": critic,
        "train/actor_loss": -value.mean(),
        "train/kl": kl,
        "train/belief_std": belief.std.mean(),
        "train/entropy": entropy.mean(),
        "train/ent_coef": log_temperature.exp(),
    }
    return total, {name: part.detach() for name, part in parts.items()}


def records_of(experience: Experience, episode: int, dense: bool) -> Records:
    """The transitions of one episode of each task as the replay keeps them, tasks one after another."""
    percept, transition, valid = experience.percept, experience.transition, experience.valid
    fields = {
        "observation": percept.observation,
        "action": experience.act.action,
        "arrival": transition.arrival,
        "reward": transition.info["dense_reward"] if dense else transition.reward,
        "paid": paid(transition),
        "terminated": transition.terminated,
        "ended": transition.terminated | transition.truncated,
        "episode": torch.full_like(transition.reward, episode, dtype=torch.int16),
    }
    return {name: value[valid] for name, value in fields.items()}


@checked
class PEARL:
    """Meta-trains an encoder of experience and a soft actor-critic beside it; adapting is adding up evidence."""

    name = "pearl"
    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration = 0
        self.actions = soft_actions(tasks.action_space, self.config.entropy_share)
        self.nets = nets_for(self.config, tasks, self.actions)
        last = 2 * self.config.hidden_layers
        self.weights = {
            name: initial_weights(
                net, counter(seed, 0, f"{name} weights"), {f"{last}.": 0.01 if name == "policy" else 1.0}, device
            )
            for name, net in self.nets._asdict().items()
        }
        start = torch.tensor(math.log(self.config.temperature), device=device, requires_grad=True)
        self.weights["temperature"] = {"log": start}
        self.targets = {name: weight.detach().clone() for name, weight in self.weights["critics"].items()}
        self.learned = [weight for part in self.weights.values() for weight in part.values()]
        self.optimiser = Adam(self.learned, lr=self.config.learning_rate, fused=True)
        self.train_tasks = tasks.sample(self.config.num_train_tasks, "train", counter(seed, 0, "training tasks"))
        self.trial_steps = tasks.episodes_per_trial * tasks.max_episode_steps
        sizes = self.config.num_train_tasks, self.config.buffer_size, self.trial_steps
        self.moments = no_moments((context_vector_size(tasks),), device)
        self.replay = Replay(*sizes, on_disk=self.config.replay_on_disk, device=device)
        self.newest = torch.zeros(self.config.num_train_tasks, dtype=torch.long)
        """How many transitions each training task's newest trial has: the context comes from no other."""

    def explorer(self) -> PosteriorPolicy:
        weights = {part: {name: w.detach().clone() for name, w in self.weights[part].items()} for part in ("encoder", "policy")}
        nothing = torch.zeros(self.config.latent_size, device=self.device)
        return PosteriorPolicy(self.nets, weights, self.tasks, self.actions, self.moments, Belief(nothing, nothing))

    def adapt(self, policy: PosteriorPolicy, experience: Experience) -> PosteriorPolicy:
        """Adds what the experience says, all its lanes pooled, to the belief about each task."""
        context = policy.moments.normalise(transition_vectors(self.tasks, experience)).flatten(1, 2)
        new = evidence(self.nets.encoder, policy.weights["encoder"], context, experience.valid.flatten(1, 2))
        return replace(policy, belief=Belief(*(old + more for old, more in zip(policy.belief, new, strict=True))))

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        metrics = self.collect(work)
        draws = counter(self.seed, self.iteration, "replay")
        noise = counter(self.seed, self.iteration, "noise", device=self.device)
        parts: dict[str, Tensor] = {}
        for _ in range(self.config.updates):
            parts = self.update(self.batch(draws), noise)
        self.iteration += 1
        return metrics | {name: part.item() for name, part in parts.items()}

    def collect(self, work: Work) -> Metrics:
        """Lives a trial on some of the training tasks and gives it to their replays."""
        config = self.config
        order = torch.randperm(config.num_train_tasks, generator=counter(self.seed, self.iteration, "choice of tasks"))
        rows = order[: config.trials]
        life = Lifetime(self.explorer(), self.adapt, 1, self.tasks.episodes_per_trial)
        chosen = Chosen(life, {name: value[rows] for name, value in self.train_tasks.items()})
        size = config.trials // config.shards
        shards = [Shard(self.seed, self.iteration, number, size, "train") for number in range(config.shards)]
        lives = work.map(collect_chosen, chosen, shards)
        episodes = [concatenate(pieces) for pieces in zip(*lives, strict=True)]
        if config.dense_training and "dense_reward" not in episodes[0].transition.info:
            raise UsageError(f"pearl: {self.tasks!r} tell no dense reward; train without dense_training")
        self.newest[rows] = sum(experience.valid.sum((1, 2)).cpu() for experience in episodes)
        for number, experience in enumerate(episodes):
            task = rows[:, None, None].expand(experience.valid.shape)[experience.valid.cpu()]
            seen = transition_vectors(self.tasks, experience)[experience.valid]
            self.moments = merged(self.moments, moments_of(seen))
            self.replay.extend(task, records_of(experience, number, config.dense_training))
        returns = [float((experience.transition.reward * experience.valid).sum(-1).mean()) for experience in episodes]
        steps = sum(float(experience.valid.sum()) for experience in episodes)
        metrics = {
            "rollout/timesteps": steps,
            "rollout/ep_rew_mean": sum(returns) / len(returns),
            "rollout/ep_len_mean": steps / (config.trials * len(returns)),
        }
        return metrics | {f"adapt/episode_{number}/return_mean": mean for number, mean in enumerate(returns, 1)}

    def batch(self, generator: Generator) -> Batch:
        """Draws tasks, the context of each from its newest trial, and transitions of each from all of its replay."""
        config = self.config
        met = self.replay.counts.nonzero()[:, 0]
        tasks = met[torch.randint(len(met), (config.meta_batch_size,), generator=generator)]
        context, known = self.context(tasks, generator)
        found = self.replay.sample(tasks, config.batch_size, generator)
        observation, arrival = (as_vector(self.tasks.observation_space, found[name]) for name in ("observation", "arrival"))
        return Batch(context, known, observation, found["action"], arrival, found["reward"], found["terminated"])

    def context(
        self, tasks: Int[Tensor, "task"], generator: Generator
    ) -> tuple[Float[Tensor, "task transition feature"], Bool[Tensor, "task transition"]]:
        """Transitions of each task's newest trial, no one twice, of which those of its first episodes are known.

        How many episodes is drawn: the encoder meets what it will be asked at test, from one episode to a whole trial.
        """
        share = torch.rand(len(tasks), self.trial_steps, generator=generator)
        lengths = self.newest[tasks].clamp(max=self.replay.capacity)[:, None]
        share = share.where(torch.arange(self.trial_steps) < lengths, 2.0)
        back = share.argsort(-1)[:, : self.config.context_size]
        number, there = self.replay.added[tasks][:, None] - 1 - back, back < lengths
        found = self.replay.at(tasks[:, None], number.clamp(min=0))
        lived = torch.randint(1, self.tasks.episodes_per_trial + 1, (len(tasks), 1), generator=generator)
        fields = (found[name] for name in ("observation", "action", "paid", "arrival", "ended"))
        context = self.moments.normalise(context_vector(self.tasks, *fields))
        return context, there.to(self.device) & (found["episode"] < lived.to(self.device))

    def update(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One step of the optimiser."""
        lead = batch.reward.shape
        latent = torch.empty(lead[0], self.config.latent_size, device=self.device).normal_(generator=generator)
        noise = Noise(latent, self.actions.noise(lead, generator), self.actions.noise(lead, generator))
        total, parts = loss(self.nets, self.weights, self.targets, self.actions, self.config, batch, noise)
        self.optimiser.zero_grad()
        total.backward()
        norm = get_total_norm([weight.grad for weight in self.learned if weight.grad is not None])
        if not torch.isfinite(norm):
            raise NotFinite(f"pearl: the gradient is not finite in iteration {self.iteration}; lower --learning-rate")
        self.optimiser.step()
        follow(self.targets, self.weights["critics"], self.config.tau)
        return parts | {"train/grad_norm": norm}

    def state_dict(self) -> State:
        return {
            "iteration": self.iteration,
            "weights": {part: {name: w.detach() for name, w in weights.items()} for part, weights in self.weights.items()},
            "targets": self.targets,
            "moments": self.moments._asdict(),
            "optimiser": adam_state(self.optimiser),
            "newest": self.newest,
            "replay": self.replay.ledger(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.iteration = state["iteration"]
        for part, weights in self.weights.items():
            copy_into(weights, state["weights"][part])
        copy_into(self.targets, state["targets"])
        load_adam_state(self.optimiser, state["optimiser"])
        self.moments = Moments(**{name: value.to(self.device) for name, value in state["moments"].items()})
        self.replay.load(state["replay"])
        # runs of version 0.1 took every trial for as long as the longest
        self.newest = state["newest"].cpu() if "newest" in state else self.replay.counts.clamp(max=self.trial_steps)
