"""Where learning a new task begins: a run's weights in a learner whose own rule, PPO, goes on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.algorithms.baselines.multi_task import Config as Settings
from quickstudy.algorithms.baselines.multi_task import MultiTask
from quickstudy.arguments import checked
from quickstudy.errors import UsageError, did_you_mean, require_at_least
from quickstudy.nets.distributions import DiagonalGaussian, Distribution, distribution_over
from quickstudy.nets.networks import Weights, copied, copy_into, head, last_linear
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.parts import gradient
from quickstudy.parts.kept import Improved, kept
from quickstudy.protocol import Agent, Learner, TaskDistribution
from quickstudy.tasks.informed import Informed
from quickstudy.transferring.spaces import same_spaces, taken_across
from quickstudy.wrappers.normalised import Normalised

NETWORK = "encoder", "hidden_size", "hidden_layers", "activation", "layer_norm", "vision", "language", "film"
"""The options by which the networks of memoryless policies are chosen."""


@checked
@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a run's policy goes on learning on a new task."""

    lanes: int = 8
    """Copies of the task from which an update learns, the steps of an episode in each."""
    learning_rate: float | None = None
    """Adam's step size of all that learn by PPO; None: the run's own."""
    carry_optimiser: bool = False
    """Begin with what the run's Adam remembers of its gradients, in place of nothing."""
    renew_head: bool = False
    """Begin with a new last layer of the policy."""
    reset_deviation: bool = False
    """Continuous actions: begin with the deviation of an untrained policy, since a converged one explores no more."""
    freeze: tuple[str, ...] = ()
    """Layers that stay as they are, by the beginnings of their names."""

    def __post_init__(self) -> None:
        require_at_least(1, "transfer", self, "lanes")
        if self.learning_rate is not None:
            require_at_least(0, "transfer", self, "learning_rate")


class Judged(nn.Module):
    """A policy that was trained without a value, and an untrained value beside it."""

    def __init__(self, network: Any, inputs: int, distribution: Distribution, context: int):
        super().__init__()
        self.policy = gradient.Net(network, inputs, distribution, context)
        self.value = head(inputs, 1, network)

    def forward(
        self, inputs: Float[Tensor, "*lead feature"]
    ) -> tuple[Float[Tensor, "*lead parameter"], Float[Tensor, "*lead"]]:
        return self.policy(inputs), self.value(inputs)[..., 0]


def begun(source: Agent, tasks: TaskDistribution, how: FineTuning, seed: int) -> Learner:
    """A learner that begins on `tasks` with a run's explorer: before its first update it acts as that does, bit for bit.

    Its updates are PPO's: of a recurrent policy on whole trials, as RL2's own, of a memoryless one on single steps. Weights
    that PPO moved keep the scale of their values, a policy without a value gets an untrained one. Observations are normalised
    as in the run. Where spaces differ, see `spaces.py`. UsageError for who can't be fine-tuned so, and for unknown layers.
    """
    inside = source.learner if isinstance(source, Normalised) else source
    require_fine_tunable(inside)
    learner = untrained(inside, tasks, how, seed)
    fresh, trained, same = copied(learner.weights), weights_of(inside), same_spaces(inside.tasks, tasks)
    ends = last_linear(learner.net, "policy"), last_linear(learner.net, "value")
    if not same:
        trained = taken_across(inside.tasks, tasks, trained, fresh, *ends)
    copy_into(learner.weights, fresh | {name: trained[name] for name in fresh if name in trained})
    if same and isinstance(inside, Improved):
        learner.scale = inside.scale
    if how.carry_optimiser:
        carry_optimiser(inside, learner, same)
    if how.renew_head:
        copy_into(learner.weights, {**learner.weights, **within_layer(ends[0], fresh)})
    if how.reset_deviation:
        reset_deviation(source.name, learner, fresh, ends[0])
    freeze(source.name, learner.weights, how.freeze, ends[1])
    if not isinstance(source, Normalised):
        return learner
    if not same and source.statistics.observation is not None:
        raise UsageError(f"{source.name} normalises its observations, which goes on only where spaces are the same")
    wrapped = Normalised(learner, source.normalisation)
    wrapped.statistics = source.statistics
    return wrapped


def seen_by(source: Agent, tasks: TaskDistribution) -> TaskDistribution:
    """The tasks as a run's policy reads them: told, where it was told its own."""
    return Informed(tasks) if isinstance(source.tasks, Informed) else tasks


def is_improved(agent: object) -> bool:
    """Whether an agent is all that PPO's optimiser moves, so that its own update can go on on any tasks."""
    return isinstance(agent, Improved) and isinstance(agent, Learner) and agent.state_dict().keys() == kept(agent).keys()


def require_fine_tunable(agent: Agent) -> None:
    """Raises UsageError, which says who can be, where an agent can't be fine-tuned by PPO."""
    inside: Any = agent.learner if isinstance(agent, Normalised) else agent
    if getattr(inside, "own_net", False):
        raise UsageError(f"{agent.name} has a network of your own, which transfer can't build anew; fine-tune it in Python")
    if not is_improved(inside) and not isinstance(inside.explorer(), gradient.WeightedPolicy):
        raise UsageError(
            f"{agent.name} can't be fine-tuned by PPO: its policy needs more than its own network to act; runs of multi-task,"
            " task-informed, rl2, rl3 and of the methods by gradient can"
        )


def untrained(inside: Any, tasks: TaskDistribution, how: FineTuning, seed: int) -> Any:
    """A learner of the same network, for other tasks and with its first weights."""
    options: dict[str, Any] = {"seed": seed, "device": inside.device}
    if is_improved(inside):
        return type(inside)(tasks, settings_for(inside.config, tasks, how), **options)
    distribution, network = distribution_over(tasks.action_space), inside.config
    context = inside.explorer().net.context
    numbers = 0 if context is None else context.numel()
    config = settings_for(Settings(**{name: getattr(network, name) for name in NETWORK}), tasks, how)
    return MultiTask(tasks, config, net=lambda inputs, _: Judged(network, inputs, distribution, numbers), **options)


def settings_for(config: Any, tasks: TaskDistribution, how: FineTuning) -> Any:
    """A run's settings, with updates as large as `lanes` says: of whole trials as many as hold so many episodes."""
    trials = max(1, how.lanes // tasks.episodes_per_trial)
    wanted: dict[str, Any] = {"n_envs": how.lanes, "shards": 1}
    if hasattr(config, "trials"):
        parts = {name: min(getattr(config, name, 0), trials) for name in ("minibatches", "minibatch_trials")}
        wanted |= {"trials": trials, "anneal_iterations": 0, **parts}
    if how.learning_rate is not None:
        wanted["learning_rate"] = how.learning_rate
    known = {field.name for field in fields(config)}
    return replace(config, **{name: value for name, value in wanted.items() if name in known})


def weights_of(inside: Any) -> Weights:
    """The weights of a run's explorer, as the learner that goes on calls them."""
    if is_improved(inside):
        return copied(inside.weights)
    weights = copied(inside.explorer().start.weights)
    return {name if name.startswith("reader.") else f"policy.{name}": weight for name, weight in weights.items()}


def within_layer(layer: str, weights: Mapping[str, Tensor]) -> Weights:
    """The weights of a layer."""
    return {name: weight for name, weight in weights.items() if f"{name}.".startswith(f"{layer}.")}


def carry_optimiser(inside: Any, learner: Any, same: bool) -> None:
    """Gives Adam what it remembers in the run; UsageError where there is nothing that fits."""
    if not is_improved(inside) or not same:
        why = "where spaces differ, layers are new" if is_improved(inside) else "it wasn't trained by PPO alone"
        raise UsageError(f"{inside.name} has no optimiser to carry over: {why}; leave carry_optimiser out")
    load_adam_state(learner.optimiser, adam_state(inside.optimiser))


@torch.no_grad()
def reset_deviation(name: str, learner: Any, fresh: Weights, end: str) -> None:
    """Puts back the first weights of what gives a Gaussian policy's deviation; UsageError for other policies."""
    own = [weight for weight in fresh if weight.rpartition(".")[2] in ("log_std", "log_scale")]
    for weight in own:
        learner.weights[weight].copy_(fresh[weight])
    if own:
        return
    if not isinstance(learner.distribution, DiagonalGaussian):
        raise UsageError(
            f"{name} draws its actions from no Gaussian, so there is no deviation to reset; leave reset_deviation out"
        )
    rows = slice(learner.distribution.size // 2, None)
    for key, weight in within_layer(end, learner.weights).items():
        weight[rows] = fresh[key][rows]


def freeze(name: str, weights: Weights, layers: tuple[str, ...], value_end: str) -> None:
    """Takes layers from the optimiser; UsageError for unknown ones, and for the one that is rescaled with the returns."""
    known = sorted({weight.rpartition(".")[0] or weight for weight in weights})
    for layer in layers:
        chosen = within_layer(layer, weights)
        if not chosen:
            raise UsageError(f"{name} has no layer '{layer}' to freeze; {did_you_mean(layer, known)}")
        if chosen.keys() & within_layer(value_end, weights).keys():
            raise UsageError(f"'{value_end}' gives the values, whose scale moves with the returns: it can't be frozen")
        for weight in chosen.values():
            weight.requires_grad_(False)
