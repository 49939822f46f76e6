"""MAML: first weights from which a few gradient steps adapt (Finn et al. 2017, arXiv:1703.03400).

Adapting is gradient ascent on the task's own returns; meta-training moves the first weights, by TRPO or PPO through those
steps, so that the adapted policies do well. Learned per-parameter inner rates make it Meta-SGD (Li et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.errors import require_at_least, require_discounts, require_rates
from quickstudy.insight import Descent, Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.distributions import Distribution, distribution_over
from quickstudy.nets.networks import Build, Weights, copy_into
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.ops.fit import COUNTED, require_fit
from quickstudy.ops.policy_gradient import clipped_surrogate, masked_mean
from quickstudy.ops.trust_region import flatten, line_search, linear_maps, trust_region_step, unflatten
from quickstudy.parts.collecting import require_shards
from quickstudy.parts.descend import descend, require_finite
from quickstudy.parts.gradient import (
    Inner,
    Samples,
    WeightedPolicy,
    adapted_policy,
    collected_stages,
    descent,
    first_policy,
    first_start,
    known,
    outcomes,
    policy_net,
    retraced,
)
from quickstudy.protocol import Experience, Metrics, State, TaskDistribution, Work


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What MAML can be told."""

    meta_batch_size: int = 20
    """Tasks in a meta-iteration."""
    lanes: int = 20
    """Episodes of a task that one inner step learns from, lived side by side."""
    inner_steps: int = 1
    """Gradient steps of an adaptation in training, each on fresh episodes."""
    inner_rate: float = 0.1
    """Step size of the inner steps, or their first one where it is learned."""
    later_rate_share: float = 1.0
    """Step size of the inner steps after the first, as a share of the first one's."""
    learn_inner_rate: bool = False
    """Learn a rate for each parameter (Meta-SGD)."""
    first_order: bool = False
    """Treat the inner gradient as a constant: cheaper, and not the true meta-gradient."""
    inner_ratio: Literal["path", "step"] = "step"
    """Likelihood ratios of the inner loss: of the episode so far (exact curvature) or of each step (less variance: ProMP)."""
    adapt: options.Adapt = "auto"
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
    outer_stages: Literal["last", "all"] = "last"
    """Which policies first weights are to improve: the one after the last inner step, or all, the first one too."""
    outer: Literal["trpo", "ppo"] = "trpo"
    """How the first weights move."""
    max_kl: float = 0.01
    """TRPO: how far the adapted policies may move."""
    cg_iterations: int = 10
    """TRPO: products with the Fisher information in a step."""
    cg_damping: float = 1e-3
    """TRPO: this much of the identity is added to the Fisher information."""
    n_epochs: int = 5
    """PPO: steps on the collected episodes."""
    learning_rate: float = 3e-3
    """PPO: Adam's step size."""
    clip_range: float = 0.2
    """PPO: bound on the change of an action's probability."""
    max_grad_norm: float = 1.0
    """PPO: gradients are scaled down to this norm."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "maml", self, "n_epochs", "shards", "meta_batch_size", "lanes", "inner_steps")
        require_at_least(0, "maml", self, "later_rate_share")
        options.require_network("maml", self)
        require_rates("maml", self)
        require_shards("maml", self, "meta_batch_size")
        require_discounts("maml", self)


@checked
class MAML:
    """Meta-trains first weights; adapting is one policy-gradient step on an experience, all lanes pooled.

    `net`, given the number of inputs and of the policy's parameters, builds a network of one's own. Its forward takes inputs
    (..., feature) and gives parameters (..., parameter); of a Gaussian these are means and log standard deviations. It has no
    buffers and no dropout, all its parameters are learned, and `config` says nothing of it.
    """

    name = "maml"
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
        self.distribution = distribution_over(tasks.action_space)
        self.net = policy_net(self, self.distribution, config, net)
        self.inner = Inner(
            tasks,
            self.net,
            self.distribution,
            config.inner_ratio,
            config.first_order,
            config.gamma,
            config.gae_lambda,
            config.later_rate_share,
        )
        self.start = first_start(self, self.inner, config, config.inner_rate, config.learn_inner_rate, config.adapt)
        self.learned = self.start.learned()
        self.optimiser = Adam(self.learned.values(), lr=config.learning_rate, eps=1e-5)

    def explorer(self) -> WeightedPolicy:
        return first_policy(self.inner, self.start)

    def adapt(self, policy: WeightedPolicy, experience: Experience) -> WeightedPolicy:
        """One inner step on the experience of each task."""
        return adapted_policy(self.inner, policy, experience)

    def known(self, trial: Trial) -> Known:
        return known(trial)

    def descent(self, policy: WeightedPolicy, experience: Experience) -> Descent:
        return descent(self.inner, policy, experience)

    def retrace(self, trial: Trial, task: int) -> Retraced:
        return retraced(self.inner, trial, task)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config = self.config
        stages, metrics = collected_stages(work, self, self.inner, config.meta_batch_size, config.inner_steps)
        metrics |= self.trust_region(stages) if config.outer == "trpo" else self.proximal(stages)
        self.iteration += 1
        return metrics

    def scored(self, stages: list[Samples]) -> list[Samples]:
        """The stages whose policies are to do better."""
        return stages if self.config.outer_stages == "all" else stages[-1:]

    def outcomes(self, learned: Weights, stages: list[Samples]) -> list[Float[Tensor, "task lane time parameter"]]:
        """What the policies of the scored stages would do where they were, from other first weights and rates."""
        return outcomes(self.inner, self.start.moved_to(learned), stages, len(self.scored(stages)))

    def trust_region(self, stages: list[Samples]) -> Metrics:
        """One TRPO step (Schulman et al. 2015) on the policies of the scored stages.

        At the behaviour policy the KL has no slope, so its exact Hessian is J'FJ: J by one linearisation of `outcomes`, F the
        Fisher information of the action distribution.
        """
        config, scored, distribution = self.config, self.scored(stages), self.distribution
        now = {name: value.detach() for name, value in self.learned.items()}
        behaviour = torch.cat([stage.parameters for stage in scored], dim=2)
        share = torch.cat([stage.valid / stage.valid.sum() for stage in scored], dim=2) / len(scored)

        def joined(learned: Weights) -> Tensor:
            return torch.cat(self.outcomes(learned, stages), dim=2)

        def judged(parameters: Tensor) -> tuple[Tensor, Tensor]:
            parts = parameters.split([stage.valid.shape[2] for stage in scored], dim=2)
            return improvement(distribution, parts, scored), divergence(distribution, parts, scored)

        parameters, pull, push = linear_maps(joined, self.learned)

        def product(vector: Tensor) -> Tensor:
            moved = distribution.fisher(behaviour, push(vector)) * share[..., None]
            return pull(moved) + config.cg_damping * vector

        def after(step: Tensor) -> tuple[float, float]:
            objective, kl = judged(joined(unflatten(flatten(now) + step, now)))
            return objective.item(), kl.item()

        gradient = pull(grad(lambda parameters: judged(parameters)[0])(parameters))
        require_finite(self, [gradient], "inner-rate")
        full = trust_region_step(gradient, product, config.max_kl, config.cg_iterations)
        before = judged(parameters)[0].item()
        step, kl = line_search(after, full, before, config.max_kl)
        with torch.no_grad():
            for name, change in unflatten(step, now).items():
                self.learned[name] += change
        return {"train/loss": -before, "train/grad_norm": gradient.norm().item(), "train/approx_kl": kl}

    def proximal(self, stages: list[Samples]) -> Metrics:
        """PPO's epochs (Schulman et al. 2017) on the scored policies, adapting anew in each from the stored episodes."""
        config, scored, distribution = self.config, self.scored(stages), self.distribution
        metrics: Metrics = {}
        for _ in range(config.n_epochs):
            parameters = self.outcomes(self.learned, stages)
            loss = -improvement(distribution, parameters, scored, config.clip_range)
            [norm] = descend(self, loss, self.optimiser, self.learned.values(), max_norm=config.max_grad_norm)
            kl = divergence(distribution, parameters, scored).detach()
            metrics = {"train/loss": loss.item(), "train/grad_norm": norm.item(), "train/approx_kl": kl.item()}
        return metrics

    def state_dict(self) -> State:
        return {
            "iteration": self.iteration,
            "learned": {name: value.detach() for name, value in self.learned.items()},
            "optimiser": adam_state(self.optimiser),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        patterns = {"iteration": COUNTED, "optimiser": adam_fits(self.optimiser)}
        require_fit("", state, {**self.state_dict(), **patterns})
        self.iteration = state["iteration"]
        copy_into(self.learned, state["learned"])
        load_adam_state(self.optimiser, state["optimiser"])


def improvement(
    distribution: Distribution, parameters: Sequence[Tensor], stages: list[Samples], clip: float = math.inf
) -> Float[Tensor, ""]:
    """How much better the policies of stages do than those that collected: the mean over stages of min(rho A, clip(rho) A)."""
    return -torch.stack(
        [
            masked_mean(
                clipped_surrogate(distribution.log_prob(now, stage.action), stage.log_prob, stage.advantage, clip), stage.valid
            )
            for now, stage in zip(parameters, stages, strict=True)
        ]
    ).mean()


def divergence(distribution: Distribution, parameters: Sequence[Tensor], stages: list[Samples]) -> Float[Tensor, ""]:
    """KL of the policies of stages to those that collected, the mean over stages."""
    kls = [distribution.kl(stage.parameters, now) for now, stage in zip(parameters, stages, strict=True)]
    return torch.stack([masked_mean(kl, stage.valid) for kl, stage in zip(kls, stages, strict=True)]).mean()


def from_scratch(tasks: TaskDistribution, **options: Any) -> MAML:
    """MAML before meta-training: untrained weights, the same adaptation."""
    agent = MAML(tasks, **options)
    agent.name = "from-scratch"
    return agent
