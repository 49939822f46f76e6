"""GrBAL: a model whose weights adapt at every step by a gradient (Nagabandi et al. 2019, arXiv:1803.11347).

First weights are meta-trained so that one gradient step on the last steps of any task makes a model that tells the next ones.
The policy takes that step anew at each time, always from the first weights, and plans in what comes of it. So it follows a
world that changes while it acts, and no reward need tell it that something has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.func import functional_call, grad, vmap
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.insight import Foreseen, Known, Trial
from quickstudy.nets import options
from quickstudy.nets.ensemble import Ensemble
from quickstudy.nets.networks import Weights, copied, initial_weights
from quickstudy.ops.adaptation import inner_step
from quickstudy.ops.features import as_vector
from quickstudy.parts import modelled, planning
from quickstudy.parts.dynamics import (
    Forward,
    Steps,
    Units,
    imagined_returns,
    last_step,
    measured,
    model_loss,
    model_net,
    no_scales,
    pack,
    pushed,
    read,
    require_vectors,
    small_end,
    units_of,
    unpack,
)
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What GrBAL can be told."""

    trials: int = 8
    """Trials collected in a meta-iteration, each on a task of its own."""
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 2
    activation: options.Activation = "tanh"
    past_steps: int = 16
    """Last steps of the trial on which the model adapts."""
    future_steps: int = 16
    """Steps after them that it is meta-trained to tell, up to the episode's end."""
    inner_rate: float = 0.1
    """Step size of the inner step."""
    learn_inner_rate: bool = True
    """Meta-learn a step size for each parameter (Meta-SGD: Li et al. 2017)."""
    planner: planning.Planner = "cem"
    plan_steps: planning.PlanSteps = 15
    candidates: planning.Candidates = 128
    refits: planning.Refits = 3
    elite_share: planning.EliteShare = 0.1
    plan_temperature: planning.PlanTemperature = 0.3
    noise_color: planning.NoiseColor = 1.0
    least_deviation: planning.LeastDeviation = 0.05
    gamma: float = 0.99
    """Discount factor, a step of a plan."""
    random_share: float = 0.1
    """The share of actions in training that is drawn from all there are; in the first meta-iteration all of them."""
    updates: int = 200
    """Gradient steps in a meta-iteration."""
    batch_size: int = 32
    """Moments of trials that a gradient step learns from, each with the steps before and after it."""
    buffer_trials: int = 1024
    """Trials that the replay keeps, the newest."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        modelled.require_modelled("grbal", self, "past_steps", "future_steps")


class Start(NamedTuple):
    """What meta-training learns."""

    weights: Weights
    rates: Weights
    """Step sizes of the inner step: a number, or one for each parameter."""


def adapted(net: Ensemble, start: Start, units: Units, past: Steps) -> Weights:
    """theta' = theta - alpha grad L(theta), L the model's mean error on each row's own past; a set of weights for each row.

    Steps are (row, time). Without any past the weights are the first ones; differentiable in what it began with.
    """

    def loss(weights: Weights, steps: Steps) -> Float[Tensor, ""]:
        return model_loss(units, functional_call(net, weights, (read(units, steps.seen, steps.action)[None],))[0], steps)

    return inner_step(start.weights, vmap(grad(loss), in_dims=(None, 0))(start.weights, past), start.rates)


def by_row(net: Ensemble, weights: Weights, inputs: Float[Tensor, "row *lead input"]) -> Float[Tensor, "row *lead output"]:
    """The network on each row's inputs, with the row's own weights: an ensemble whose members are the rows."""
    members = {name: weight.flatten(0, 1) for name, weight in weights.items()}
    found = functional_call(net, members, (inputs.flatten(1, -2),))
    return found.unflatten(1, inputs.shape[1:-1])


@dataclass(frozen=True)
class AdaptingPolicy:
    """Adapts the model to the last steps, at every step anew, and plans in it; `start` is the memory that it resumes from."""

    net: Ensemble
    first: Start
    units: Units
    tasks: TaskDistribution
    actions: planning.Actions
    config: Config
    random_share: float = 0.0
    start: Memory | None = None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        config = self.config
        return modelled.nothing_past(tasks, lanes, self.actions, self.units, config.past_steps, config.plan_steps)

    def model(self, percept: Percept, memory: Memory) -> tuple[Forward, None, Memory]:
        """The model as it has adapted by now, nothing that it reads beside, and the memory with the step that led here."""
        seen = as_vector(self.tasks.observation_space, percept.observation)
        past = pushed(memory["past"], pack(last_step(self.tasks, percept, memory["seen"])))
        weights = self.adapted(past)

        def forward(inputs: Float[Tensor, "particle task lane candidate input"]) -> Tensor:
            rows = inputs[0].flatten(0, 1)
            return by_row(self.net, weights, rows).view(*inputs.shape[:-1], -1)

        return forward, None, {"past": past, "seen": seen}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        config = self.config
        forward, _, after = self.model(percept, memory)
        score = partial(imagined_returns, forward, self.units, after["seen"], gamma=config.gamma)
        action, plan = planning.acted(self.actions, config, memory["plan"], percept.first, score, generator, self.random_share)
        return Act(action, None, {}), {"plan": plan, **after}

    def adapted(self, past: Float[Tensor, "task lane time number"]) -> Weights:
        """Weights of each lane, tasks one after another."""
        return adapted(self.net, self.first, self.units, unpack(past.flatten(0, 1), len(self.units.center)))


@checked
class GrBAL:
    """Meta-trains a model that adapts to the last steps by a gradient, and plans in it; adapting is going on."""

    name = "grbal"
    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration, config = 0, self.config
        require_vectors(self.name, tasks)
        self.actions = planning.actions_for(self.name, tasks.action_space)
        self.net = model_net(tasks, config, 1)
        weights = initial_weights(self.net, counter(seed, 0, "weights"), small_end(config), device)
        rates = {
            name: torch.full_like(weight if config.learn_inner_rate else weight.sum(), config.inner_rate)
            .detach()
            .requires_grad_(config.learn_inner_rate)
            for name, weight in weights.items()
        }
        self.weights = {"model": weights, "rates": rates}
        self.optimiser = Adam(modelled.all_weights(self.weights), lr=config.learning_rate)
        self.scales = no_scales(tasks, device)
        self.replay = modelled.trial_replay(tasks, config.buffer_trials, config.trials, device)

    def explorer(self) -> AdaptingPolicy:
        first = copied(Start(self.weights["model"], self.weights["rates"]))
        return AdaptingPolicy(self.net, first, units_of(self.scales), self.tasks, self.actions, self.config)

    def adapt(self, policy: AdaptingPolicy, experience: Experience) -> AdaptingPolicy:
        """Carries the last steps over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        return modelled.meta_iteration(work, self)

    def update(self, units: Units, generator: Generator) -> dict[str, Tensor]:
        """One step of the optimiser, along the error on what follows of weights that adapted to what came before."""
        config = self.config
        before, after = modelled.windows(self, config.batch_size, config.past_steps, config.future_steps, generator)
        weights = adapted(self.net, Start(self.weights["model"], self.weights["rates"]), units, before)
        outputs = by_row(self.net, weights, read(units, after.seen, after.action))
        loss = model_loss(units, outputs, after)
        return modelled.descended(self, loss) | measured(units, outputs, after)

    def known(self, trial: Trial) -> Known:
        """How far the last steps move each weight."""
        policy = trial.policies[0]
        weights = policy.adapted(trial.episodes[-1].end_memory["past"][:, :1])
        moved = [(weights[name] - first).flatten(1) for name, first in policy.first.weights.items()]
        return Known("weights", torch.cat(moved, dim=1).detach())

    def foreseen(self, trial: Trial, ahead: int) -> Foreseen:
        """What the model, as it had adapted at each step, tells of the steps that followed."""
        return modelled.foreseen(trial, ahead)

    def state_dict(self) -> State:
        return modelled.kept(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        modelled.take(self, state)
