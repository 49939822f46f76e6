"""MAML: first weights from which a few gradient steps adapt (Finn et al. 2017, arXiv:1703.03400).

Adapting is gradient ascent on the task's own returns; meta-training moves the first weights, by TRPO or PPO through those
steps, so that the adapted policies do well. Learned per-parameter inner rates make it Meta-SGD (Li et al. 2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.rollout import Lifetime, collect_lives, concatenate
from quickstudy.data.session import Session
from quickstudy.errors import NotFinite, UsageError, require_at_least
from quickstudy.insight import Descent, Known, Retraced, Trial
from quickstudy.nets.distributions import DiagonalGaussian, Distribution, distribution_over
from quickstudy.nets.networks import Weights, copy_into, initial_weights, multilayer, skeleton
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.ops.adaptation import fitted_values, inner_step, path_loss, step_loss
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.policy_gradient import clipped_surrogate, masked_mean, root, standardise
from quickstudy.ops.returns import episode_advantages
from quickstudy.ops.tree import tree_map
from quickstudy.ops.trust_region import flatten, line_search, linear_maps, trust_region_step, unflatten
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, Shard, State, TaskDistribution, Work, counter


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
    learn_inner_rate: bool = False
    """Learn a rate for each parameter (Meta-SGD)."""
    first_order: bool = False
    """Treat the inner gradient as a constant: cheaper, and not the true meta-gradient."""
    inner_ratio: Literal["path", "step"] = "step"
    """Likelihood ratios of the inner loss: of the episode so far (exact curvature) or of each step (less variance: ProMP)."""
    hidden_size: int = 64
    """Units of each of the two hidden layers."""
    gamma: float = 0.99
    """Discount factor, a step of the episode."""
    gae_lambda: float = 1.0
    """Trace decay of the generalised advantage estimates."""
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
        require_at_least(1, "maml", self, "hidden_size", "n_epochs", "shards", "meta_batch_size", "lanes", "inner_steps")
        if self.meta_batch_size % self.shards:
            raise UsageError(f"maml: meta_batch_size ({self.meta_batch_size}) must be a multiple of shards ({self.shards})")
        if not 0 < self.gamma <= 1 or not 0 <= self.gae_lambda <= 1:
            raise UsageError(f"maml: gamma ({self.gamma}) must be in (0, 1] and gae_lambda ({self.gae_lambda}) in [0, 1]")


class Net(nn.Module):
    """A feed-forward policy; a Gaussian's spread doesn't depend on what is seen."""

    def __init__(self, config: Config, inputs: int, outputs: int, gaussian: bool):
        super().__init__()
        self.policy = multilayer(inputs, config.hidden_size, 2, outputs // 2 if gaussian else outputs)
        self.log_std = nn.Parameter(torch.empty(outputs // 2)) if gaussian else None

    def forward(self, inputs: Float[Tensor, "*lead feature"]) -> Float[Tensor, "*lead parameter"]:
        outputs = self.policy(inputs)
        return outputs if self.log_std is None else torch.cat([outputs, self.log_std.expand_as(outputs)], dim=-1)


class Start(NamedTuple):
    """What meta-training learns."""

    weights: Weights
    rates: Weights
    """Step sizes of the inner steps: a number, or one for each parameter, by the names of the weights."""


@dataclass(frozen=True)
class WeightedPolicy:
    """Acts with weights that all tasks share (`axis` None) or with a set for each task (`axis` 0)."""

    net: Net
    start: Start
    tasks: TaskDistribution
    distribution: Distribution
    axis: Literal[0] | None = None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        inputs = as_vector(self.tasks.observation_space, percept.observation)
        parameters = forward(self.net, self.start.weights, inputs, self.axis)
        action = self.distribution.mode(parameters) if generator is None else self.distribution.sample(parameters, generator)
        return Act(action, self.distribution.log_prob(parameters, action), {"parameters": parameters}), memory


def forward(
    net: Net, weights: Weights, inputs: Float[Tensor, "task *lead feature"], axis: Literal[0] | None
) -> Float[Tensor, "task *lead parameter"]:
    """The network on each task's inputs, with the task's weights or with those that all share."""
    if axis is None:
        return functional_call(net, weights, (inputs,))
    return vmap(lambda own, seen: functional_call(net, own, (seen,)))(weights, inputs)


class Samples(NamedTuple):
    """Experience as a policy-gradient loss reads it."""

    inputs: Float[Tensor, "task lane time feature"]
    action: Shaped[Tensor, "task lane time ..."]
    log_prob: Float[Tensor, "task lane time"]
    parameters: Float[Tensor, "task lane time parameter"]
    advantage: Float[Tensor, "task lane time"]
    first: Bool[Tensor, "task lane time"]
    valid: Bool[Tensor, "task lane time"]


def samples_of(
    tasks: TaskDistribution,
    config: Config,
    experience: Experience,
    inputs: Float[Tensor, "task lane time feature"] | None = None,
) -> Samples:
    """Samples with advantages by episode against a baseline fitted on each task's own data, standardised for each task.

    The objective is the return that is scored, up to the time limit: nothing is bootstrapped beyond it. `inputs` are the
    observations as vectors, where a gradient is asked of those.
    """
    transition, valid, first = experience.transition, experience.valid, experience.percept.first
    inputs = as_vector(tasks.observation_space, experience.percept.observation) if inputs is None else inputs
    reward = transition.reward.double()
    ended, never, zero = transition.terminated | transition.truncated, torch.zeros_like(valid), torch.zeros_like(reward)
    returns = episode_advantages(reward, zero, zero, ended, never, valid, config.gamma, 1.0)
    step = torch.arange(valid.shape[-1], device=valid.device)
    within = (step - torch.where(first, step, 0).cummax(-1).values).to(returns)
    value = fitted_values(inputs, returns, within, valid)
    advantage = episode_advantages(reward, value, zero, ended, never, valid, config.gamma, config.gae_lambda)
    # where a task is solved, every return is the same and what is left of the advantages is what the baseline can't fit
    level = vmap(masked_mean)(returns, valid)[:, None, None]
    floor = 1e-3 * root(vmap(masked_mean)((returns - level).square(), valid)) + 1e-8
    advantage = vmap(standardise)(advantage, valid, floor).float()
    log_prob = cast(Tensor, experience.act.log_prob)
    return Samples(inputs, experience.act.action, log_prob, experience.act.notes["parameters"], advantage, first, valid)


def inner_loss(
    net: nn.Module, distribution: Distribution, config: Config, weights: Weights, samples: Samples
) -> Float[Tensor, ""]:
    """The loss of one task's own experience, all its lanes pooled."""
    log_prob = distribution.log_prob(functional_call(net, weights, (samples.inputs,)), samples.action)
    if config.inner_ratio == "path":
        return path_loss(log_prob, samples.log_prob, samples.advantage, samples.first, samples.valid)
    return step_loss(log_prob, samples.log_prob, samples.advantage, samples.valid)


def adapted(
    net: nn.Module, distribution: Distribution, config: Config, start: Start, samples: Samples, axis: Literal[0] | None
) -> Start:
    """One inner step on each task's samples: weights of each task, differentiable in those it began with."""

    def loss(weights: Weights, own: Samples) -> Float[Tensor, ""]:
        return inner_loss(net, distribution, config, weights, own)

    gradients = vmap(grad(loss), in_dims=(axis, 0))(start.weights, samples)
    if config.first_order:
        gradients = {name: gradient.detach() for name, gradient in gradients.items()}
    return start._replace(weights=inner_step(start.weights, gradients, start.rates))


def collection_metrics(episodes: list[Experience]) -> Metrics:
    """Returns before and after each inner step, over all tasks and lanes; the last is what meta-training improves."""
    returns = [float((episode.transition.reward * episode.valid).sum(-1).mean()) for episode in episodes]
    steps = [float(episode.valid.sum()) for episode in episodes]
    metrics = {
        "rollout/timesteps": sum(steps),
        "rollout/ep_rew_mean": returns[-1],
        "rollout/ep_len_mean": steps[-1] / episodes[-1].valid[..., 0].numel(),
    }
    return metrics | {f"adapt/episode_{number}/return_mean": mean for number, mean in enumerate(returns, 1)}


@checked
class MAML:
    """Meta-trains first weights; adapting is one policy-gradient step on an experience, all lanes pooled."""

    name = "maml"
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.lanes = self.config.lanes
        self.iteration = 0
        self.distribution = distribution_over(tasks.action_space)
        inputs, gaussian = vector_size(tasks.observation_space), isinstance(self.distribution, DiagonalGaussian)
        self.net = skeleton(lambda: Net(self.config, inputs, self.distribution.size, gaussian))
        weights = initial_weights(self.net, counter(seed, 0, "weights"), {"policy.4": 0.01}, device)
        learned = self.config.learn_inner_rate
        rates = {
            name: torch.full_like(weight if learned else weight.sum(), self.config.inner_rate).detach().requires_grad_(learned)
            for name, weight in weights.items()
        }
        self.start = Start(weights, rates)
        self.learned = {**weights, **({f"rate of {name}": rate for name, rate in rates.items()} if learned else {})}
        self.optimiser = Adam(self.learned.values(), lr=self.config.learning_rate, eps=1e-5)

    def explorer(self) -> WeightedPolicy:
        start = tree_map(lambda tensor: tensor.detach().clone(), self.start)
        return WeightedPolicy(self.net, start, self.tasks, self.distribution)

    def adapt(self, policy: WeightedPolicy, experience: Experience) -> WeightedPolicy:
        """One inner step on the experience of each task."""
        samples = samples_of(self.tasks, self.config, experience)
        start = adapted(self.net, self.distribution, self.config, policy.start, samples, policy.axis)
        return replace(policy, start=start, axis=0)

    def known(self, trial: Trial) -> Known:
        """How far each weight has moved from where all tasks begin."""
        first, last = (trial.policies[place].start.weights for place in (0, -1))
        return Known("weights", torch.cat([(last[name] - first[name]).flatten(1) for name in first], dim=1))

    def descent(self, policy: WeightedPolicy, experience: Experience) -> Descent:
        """The inner loss of each task's experience where the policy's weights are, and its gradient."""
        samples = samples_of(self.tasks, self.config, experience)

        def loss(weights: Weights, own: Samples) -> Float[Tensor, ""]:
            return inner_loss(self.net, self.distribution, self.config, weights, own)

        gradients, losses = vmap(grad_and_value(loss), in_dims=(policy.axis, 0))(policy.start.weights, samples)
        return Descent(losses, torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1))

    def retrace(self, trial: Trial, task: int) -> Retraced:
        """Decisions of later episodes depend, by the inner steps, on what the first lane read and was paid in earlier ones.

        All actions and the other lanes stay as they were; log-probabilities are those that the agent would have recorded.
        """
        config = replace(self.config, first_order=False)  # which would cut the way that is asked about
        space, start, axis = self.tasks.observation_space, trial.policies[0].start, trial.policies[0].axis
        episodes = [tree_map(lambda part: part[task : task + 1], each) for each in trial.episodes]
        told = [
            torch.cat([as_vector(space, each.percept.observation), each.transition.reward[..., None]], -1) for each in episodes
        ]
        seen = Trial((), episodes).joined(0, told).detach().requires_grad_()
        found = []
        for each, numbers, own in zip(episodes, told, seen.split(Trial((), episodes).lengths(0)), strict=True):
            numbers = numbers.clone()
            numbers[0, 0, : len(own)] = own
            inputs, reward = numbers[..., :-1], numbers[..., -1]
            log_prob = self.distribution.log_prob(forward(self.net, start.weights, inputs, axis), each.act.action)
            found.append(log_prob[0, 0, : len(own)])
            lived = each._replace(act=each.act._replace(log_prob=log_prob), transition=each.transition._replace(reward=reward))
            samples = samples_of(self.tasks, config, lived, inputs)
            start, axis = adapted(self.net, self.distribution, config, start, samples, axis), 0
        return Retraced([seen], torch.cat(found))

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config = self.config
        life = Lifetime(self.explorer(), self.adapt, config.lanes, config.inner_steps + 1)
        size = config.meta_batch_size // config.shards
        shards = [Shard(self.seed, self.iteration, number, size, "train") for number in range(config.shards)]
        lives = work.map(collect_lives, life, shards)
        episodes = [concatenate(pieces) for pieces in zip(*lives, strict=True)]
        stages = [samples_of(self.tasks, config, experience) for experience in episodes]
        metrics = collection_metrics(episodes)
        metrics |= self.trust_region(stages) if config.outer == "trpo" else self.proximal(stages)
        self.iteration += 1
        return metrics

    def outcome(self, learned: Weights, stages: list[Samples]) -> Float[Tensor, "task lane time parameter"]:
        """What the adapted policies would do where they were: the map from first weights that meta-training differentiates."""
        weights = {name: learned[name] for name in self.start.weights}
        start = Start(weights, {name: learned.get(f"rate of {name}", rate) for name, rate in self.start.rates.items()})
        axis = None
        for samples in stages[:-1]:
            start, axis = adapted(self.net, self.distribution, self.config, start, samples, axis), 0
        return forward(self.net, start.weights, stages[-1].inputs, axis)

    def trust_region(self, stages: list[Samples]) -> Metrics:
        """One TRPO step (Schulman et al. 2015) on the adapted policies.

        At the behaviour policy the KL has no slope, so its exact Hessian is J'FJ: J by one linearisation of `outcome`, F the
        Fisher information of the action distribution.
        """
        config, last, distribution = self.config, stages[-1], self.distribution
        now = {name: value.detach() for name, value in self.learned.items()}
        count = last.valid.sum()

        def judged(parameters: Tensor) -> tuple[Tensor, Tensor]:
            ratio = (distribution.log_prob(parameters, last.action) - last.log_prob).exp()
            kl = distribution.kl(last.parameters, parameters)
            return masked_mean(ratio * last.advantage, last.valid), masked_mean(kl, last.valid)

        parameters, pull, push = linear_maps(lambda learned: self.outcome(learned, stages), self.learned)

        def product(vector: Tensor) -> Tensor:
            moved = distribution.fisher(last.parameters, push(vector)) * (last.valid / count)[..., None]
            return pull(moved) + config.cg_damping * vector

        def after(step: Tensor) -> tuple[float, float]:
            objective, kl = judged(self.outcome(unflatten(flatten(now) + step, now), stages))
            return objective.item(), kl.item()

        gradient = pull(grad(lambda parameters: judged(parameters)[0])(parameters))
        if not torch.isfinite(gradient).all():
            raise NotFinite(f"maml: the gradient is not finite in iteration {self.iteration}; lower --inner-rate")
        full = trust_region_step(gradient, product, config.max_kl, config.cg_iterations)
        before = judged(parameters)[0].item()
        step, kl = line_search(after, full, before, config.max_kl)
        with torch.no_grad():
            for name, change in unflatten(step, now).items():
                self.learned[name] += change
        return {"train/loss": -before, "train/grad_norm": gradient.norm().item(), "train/approx_kl": kl}

    def proximal(self, stages: list[Samples]) -> Metrics:
        """PPO's epochs (Schulman et al. 2017) on the adapted policies, adapting anew in each from the stored episodes."""
        config, last, distribution = self.config, stages[-1], self.distribution
        metrics: Metrics = {}
        for _ in range(config.n_epochs):
            parameters = self.outcome(self.learned, stages)
            log_prob = distribution.log_prob(parameters, last.action)
            loss = masked_mean(clipped_surrogate(log_prob, last.log_prob, last.advantage, config.clip_range), last.valid)
            self.optimiser.zero_grad()
            loss.backward()
            norm = clip_grad_norm_(self.learned.values(), config.max_grad_norm)
            if not torch.isfinite(norm):
                raise NotFinite(f"maml: the gradient is not finite in iteration {self.iteration}; lower --learning-rate")
            self.optimiser.step()
            kl = masked_mean(distribution.kl(last.parameters, parameters.detach()), last.valid)
            metrics = {"train/loss": loss.item(), "train/grad_norm": norm.item(), "train/approx_kl": kl.item()}
        return metrics

    def state_dict(self) -> State:
        return {
            "iteration": self.iteration,
            "learned": {name: value.detach() for name, value in self.learned.items()},
            "optimiser": adam_state(self.optimiser),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.iteration = state["iteration"]
        copy_into(self.learned, state["learned"])
        load_adam_state(self.optimiser, state["optimiser"])
