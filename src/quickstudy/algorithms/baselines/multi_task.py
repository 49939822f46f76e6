"""One memoryless policy for all tasks, trained with PPO (Schulman et al. 2017): the baseline that any adaptation must beat.

On tasks that are told (`tasks.Informed`) the same learner is `task-informed`: the upper bound of adaptation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.rollout import Plan, collect, concatenate
from quickstudy.data.session import Session
from quickstudy.errors import NotFinite, UsageError, require_at_least
from quickstudy.nets.distributions import Distribution, distribution_over
from quickstudy.nets.networks import Weights, copy_into, initial_weights, multilayer, skeleton
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.nets.values import follow_targets, preserve_values, stored_scale, unit_scale
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.policy_gradient import clipped_surrogate, explained_variance, sampled_kl, standardise
from quickstudy.ops.returns import episode_advantages, episode_index
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, Shard, State, TaskDistribution, Work, counter
from quickstudy.tasks.informed import Informed


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What the multi-task policy can be told."""

    n_envs: int = 64
    """Tasks stepped at once in a meta-iteration, each for as many steps as the longest episode has."""
    hidden_size: int = 64
    """Units of each of the two hidden layers of policy and value."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    gamma: float = 0.99
    """Discount factor, a step."""
    gae_lambda: float = 0.95
    """Trace decay of the generalised advantage estimates."""
    n_epochs: int = 4
    """Passes over the collected steps in a meta-iteration."""
    minibatches: int = 8
    """Parts into which a pass divides the steps."""
    clip_range: float = 0.2
    """PPO's bound on the change of an action's probability."""
    ent_coef: float = 0.01
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    value_rate: float = 0.1
    """How fast the scale of the value targets follows them, a meta-iteration."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "multi-task", self, "minibatches", "shards", "n_envs", "hidden_size", "n_epochs")
        if self.n_envs % self.shards:
            raise UsageError(f"multi-task: n_envs ({self.n_envs}) must be divisible by shards ({self.shards})")
        if not 0 < self.gamma <= 1 or not 0 <= self.gae_lambda <= 1:
            raise UsageError(f"multi-task: gamma ({self.gamma}) must be in (0, 1] and gae_lambda ({self.gae_lambda}) in [0, 1]")


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
class MemorylessPolicy:
    """Acts on the observation alone."""

    net: Net
    weights: Weights
    tasks: TaskDistribution
    distribution: Distribution

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        parameters, value = self(percept.observation)
        action = self.distribution.mode(parameters) if generator is None else self.distribution.sample(parameters, generator)
        return Act(action, self.distribution.log_prob(parameters, action), {"value": value}), memory

    def __call__(self, observation: Shaped[Tensor, "*lead ..."]) -> tuple[Tensor, Tensor]:
        """The action distribution's parameters and the value, on the head's own scale."""
        return functional_call(self.net, self.weights, (as_vector(self.tasks.observation_space, observation),))


class Batch(NamedTuple):
    """Single steps, as the update reads them."""

    inputs: Float[Tensor, "step feature"]
    action: Shaped[Tensor, "step ..."]
    log_prob: Float[Tensor, "step"]
    advantage: Float[Tensor, "step"]
    target: Float[Tensor, "step"]
    """Value targets on the value head's own scale."""


def loss(
    net: Net, weights: Weights, distribution: Distribution, config: Config, batch: Batch
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's loss on single steps, and its parts."""
    parameters, value = functional_call(net, weights, (batch.inputs,))
    log_prob = distribution.log_prob(parameters, batch.action)
    surrogate = clipped_surrogate(log_prob, batch.log_prob, batch.advantage, config.clip_range).mean()
    value_loss = 0.5 * (value - batch.target).square().mean()
    entropy = distribution.entropy(parameters).mean()
    total = surrogate + config.vf_coef * value_loss - config.ent_coef * entropy
    parts = {
        "train/loss": total,
        "train/policy_gradient_loss": surrogate,
        "train/value_loss": value_loss,
        "train/entropy": entropy,
        "train/approx_kl": sampled_kl(log_prob, batch.log_prob).mean(),
    }
    return total, {name: part.detach() for name, part in parts.items()}


def task_informed(tasks: TaskDistribution, config: Config | None = None, **options: Any) -> MultiTask:
    """The learner on tasks that are told."""
    return MultiTask(Informed(tasks), config, **options)


@checked
class MultiTask:
    """Trains one memoryless policy on the whole distribution; it never adapts."""

    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.name = "task-informed" if isinstance(tasks, Informed) else "multi-task"
        self.iteration = 0
        self.distribution = distribution_over(tasks.action_space)
        inputs = vector_size(tasks.observation_space)
        self.net = skeleton(lambda: Net(self.config, inputs, self.distribution.size))
        last_layers = {"policy.4": 0.01}
        self.weights = initial_weights(self.net, counter(seed, 0, "weights"), last_layers, device)
        self.optimiser = Adam(self.weights.values(), lr=self.config.learning_rate, eps=1e-5)
        self.scale = unit_scale(device)

    def explorer(self) -> MemorylessPolicy:
        weights = {name: weight.detach().clone() for name, weight in self.weights.items()}
        return MemorylessPolicy(self.net, weights, self.tasks, self.distribution)

    def adapt(self, policy: MemorylessPolicy, experience: Experience) -> MemorylessPolicy:
        """The same policy: nothing is learnt from the task."""
        return policy

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config = self.config
        policy = self.explorer()
        shards = [
            Shard(self.seed, self.iteration, number, config.n_envs // config.shards, "train") for number in range(config.shards)
        ]
        experience = concatenate(work.map(collect, Plan(policy, 1, self.tasks.max_episode_steps, None), shards))
        batch, metrics = self.prepare(policy, experience)
        generator = counter(self.seed, self.iteration, "minibatches")
        parts: dict[str, Tensor] = {}
        for _ in range(config.n_epochs):
            for steps in torch.randperm(len(batch.target), generator=generator).chunk(config.minibatches):
                parts = self.update(Batch(*(values.index_select(0, steps.to(self.device)) for values in batch)))
        self.iteration += 1
        return metrics | {name: part.item() for name, part in parts.items()}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the optimiser."""
        total, parts = loss(self.net, self.weights, self.distribution, self.config, batch)
        self.optimiser.zero_grad()
        total.backward()
        norm = clip_grad_norm_(self.weights.values(), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise NotFinite(f"{self.name}: the gradient is not finite in iteration {self.iteration}; lower --learning-rate")
        self.optimiser.step()
        return parts | {"train/grad_norm": norm}

    def prepare(self, policy: MemorylessPolicy, experience: Experience) -> tuple[Batch, Metrics]:
        """Turns experience into single steps, moving the value scale on to their targets."""
        config, transition, valid = self.config, experience.transition, experience.valid
        value = self.scale.restore(experience.act.notes["value"])
        with torch.no_grad():
            arrival_value = self.scale.restore(policy(transition.arrival)[1])
        # the end of the rollout cuts an episode as a time limit does: its future is bootstrapped
        truncated = transition.truncated.clone()
        truncated[..., -1] |= ~transition.terminated[..., -1]
        ends = transition.terminated, truncated
        advantage = episode_advantages(transition.reward, value, arrival_value, *ends, valid, config.gamma, config.gae_lambda)
        target = advantage + value
        scale = follow_targets(self.scale, target, valid, config.value_rate)
        preserve_values(self.weights["value.4.weight"], self.weights["value.4.bias"], self.scale, scale)
        self.scale = scale
        fields = (
            as_vector(self.tasks.observation_space, experience.percept.observation),
            experience.act.action,
            cast(Tensor, experience.act.log_prob),
            standardise(advantage, valid).float(),
            scale.normalise(target),
        )
        # the longest episode has as many steps as the rollout: each lane's first one is whole, a later one may be cut
        first = episode_index(transition.terminated | truncated) == 0
        metrics = {
            "rollout/timesteps": float(valid.sum()),
            "rollout/ep_rew_mean": float((transition.reward * first).sum() / config.n_envs),
            "rollout/ep_len_mean": float(first.sum() / config.n_envs),
            "train/explained_variance": explained_variance(value, target, valid).item(),
        }
        return Batch(*(values.flatten(0, 2) for values in fields)), metrics

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
