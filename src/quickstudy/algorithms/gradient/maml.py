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
from torch.func import grad, vmap
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.errors import require_at_least, require_discounts, require_rates, require_share
from quickstudy.insight import Descent, Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.distributions import Distribution, distribution_over
from quickstudy.nets.networks import Build, Weights
from quickstudy.ops.features import inputs_of
from quickstudy.ops.policy_gradient import clipped_surrogate, masked_mean, root
from quickstudy.ops.trust_region import flatten, line_search, linear_maps, trust_region_step, unflatten
from quickstudy.parts.collecting import require_shards
from quickstudy.parts.descend import descend, require_finite
from quickstudy.parts.gradient import (
    Inner,
    Samples,
    WeightedPolicy,
    adapted_policy,
    advantages,
    descent,
    first_policy,
    first_start,
    known,
    lived_stages,
    outcomes,
    policy_net,
    retraced,
    samples_of,
)
from quickstudy.parts.kept import kept_learned, take_learned
from quickstudy.protocol import Experience, Metrics, State, TaskDistribution, Work


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What MAML can be told."""

    meta_batch_size: int = 10
    """Tasks in a meta-iteration."""
    lanes: int = 10
    """Episodes of a task that one inner step learns from, lived side by side."""
    inner_steps: int = 1
    """Gradient steps of an adaptation in training, each on fresh episodes."""
    inner_rate: float = 1.0
    """Step size of the inner steps, or their first one where it is learned."""
    later_rate_share: float = 1.0
    """Step size of the inner steps after the first, as a share of the first one's."""
    learn_inner_rate: bool = False
    """Learn a rate for each parameter (Meta-SGD)."""
    first_order: bool = False
    """Treat the inner gradient as a constant: cheaper, and not the true meta-gradient."""
    inner_ratio: Literal["path", "step"] = "step"
    """Likelihood ratios of the inner loss: of the episode so far (exact curvature) or of each step (less variance: ProMP)."""
    ratio_lambda: float = 1.0
    """path: how much of its weight an earlier action's ratio keeps, step by step (Loaded DiCE's lambda); with 0 it is step."""
    teaching_credit: bool = False
    """Credit the episodes that taught with what came of them (E-MAML), in place of the ratios of the inner loss."""
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
    outer_stages: Literal["last", "all"] = "last"
    """Which policies first weights are to improve: the one after the last inner step, or all, the first one too."""
    outer: Literal["trpo", "ppo"] = "ppo"
    """How the first weights move: by one step, as published, or by several smaller ones, which learn from fewer episodes."""
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
        require_at_least(1, "maml", self, "n_epochs", "shards", "meta_batch_size", "lanes", "inner_steps", "num_context")
        require_at_least(0, "maml", self, "later_rate_share")
        options.require_network("maml", self)
        require_rates("maml", self)
        require_shards("maml", self, "meta_batch_size")
        require_discounts("maml", self)
        require_share("maml", self, "ratio_lambda", zero=True)


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
        self.net = policy_net(self, self.distribution, config, net, options.context_numbers(config))
        self.inner = Inner(
            tasks,
            self.net,
            self.distribution,
            "none" if config.teaching_credit else config.inner_ratio,
            config.first_order,
            config.gamma,
            config.gae_lambda,
            config.later_rate_share,
            config.ratio_lambda,
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
        return descent(self.inner, policy, samples_of(self.inner, experience))

    def retrace(self, trial: Trial, task: int) -> Retraced:
        return retraced(self.inner, trial, task)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config = self.config
        episodes, metrics = lived_stages(work, self, config.meta_batch_size, config.inner_steps)
        stages = [samples_of(self.inner, each) for each in episodes]
        credits = self.credits(episodes) if config.teaching_credit else []
        metrics |= self.trust_region(stages, credits) if config.outer == "trpo" else self.proximal(stages, credits)
        self.iteration += 1
        return metrics

    def scored(self, stages: list[Samples]) -> list[Samples]:
        """The stages whose policies are to do better."""
        return stages if self.config.outer_stages == "all" else stages[-1:]

    def followed(self, stages: list[Samples]) -> list[Samples]:
        """The stages whose policies the objective depends on: with those that teach, all."""
        return stages if self.config.teaching_credit else self.scored(stages)

    def outcomes(self, learned: Weights, stages: list[Samples]) -> list[Float[Tensor, "task lane time parameter"]]:
        """What the policies of the followed stages would do where they were, from other first weights and rates."""
        return outcomes(self.inner, self.start.moved_to(learned), stages, len(self.followed(stages)))

    def credits(self, episodes: list[Experience]) -> list[Float[Tensor, "task"]]:
        """What the episodes of each stage but the last are credited with: what scored stages after it came to, as a mean."""
        last = len(episodes) - 1
        first = 0 if self.config.outer_stages == "all" else last
        worths = {stage: worth(self.inner, episodes[stage]) / (last + 1 - first) for stage in range(max(first, 1), last + 1)}
        return [torch.stack([each for later, each in worths.items() if later > stage]).sum(0) for stage in range(last)]

    def objective(
        self, parameters: Sequence[Tensor], stages: list[Samples], credits: Sequence[Tensor], clip: float = math.inf
    ) -> Float[Tensor, ""]:
        """What first weights are moved up, from what the policies of the followed stages do."""
        scored = self.scored(stages)
        found = improvement(self.distribution, parameters[-len(scored) :], scored, clip)
        return found + teaching(self.distribution, parameters[:-1], stages[:-1], credits, clip) if credits else found

    def trust_region(self, stages: list[Samples], credits: Sequence[Tensor] = ()) -> Metrics:
        """One TRPO step (Schulman et al. 2015) on the policies of the scored stages.

        At the behaviour policy the KL has no slope, so its exact Hessian is J'FJ: J by one linearisation of `outcomes`, F the
        Fisher information of the action distribution.
        """
        config, followed, scored, distribution = self.config, self.followed(stages), self.scored(stages), self.distribution
        now = {name: value.detach() for name, value in self.learned.items()}
        behaviour = torch.cat([stage.parameters for stage in followed], dim=2)
        shares = [stage.valid / stage.valid.sum() / len(scored) for stage in followed]
        share = torch.cat([*(0 * each for each in shares[: -len(scored)]), *shares[-len(scored) :]], dim=2)

        def joined(learned: Weights) -> Tensor:
            return torch.cat(self.outcomes(learned, stages), dim=2)

        def judged(parameters: Tensor) -> tuple[Tensor, Tensor]:
            parts = parameters.split([stage.valid.shape[2] for stage in followed], dim=2)
            return self.objective(parts, stages, credits), divergence(distribution, parts[-len(scored) :], scored)

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

    def proximal(self, stages: list[Samples], credits: Sequence[Tensor] = ()) -> Metrics:
        """PPO's epochs (Schulman et al. 2017) on the scored policies, adapting anew in each from the stored episodes."""
        config, scored, distribution = self.config, self.scored(stages), self.distribution
        metrics: Metrics = {}
        for _ in range(config.n_epochs):
            parameters = self.outcomes(self.learned, stages)
            loss = -self.objective(parameters, stages, credits, config.clip_range)
            [norm] = descend(self, loss, self.optimiser, self.learned.values(), max_norm=config.max_grad_norm)
            kl = divergence(distribution, parameters[-len(scored) :], scored).detach()
            metrics = {"train/loss": loss.item(), "train/grad_norm": norm.item(), "train/approx_kl": kl.item()}
        return metrics

    def state_dict(self) -> State:
        return kept_learned(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        take_learned(self, state)


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


def worth(inner: Inner, experience: Experience) -> Float[Tensor, "task"]:
    """How much more each task's episodes returned than those of the other tasks, as `improvement` counts returns.

    That is as a share of the deviation of advantages, over as many steps as there are to each of a task's episodes. What the
    other tasks returned doesn't depend on what was met in this one, so that as a baseline it changes no mean.
    """
    valid, space = experience.valid, inner.tasks.observation_space
    advantage, floor = advantages(inner, experience, inputs_of(space, experience.percept.observation))
    level = vmap(masked_mean)(advantage, valid)[:, None, None]
    spread = vmap(masked_mean)((advantage - level).square(), valid) + floor.square()
    above = above_others((experience.transition.reward.double() * valid).sum(-1).mean(-1))
    deviation = root(spread.mean()) + 1e-3 * root(above.square().mean())
    return (above / deviation * valid.shape[1] / valid.sum()).float()


def above_others(values: Float[Tensor, "task"]) -> Float[Tensor, "task"]:
    """Each task's value less the mean of all others'."""
    return values - (values.sum() - values) / max(1, len(values) - 1)


def teaching(
    distribution: Distribution,
    parameters: Sequence[Tensor],
    stages: list[Samples],
    credits: Sequence[Tensor],
    clip: float = math.inf,
) -> Float[Tensor, ""]:
    """What is gained by meeting episodes more often from which well was learnt (E-MAML: Stadie et al. 2018).

    The sum over all steps of min(rho C, clip(rho) C) - C, C what the episodes of their task are credited with: its gradient
    is that of sum_i C_i log p(D_i), D_i all that was met in task i before an inner step.
    """
    found = []
    for now, stage, credit in zip(parameters, stages, credits, strict=True):
        each = credit[:, None, None].expand_as(stage.log_prob)
        gain = -clipped_surrogate(distribution.log_prob(now, stage.action), stage.log_prob, each, clip) - each
        found.append((gain * stage.valid).sum())
    return torch.stack(found).sum()


def divergence(distribution: Distribution, parameters: Sequence[Tensor], stages: list[Samples]) -> Float[Tensor, ""]:
    """KL of the policies of stages to those that collected, the mean over stages."""
    kls = [distribution.kl(stage.parameters, now) for now, stage in zip(parameters, stages, strict=True)]
    return torch.stack([masked_mean(kl, stage.valid) for kl, stage in zip(kls, stages, strict=True)]).mean()


def from_scratch(tasks: TaskDistribution, **options: Any) -> MAML:
    """MAML before meta-training: untrained weights, the same adaptation."""
    agent = MAML(tasks, **options)
    agent.name = "from-scratch"
    return agent
