"""One memoryless policy for all tasks, trained with PPO (Schulman et al. 2017): the baseline that any adaptation must beat.

On tasks that are told (`tasks.Informed`) the same learner is `task-informed`: the upper bound of adaptation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.rollout import Plan, collect, concatenate
from quickstudy.data.session import Session
from quickstudy.errors import require_at_least, require_discounts, require_rates
from quickstudy.nets import options
from quickstudy.nets.distributions import Distribution
from quickstudy.nets.networks import (
    ActorCritic,
    Build,
    Weights,
    bound,
    built,
    copied,
    initial_weights,
    last_linear,
    tried,
)
from quickstudy.nets.reader import behind, inputs_for
from quickstudy.nets.values import unit_scale, value_head
from quickstudy.ops.features import inputs_of
from quickstudy.ops.returns import episode_advantages, episode_index
from quickstudy.parts import ppo
from quickstudy.parts.collecting import numbers, require_shards, rollout_metrics, shards_of
from quickstudy.parts.descend import descend
from quickstudy.parts.kept import kept, take
from quickstudy.parts.noise import drawn, first_noise, noisy, policy_distribution, require_noise
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, State, TaskDistribution, Work, counter
from quickstudy.tasks.informed import Informed


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What the multi-task policy can be told."""

    n_envs: int = 64
    """Tasks stepped at once in a meta-iteration, each for as many steps as the longest episode has."""
    encoder: options.Encoder = "none"
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 2
    activation: options.Activation = "tanh"
    layer_norm: options.LayerNorm = False
    vision: options.Vision = "auto"
    language: options.Language = "gru"
    film: options.Film = False
    noise: options.Noise = "independent"
    noise_steps: options.NoiseSteps = 0
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
        options.require_network("multi-task", self)
        require_noise("multi-task", self)
        require_rates("multi-task", self)
        require_at_least(1, "multi-task", self, "minibatches", "shards", "n_envs", "n_epochs")
        require_shards("multi-task", self, "n_envs")
        require_discounts("multi-task", self)


@dataclass(frozen=True)
class MemorylessPolicy:
    """Acts on the observation alone."""

    net: nn.Module
    weights: Weights
    tasks: TaskDistribution
    distribution: Distribution
    keep_parameters: bool = False
    """Record the parameters of the distribution, which who mixes policies needs."""

    @cached_property
    def acting(self) -> nn.Module:
        """The network with its weights."""
        return bound(self.net, self.weights)

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return first_noise(self.distribution, tasks, lanes, next(iter(self.weights.values())).device)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        parameters, value = self(percept.observation)
        action, noise = drawn(self.distribution, parameters, percept.first, memory, generator)
        notes = {"value": value} | ({"parameters": parameters} if self.keep_parameters else {})
        return Act(action, self.distribution.log_prob(parameters, action), notes), noise

    def __call__(self, observation: Shaped[Tensor, "*lead ..."]) -> tuple[Tensor, Tensor]:
        """The action distribution's parameters and the value, on the head's own scale."""
        return self.acting(inputs_of(self.tasks.observation_space, observation))


def task_informed(tasks: TaskDistribution, config: Config | None = None, **options: Any) -> MultiTask:
    """The learner on tasks that are told."""
    return MultiTask(Informed(tasks), config, **options)


@checked
class MultiTask:
    """Trains one memoryless policy on the whole distribution; it never adapts.

    `net`, given the number of inputs and of the policy's parameters, builds a network of one's own. Its forward takes inputs
    (..., feature) and gives parameters (..., parameter) and values (...). In its modules `policy` and `value` the last linear
    layer gives what they give: the first one's begins small, the other's is rescaled as value targets grow. It has no buffers
    and no dropout, and `config` says nothing of it.
    """

    lanes = 1
    Config = Config

    def __init__(
        self,
        tasks: TaskDistribution,
        config: Config | None = None,
        *,
        seed: int = 0,
        device: str = "cpu",
        net: Build | None = None,
    ):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.name = "task-informed" if isinstance(tasks, Informed) else "multi-task"
        self.iteration, self.own_net = 0, net is not None
        self.distribution = policy_distribution(self.name, tasks.action_space, self.config, net is not None)
        build = net or (lambda inputs, outputs: noisy(ActorCritic(self.config, inputs, outputs), self.distribution))
        inputs = inputs_for(tasks.observation_space, 0, self.config)
        self.net = behind(inputs.reader, built(self.name, build, inputs.size, self.distribution.size, "policy", "value"))
        gains = {last_linear(self.net, "policy"): 0.01}
        self.weights = initial_weights(self.net, counter(seed, 0, "weights"), gains, device)
        if net:
            seen = torch.zeros(3, inputs.size, device=device)
            tried(self.name, self.net, self.weights, (seen,), (3, self.distribution.size), (3,))
        self.value_head = value_head(self.net, self.weights)
        self.optimiser = Adam(self.weights.values(), lr=self.config.learning_rate, eps=1e-5)
        self.scale = unit_scale(device)

    def explorer(self) -> MemorylessPolicy:
        return MemorylessPolicy(self.net, copied(self.weights), self.tasks, self.distribution)

    def adapt(self, policy: MemorylessPolicy, experience: Experience) -> MemorylessPolicy:
        """The same policy: nothing is learnt from the task."""
        return policy

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config, policy = self.config, self.explorer()
        plan = Plan(policy, 1, self.tasks.max_episode_steps, None)
        experience = concatenate(work.map(collect, plan, shards_of(self, config.n_envs)))
        batch, metrics = self.prepare(policy, experience)
        parts: dict[str, Tensor] = {}
        generator = counter(self.seed, self.iteration, "minibatches")
        for minibatch in ppo.minibatches(batch, config.n_epochs, config.minibatches, generator):
            parts = self.update(minibatch)
        self.iteration += 1
        return metrics | numbers(parts)

    def prepare(self, policy: MemorylessPolicy, experience: Experience) -> tuple[ppo.Batch, Metrics]:
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
        inputs = inputs_of(self.tasks.observation_space, experience.percept.observation)
        batch, self.scale, metrics = ppo.batch_of(
            experience, inputs, value, advantage, self.scale, self.value_head, config.value_rate
        )
        # the longest episode has as many steps as the rollout: each lane's first one is whole, a later one may be cut
        first = episode_index(transition.terminated | truncated) == 0
        returns, lengths = ((each.sum() / config.n_envs).item() for each in (transition.reward * first, first))
        told = rollout_metrics(float(valid.sum()), returns, lengths)
        return ppo.Batch(*(values.flatten(0, 2) for values in batch)), told | metrics

    def update(self, batch: ppo.Batch) -> dict[str, Tensor]:
        """One step of the optimiser."""
        total, parts = self.loss(self.weights, batch)
        [norm] = descend(self, total, self.optimiser, self.weights.values(), max_norm=self.config.max_grad_norm)
        return parts | {"train/grad_norm": norm}

    def loss(self, weights: Weights, batch: ppo.Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """PPO's loss on single steps, and its parts."""
        config = self.config
        parameters, value = functional_call(self.net, weights, (batch.inputs,))
        return ppo.loss(self.distribution, parameters, value, batch, config.clip_range, config.vf_coef, config.ent_coef)

    def state_dict(self) -> State:
        return kept(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        take(self, state)
