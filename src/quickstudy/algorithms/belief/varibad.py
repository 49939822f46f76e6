"""VariBAD: act on a belief about the task (Zintgraf et al. 2020, arXiv:1910.08348).

A recurrent encoder turns what happened in the trial into a Gaussian belief. It learns that by predicting the rewards of whole
trials (`nets/belief.py`), with a buffer and an optimiser of its own. PPO (Schulman et al. 2017) trains a memoryless policy that
reads observation and belief for the return of the whole trial, so it explores as far as that pays. HyperX's bonuses (Zintgraf
et al. 2021, arXiv:2010.01062) are an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.replay import Records, Replay
from quickstudy.data.rollout import Plan, collect, concatenate
from quickstudy.data.session import Session
from quickstudy.errors import NotFinite, UsageError, require_at_least
from quickstudy.nets.belief import (
    FIRST_LOG_VARIANCE,
    Belief,
    Predicts,
    Trials,
    as_records,
    as_trials,
    belief_nets,
    evidence,
    negative_elbo,
    surprise,
    told_reward,
)
from quickstudy.nets.distributions import Distribution, distribution_over
from quickstudy.nets.networks import Weights, copy_into, initial_weights, multilayer, skeleton
from quickstudy.nets.novelty import Novelty, discounted_scale
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.nets.values import follow_targets, preserve_values, stored_scale, unit_scale
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.moments import Moments, no_moments
from quickstudy.ops.policy_gradient import clipped_surrogate, explained_variance, masked_mean, sampled_kl, standardise
from quickstudy.ops.returns import episode_advantages, episode_returns, trial_advantages
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, Shard, State, TaskDistribution, Work, counter

ALL = torch.zeros(1, dtype=torch.long)
"""The one row of the buffer: trials of all tasks lie together."""


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What VariBAD can be told."""

    trials: int = 256
    """Trials collected in a meta-iteration, each on a task of its own."""
    hidden_size: int = 64
    """Units of each of the two hidden layers of policy and value."""
    learning_rate: float = 1e-3
    """Adam's step size for policy and value."""
    gamma: float = 0.98
    """Discount factor, a step of the trial."""
    gae_lambda: float = 0.95
    """Trace decay of the generalised advantage estimates."""
    credit: Literal["trial", "episode"] = "trial"
    """How far an action answers for rewards: to the end of the trial, or of its episode (for tasks that reward survival)."""
    n_epochs: int = 4
    """Passes over the collected steps in a meta-iteration."""
    minibatches: int = 4
    """Parts into which a pass divides the steps."""
    clip_range: float = 0.2
    """PPO's bound on the change of an action's probability."""
    ent_coef: float = 0.02
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    anneal_iterations: int = 0
    """Meta-iterations over which step sizes and entropy bonus fall linearly, to a hundredth; 0: they stay."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    value_rate: float = 0.1
    """How fast the scale of the value targets follows them, a meta-iteration."""
    latent_size: int = 16
    """Entries of the latent that the belief is over."""
    belief_size: int = 64
    """Units of the encoder's memory and of the decoders."""
    belief_rate: float = 1e-3
    """Adam's step size for encoder and decoders."""
    belief_updates: int = 10
    """Updates of encoder and decoders in a meta-iteration."""
    early_iterations: int = 0
    """First meta-iterations, with `early_updates` instead: a policy can only use a belief that knows something."""
    early_updates: int = 20
    """Updates of encoder and decoders in each of those."""
    belief_batch: int = 64
    """Trials drawn from the buffer in each of them."""
    belief_terms: int = 32
    """Steps of each trial from whose belief the whole trial is predicted, drawn anew in each update."""
    replay_trials: int = 4096
    """Trials that the buffer keeps, the newest."""
    kl_weight: float = 0.01
    """Weight of the KL to the belief before: what a squared error of a reward counts as noise; 1 makes the bound exact."""
    reward_loss: Literal["squared", "bernoulli"] = "squared"
    """Predict the reward, or only whether it is above zero."""
    reward_reads: Literal["transition", "arrival"] = "transition"
    """Predict a reward from observation, action and arrival, or from where the step arrived alone."""
    transition_weight: float = 0.0
    """Weight of predicting the transitions too; 0: they aren't."""
    novelty_weight: float = 0.0
    """HyperX: weight of the bonus for new pairs of observation and belief, in standard deviations of its discounted sum."""
    error_weight: float = 0.0
    """HyperX: weight of the bonus for what the decoders predict badly, in the same unit."""
    bonus_iterations: int = 0
    """Meta-iterations over which the bonuses fall linearly to nothing; 0: they stay."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        sizes = "trials", "hidden_size", "latent_size", "belief_size", "belief_batch", "belief_terms", "replay_trials"
        require_at_least(1, "varibad", self, "minibatches", "shards", "n_epochs", *sizes)
        weights = "kl_weight", "transition_weight", "novelty_weight", "error_weight"
        counts = "anneal_iterations", "belief_updates", "early_iterations", "early_updates", "bonus_iterations"
        require_at_least(0, "varibad", self, *counts, *weights)
        if self.trials % self.shards:
            raise UsageError(f"varibad: trials ({self.trials}) must be a multiple of shards ({self.shards})")
        if not 0 < self.gamma <= 1 or not 0 <= self.gae_lambda <= 1:
            raise UsageError(f"varibad: gamma ({self.gamma}) must be in (0, 1] and gae_lambda ({self.gae_lambda}) in [0, 1]")


class Net(nn.Module):
    """A network each for policy and value."""

    def __init__(self, config: Config, inputs: int, outputs: int):
        super().__init__()
        self.policy = multilayer(inputs, config.hidden_size, 2, outputs)
        self.value = multilayer(inputs, config.hidden_size, 2, 1)

    def forward(
        self, inputs: Float[Tensor, "*lead feature"]
    ) -> tuple[Float[Tensor, "*lead parameter"], Float[Tensor, "*lead"]]:
        return self.policy(inputs), self.value(inputs)[..., 0]


@dataclass(frozen=True)
class BeliefPolicy:
    """Acts on observation, belief and clock; `start` is the memory it resumes from, None at a trial's beginning."""

    net: nn.Module
    weights: Weights
    encoder: nn.Module
    encoder_weights: Weights
    tasks: TaskDistribution
    distribution: Distribution
    start: Memory | None = None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        hidden = self.encoder_weights["memory.from_hidden"]
        device = hidden.device
        return {
            "state": torch.zeros(tasks, lanes, hidden.shape[-1], device=device),
            "step": torch.zeros(tasks, lanes, device=device),
            "episode": torch.zeros(tasks, lanes, device=device),
        }

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        episode = memory["episode"] + percept.first
        inputs, state = self.read(percept, memory["state"], memory["step"], episode)
        parameters = functional_call(self.net, self.weights, (inputs,))
        distribution = self.distribution
        action = distribution.mode(parameters) if generator is None else distribution.sample(parameters, generator)
        notes = {"inputs": inputs, "state": state}
        memory = {"state": state, "step": memory["step"] + 1, "episode": episode}
        return Act(action, distribution.log_prob(parameters, action), notes), memory

    def read(
        self,
        percept: Percept,
        state: Float[Tensor, "*lead state"],
        step: Float[Tensor, "*lead"],
        episode: Float[Tensor, "*lead"],
    ) -> tuple[Float[Tensor, "*lead input"], Float[Tensor, "*lead state"]]:
        """What the policy reads at a step (observation, belief, clock), and the encoder's memory after it."""
        tasks, lead = self.tasks, percept.first.shape
        seen = evidence(percept, tasks.observation_space, tasks.action_space).flatten(0, -2)
        belief, state = functional_call(self.encoder, self.encoder_weights, (seen[None], state.flatten(0, -2)))
        steps = (step / (tasks.episodes_per_trial * tasks.max_episode_steps)).clamp(max=1)
        episodes = (episode / tasks.episodes_per_trial).clamp(max=1)
        observation = as_vector(tasks.observation_space, percept.observation)
        mean, log_variance = (part[0].unflatten(0, lead) for part in belief)
        # far from zero, the log-variances would saturate the first layer
        spread = log_variance - FIRST_LOG_VARIANCE
        inputs = torch.cat([observation, mean, spread, steps[..., None], episodes[..., None]], dim=-1)
        return inputs, state.unflatten(0, lead)


class Batch(NamedTuple):
    """Single steps, as PPO's update reads them."""

    inputs: Float[Tensor, "step feature"]
    """Observation, belief and clock as they were when the action was taken: no gradient reaches the encoder."""
    action: Shaped[Tensor, "step ..."]
    log_prob: Float[Tensor, "step"]
    advantage: Float[Tensor, "step"]
    target: Float[Tensor, "step"]
    """Value targets on the value head's own scale."""


def left(iterations: int, iteration: int, least: float) -> float:
    """What is left, in a meta-iteration, of what falls linearly over the first ones; all of it where there are none."""
    return max(least, 1 - iteration / iterations) if iterations else 1.0


def loss(
    net: Net, weights: Weights, distribution: Distribution, config: Config, batch: Batch, ent_coef: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's loss on single steps, and its parts."""
    parameters, value = functional_call(net, weights, (batch.inputs,))
    log_prob = distribution.log_prob(parameters, batch.action)
    surrogate = clipped_surrogate(log_prob, batch.log_prob, batch.advantage, config.clip_range).mean()
    value_loss = 0.5 * (value - batch.target).square().mean()
    entropy = distribution.entropy(parameters).mean()
    total = surrogate + config.vf_coef * value_loss - ent_coef * entropy
    parts = {
        "train/loss": total,
        "train/policy_gradient_loss": surrogate,
        "train/value_loss": value_loss,
        "train/entropy": entropy,
        "train/approx_kl": sampled_kl(log_prob, batch.log_prob).mean(),
    }
    return total, {name: part.detach() for name, part in parts.items()}


@checked
class VariBAD:
    """Meta-trains a belief and a policy that acts on it; adapting is believing."""

    name = "varibad"
    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        config, spaces = self.config, (tasks.observation_space, tasks.action_space)
        self.iteration, self.scale = 0, unit_scale(device)
        self.distribution = distribution_over(tasks.action_space)
        hyper_state = vector_size(tasks.observation_space) + 2 * config.latent_size
        self.net = skeleton(lambda: Net(config, hyper_state + 2, self.distribution.size))
        self.weights = initial_weights(self.net, counter(seed, 0, "weights"), {"policy.4": 0.01}, device)
        self.predicts = Predicts(config.reward_reads, config.reward_loss, config.transition_weight)
        self.model = belief_nets(*spaces, config.latent_size, config.belief_size, self.predicts)
        self.model_weights = {
            name: initial_weights(net, counter(seed, 0, f"{name} weights"), {}, device) for name, net in self.model.items()
        }
        self.optimiser = Adam(self.weights.values(), lr=config.learning_rate, eps=1e-5)
        self.model_parameters = [weight for weights in self.model_weights.values() for weight in weights.values()]
        self.model_optimiser = Adam(self.model_parameters, lr=config.belief_rate)
        self.replay = Replay(1, config.replay_trials, config.trials, device=device)
        self.novelty = Novelty(hyper_state, config.belief_size, config.belief_rate, seed=seed, device=device)
        self.bonuses = {name: no_moments((), device) for name in ("novelty", "error")}
        """The moments of the bonuses' discounted sums."""

    def explorer(self) -> BeliefPolicy:
        mine = {name.removeprefix("policy."): weight for name, weight in self.weights.items() if name.startswith("policy.")}
        weights, encoder_weights = (
            {name: weight.detach().clone() for name, weight in each.items()} for each in (mine, self.model_weights["encoder"])
        )
        return BeliefPolicy(self.net.policy, weights, self.model["encoder"], encoder_weights, self.tasks, self.distribution)

    def adapt(self, policy: BeliefPolicy, experience: Experience) -> BeliefPolicy:
        """Carries the belief over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config, tasks = self.config, self.tasks
        policy, horizon = self.explorer(), tasks.episodes_per_trial * tasks.max_episode_steps
        shards = [
            Shard(self.seed, self.iteration, number, config.trials // config.shards, "train") for number in range(config.shards)
        ]
        experience = concatenate(work.map(collect, Plan(policy, 1, horizon, tasks.episodes_per_trial), shards))
        records = as_records(experience, horizon)
        bonus, metrics = self.bonus(experience, records)
        batch, measured = self.prepare(policy, experience, bonus)
        self.replay.extend(ALL.expand(config.trials), records)
        for optimiser, rate in ((self.optimiser, config.learning_rate), (self.model_optimiser, config.belief_rate)):
            optimiser.param_groups[0]["lr"] = rate * left(config.anneal_iterations, self.iteration, 0.01)
        parts: dict[str, Tensor] = {}
        early = self.iteration < config.early_iterations
        for number in range(config.early_updates if early else config.belief_updates):
            parts |= self.update_belief(counter(self.seed, self.iteration, "belief", number))
        generator = counter(self.seed, self.iteration, "minibatches")
        for _ in range(config.n_epochs):
            for steps in torch.randperm(len(batch.target), generator=generator).chunk(config.minibatches):
                parts |= self.update(Batch(*(values.index_select(0, steps.to(self.device)) for values in batch)))
        self.iteration += 1
        return metrics | measured | {name: part.item() for name, part in parts.items()}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of PPO's optimiser."""
        config = self.config
        ent_coef = config.ent_coef * left(config.anneal_iterations, self.iteration, 0.01)
        total, parts = loss(self.net, self.weights, self.distribution, config, batch, ent_coef)
        return parts | {"train/grad_norm": self.descend(total, self.optimiser, list(self.weights.values()), "learning-rate")}

    def update_belief(self, generator: Generator) -> dict[str, Tensor]:
        """One step of the optimiser of encoder and decoders."""
        config, drawn = self.config, self.replay.sample(ALL, self.config.belief_batch, generator)
        trials = self.trials({name: value[0] for name, value in drawn.items()})
        shape = config.belief_batch, min(config.belief_terms, trials.valid.shape[1])
        share = torch.rand(shape, generator=generator).to(self.device)
        noise = torch.randn(*shape, config.latent_size, generator=generator).to(self.device)
        term = (share * trials.valid.sum(1, keepdim=True)).long()
        total, parts = negative_elbo(self.model, self.model_weights, trials, term, noise, self.predicts, config.kl_weight)
        self.descend(total, self.model_optimiser, self.model_parameters, "belief-rate")
        return parts

    def trials(self, records: Records) -> Trials:
        """Recorded trials as the belief's model reads them."""
        return as_trials(records, self.tasks.observation_space, self.tasks.action_space, self.predicts)

    def descend(self, total: Tensor, optimiser: Adam, weights: list[Tensor], lower: str) -> Tensor:
        """One step of an optimiser along a loss; the norm of its gradient."""
        optimiser.zero_grad()
        total.backward()
        norm = clip_grad_norm_(weights, self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise NotFinite(f"varibad: the gradient is not finite in iteration {self.iteration}; lower --{lower}")
        optimiser.step()
        return norm

    def beliefs(self, experience: Experience) -> Belief:
        """What was believed at each step."""
        mean, spread = experience.act.notes["inputs"][..., -2 * self.config.latent_size - 2 : -2].chunk(2, dim=-1)
        return Belief(mean, spread + FIRST_LOG_VARIANCE)

    @torch.no_grad()
    def values(self, inputs: Float[Tensor, "*lead input"]) -> Float[Tensor, "*lead"]:
        """The value of what the policy reads, in the reward's own unit."""
        return self.scale.restore(functional_call(self.net, self.weights, (inputs,))[1])

    def bonus(self, experience: Experience, records: Records) -> tuple[Float[Tensor, "task lane time"], Metrics]:
        """HyperX's bonuses for each step (Zintgraf et al. 2021, sec. 4), and what they come to."""
        config, valid, found = self.config, experience.valid, {}
        # the belief after each step; the last one is acted on by nobody and not recorded: the one before stands in
        belief = Belief(*(torch.cat([part[..., 1:, :], part[..., -1:, :]], dim=-2) for part in self.beliefs(experience)))
        if config.novelty_weight:
            arrival = as_vector(self.tasks.observation_space, experience.transition.arrival)
            hyper_state = torch.cat([arrival, belief.mean, belief.log_variance - FIRST_LOG_VARIANCE], dim=-1)
            found["novelty"] = self.novelty(hyper_state)
            self.novelty.learn(hyper_state[valid], config.minibatches, counter(self.seed, self.iteration, "novelty"))
        if config.error_weight:
            trials = self.trials({name: value[:, : valid.shape[-1]] for name, value in records.items()})
            error = surprise(self.model, self.model_weights, belief.mean.flatten(0, 1), trials, self.predicts)
            found["error"] = error.view_as(valid)
        total, share = torch.zeros_like(experience.transition.reward), left(config.bonus_iterations, self.iteration, 0.0)
        for name, each in found.items():
            self.bonuses[name] = discounted_scale(self.bonuses[name], each, valid, config.gamma)
            found[name] = share * getattr(config, f"{name}_weight") * each / self.bonuses[name].std.to(each)
            total = total + found[name]
        return total, {f"rollout/{name}_bonus": masked_mean(each, valid).item() for name, each in found.items()}

    def prepare(self, policy: BeliefPolicy, experience: Experience, bonus: Tensor) -> tuple[Batch, Metrics]:
        """Turns experience into single steps, moving the value scale on to their targets."""
        config, transition, valid = self.config, experience.transition, experience.valid
        value, reward = self.values(experience.act.notes["inputs"]), transition.reward + bonus
        if config.credit == "trial":
            advantage = trial_advantages(reward, value, valid, config.gamma, config.gae_lambda)
        else:
            at, inputs = time_limits(policy, experience)
            at_limits = torch.zeros_like(value).index_put(at, self.values(inputs))
            ends = transition.terminated, transition.truncated
            advantage = episode_advantages(reward, value, at_limits, *ends, valid, config.gamma, config.gae_lambda)
        target = advantage + value
        scale = follow_targets(self.scale, target, valid, config.value_rate)
        preserve_values(self.weights["value.4.weight"], self.weights["value.4.bias"], self.scale, scale)
        self.scale = scale
        fields = (
            experience.act.notes["inputs"],
            experience.act.action,
            cast(Tensor, experience.act.log_prob),
            standardise(advantage, valid).float(),
            scale.normalise(target),
        )
        ended = transition.terminated | transition.truncated
        returns = episode_returns(transition.reward, ended, valid, self.tasks.episodes_per_trial).mean((0, 1))
        metrics = {
            "rollout/timesteps": float(valid.sum()),
            "rollout/ep_rew_mean": returns.mean().item(),
            "rollout/ep_len_mean": float(valid.sum()) / (config.trials * self.tasks.episodes_per_trial),
            "train/explained_variance": explained_variance(value, target, valid).item(),
        }
        metrics |= {f"adapt/episode_{number}/return_mean": mean for number, mean in enumerate(returns.tolist(), 1)}
        return Batch(*(values[valid] for values in fields)), metrics

    def state_dict(self) -> State:
        weights = {"policy": self.weights} | self.model_weights
        return {
            "iteration": self.iteration,
            "weights": {name: {key: weight.detach() for key, weight in each.items()} for name, each in weights.items()},
            "optimiser": adam_state(self.optimiser),
            "model_optimiser": adam_state(self.model_optimiser),
            "value_scale": self.scale._asdict(),
            "novelty": self.novelty.state_dict(),
            "bonuses": {name: moments._asdict() for name, moments in self.bonuses.items()},
            "replay": self.replay.ledger(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.iteration = state["iteration"]
        for name, weights in ({"policy": self.weights} | self.model_weights).items():
            copy_into(weights, state["weights"][name])
        load_adam_state(self.optimiser, state["optimiser"])
        load_adam_state(self.model_optimiser, state["model_optimiser"])
        self.scale = stored_scale(state["value_scale"], self.device)
        self.novelty.load_state_dict(state["novelty"])
        for name, moments in state["bonuses"].items():
            self.bonuses[name] = Moments(**{key: value.to(self.device) for key, value in moments.items()})
        self.replay.load(state["replay"])


@torch.no_grad()
def time_limits(policy: BeliefPolicy, experience: Experience) -> tuple[tuple[Tensor, ...], Float[Tensor, "end input"]]:
    """Task, lane and time of each truncated episode's end, and what the policy would read where it arrived, if it went on."""
    transition = experience.transition
    at = (transition.truncated & experience.valid).nonzero(as_tuple=True)
    never = torch.zeros_like(at[0], dtype=torch.bool)
    arrival, reward = transition.arrival[at], told_reward(experience)[at]
    percept = Percept(arrival, never, experience.act.action[at], reward, arrival, never, never)
    episode = experience.percept.first.float().cumsum(-1)[at]
    inputs, _ = policy.read(percept, experience.act.notes["state"][at], at[2] + 1.0, episode)
    return at, inputs
