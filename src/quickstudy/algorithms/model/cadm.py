"""CaDM: a context of the last steps, which a model of the dynamics reads (Lee et al. 2020, arXiv:2005.06800).

An encoder makes a few numbers of the last steps. An ensemble reads them beside what is seen and done, and tells several steps
that follow from the same context; a second one tells steps backwards, which keeps the context to what is of the dynamics. MPC
plans in the first one. Without any last steps it is `mpc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.insight import Foreseen, Known, Trial
from quickstudy.nets import options
from quickstudy.nets.ensemble import Ensemble
from quickstudy.nets.networks import ACTIVATIONS, Weights, bound, copied, initial_weights, multilayer, skeleton
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.parts import modelled, planning
from quickstudy.parts.dynamics import (
    Forward,
    Steps,
    Units,
    by_member,
    evidence_of,
    evidence_size,
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
    """What CaDM can be told."""

    trials: int = 8
    """Trials collected in a meta-iteration, each on a task of its own."""
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 2
    activation: options.Activation = "relu"
    members: int = 3
    """Networks of the ensemble."""
    dynamics: Literal["probabilistic", "deterministic"] = "deterministic"
    """Members tell Gaussians, from which plans' steps are drawn, or what happens as such."""
    particles: int = 3
    """Times that each plan is tried, each in one member from its beginning to its end; a multiple of members."""
    past_steps: int = 10
    """Last steps of the trial of which the context is made; 0: there is none."""
    future_steps: int = 10
    """Steps after them that it is trained to tell, up to the episode's end."""
    latent_size: int = 10
    """Numbers of the context."""
    backward_weight: float = 0.5
    """Weight of telling the steps backwards."""
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
    """Moments of trials that a gradient step learns from, each with the steps before and after it, of each member its own."""
    buffer_trials: int = 1024
    """Trials that the replay keeps, the newest."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        modelled.require_modelled(
            "cadm", self, "future_steps", "latent_size", "members", "particles", least=("past_steps", "backward_weight")
        )
        modelled.require_particles("cadm", self)


@dataclass(frozen=True)
class ContextPolicy:
    """Makes a context of the last steps and plans in the model that reads it; `start` is the memory that it resumes from."""

    net: Ensemble
    weights: Weights
    encoder: nn.Module | None
    encoder_weights: Weights
    units: Units
    tasks: TaskDistribution
    actions: planning.Actions
    config: Config
    random_share: float = 0.0
    start: Memory | None = None

    @cached_property
    def foreseeing(self) -> Ensemble:
        """The network with its weights."""
        return bound(self.net, self.weights)

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        config = self.config
        return modelled.nothing_past(tasks, lanes, self.actions, self.units, config.past_steps, config.plan_steps)

    def model(self, percept: Percept, memory: Memory) -> tuple[Forward, Float[Tensor, "task lane context"], Memory]:
        """The model, the context at this step, which it reads beside, and the memory with the step that led here."""
        seen = as_vector(self.tasks.observation_space, percept.observation)
        past = pushed(memory["past"], pack(last_step(self.tasks, percept, memory["seen"])))
        return by_member(self.foreseeing, self.config.members), self.context(past), {"past": past, "seen": seen}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        config = self.config
        forward, beside, after = self.model(percept, memory)
        score = partial(
            imagined_returns,
            forward,
            self.units,
            after["seen"],
            gamma=config.gamma,
            particles=config.particles,
            beside=beside,
            generator=generator,
        )
        action, plan = planning.acted(self.actions, config, memory["plan"], percept.first, score, generator, self.random_share)
        return Act(action, None, {}), {"plan": plan, **after}

    def context(self, past: Float[Tensor, "task lane time number"]) -> Float[Tensor, "task lane context"]:
        """What the model reads of the last steps."""
        return context_of(self.encoder, self.encoder_weights, self.units, unpack(past, len(self.units.center)))


def context_of(encoder: nn.Module | None, weights: Weights, units: Units, past: Steps) -> Float[Tensor, "*lead context"]:
    """A few numbers of the last steps, the last axis of which is time; none without an encoder."""
    if encoder is None:
        return past.reward[..., :0]
    return functional_call(encoder, weights, (evidence_of(units, past).flatten(-2),))


def turned(steps: Steps) -> Steps:
    """Steps backwards: from where they arrived to where they began. No end is told: each had a beginning."""
    return steps._replace(seen=steps.arrival, arrival=steps.seen, ends=torch.zeros_like(steps.ends))


@checked
class CaDM:
    """Learns a context of the last steps and a model that reads it, and plans in that; adapting is going on."""

    name = "cadm"
    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration, config = 0, self.config
        require_vectors(self.name, tasks)
        self.actions = planning.actions_for(self.name, tasks.action_space)
        beside = config.latent_size if config.past_steps else 0
        self.net = model_net(tasks, config, config.members, beside, gaussian=config.dynamics == "probabilistic")
        self.weights = {"model": initial_weights(self.net, counter(seed, 0, "weights"), small_end(config), device)}
        self.encoder = None
        if config.past_steps:
            inputs = config.past_steps * evidence_size(vector_size(tasks.observation_space), self.actions.size)
            sizes = inputs, config.hidden_size, 1, config.latent_size, ACTIVATIONS[config.activation]
            self.encoder = skeleton(lambda: multilayer(*sizes))
            self.weights["context"] = initial_weights(self.encoder, counter(seed, 0, "context weights"), {}, device)
        if config.backward_weight:
            generator = counter(seed, 0, "backward weights")
            self.weights["backward"] = initial_weights(self.net, generator, small_end(config), device)
        self.optimiser = Adam(modelled.all_weights(self.weights), lr=config.learning_rate)
        self.scales = no_scales(tasks, device)
        self.replay = modelled.trial_replay(tasks, config.buffer_trials, config.trials, device)

    def explorer(self) -> ContextPolicy:
        weights = copied(self.weights)
        model, context = weights["model"], weights.get("context", {})
        return ContextPolicy(
            self.net, model, self.encoder, context, units_of(self.scales), self.tasks, self.actions, self.config
        )

    def adapt(self, policy: ContextPolicy, experience: Experience) -> ContextPolicy:
        """Carries the last steps over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        return modelled.meta_iteration(work, self)

    def update(self, units: Units, generator: Generator) -> dict[str, Tensor]:
        """One step of the optimiser, forwards and backwards, on steps that follow, from the context before the first one."""
        config = self.config
        count = config.members * config.batch_size
        before, after = modelled.windows(self, count, config.past_steps, config.future_steps, generator)
        context = context_of(self.encoder, self.weights.get("context", {}), units, before)
        context = context[:, None].expand(-1, config.future_steps, -1)
        loss, outputs = self.loss("model", units, after, context)
        parts = measured(units, outputs, after)
        if config.backward_weight:
            loss = loss + config.backward_weight * self.loss("backward", units, turned(after), context)[0]
        return modelled.descended(self, loss) | parts

    def loss(
        self, name: str, units: Units, steps: Steps, context: Float[Tensor, "row time context"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "row time output"]]:
        """The mean error of a model on steps, and its outputs; rows belong to its members in turn."""
        inputs = read(units, steps.seen, steps.action, context)
        outputs = functional_call(self.net, self.weights[name], (inputs.reshape(self.config.members, -1, inputs.shape[-1]),))
        outputs = outputs.reshape(*inputs.shape[:-1], -1)
        return model_loss(units, outputs, steps), outputs

    def known(self, trial: Trial) -> Known:
        """The context when the trial is over."""
        return Known("memory", trial.policies[0].context(trial.episodes[-1].end_memory["past"][:, :1])[:, 0])

    def foreseen(self, trial: Trial, ahead: int) -> Foreseen:
        """What the ensemble tells, by the context at each step, of the steps that followed."""
        return modelled.foreseen(trial, ahead, self.config.members)

    def state_dict(self) -> State:
        return modelled.kept(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        modelled.take(self, state)
