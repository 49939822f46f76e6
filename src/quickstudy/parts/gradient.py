"""Adaptation by gradient: first weights, policies that act with weights of each task, and the inner step between them.

Weights are values. An inner step maps weights and samples to weights, and is differentiable in those it began with, so a
meta-gradient is the derivative of what the adapted weights do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap

from quickstudy.data.rollout import Lifetime
from quickstudy.errors import UsageError
from quickstudy.insight import Descent, Known, Retraced, Trial
from quickstudy.nets.distributions import DiagonalGaussian, Distribution
from quickstudy.nets.networks import (
    Build,
    Weights,
    built,
    copied,
    encoder,
    head,
    initial_weights,
    last_layer,
    last_linear,
    tried,
)
from quickstudy.nets.options import Adapting, Network, Seeing
from quickstudy.nets.reader import Inputs, behind, inputs_for, read
from quickstudy.ops.adaptation import (
    AdamMoments,
    adam_step,
    fitted_values,
    inner_step,
    path_loss,
    score_loss,
    step_loss,
)
from quickstudy.ops.features import inputs_of
from quickstudy.ops.policy_gradient import masked_mean, root, standardise
from quickstudy.ops.returns import episode_advantages
from quickstudy.ops.senses import is_read
from quickstudy.ops.tree import tree_map
from quickstudy.parts.collecting import adaptation_metrics, collected_episodes, episode_return, rollout_metrics
from quickstudy.protocol import Act, Experience, Learner, Memory, Metrics, Percept, TaskDistribution, Work, counter


class Net(nn.Module):
    """A feed-forward policy; a Gaussian's spread doesn't depend on what is seen.

    Behind what is seen it reads a context, so many numbers that are the same at every step, where it has one.
    """

    def __init__(self, network: Network, inputs: int, distribution: Distribution, context: int = 0):
        super().__init__()
        gaussian = isinstance(distribution, DiagonalGaussian)
        outputs = distribution.size // 2 if gaussian else distribution.size
        self.context = nn.Parameter(torch.empty(context)) if context else None
        self.encoder, read = encoder(inputs + context, network)
        self.policy = head(read, outputs, network)
        self.log_std = nn.Parameter(torch.empty(outputs)) if gaussian else None

    def forward(self, inputs: Float[Tensor, "*lead feature"]) -> Float[Tensor, "*lead parameter"]:
        if self.context is not None:
            inputs = torch.cat([inputs, self.context.expand(*inputs.shape[:-1], -1)], dim=-1)
        outputs = self.policy(self.encoder(inputs))
        return outputs if self.log_std is None else torch.cat([outputs, self.log_std.expand_as(outputs)], dim=-1)


class Start(NamedTuple):
    """What meta-training learns."""

    weights: Weights
    rates: Weights
    """Step sizes of the inner steps: a number, or one for each parameter, by the names of the weights that adapt."""
    moments: Weights | None = None
    """What an inner optimiser remembers of a task's earlier steps, if it remembers any."""

    def learned(self) -> Weights:
        """All that meta-training moves, under names of its own: weights but a context, and rates where they are learned."""
        named = self.weights | {f"rate of {name}": rate for name, rate in self.rates.items()}
        return {name: value for name, value in named.items() if value.requires_grad}

    def moved_to(self, learned: Weights) -> Start:
        """The same with the values of `learned`."""
        rates = {name: learned.get(f"rate of {name}", rate) for name, rate in self.rates.items()}
        return self._replace(weights={name: learned.get(name, weight) for name, weight in self.weights.items()}, rates=rates)

    def divided(self) -> tuple[Weights, Weights]:
        """The weights that adapt, and those that all tasks go on sharing."""
        own = {name: self.weights[name] for name in self.rates}
        return own, {name: weight for name, weight in self.weights.items() if name not in own}


class Inner(NamedTuple):
    """How weights adapt to samples: all but the weights."""

    tasks: TaskDistribution
    net: nn.Module
    distribution: Distribution
    ratio: Literal["path", "step", "none"]
    """Likelihood ratios of the loss: of the episode so far, or of each step; none: log-probabilities."""
    first_order: bool
    """Treat the gradient as a constant."""
    gamma: float
    gae_lambda: float
    later_rate_share: float = 1.0
    """Rate of the steps after the first, as a share of the first one's."""
    ratio_lambda: float = 1.0
    """How much of its weight an earlier action's ratio keeps at each step of a path."""
    optimiser: Literal["sgd", "adam"] = "sgd"
    """Who makes the steps of a task: gradient descent, or an Adam of its own."""


def policy_net(learner: Learner, distribution: Distribution, network: Seeing, own: Build | None, context: int = 0) -> nn.Module:
    """The skeleton of a learner's policy, built by the user's own function where there is one."""
    if own and context:
        raise UsageError(
            f"{learner.name}: adapt is context, which a network of one's own doesn't read; take all, head or biases"
        )
    build = own or (lambda inputs, outputs: Net(network, inputs, distribution, context))
    inputs = inputs_for_net(learner, network)
    return behind(inputs.reader, built(learner.name, build, inputs.size, distribution.size))


def inputs_for_net(learner: Learner, network: Seeing) -> Inputs:
    """What a learner's policy reads: the observation."""
    return inputs_for(learner.tasks.observation_space, 0, network)


def adapting(inner: Inner, adapt: Adapting) -> list[str]:
    """The names of the weights that inner steps move: all; those of the last layer, and of a spread that is learned; the
    context; or the biases, of which those of a reader stay shared."""
    net, names = inner.net, [name for name, _ in inner.net.named_parameters()]
    if adapt == "context":
        return ["context"]
    if adapt == "biases":
        return [name for name in names if name.split(".")[-1] == "bias" and not name.startswith("reader.")]
    if adapt == "all" or (adapt == "auto" and not is_read(inner.tasks.observation_space)):
        return names
    last = last_linear(net, "policy" if isinstance(net, Net) else "")
    return [name for name in names if name.startswith(f"{last}.") or name == "log_std"]


def first_start(
    learner: Learner,
    inner: Inner,
    network: Seeing,
    rate: float,
    learn_rate: bool,
    adapt: Adapting = "auto",
) -> Start:
    """First weights, and the rate that all that adapt share, or each has for itself where rates are learned.

    A context is 0 where every task begins, and meta-training doesn't move it.
    """
    net, device = inner.net, learner.device
    weights = initial_weights(net, counter(learner.seed, 0, "weights"), {f"policy.{last_layer(network)}": 0.01}, device)
    if isinstance(net, Net) and net.context is not None:
        weights["context"].requires_grad_(False)
    if not isinstance(net, Net):
        inputs = torch.zeros(2, 3, inputs_for_net(learner, network).size, device=device)
        tried(learner.name, net, weights, (inputs,), (2, 3, inner.distribution.size))
    rates = {
        name: torch.full_like(weights[name] if learn_rate else weights[name].sum(), rate).detach().requires_grad_(learn_rate)
        for name in adapting(inner, adapt)
    }
    return Start(weights, rates, no_moments(weights, rates) if inner.optimiser == "adam" else None)


def no_moments(weights: Weights, rates: Weights) -> Weights:
    """What Adam remembers before its first step on a task."""
    zeros = {f"{kind} {name}": torch.zeros_like(weights[name]) for name in rates for kind in ("mean", "square")}
    return {**copied(zeros), "steps": torch.zeros((), device=next(iter(weights.values())).device)}


@dataclass(frozen=True)
class WeightedPolicy:
    """Acts with weights that all tasks share (`axis` None) or with a set for each task (`axis` 0)."""

    net: nn.Module
    start: Start
    tasks: TaskDistribution
    distribution: Distribution
    axis: Literal[0] | None = None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        inputs = inputs_of(self.tasks.observation_space, percept.observation)
        parameters = forward(self.net, self.start.weights, inputs, self.axis)
        action = self.distribution.mode(parameters) if generator is None else self.distribution.sample(parameters, generator)
        return Act(action, self.distribution.log_prob(parameters, action), {"parameters": parameters}), memory


def forward(
    net: nn.Module, weights: Weights, inputs: Shaped[Tensor, "task *lead entry"], axis: Literal[0] | None
) -> Float[Tensor, "task *lead parameter"]:
    """The network on each task's inputs, with weights that all share, or (`axis` 0) the task's own where they have adapted."""
    if axis is None:
        return functional_call(net, weights, (inputs,))
    own = {name: weight for name, weight in weights.items() if weight.dim() > net.get_parameter(name).dim()}
    shared = {name: weight for name, weight in weights.items() if name not in own}
    return vmap(lambda own, seen: functional_call(net, shared | own, (seen,)))(own, read_once(net, own, shared, inputs))


def read_once(
    net: nn.Module, own: Weights, shared: Weights, inputs: Shaped[Tensor, "task *lead entry"]
) -> Shaped[Tensor, "task *lead _"]:
    """Inputs as features, where tasks share the reader: it needn't be asked by each of them."""
    return inputs if any(name.startswith("reader.") for name in own) else read(net, shared, inputs)


class Samples(NamedTuple):
    """Experience as a policy-gradient loss reads it."""

    inputs: Shaped[Tensor, "task lane time entry"]
    action: Shaped[Tensor, "task lane time ..."]
    log_prob: Float[Tensor, "task lane time"]
    parameters: Float[Tensor, "task lane time parameter"]
    advantage: Float[Tensor, "task lane time"]
    first: Bool[Tensor, "task lane time"]
    valid: Bool[Tensor, "task lane time"]


def samples_of(inner: Inner, experience: Experience, inputs: Shaped[Tensor, "task lane time entry"] | None = None) -> Samples:
    """Samples with advantages by episode, standardised for each task.

    `inputs` are the observations as vectors, where a gradient is asked of those.
    """
    inputs = inputs_of(inner.tasks.observation_space, experience.percept.observation) if inputs is None else inputs
    advantage, floor = advantages(inner, experience, inputs)
    advantage = vmap(standardise)(advantage, experience.valid, floor).float()
    act, log_prob = experience.act, cast(Tensor, experience.act.log_prob)
    return Samples(inputs, act.action, log_prob, act.notes["parameters"], advantage, experience.percept.first, experience.valid)


def advantages(
    inner: Inner, experience: Experience, inputs: Shaped[Tensor, "task lane time entry"]
) -> tuple[Float[Tensor, "task lane time"], Float[Tensor, "task"]]:
    """Advantages by episode against a baseline fitted on each task's own data; and what their deviation is at least.

    The objective is the return that is scored, up to the time limit: nothing is bootstrapped beyond it. Where a reader reads
    the inputs, the baseline knows the time alone.
    """
    transition, valid, first = experience.transition, experience.valid, experience.percept.first
    reward = transition.reward.double()
    ended, never, zero = transition.terminated | transition.truncated, torch.zeros_like(valid), torch.zeros_like(reward)
    returns = episode_advantages(reward, zero, zero, ended, never, valid, inner.gamma, 1.0)
    step = torch.arange(valid.shape[-1], device=valid.device)
    within = (step - torch.where(first, step, 0).cummax(-1).values).to(returns)
    told = inputs[..., :0].float() if is_read(inner.tasks.observation_space) else inputs
    value = fitted_values(told, returns, within, valid)
    advantage = episode_advantages(reward, value, zero, ended, never, valid, inner.gamma, inner.gae_lambda)
    # where a task is solved, every return is the same and what is left of the advantages is what the baseline can't fit
    level = vmap(masked_mean)(returns, valid)[:, None, None]
    floor = 1e-3 * root(vmap(masked_mean)((returns - level).square(), valid)) + 1e-8
    return advantage, floor


def inner_loss(inner: Inner, weights: Weights, samples: Samples) -> Float[Tensor, ""]:
    """The loss of one task's own experience, all its lanes pooled."""
    log_prob = inner.distribution.log_prob(functional_call(inner.net, weights, (samples.inputs,)), samples.action)
    if inner.ratio == "none":
        return score_loss(log_prob, samples.advantage, samples.valid)
    if inner.ratio == "path":
        return path_loss(log_prob, samples.log_prob, samples.advantage, samples.first, samples.valid, inner.ratio_lambda)
    return step_loss(log_prob, samples.log_prob, samples.advantage, samples.valid)


def by_task(
    inner: Inner, start: Start, samples: Samples
) -> tuple[Weights, Samples, Callable[[Weights, Samples], Float[Tensor, ""]]]:
    """The weights that adapt, the samples with what tasks share read once, and a task's loss in its weights and samples."""
    own, shared = start.divided()
    samples = samples._replace(inputs=read_once(inner.net, own, shared, samples.inputs))
    return own, samples, lambda mine, each: inner_loss(inner, shared | mine, each)


def adapted(inner: Inner, start: Start, samples: Samples, axis: Literal[0] | None) -> Start:
    """theta'_i = theta - alpha grad L_i(theta), on each task's samples, or a step of its Adam; differentiable in the weights
    it began with.

    Weights of each task (`axis` 0) have made a step already: theirs is a later one.
    """
    own, samples, loss = by_task(inner, start, samples)
    gradients = vmap(grad(loss), in_dims=(axis, 0))(own, samples)
    if inner.first_order:
        gradients = {name: gradient.detach() for name, gradient in gradients.items()}
    rates = start.rates if axis is None else {name: inner.later_rate_share * rate for name, rate in start.rates.items()}
    if inner.optimiser == "sgd":
        return start._replace(weights=inner_step(start.weights, gradients, rates))
    weights, known = dict(start.weights), cast(Weights, start.moments)
    moments = {"steps": known["steps"] + 1}
    for name, gradient in gradients.items():
        before = AdamMoments(known[f"mean {name}"], known[f"square {name}"])
        weights[name], after = adam_step(weights[name], gradient, before, moments["steps"], rates[name])
        moments |= {f"mean {name}": after.first, f"square {name}": after.second}
    return Start(weights, start.rates, moments)


def first_policy(inner: Inner, start: Start) -> WeightedPolicy:
    """The policy of first weights, with copies of them."""
    return WeightedPolicy(inner.net, copied(start), inner.tasks, inner.distribution)


def adapted_policy(inner: Inner, policy: WeightedPolicy, experience: Experience) -> WeightedPolicy:
    """One inner step on the experience of each task, all its lanes pooled."""
    start = adapted(inner, policy.start, samples_of(inner, experience), policy.axis)
    return replace(policy, start=start, axis=0)


def weights_at(inner: Inner, start: Start, stages: list[Samples]) -> list[tuple[Weights, Literal[0] | None]]:
    """The weights of each stage and their axis: the first ones, which tasks share, and those after each inner step."""
    found: list[tuple[Weights, Literal[0] | None]] = [(start.weights, None)]
    for samples in stages[:-1]:
        start = adapted(inner, start, samples, found[-1][1])
        found.append((start.weights, 0))
    return found


def outcomes(inner: Inner, start: Start, stages: list[Samples], last: int) -> list[Float[Tensor, "task lane time parameter"]]:
    """What the policies of so many last stages would do where they were: what meta-training differentiates in first weights."""
    pairs = list(zip(weights_at(inner, start, stages), stages, strict=True))[-last:]
    return [forward(inner.net, weights, stage.inputs, axis) for (weights, axis), stage in pairs]


def collected_stages(work: Work, learner: Learner, inner: Inner, tasks: int, steps: int) -> tuple[list[Samples], Metrics]:
    """Samples of episodes before and after each of so many inner steps, on so many new tasks; the last is what is improved."""
    episodes, metrics = lived_stages(work, learner, tasks, steps)
    return [samples_of(inner, each) for each in episodes], metrics


def lived_stages(work: Work, learner: Learner, tasks: int, steps: int) -> tuple[list[Experience], Metrics]:
    """Episodes before and after each of so many inner steps, on so many new tasks."""
    life = Lifetime(learner.explorer(), learner.adapt, learner.lanes, steps + 1)
    episodes = collected_episodes(work, learner, life, tasks)
    returns, counts = [episode_return(each) for each in episodes], [float(each.valid.sum()) for each in episodes]
    metrics = rollout_metrics(sum(counts), returns[-1], counts[-1] / episodes[-1].valid[..., 0].numel())
    return episodes, metrics | adaptation_metrics(returns)


def known(trial: Trial) -> Known:
    """How far each weight that adapts has moved from where all tasks begin."""
    first, last = (trial.policies[place].start for place in (0, -1))
    moved = [(last.weights[name] - first.weights[name]).flatten(1) for name in first.rates]
    return Known("weights", torch.cat(moved, dim=1))


def descent(inner: Inner, policy: WeightedPolicy, samples: Samples) -> Descent:
    """The inner loss of each task's samples where the policy's weights are, and its gradient in those that adapt."""
    own, samples, loss = by_task(inner, policy.start, samples)
    gradients, losses = vmap(grad_and_value(loss), in_dims=(policy.axis, 0))(own, samples)
    return Descent(losses, torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1))


Step = Callable[[Start, Experience, Shaped[Tensor, "task lane time entry"], Literal[0] | None], Start]
"""An inner step: from where, on what, with the observations as vectors or features, and whether the weights are each task's."""


def retraced(inner: Inner, trial: Trial, task: int, step: Step | None = None) -> Retraced:
    """Decisions of later episodes depend, by the inner steps, on what the first lane read and was paid in earlier ones.

    All actions and the other lanes stay as they were; log-probabilities are those that the agent would have recorded. Features
    that a reader makes are what was read, where it is the same in all episodes; where it adapts, only the pay is followed.
    """
    inner = inner._replace(first_order=False)  # which would cut the way that is asked about
    step = step or (lambda start, lived, inputs, axis: adapted(inner, start, samples_of(inner, lived, inputs), axis))
    space, start, axis = inner.tasks.observation_space, trial.policies[0].start, trial.policies[0].axis
    alone = Trial((), [tree_map(lambda part: part[task : task + 1], each) for each in trial.episodes])
    own, shared = start.divided()
    seen_as = [read_once(inner.net, own, shared, inputs_of(space, each.percept.observation)) for each in alone.episodes]
    followed = seen_as[0].is_floating_point()
    told = [
        torch.cat([inputs, each.transition.reward[..., None]] if followed else [each.transition.reward[..., None]], -1)
        for inputs, each in zip(seen_as, alone.episodes, strict=True)
    ]
    seen = alone.joined(0, told).detach().requires_grad_()
    found = []
    for each, inputs, numbers, mine in zip(alone.episodes, seen_as, told, seen.split(alone.lengths(0)), strict=True):
        numbers = numbers.clone()
        numbers[0, 0, : len(mine)] = mine
        reward = numbers[..., -1]
        inputs = numbers[..., :-1] if followed else inputs
        log_prob = inner.distribution.log_prob(forward(inner.net, start.weights, inputs, axis), each.act.action)
        found.append(log_prob[0, 0, : len(mine)])
        lived = each._replace(act=each.act._replace(log_prob=log_prob), transition=each.transition._replace(reward=reward))
        start, axis = step(start, lived, inputs, axis), 0
    return Retraced([seen], torch.cat(found))
