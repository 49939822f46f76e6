"""ES-MAML: first weights from which adapting leads far, found without a derivative of it (Song et al. 2020, arXiv:1910.01215).

First weights are pushed a little one way and the opposite way. Both adapt on the same task under the same noise, and what the
one returns more than the other after adapting is how good the push was. Adapting may be whatever it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.rollout import Lifetime, collect_lives, concatenate
from quickstudy.data.session import Session
from quickstudy.errors import require_at_least, require_discounts, require_positive, require_rates
from quickstudy.insight import Descent, Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.distributions import distribution_over
from quickstudy.nets.networks import Build, Weights, copy_into
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.ops.fit import COUNTED, require_fit
from quickstudy.parts import gradient
from quickstudy.parts.collecting import adaptation_metrics, episode_return, require_shards, rollout_metrics, shards_of
from quickstudy.parts.descend import norm_of, require_finite
from quickstudy.protocol import Experience, Metrics, Shard, Site, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What ES-MAML can be told."""

    meta_batch_size: int = 40
    """Tasks in a meta-iteration, a push and its opposite on each."""
    lanes: int = 10
    """Episodes of a task that one inner step learns from, lived side by side."""
    inner_steps: int = 1
    """Steps of an adaptation in training, each on fresh episodes."""
    inner_optimiser: Literal["sgd", "adam"] = "sgd"
    """Who takes the inner steps: gradient descent, or an Adam that begins anew with each task."""
    inner_rate: float = 1.0
    """Step size of the inner steps."""
    perturbation: float = 0.1
    """Deviation of the pushes, of each weight."""
    learning_rate: float = 0.02
    """Adam's step size."""
    encoder: options.Encoder = "none"
    hidden_size: options.HiddenSize = 32
    hidden_layers: options.HiddenLayers = 1
    activation: options.Activation = "tanh"
    layer_norm: options.LayerNorm = False
    vision: options.Vision = "auto"
    language: options.Language = "gru"
    film: options.Film = False
    gamma: float = 0.99
    """Discount factor of the inner steps, a step of the episode."""
    gae_lambda: float = 1.0
    """Trace decay of the generalised advantage estimates."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "es-maml", self, "shards", "meta_batch_size", "lanes", "inner_steps")
        require_positive("es-maml", self, "perturbation")
        options.require_network("es-maml", self)
        require_rates("es-maml", self)
        require_shards("es-maml", self, "meta_batch_size")
        require_discounts("es-maml", self)


class Search(NamedTuple):
    """What all shards share that live with pushed first weights."""

    explorer: gradient.WeightedPolicy
    adapt: Callable[[Any, Experience], gradient.WeightedPolicy]
    lanes: int
    episodes: int
    perturbation: float


def pushes(search: Search, shard: Shard) -> Weights:
    """Normal noise of each weight, for each task of a shard."""
    generator = counter(shard.seed, shard.iteration, "pushes", shard.number)
    weights = search.explorer.start.weights
    return {name: torch.randn(shard.tasks, *each.shape, generator=generator).to(each) for name, each in weights.items()}


def lived_both_ways(site: Site, search: Search, shard: Shard) -> list[list[Experience]]:
    """A unit of work: episodes before and after each inner step, of the pushed weights and of those pushed the other way.

    Tasks and all noise are by the shard's counters, so that both ways meet the same.
    """
    noise, start, found = pushes(search, shard), search.explorer.start, []
    for way in (search.perturbation, -search.perturbation):
        weights = {name: weight + way * noise[name] for name, weight in start.weights.items()}
        pushed = replace(search.explorer, start=start._replace(weights=weights), axis=0)
        found.append(collect_lives(site, Lifetime(pushed, search.adapt, search.lanes, search.episodes), shard))
    return found


def slope(worth: Float[Tensor, "task"], opposite: Float[Tensor, "task"], noise: Weights, perturbation: float) -> Weights:
    """The gradient of what is lived under weights pushed at random: mean((F+ - F-) e) / 2s (section 3.1, antithetic)."""
    gain = (worth - opposite) / (2 * perturbation * len(worth))
    return {name: torch.tensordot(gain, each, 1) for name, each in noise.items()}


@checked
class ESMAML:
    """Meta-trains first weights; adapting is one policy-gradient step on an experience. `net` is as `MAML` has it."""

    name = "es-maml"
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
        self.start = gradient.first_start(self, self.inner, config, config.inner_rate, False, "all")
        self.optimiser = Adam(self.start.weights.values(), lr=config.learning_rate, eps=1e-5)

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
        search = Search(self.explorer(), self.adapt, self.lanes, config.inner_steps + 1, config.perturbation)
        shards = shards_of(self, config.meta_batch_size)
        lives = work.map(lived_both_ways, search, shards)
        noise = [pushes(search, shard) for shard in shards]
        one, other = ([concatenate(stage) for stage in zip(*(both[way] for both in lives), strict=True)] for way in (0, 1))
        joined = {name: torch.cat([each[name] for each in noise]) for name in self.start.weights}
        upwards = slope(returns(one[-1]), returns(other[-1]), joined, config.perturbation)
        for name, weight in self.start.weights.items():
            weight.grad = -upwards[name]
        norm = norm_of(list(self.start.weights.values()), None)
        require_finite(self, [norm], "inner-rate")
        self.optimiser.step()
        self.iteration += 1
        return search_metrics(one, other) | {"train/grad_norm": norm.item()}

    def state_dict(self) -> State:
        return {
            "iteration": self.iteration,
            "weights": {name: weight.detach() for name, weight in self.start.weights.items()},
            "optimiser": adam_state(self.optimiser),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        patterns = {"iteration": COUNTED, "optimiser": adam_fits(self.optimiser)}
        require_fit("", state, {**self.state_dict(), **patterns})
        self.iteration = state["iteration"]
        copy_into(self.start.weights, state["weights"])
        load_adam_state(self.optimiser, state["optimiser"])


def returns(experience: Experience) -> Float[Tensor, "task"]:
    """The mean return of each task's episodes."""
    return (experience.transition.reward * experience.valid).sum(-1).mean(-1)


def search_metrics(one: list[Experience], other: list[Experience]) -> Metrics:
    """Steps and returns of both ways."""
    means = [(episode_return(each) + episode_return(opposite)) / 2 for each, opposite in zip(one, other, strict=True)]
    steps = [float(each.valid.sum() + opposite.valid.sum()) for each, opposite in zip(one, other, strict=True)]
    length = steps[-1] / (2 * one[-1].valid[..., 0].numel())
    return rollout_metrics(sum(steps), means[-1], length) | adaptation_metrics(means)
