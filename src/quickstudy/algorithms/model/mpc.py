"""MPC in a learnt model, as PETS has it (Chua et al. 2018, arXiv:1805.12114): the twin that doesn't adapt.

An ensemble tells what a step does to what is seen, what it pays, and whether the episode ends. At every step many plans are
tried in it and the first action of the best is taken. It learns from all that was lived on training tasks and knows nothing of
the task at hand. GrBAL, ReBAL and CaDM plan in the same way in a model that adapts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

from torch import Generator, Tensor
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.insight import Foreseen, Trial
from quickstudy.nets import options
from quickstudy.nets.ensemble import Ensemble
from quickstudy.nets.networks import Weights, bound, copied, initial_weights
from quickstudy.ops.features import as_vector
from quickstudy.ops.tree import tree_map
from quickstudy.parts import modelled, planning
from quickstudy.parts.dynamics import (
    Forward,
    Units,
    by_member,
    imagined_returns,
    measured,
    model_loss,
    model_net,
    no_scales,
    read,
    require_vectors,
    small_end,
    steps_of,
    units_of,
)
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What MPC can be told."""

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
    batch_size: int = 128
    """Steps that a gradient step learns from, of each member its own."""
    buffer_trials: int = 1024
    """Trials that the replay keeps, the newest."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        modelled.require_modelled("mpc", self, "members", "particles")
        modelled.require_particles("mpc", self)


@dataclass(frozen=True)
class PlanningPolicy:
    """Plans in the model at every step; what is left of the plan is all that it remembers."""

    net: Ensemble
    weights: Weights
    units: Units
    tasks: TaskDistribution
    actions: planning.Actions
    config: Config
    random_share: float = 0.0

    @cached_property
    def foreseeing(self) -> Ensemble:
        """The network with its weights."""
        return bound(self.net, self.weights)

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"plan": self.actions.first(tasks, lanes, self.config.plan_steps, self.units.center.device).mean}

    def model(self, percept: Percept, memory: Memory) -> tuple[Forward, None, Memory]:
        """The model at this step, nothing that it reads beside, and nothing that is remembered of the step."""
        return by_member(self.foreseeing, self.config.members), None, {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        config, seen = self.config, as_vector(self.tasks.observation_space, percept.observation)
        forward, _, _ = self.model(percept, memory)
        score = partial(
            imagined_returns, forward, self.units, seen, gamma=config.gamma, particles=config.particles, generator=generator
        )
        action, plan = planning.acted(self.actions, config, memory["plan"], percept.first, score, generator, self.random_share)
        return Act(action, None, {}), {"plan": plan}


@checked
class MPC:
    """Learns a model of all training tasks together, and plans in it; it never adapts."""

    name = "mpc"
    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration, config = 0, self.config
        require_vectors(self.name, tasks)
        self.actions = planning.actions_for(self.name, tasks.action_space)
        self.net = model_net(tasks, config, config.members, gaussian=config.dynamics == "probabilistic")
        self.weights = {"model": initial_weights(self.net, counter(seed, 0, "weights"), small_end(config), device)}
        self.optimiser = Adam(modelled.all_weights(self.weights), lr=config.learning_rate)
        self.scales = no_scales(tasks, device)
        self.replay = modelled.trial_replay(tasks, config.buffer_trials, config.trials, device)

    def explorer(self) -> PlanningPolicy:
        weights = copied(self.weights["model"])
        return PlanningPolicy(self.net, weights, units_of(self.scales), self.tasks, self.actions, self.config)

    def adapt(self, policy: PlanningPolicy, experience: Experience) -> PlanningPolicy:
        """The same policy: nothing is learnt from the task."""
        return policy

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        return modelled.meta_iteration(work, self)

    def update(self, units: Units, generator: Generator) -> dict[str, Tensor]:
        """One step of the optimiser: each member learns from steps of its own."""
        count = self.config.members * self.config.batch_size
        drawn = steps_of(self.tasks, self.replay.around(modelled.ALL, count, 0, 1, generator))
        steps = tree_map(lambda part: part.reshape(self.config.members, -1, *part.shape[3:]), drawn)
        outputs = functional_call(self.net, self.weights["model"], (read(units, steps.seen, steps.action),))
        loss = model_loss(units, outputs, steps)
        return modelled.descended(self, loss) | measured(units, outputs, steps)

    def foreseen(self, trial: Trial, ahead: int) -> Foreseen:
        """What the ensemble, the same at every step, tells of the steps that followed each."""
        return modelled.foreseen(trial, ahead, self.config.members)

    def state_dict(self) -> State:
        return modelled.kept(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        modelled.take(self, state)
