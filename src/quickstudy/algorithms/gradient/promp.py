"""ProMP: proximal meta-policy search (Rothfuss et al. 2019, arXiv:1810.06784).

First weights from which a gradient step adapts, as MAML's. The inner loss weighs each action by its own likelihood ratio: of
little variance in the Hessian. The outer steps are PPO's on the adapted policies, several on the same episodes, with a
penalty that keeps the first policy near the one that collected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.errors import require_at_least, require_discounts, require_rates
from quickstudy.insight import Descent, Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.distributions import distribution_over
from quickstudy.nets.networks import Build
from quickstudy.ops.policy_gradient import clipped_surrogate, masked_mean
from quickstudy.parts import gradient
from quickstudy.parts.collecting import numbers, require_shards
from quickstudy.parts.descend import descend
from quickstudy.parts.kept import kept_learned, take_learned
from quickstudy.protocol import Experience, Metrics, State, TaskDistribution, Work


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What ProMP can be told; by default as published."""

    meta_batch_size: int = 40
    """Tasks in a meta-iteration."""
    lanes: int = 20
    """Episodes of a task that one inner step learns from, lived side by side."""
    inner_steps: int = 1
    """Gradient steps of an adaptation in training, each on fresh episodes."""
    inner_rate: float = 0.1
    """Step size of the inner steps."""
    later_rate_share: float = 1.0
    """Step size of the inner steps after the first, as a share of the first one's."""
    adapt: options.Adapt = "auto"
    num_context: options.NumContext = 2
    encoder: options.Encoder = "none"
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 2
    activation: options.Activation = "tanh"
    layer_norm: options.LayerNorm = False
    vision: options.Vision = "auto"
    language: options.Language = "gru"
    film: options.Film = False
    gamma: float = 0.99
    """Discount factor, a step of the episode."""
    gae_lambda: float = 1.0
    """Trace decay of the generalised advantage estimates."""
    n_epochs: int = 5
    """Outer steps on the collected episodes, adapting anew in each."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    clip_range: float = 0.3
    """PPO's bound on the change of an action's probability after adapting."""
    kl_weight: float = 5e-4
    """Weight of the KL from the policies that collected, before each inner step, to those that would now."""
    target_kl: float = 0.0
    """What that KL is to be: after a meta-iteration with more than 1.5 times as much its weight is doubled, with less than
    as much over 1.5 halved; 0: the weight stays, as in the published runs."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "promp", self, "n_epochs", "shards", "meta_batch_size", "lanes", "inner_steps", "num_context")
        require_at_least(0, "promp", self, "kl_weight", "target_kl", "later_rate_share")
        options.require_network("promp", self)
        require_rates("promp", self)
        require_shards("promp", self, "meta_batch_size")
        require_discounts("promp", self)


@checked
class ProMP:
    """Meta-trains first weights; adapting is one policy-gradient step on an experience. `net` is as `MAML` has it."""

    name = "promp"
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
        config = self.config
        self.lanes, self.iteration, self.own_net = config.lanes, 0, net is not None
        distribution = distribution_over(tasks.action_space)
        self.net = gradient.policy_net(self, distribution, config, net, options.context_numbers(config))
        self.inner = gradient.Inner(
            tasks, self.net, distribution, "step", False, config.gamma, config.gae_lambda, config.later_rate_share
        )
        self.start = gradient.first_start(self, self.inner, config, config.inner_rate, False, config.adapt)
        self.learned = self.start.learned()
        self.kl_weight = config.kl_weight
        self.optimiser = Adam(self.learned.values(), lr=config.learning_rate, eps=1e-5)

    def explorer(self) -> gradient.WeightedPolicy:
        return gradient.first_policy(self.inner, self.start)

    def adapt(self, policy: gradient.WeightedPolicy, experience: Experience) -> gradient.WeightedPolicy:
        """One inner step on the experience of each task."""
        return gradient.adapted_policy(self.inner, policy, experience)

    def known(self, trial: Trial) -> Known:
        return gradient.known(trial)

    def descent(self, policy: gradient.WeightedPolicy, experience: Experience) -> Descent:
        return gradient.descent(self.inner, policy, gradient.samples_of(self.inner, experience))

    def retrace(self, trial: Trial, task: int) -> Retraced:
        return gradient.retraced(self.inner, trial, task)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config = self.config
        stages, metrics = gradient.collected_stages(work, self, self.inner, config.meta_batch_size, config.inner_steps)
        parts: dict[str, Tensor] = {}
        for _ in range(config.n_epochs):
            total, parts = self.loss(stages)
            [parts["train/grad_norm"]] = descend(self, total, self.optimiser, self.learned.values(), max_norm=None)
        self.iteration += 1
        metrics |= numbers(parts)
        if config.target_kl:
            self.kl_weight = weight_for(self.kl_weight, metrics["train/explorer_kl"], config.target_kl)
            metrics["train/kl_weight"] = self.kl_weight
        return metrics

    def loss(self, stages: list[gradient.Samples]) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """-min(rho A, clip(rho) A) after adapting, and the weighted mean KL before the inner steps (eq. 12); its parts."""
        config, last, distribution = self.config, stages[-1], self.inner.distribution
        now = gradient.outcomes(self.inner, self.start, stages, len(stages))
        log_prob = distribution.log_prob(now[-1], last.action)
        surrogate = masked_mean(clipped_surrogate(log_prob, last.log_prob, last.advantage, config.clip_range), last.valid)
        *before, after = [
            masked_mean(distribution.kl(stage.parameters, parameters), stage.valid)
            for parameters, stage in zip(now, stages, strict=True)
        ]
        penalty = torch.stack(before).mean()
        total = surrogate + self.kl_weight * penalty
        parts = {"train/loss": total, "train/explorer_kl": penalty, "train/approx_kl": after}
        return total, {name: part.detach() for name, part in parts.items()}

    def state_dict(self) -> State:
        return {**kept_learned(self), **({"kl_weight": self.kl_weight} if self.config.target_kl else {})}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        take_learned(self, state)
        self.kl_weight = state.get("kl_weight", self.config.kl_weight)


def weight_for(weight: float, kl: float, target: float) -> float:
    """The weight of a penalty that keeps a KL near its target (Schulman et al. 2017, section 4)."""
    return weight * 2 if kl > 1.5 * target else weight / 2 if kl < target / 1.5 else weight
