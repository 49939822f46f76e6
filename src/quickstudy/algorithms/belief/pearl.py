"""PEARL: a belief about the task, and a soft actor-critic that is told a sample of it (Rakelly et al. 2019, arXiv:1903.08254).

An encoder makes a Gaussian factor of each transition that was seen; the belief about the task is their product with the prior.
At the start of an episode a latent task is drawn from it, and the policy acts as if that were the task. Critics and policy are
trained off-policy, on a replay of every training task (SAC: Haarnoja et al. 2018, arXiv:1812.05905).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.replay import Records, Replay
from quickstudy.data.rollout import Lifetime
from quickstudy.data.session import Session
from quickstudy.errors import UsageError, require_at_least, require_positive, require_rates, require_share
from quickstudy.insight import Believed, Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.networks import Weights, bound, copied, copy_into, follow, head, initial_weights, tried
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.nets.reader import Reader, behind, inputs_for, read
from quickstudy.nets.soft import SoftActions, soft_actions
from quickstudy.ops.features import as_vector, inputs_of
from quickstudy.ops.fit import COUNTED, require_fit, require_range
from quickstudy.ops.moments import Moments, merged, moments_fit, moments_of, no_moments
from quickstudy.ops.senses import extended, is_read
from quickstudy.parts import collecting, soft, transitions
from quickstudy.parts.descend import descend
from quickstudy.parts.posterior import (
    Posterior,
    context,
    context_inputs,
    context_size,
    context_vector,
    lived_context,
    posterior,
    transition_vectors,
)
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, State, TaskDistribution, Work, counter


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
    encoder: options.Encoder = "none"
    hidden_size: options.HiddenSize = 128
    hidden_layers: options.HiddenLayers = 2
    activation: options.Activation = "relu"
    layer_norm: options.LayerNorm = False
    vision: options.Vision = "auto"
    language: options.Language = "gru"
    film: options.Film = False
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
    buffer_on_disk: bool = False
    """Keep the replay in a temporary file instead of memory."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "pearl", self, "shards", "trials", "updates", "meta_batch_size", "batch_size", "context_size")
        require_at_least(1, "pearl", self, "latent_size", "buffer_size")
        require_at_least(0, "pearl", self, "kl_weight")
        collecting.require_shards("pearl", self, "trials", at_most="num_train_tasks")
        require_share("pearl", self, "gamma", "tau")
        options.require_network("pearl", self)
        require_rates("pearl", self)
        require_positive("pearl", self, "temperature")


class Nets(NamedTuple):
    """The networks, without weights."""

    encoder: nn.Module
    """Transitions, (*lead, feature) -> mean of each one's factor and how wide it is, (*lead, 2 latent)."""
    policy: nn.Module
    """Observation and latent, (*lead, feature + latent) -> parameters of the actions, (*lead, size)."""
    critics: nn.Module
    """Observation, action's vector and latent, three arguments -> two critics, (critic, *lead, value)."""


Build = Callable[[Config, TaskDistribution, SoftActions], Nets] | None


def nets_for(config: Config, tasks: TaskDistribution, actions: SoftActions) -> Nets:
    """PEARL's own networks. The context's encoder is a head; the option `encoder` stands before policy and critics."""
    seen, latent = inputs_for(tasks.observation_space, 0, config).size, config.latent_size
    return Nets(
        head(context_inputs(tasks, config).size, 2 * latent, config),
        soft.policy_net(seen + latent, actions.size, config),
        soft.twin_net(seen + actions.action_size + latent, actions.values, config),
    )


def readers(config: Config, tasks: TaskDistribution) -> list[Reader | None]:
    """What stands before each of the networks, where observations are no vectors."""
    space, latent = tasks.observation_space, config.latent_size
    inputs = context_inputs(tasks, config), inputs_for(space, latent, config), inputs_for(space, 0, config)
    return [each.reader for each in inputs]


@dataclass(frozen=True)
class PosteriorPolicy:
    """Acts in each episode as if a sample of the belief were the task; without a generator, as if its mean were."""

    nets: Nets
    weights: Mapping[str, Weights]
    tasks: TaskDistribution
    actions: SoftActions
    moments: Moments
    """Of the transitions met in training, by which the encoder's inputs are standardised."""
    belief: Posterior
    """With a task axis once something was seen."""

    @cached_property
    def acting(self) -> nn.Module:
        """The network with its weights."""
        return bound(self.nets.policy, self.weights["policy"])

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"latent": self.belief.mean.new_zeros(tasks, lanes, self.belief.mean.shape[-1])}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        mean, std = (moment[..., None, :].expand_as(memory["latent"]) for moment in (self.belief.mean, self.belief.std))
        drawn = mean if generator is None else mean + std * torch.empty_like(mean).normal_(generator=generator)
        latent = torch.where(percept.first[..., None], drawn, memory["latent"])
        seen = inputs_of(self.tasks.observation_space, percept.observation, latent)
        parameters = self.acting(seen)
        action = self.actions.mode(parameters) if generator is None else self.actions.sample(parameters, generator)
        return Act(action, None, {}), {"latent": latent}


class Batch(NamedTuple):
    """What an update reads."""

    context: Shaped[Tensor, "task transition entry"]
    known: Bool[Tensor, "task transition"]
    """Which transitions of the context the belief is made of."""
    observation: Shaped[Tensor, "task step entry"]
    action: Shaped[Tensor, "task step ..."]
    arrival: Shaped[Tensor, "task step entry"]
    reward: Float[Tensor, "task step"]
    terminated: Bool[Tensor, "task step"]


class Noise(NamedTuple):
    """What an update draws."""

    latent: Float[Tensor, "task latent"]
    now: Float[Tensor, "task step noise"]
    """For the policy's actions where it was."""
    later: Float[Tensor, "task step noise"]
    """And where it arrived."""


def place_of(seen: Shaped[Tensor, "*lead entry"], latent: Float[Tensor, "*lead latent"]) -> soft.Place:
    """Where the policy acts as if the latent were the task."""
    return soft.Place(extended(seen, latent), seen, latent)


def critic_loss(
    net: soft.ActorCritic,
    brain: soft.Brain,
    gamma: float,
    batch: Batch,
    place: soft.Place,
    noise: Tensor,
) -> Float[Tensor, ""]:
    """Half the squared error of both critics; its gradient reaches the encoder by the latent of `place`."""
    outcome = soft.Outcome(batch.reward, batch.terminated, place_of(batch.arrival, cast(Tensor, place.beside)))
    aims = soft.aims_of(net, brain, gamma, outcome, noise)
    values = soft.values_of(net, brain.learned.critics, place, batch.action)
    return 0.5 * (values - aims).square().mean((1, 2)).sum()


def loss(
    net: soft.ActorCritic, brain: soft.Brain, config: Config, belief: Posterior, batch: Batch, noise: Noise
) -> tuple[Tensor, dict[str, Tensor]]:
    """All losses in one, and its parts: each reaches its own weights alone, and the encoder those of critics and KL."""
    drawn = belief.mean + belief.std * noise.latent
    latent = drawn[:, None].expand(-1, batch.reward.shape[1], -1)
    place = soft.seen_by(net, brain.learned.critics, place_of(batch.observation, latent))
    critic = critic_loss(net, brain, config.gamma, batch, place, noise.later)
    kl = belief.divergence.mean()
    place = place._replace(acting=place.acting.detach(), beside=latent.detach())
    climbed, parts = soft.climb(net, brain.learned, place, noise.now, net.actions.target_entropy)
    parts |= {"train/critic_loss": critic, "train/belief_kl": kl, "train/belief_std": belief.std.mean()}
    return critic + config.kl_weight * kl + climbed, {name: part.detach() for name, part in parts.items()}


def records_of(
    tasks: TaskDistribution, experience: Experience, episode: int, dense: bool
) -> tuple[Records, Int[Tensor, "record"]]:
    """The transitions of one episode of each task as the replay keeps them, tasks one after another, and their tasks."""
    transition = experience.transition
    fields = {
        "action": experience.act.action,
        "reward": transition.info["dense_reward"] if dense else transition.reward,
        "paid": collecting.told_reward(experience),
        "terminated": transition.terminated,
        "ended": transition.terminated | transition.truncated,
        "episode": torch.full_like(transition.reward, episode, dtype=torch.int16),
    }
    return transitions.kept(tasks, experience, fields)


@checked
class PEARL:
    """Meta-trains an encoder of experience and a soft actor-critic beside it; adapting is adding up evidence.

    `net(config, tasks, actions)` builds networks of one's own, a `Nets` whose fields say what each reads and gives; `actions`
    has the sizes. Their first weights are drawn here, orthogonal matrices and zero biases.
    """

    name = "pearl"
    lanes = 1
    Config = Config

    def __init__(
        self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu", net: Build = None
    ):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration, self.own_net = 0, net is not None
        config = self.config
        self.actions = soft_actions(tasks.action_space, config.entropy_share)
        nets = soft.built("pearl", Nets, lambda: (net or nets_for)(config, tasks, self.actions))
        self.nets = Nets(*(behind(reader, each) for reader, each in zip(readers(config, tasks), nets, strict=True)))
        self.net = soft.ActorCritic(self.nets.policy, self.nets.critics, self.actions)
        gains = {} if net else {"policy": soft.policy_end(config)}
        self.weights = {
            part: initial_weights(each, counter(seed, 0, f"{part} weights"), gains.get(part, {}), device)
            for part, each in self.nets._asdict().items()
        }
        if net:
            self.try_nets()
        self.weights["temperature"] = {"log": soft.first_temperature(config.temperature, device)}
        self.targets = copied(self.weights["critics"])
        self.learned = [weight for part in self.weights.values() for weight in part.values()]
        self.optimiser = Adam(self.learned, lr=config.learning_rate, fused=True)
        self.train_tasks = tasks.sample(config.num_train_tasks, "train", counter(seed, 0, "training tasks"))
        self.moments = no_moments((context_size(tasks),), device)
        sizes = config.num_train_tasks, *transitions.room(tasks, config.buffer_size, tasks.episodes_per_trial)
        like, _ = records_of(tasks, collecting.some_experience(tasks, device), 0, config.dense_training)
        like = {name: value[:1] for name, value in like.items()}
        self.replay = Replay(*sizes, on_disk=config.buffer_on_disk, like=like, device=device)
        self.newest = torch.zeros(config.num_train_tasks, dtype=torch.long)
        """How many records each training task's newest trial has: the context comes from no other."""

    def try_nets(self) -> None:
        """Raises UsageError where networks of one's own don't give what is asked of them."""
        sizes = inputs_for(self.tasks.observation_space, 0, self.config).size, context_inputs(self.tasks, self.config).size
        seen, context = (torch.zeros(3, size, device=self.device) for size in sizes)
        latent = seen.new_zeros(3, self.config.latent_size)
        soft.tried_heads("pearl", self.net, self.weights["policy"], self.weights["critics"], place_of(seen, latent))
        tried("pearl", self.nets.encoder, self.weights["encoder"], (context,), (3, 2 * latent.shape[1]), part="encoder")

    @property
    def brain(self) -> soft.Brain:
        """What the actor-critic learns on with."""
        policy, critics, temperature = (self.weights[part] for part in ("policy", "critics", "temperature"))
        return soft.Brain(soft.Heads(policy, critics, temperature["log"]), self.targets)

    def explorer(self) -> PosteriorPolicy:
        weights = {part: copied(self.weights[part]) for part in ("encoder", "policy")}
        nothing = torch.zeros(self.config.latent_size, device=self.device)
        return PosteriorPolicy(self.nets, weights, self.tasks, self.actions, self.moments, Posterior(nothing, nothing))

    def adapt(self, policy: PosteriorPolicy, experience: Experience) -> PosteriorPolicy:
        """Adds what the experience says, all its lanes pooled, to the belief about each task."""
        context = lived_context(self.tasks, experience, policy.moments).flatten(1, 2)
        new = posterior(self.nets.encoder, policy.weights["encoder"], context, experience.valid.flatten(1, 2))
        return replace(policy, belief=Posterior(*(old + more for old, more in zip(policy.belief, new, strict=True))))

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
        return metrics | collecting.numbers(parts)

    def collect(self, work: Work) -> Metrics:
        """Lives a trial on some of the training tasks and gives it to their replays."""
        config = self.config
        order = torch.randperm(config.num_train_tasks, generator=counter(self.seed, self.iteration, "choice of tasks"))
        rows = order[: config.trials]
        life = Lifetime(self.explorer(), self.adapt, 1, self.tasks.episodes_per_trial)
        chosen = {name: value[rows] for name, value in self.train_tasks.items()}
        episodes = collecting.collected_episodes(work, self, life, chosen)
        if config.dense_training and "dense_reward" not in episodes[0].transition.info:
            raise UsageError(f"pearl: {self.tasks!r} tell no dense reward; train without dense_training")
        self.newest[rows] = 0
        for number, experience in enumerate(episodes):
            seen = transition_vectors(self.tasks, experience)[experience.valid]
            self.moments = merged(self.moments, moments_of(seen))
            records, task = records_of(self.tasks, experience, number, config.dense_training)
            transitions.extend(self.replay, rows[task.cpu()], records)
            self.newest[rows] += torch.bincount(task.cpu(), minlength=len(rows))
        returns = [collecting.episode_return(experience) for experience in episodes]
        steps = sum(float(experience.valid.sum()) for experience in episodes)
        metrics = collecting.rollout_metrics(steps, sum(returns) / len(returns), steps / (config.trials * len(returns)))
        return metrics | collecting.adaptation_metrics(returns)

    def batch(self, generator: Generator) -> Batch:
        """Draws tasks, the context of each from its newest trial, and transitions of each from all of its replay."""
        config = self.config
        met = self.replay.counts.nonzero()[:, 0]
        tasks = met[torch.randint(len(met), (config.meta_batch_size,), generator=generator)]
        context, known = self.context(tasks, generator)
        found = transitions.drawn(self.replay, tasks, config.batch_size, generator)
        observation, arrival = (inputs_of(self.tasks.observation_space, found[name]) for name in ("observation", "arrival"))
        return Batch(context, known, observation, found["action"], arrival, found["reward"], found["terminated"])

    def context(
        self, tasks: Int[Tensor, "task"], generator: Generator
    ) -> tuple[Shaped[Tensor, "task transition entry"], Bool[Tensor, "task transition"]]:
        """Transitions of each task's newest trial, no one twice, of which those of its first episodes are known.

        How many episodes is drawn: the encoder meets what it will be asked at test, from one episode to a whole trial.
        """
        longest = self.replay.size - self.replay.capacity
        share = torch.rand(len(tasks), longest, generator=generator)
        lengths = self.newest[tasks].clamp(max=self.replay.capacity)[:, None]
        share = share.where(torch.arange(longest) < lengths, 2.0)
        back = share.argsort(-1)[:, : self.config.context_size]
        number, there = self.replay.added[tasks][:, None] - 1 - back, back < lengths
        number = number.clamp(min=0)
        there &= ~transitions.ends_at(self.replay, tasks[:, None], number)
        found = transitions.looked_up(self.replay, tasks[:, None], number)
        lived = torch.randint(1, self.tasks.episodes_per_trial + 1, (len(tasks), 1), generator=generator)
        fields = (found[name] for name in ("observation", "action", "paid", "arrival", "ended"))
        told = self.moments.normalise(context_vector(self.tasks, *fields))
        return context(self.tasks, found["observation"], found["arrival"], told), there.to(self.device) & (
            found["episode"] < lived.to(self.device)
        )

    def update(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One step of the optimiser."""
        lead = batch.reward.shape
        latent = torch.empty(lead[0], self.config.latent_size, device=self.device).normal_(generator=generator)
        noise = Noise(latent, self.actions.noise(lead, generator), self.actions.noise(lead, generator))
        belief = posterior(self.nets.encoder, self.weights["encoder"], batch.context, batch.known)
        total, parts = loss(self.net, self.brain, self.config, belief, batch, noise)
        [norm] = descend(self, total, self.optimiser, self.learned, max_norm=None)
        follow(self.targets, self.weights["critics"], self.config.tau)
        return parts | {"train/grad_norm": norm}

    def known(self, trial: Trial) -> Known:
        """A belief that moves between episodes; the first one is the prior."""
        mean, std = [], []
        for policy, experience in zip(trial.policies, trial.episodes, strict=False):
            tasks, _, steps = experience.valid.shape
            for found, part in ((mean, policy.belief.mean), (std, policy.belief.std)):
                found.append(part.expand(tasks, -1)[:, None].expand(-1, steps, -1))
        return Known("belief", trial.policies[-1].belief.mean, Believed(mean, std))

    def retrace(self, trial: Trial, task: int) -> Retraced:
        """From the observation of each step and, through the belief, all transitions of the episodes before to its action.

        What is seen at a step is its observation, which the policy reads, and its transition, which later beliefs are made of.
        The latent of an episode is its belief's mean plus its deviation times the noise that was drawn then, which stays.
        """
        first, size = trial.policies[0], inputs_for(self.tasks.observation_space, 0, self.config).size
        both = trial.joined(task, [self.read(first, each) for each in trial.episodes]).detach().requires_grad_()
        seen, told = both[:, :size], both[:, size:]
        context = (told if is_read(self.tasks.observation_space) else first.moments.normalise(told))[None]
        parameters, start = [], 0
        steps = torch.arange(len(both), device=both.device)[None]
        for policy, experience, length in zip(trial.policies, trial.episodes, trial.lengths(task), strict=False):
            mean, std = (part.expand(len(experience.valid), -1)[task] for part in (policy.belief.mean, policy.belief.std))
            noise = (experience.end_memory["latent"][task, 0] - mean) / std
            belief = posterior(self.nets.encoder, first.weights["encoder"], context, steps < start)
            now = seen[start : start + length]
            latent = (belief.mean + belief.std * noise).expand(len(now), -1)
            parameters.append(functional_call(self.nets.policy, first.weights["policy"], (torch.cat([now, latent], -1),)))
            start += length
        return Retraced([both], self.actions.log_prob(torch.cat(parameters), trial.action(task)))

    def read(self, policy: PosteriorPolicy, experience: Experience) -> Float[Tensor, "task lane time feature"]:
        """What the policy reads of each observation, and what the encoder reads of each transition, before it standardises."""
        space, seen = self.tasks.observation_space, experience.percept.observation
        if not is_read(space):
            return torch.cat([as_vector(space, seen), transition_vectors(self.tasks, experience)], -1)
        blank = torch.zeros(*experience.valid.shape, self.config.latent_size, device=seen.device)
        now = read(self.nets.policy, policy.weights["policy"], inputs_of(space, seen, blank))[..., : -blank.shape[-1]]
        told = lived_context(self.tasks, experience, policy.moments)
        return torch.cat([now, read(self.nets.encoder, policy.weights["encoder"], told)], -1)

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
        patterns = {
            "iteration": COUNTED,
            "optimiser": adam_fits(self.optimiser),
            "moments": moments_fit(self.moments),
        }
        # runs of version 0.1 took every trial for as long as the longest
        older = {} if "newest" in state else {"newest": self.newest}
        require_fit("", dict(state) | older, {**self.state_dict(), **patterns})
        replay = self.replay.read(state["replay"])
        longest = replay.size - replay.capacity
        newest = state["newest"].cpu() if "newest" in state else replay.counts.clamp(max=longest)
        require_range("newest", newest, 0, longest)
        if bool(((newest == 0) & (replay.counts > 0)).any()):
            raise ValueError("newest has tasks whose newest trial has no transitions, and whose replay has some")
        self.iteration = state["iteration"]
        for part, weights in self.weights.items():
            copy_into(weights, state["weights"][part])
        copy_into(self.targets, state["targets"])
        load_adam_state(self.optimiser, state["optimiser"])
        self.moments = Moments(**{name: value.to(self.device) for name, value in state["moments"].items()})
        self.replay.take(replay)
        self.newest = newest
