"""ReBAL: a model that adapts by a recurrent network (Nagabandi et al. 2019, arXiv:1803.11347).

A memory reads what every step of the trial did, and the model reads the memory beside what is seen and done: what GrBAL does by
a gradient, learnt. MPC plans in the model while the memory stands still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.insight import Foreseen, Known, Trial
from quickstudy.nets import options
from quickstudy.nets.ensemble import Ensemble
from quickstudy.nets.networks import Recurrent, Weights, bound, copied, initial_weights, skeleton
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.tree import where_lane
from quickstudy.parts import modelled, planning
from quickstudy.parts.collecting import trial_steps
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
    """What ReBAL can be told."""

    trials: int = 8
    """Trials collected in a meta-iteration, each on a task of its own."""
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 2
    activation: options.Activation = "relu"
    memory: options.Memory = "gru"
    slice_length: int = 64
    """Learn from stretches of so many steps, each from an empty memory; 0: from whole trials."""
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
    batch_size: int = 16
    """Stretches of trials that a gradient step learns from."""
    buffer_trials: int = 1024
    """Trials that the replay keeps, the newest."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        modelled.require_modelled("rebal", self, least=("slice_length",))


@dataclass(frozen=True)
class RememberingPolicy:
    """Remembers what each step did and plans in the model that reads it; `start` is the memory that it resumes from."""

    net: Ensemble
    weights: Weights
    recurrent: Recurrent
    recurrent_weights: Weights
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

    @cached_property
    def remembering(self) -> Recurrent:
        """The memory with its weights."""
        return bound(self.recurrent, self.recurrent_weights)

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        device = self.units.center.device
        state = torch.zeros(tasks, lanes, self.recurrent.state_size, device=device)
        plan = self.actions.first(tasks, lanes, self.config.plan_steps, device).mean
        return {"plan": plan, "state": state, "seen": torch.zeros(tasks, lanes, len(self.units.center), device=device)}

    def model(self, percept: Percept, memory: Memory) -> tuple[Forward, Float[Tensor, "task lane hidden"], Memory]:
        """The model, what is remembered at this step, which it reads beside, and the memory with the step that led here."""
        seen = as_vector(self.tasks.observation_space, percept.observation)
        state = self.remember(last_step(self.tasks, percept, memory["seen"]), memory["state"])
        return by_member(self.foreseeing, 1), state[..., : self.config.hidden_size], {"state": state, "seen": seen}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        config = self.config
        forward, beside, after = self.model(percept, memory)
        score = partial(imagined_returns, forward, self.units, after["seen"], gamma=config.gamma, beside=beside)
        action, plan = planning.acted(self.actions, config, memory["plan"], percept.first, score, generator, self.random_share)
        return Act(action, None, {}), {"plan": plan, **after}

    def remember(self, step: Steps, state: Float[Tensor, "task lane state"]) -> Float[Tensor, "task lane state"]:
        """The memory with one more step in it; as it was where there was none."""
        told = evidence_of(self.units, step).flatten(0, 1)
        _, after = self.remembering(told[None], state.flatten(0, 1))
        return where_lane(step.valid, after.view_as(state), state)


def held_before(
    recurrent: Recurrent, weights: Weights, told: Float[Tensor, "time trial evidence"]
) -> Float[Tensor, "time trial hidden"]:
    """What is remembered before each step, from nothing on, of the steps that came before it."""
    after, _ = functional_call(recurrent, weights, (told, told.new_zeros(told.shape[1], recurrent.state_size)))
    return torch.cat([torch.zeros_like(after[:1]), after[:-1]])


@checked
class ReBAL:
    """Learns a memory of a trial's steps and a model that reads it, and plans in that; adapting is remembering."""

    name = "rebal"
    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration, config = 0, self.config
        require_vectors(self.name, tasks)
        self.actions = planning.actions_for(self.name, tasks.action_space)
        inputs = evidence_size(vector_size(tasks.observation_space), self.actions.size)
        self.recurrent = skeleton(lambda: Recurrent(config.memory, inputs, config.hidden_size))
        self.net = model_net(tasks, config, 1, config.hidden_size)
        self.weights = {
            "model": initial_weights(self.net, counter(seed, 0, "weights"), small_end(config), device),
            "memory": initial_weights(self.recurrent, counter(seed, 0, "memory weights"), {}, device),
        }
        self.optimiser = Adam(modelled.all_weights(self.weights), lr=config.learning_rate)
        self.scales = no_scales(tasks, device)
        self.replay = modelled.trial_replay(tasks, config.buffer_trials, config.trials, device)

    def explorer(self) -> RememberingPolicy:
        weights = copied(self.weights)
        nets = self.net, weights["model"], self.recurrent, weights["memory"]
        return RememberingPolicy(*nets, units_of(self.scales), self.tasks, self.actions, self.config)

    def adapt(self, policy: RememberingPolicy, experience: Experience) -> RememberingPolicy:
        """Carries the memory over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        return modelled.meta_iteration(work, self)

    def update(self, units: Units, generator: Generator) -> dict[str, Tensor]:
        """One step of the optimiser, along the error on each step of what was remembered before it."""
        config, longest = self.config, trial_steps(self.tasks)
        length = min(config.slice_length or longest, longest)
        drawn = self.replay.slices(modelled.ALL, config.batch_size, length, generator)
        steps = steps_of(self.tasks, {name: value[0] for name, value in drawn.items()})
        told = evidence_of(units, steps).transpose(0, 1)
        held = held_before(self.recurrent, self.weights["memory"], told)
        inputs = read(units, steps.seen, steps.action, held.transpose(0, 1))
        outputs = functional_call(self.net, self.weights["model"], (inputs.flatten(0, 1)[None],))[0].unflatten(
            0, told.shape[1::-1]
        )
        loss = model_loss(units, outputs, steps)
        return modelled.descended(self, loss) | measured(units, outputs, steps)

    def known(self, trial: Trial) -> Known:
        """What the memory holds when the trial is over."""
        return Known("memory", trial.episodes[-1].end_memory["state"][:, 0])

    def foreseen(self, trial: Trial, ahead: int) -> Foreseen:
        """What the model tells, by what was remembered at each step, of the steps that followed."""
        return modelled.foreseen(trial, ahead)

    def state_dict(self) -> State:
        return modelled.kept(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        modelled.take(self, state)
