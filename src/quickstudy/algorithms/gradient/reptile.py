"""Reptile: towards where learning a task leads (Nichol, Achiam & Schulman 2018, arXiv:1803.02999); and parameter averaging.

A copy of the first weights takes a few ordinary policy-gradient steps on each task, each on fresh episodes, and the first
weights move a share of the way to the mean of where the copies end. No derivative goes through the steps. With a share of 1
they are that mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.errors import require_at_least, require_discounts, require_rates, require_share
from quickstudy.insight import Descent, Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.distributions import distribution_over
from quickstudy.nets.networks import Build, Weights, copy_into, follow
from quickstudy.ops.fit import COUNTED, require_fit
from quickstudy.ops.trust_region import flatten
from quickstudy.parts import gradient
from quickstudy.parts.clock import left
from quickstudy.parts.collecting import require_shards
from quickstudy.parts.descend import require_finite
from quickstudy.protocol import Experience, Metrics, State, TaskDistribution, Work


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What Reptile can be told."""

    meta_batch_size: int = 20
    """Tasks in a meta-iteration."""
    lanes: int = 20
    """Episodes of a task that one inner step learns from, lived side by side."""
    inner_steps: int = 3
    """Steps that a task's copy takes in training, each on fresh episodes; one by sgd is joint training and no more."""
    inner_optimiser: Literal["sgd", "adam"] = "sgd"
    """Who takes a task's steps, in training and at test: gradient descent, or an Adam that begins anew with each task."""
    inner_rate: float = 0.3
    """Step size of the inner steps."""
    outer_rate: float = 0.5
    """Share of the way to the mean of the copies; with 1, parameter averaging."""
    anneal_iterations: int = 0
    """Meta-iterations over which the outer rate falls linearly to zero; 0: it stays."""
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
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "reptile", self, "shards", "meta_batch_size", "lanes", "inner_steps")
        require_at_least(0, "reptile", self, "anneal_iterations")
        require_share("reptile", self, "outer_rate")
        options.require_network("reptile", self)
        require_rates("reptile", self)
        require_shards("reptile", self, "meta_batch_size")
        require_discounts("reptile", self)


@checked
class Reptile:
    """Meta-trains first weights; adapting is one policy-gradient step on an experience. `net` is as `MAML` has it."""

    name = "reptile"
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
        self.net = gradient.policy_net(self, distribution, config, net)
        self.inner = gradient.Inner(
            tasks, self.net, distribution, "step", True, config.gamma, config.gae_lambda, optimiser=config.inner_optimiser
        )
        # what doesn't adapt would never be learnt
        self.start = gradient.first_start(self, self.inner, config, config.inner_rate, False, "all")

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
        episodes, metrics = gradient.lived_stages(work, self, config.meta_batch_size, config.inner_steps - 1)
        policy = self.explorer()
        for experience in episodes:
            policy = self.adapt(policy, experience)
        ends = averaged(policy.start.weights)
        distance = (flatten(ends) - flatten(self.start.weights)).norm()
        require_finite(self, [distance], "inner-rate")
        follow(self.start.weights, ends, config.outer_rate * left(config.anneal_iterations, self.iteration, least=0.0))
        self.iteration += 1
        return metrics | {"train/grad_norm": distance.item()}

    def state_dict(self) -> State:
        return {"iteration": self.iteration, "weights": {name: weight.detach() for name, weight in self.start.weights.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        require_fit("", state, {**self.state_dict(), "iteration": COUNTED})
        self.iteration = state["iteration"]
        copy_into(self.start.weights, state["weights"])


def averaged(ends: Weights) -> Weights:
    """The mean over tasks of the weights of each."""
    return {name: end.mean(0) for name, end in ends.items()}
