"""RL2: the agent's memory is its learning algorithm (Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763).

A recurrent policy sees its last action, reward and episode ends, and keeps its memory over the episodes of a trial. PPO
(Schulman et al. 2017) maximises the return of the whole trial, so the memory learns to explore first and exploit later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.rollout import Plan, collect, concatenate
from quickstudy.data.session import Session
from quickstudy.errors import NotFinite, UsageError, require_at_least
from quickstudy.nets.distributions import Distribution, distribution_over
from quickstudy.nets.networks import Recurrent, Weights, copy_into, initial_weights, skeleton
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.nets.values import follow_targets, preserve_values, stored_scale, unit_scale
from quickstudy.ops.features import percept_size, percept_vector
from quickstudy.ops.policy_gradient import clipped_surrogate, explained_variance, masked_mean, sampled_kl, standardise
from quickstudy.ops.returns import episode_advantages, episode_returns, trial_advantages
from quickstudy.protocol import (
    Act,
    Experience,
    Memory,
    Metrics,
    Percept,
    Shard,
    State,
    TaskDistribution,
    Work,
    counter,
)


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What RL2 can be told."""

    trials: int = 256
    """Trials collected in a meta-iteration, each on a task of its own."""
    cell: Literal["gru", "lstm"] = "gru"
    """The kind of memory."""
    hidden_size: int = 64
    """Units of the encoder and of the memory."""
    learning_rate: float = 2e-3
    """Adam's step size."""
    gamma: float = 0.98
    """Discount factor, a step of the trial."""
    gae_lambda: float = 0.95
    """Trace decay of the generalised advantage estimates."""
    credit: Literal["trial", "episode"] = "trial"
    """How far an action answers for rewards: to the end of the trial, or of its episode (for tasks that reward survival)."""
    n_epochs: int = 4
    """Passes over the collected trials in a meta-iteration."""
    minibatches: int = 4
    """Parts into which a pass divides the trials; a part holds whole trials."""
    clip_range: float = 0.2
    """PPO's bound on the change of an action's probability."""
    ent_coef: float = 0.02
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    anneal_iterations: int = 0
    """Meta-iterations over which step size and entropy bonus fall linearly, to a hundredth; 0: they stay."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    value_rate: float = 0.1
    """How fast the scale of the value targets follows them, a meta-iteration."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "rl2", self, "minibatches", "shards", "trials", "hidden_size", "n_epochs")
        require_at_least(0, "rl2", self, "anneal_iterations")
        if self.trials % self.shards or self.trials < self.minibatches:
            raise UsageError(
                f"rl2: trials ({self.trials}) must be a multiple of shards ({self.shards}), no less than minibatches"
            )
        if not 0 < self.gamma <= 1 or not 0 <= self.gae_lambda <= 1:
            raise UsageError(f"rl2: gamma ({self.gamma}) must be in (0, 1] and gae_lambda ({self.gae_lambda}) in [0, 1]")


class Net(nn.Module):
    """Encoder, memory, and a head each for policy and value."""

    def __init__(self, config: Config, inputs: int, outputs: int):
        super().__init__()
        self.encoder = nn.Linear(inputs, config.hidden_size)
        self.memory = Recurrent(config.cell, config.hidden_size, config.hidden_size)
        self.policy = nn.Linear(config.hidden_size, outputs)
        self.value = nn.Linear(config.hidden_size, 1)

    def forward(
        self, inputs: Float[Tensor, "time batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "time batch parameter"], Float[Tensor, "time batch"], Float[Tensor, "batch state"]]:
        hidden, state = self.memory(self.encoder(inputs).relu(), state)
        return self.policy(hidden), self.value(hidden)[..., 0], state


@dataclass(frozen=True)
class RecurrentPolicy:
    """Acts from a memory of the trial so far; `start` is the memory it resumes from, None at a trial's beginning."""

    net: Net
    weights: Weights
    tasks: TaskDistribution
    distribution: Distribution
    keep_states: bool
    """Record the memory after each step, which `credit="episode"` needs for values at time limits."""
    start: Memory | None = None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        device = self.weights["value.bias"].device
        return {
            "state": torch.zeros(tasks, lanes, self.net.memory.state_size, device=device),
            "step": torch.zeros(tasks, lanes, device=device),
            "episode": torch.zeros(tasks, lanes, device=device),
        }

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        lead = percept.first.shape
        episode = memory["episode"] + percept.first
        inputs = inputs_of(self.tasks, percept, memory["step"], episode)
        parameters, value, state = functional_call(
            self.net, self.weights, (inputs.flatten(0, 1)[None], memory["state"].flatten(0, 1))
        )
        parameters, state = parameters[0].unflatten(0, lead), state.unflatten(0, lead)
        distribution = self.distribution
        action = distribution.mode(parameters) if generator is None else distribution.sample(parameters, generator)
        notes = {"value": value[0].unflatten(0, lead)} | ({"state": state} if self.keep_states else {})
        memory = {"state": state, "step": memory["step"] + 1, "episode": episode}
        return Act(action, distribution.log_prob(parameters, action), notes), memory


def inputs_of(
    tasks: TaskDistribution, percept: Percept, step: Float[Tensor, "*lead"], episode: Float[Tensor, "*lead"]
) -> Float[Tensor, "*lead feature"]:
    """What the network reads at a step: the percept, and how much of the trial has passed, in steps and in episodes."""
    steps = (step / (tasks.episodes_per_trial * tasks.max_episode_steps)).clamp(max=1)
    episodes = (episode / tasks.episodes_per_trial).clamp(max=1)
    vector = percept_vector(percept, tasks.observation_space, tasks.action_space)
    return torch.cat([vector, steps[..., None], episodes[..., None]], dim=-1)


class Batch(NamedTuple):
    """Whole trials, time first, as the update reads them."""

    inputs: Float[Tensor, "time trial feature"]
    action: Shaped[Tensor, "time trial ..."]
    log_prob: Float[Tensor, "time trial"]
    advantage: Float[Tensor, "time trial"]
    target: Float[Tensor, "time trial"]
    """Value targets on the value head's own scale."""
    valid: Bool[Tensor, "time trial"]


def time_major(values: Shaped[Tensor, "task lane time ..."]) -> Shaped[Tensor, "time trial ..."]:
    """Tasks and lanes as one axis of trials, behind time."""
    return values.flatten(0, 1).transpose(0, 1).contiguous()


def left(config: Config, iteration: int) -> float:
    """What is left of step size and entropy bonus in a meta-iteration."""
    return max(0.01, 1 - iteration / config.anneal_iterations) if config.anneal_iterations else 1.0


def loss(
    net: Net, weights: Weights, distribution: Distribution, config: Config, batch: Batch, ent_coef: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's loss on whole trials, and its parts."""
    start = torch.zeros(batch.valid.shape[1], net.memory.state_size, device=batch.valid.device)
    parameters, value, _ = functional_call(net, weights, (batch.inputs, start))
    log_prob = distribution.log_prob(parameters, batch.action)
    surrogate = masked_mean(clipped_surrogate(log_prob, batch.log_prob, batch.advantage, config.clip_range), batch.valid)
    value_loss = 0.5 * masked_mean((value - batch.target).square(), batch.valid)
    entropy = masked_mean(distribution.entropy(parameters), batch.valid)
    total = surrogate + config.vf_coef * value_loss - ent_coef * entropy
    clipped = ((log_prob - batch.log_prob).exp() - 1).abs() > config.clip_range
    parts = {
        "train/loss": total,
        "train/policy_gradient_loss": surrogate,
        "train/value_loss": value_loss,
        "train/entropy": entropy,
        "train/approx_kl": masked_mean(sampled_kl(log_prob, batch.log_prob), batch.valid),
        "train/clip_fraction": masked_mean(clipped.float(), batch.valid),
    }
    return total, {name: part.detach() for name, part in parts.items()}


@checked
class RL2:
    """Meta-trains a recurrent policy over whole trials; adapting is remembering."""

    name = "rl2"
    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration = 0
        self.distribution = distribution_over(tasks.action_space)
        inputs = percept_size(tasks.observation_space, tasks.action_space) + 2
        self.net = skeleton(lambda: Net(self.config, inputs, self.distribution.size))
        self.weights = initial_weights(self.net, counter(seed, 0, "weights"), {"policy": 0.01}, device)
        self.optimiser = Adam(self.weights.values(), lr=self.config.learning_rate, eps=1e-5)
        self.scale = unit_scale(device)

    def explorer(self) -> RecurrentPolicy:
        weights = {name: weight.detach().clone() for name, weight in self.weights.items()}
        return RecurrentPolicy(self.net, weights, self.tasks, self.distribution, self.config.credit == "episode")

    def adapt(self, policy: RecurrentPolicy, experience: Experience) -> RecurrentPolicy:
        """Carries the memory over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config, tasks = self.config, self.tasks
        policy = self.explorer()
        plan = Plan(policy, 1, tasks.episodes_per_trial * tasks.max_episode_steps, tasks.episodes_per_trial)
        shards = [
            Shard(self.seed, self.iteration, number, config.trials // config.shards, "train") for number in range(config.shards)
        ]
        experience = concatenate(work.map(collect, plan, shards))
        batch, metrics = self.prepare(policy, experience)
        generator = counter(self.seed, self.iteration, "minibatches")
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * left(config, self.iteration)
        parts: dict[str, Tensor] = {}
        for _ in range(config.n_epochs):
            for trials in torch.randperm(config.trials, generator=generator).chunk(config.minibatches):
                parts = self.update(Batch(*(values.index_select(1, trials.to(self.device)) for values in batch)))
        self.iteration += 1
        return metrics | {name: part.item() for name, part in parts.items()}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the optimiser."""
        ent_coef = self.config.ent_coef * left(self.config, self.iteration)
        total, parts = loss(self.net, self.weights, self.distribution, self.config, batch, ent_coef)
        self.optimiser.zero_grad()
        total.backward()
        norm = clip_grad_norm_(self.weights.values(), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise NotFinite(f"rl2: the gradient is not finite in iteration {self.iteration}; lower --learning-rate")
        self.optimiser.step()
        return parts | {"train/grad_norm": norm}

    def prepare(self, policy: RecurrentPolicy, experience: Experience) -> tuple[Batch, Metrics]:
        """Turns experience into a batch, moving the value scale on to its targets."""
        config, transition, valid = self.config, experience.transition, experience.valid
        value = self.scale.restore(experience.act.notes["value"])
        if config.credit == "trial":
            advantage = trial_advantages(transition.reward, value, valid, config.gamma, config.gae_lambda)
        else:
            at_limits = self.scale.restore(arrival_values(policy, experience))
            ends = transition.terminated, transition.truncated
            advantage = episode_advantages(transition.reward, value, at_limits, *ends, valid, config.gamma, config.gae_lambda)
        target = advantage + value
        scale = follow_targets(self.scale, target, valid, config.value_rate)
        preserve_values(self.weights["value.weight"], self.weights["value.bias"], self.scale, scale)
        self.scale = scale
        step = torch.arange(valid.shape[-1], device=self.device).float().expand(valid.shape)
        fields = (
            inputs_of(self.tasks, experience.percept, step, experience.percept.first.float().cumsum(-1)),
            experience.act.action,
            cast(Tensor, experience.act.log_prob),
            standardise(advantage, valid).float(),
            scale.normalise(target),
            valid,
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
        return Batch(*map(time_major, fields)), metrics

    def state_dict(self) -> State:
        return {
            "iteration": self.iteration,
            "weights": {name: weight.detach() for name, weight in self.weights.items()},
            "optimiser": adam_state(self.optimiser),
            "value_scale": self.scale._asdict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.iteration = state["iteration"]
        copy_into(self.weights, state["weights"])
        load_adam_state(self.optimiser, state["optimiser"])
        self.scale = stored_scale(state["value_scale"], self.device)


@torch.no_grad()
def arrival_values(policy: RecurrentPolicy, experience: Experience) -> Float[Tensor, "task lane time"]:
    """The value, on the head's own scale, of where each truncated episode had arrived, as if it went on; zero elsewhere."""
    transition = experience.transition
    at = (transition.truncated & experience.valid).nonzero(as_tuple=True)
    if not len(at[0]):
        return torch.zeros_like(transition.reward)
    never = torch.zeros_like(at[0], dtype=torch.bool)
    percept = Percept(
        transition.arrival[at], never, experience.act.action[at], transition.reward[at], transition.arrival[at], never, never
    )
    inputs = inputs_of(policy.tasks, percept, at[2] + 1.0, experience.percept.first.float().cumsum(-1)[at])
    _, value, _ = functional_call(policy.net, policy.weights, (inputs[None], experience.act.notes["state"][at]))
    return torch.zeros_like(transition.reward).index_put(at, value[0])
