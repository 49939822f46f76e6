"""RL3: RL2 that is told what a planner makes of its trial so far (Bhatia et al. 2023, arXiv:2306.15909).

Counts of what was met, a plan for the mean of what the MDP may be, and RL2's memory on top: what a planner can reckon, the
memory needn't learn to reckon; it learns what the planner doesn't ask, when to try what seems worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.errors import UsageError, require_at_least, require_discounts, require_rates
from quickstudy.insight import Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.distributions import distribution_over
from quickstudy.nets.networks import Build, copied
from quickstudy.nets.reader import Inputs
from quickstudy.nets.values import unit_scale, value_head
from quickstudy.ops.features import PERCEIVED, vector_size
from quickstudy.ops.returns import trial_advantages
from quickstudy.parts import ppo
from quickstudy.parts.clock import CLOCK, active_inputs, counted, left, timed_percept, with_clock
from quickstudy.parts.collecting import collected_trials, numbers, require_shards, trial_metrics
from quickstudy.parts.descend import descend
from quickstudy.parts.kept import kept, take
from quickstudy.parts.planner import Planner, advice, planner_for
from quickstudy.parts.recurrent import RecurrentPolicy, apart, begun, time_major
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What RL3 can be told."""

    prior_mean: float = 1.0
    """What the planner takes an untried reward for, as if it had been seen once: above what tasks pay, it is curious."""
    trials: int = 256
    """Trials collected in a meta-iteration, each on a task of its own."""
    encoder: options.Encoder = "layer"
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 0
    activation: options.Activation = "relu"
    layer_norm: options.LayerNorm = False
    memory: options.Memory = "gru"
    initialisation: options.Initialisation = "spread"
    learning_rate: float = 2e-3
    """Adam's step size."""
    gamma: float = 0.98
    """Discount factor, a step of the trial."""
    gae_lambda: float = 0.95
    """Trace decay of the generalised advantage estimates."""
    n_epochs: int = 4
    """Passes over the collected trials in a meta-iteration."""
    minibatches: int = 4
    """Parts into which a pass divides the trials; a part holds whole trials."""
    clip_range: float = 0.2
    """PPO's bound on the change of an action's probability."""
    ent_coef: float = 0.02
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    anneal_iterations: int = 0
    """Meta-iterations over which step size and entropy bonus fall linearly, to a hundredth; 0: they stay."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    value_rate: float = 0.1
    """How fast the scale of the value targets follows them, a meta-iteration."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        options.require_network("rl3", self)
        require_rates("rl3", self)
        require_at_least(1, "rl3", self, "minibatches", "shards", "trials", "n_epochs")
        require_at_least(0, "rl3", self, "anneal_iterations")
        require_shards("rl3", self, "trials")
        if self.minibatches > self.trials:
            raise UsageError(f"rl3: minibatches ({self.minibatches}) must be no more than trials ({self.trials})")
        require_discounts("rl3", self)


@dataclass(frozen=True)
class AdvisedPolicy:
    """A recurrent policy that reads a planner's advice; `start` is the memory it resumes from, None at a trial's beginning."""

    planner: Planner
    policy: RecurrentPolicy
    start: Memory | None = None

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        memory = self.policy.initial_memory(tasks, lanes)
        return memory | self.planner.initial_memory(tasks, lanes, memory["state"].device)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        reckoned, counts = self.planner.look(percept, memory)
        told = advice(reckoned)
        act, memory = self.policy.act(percept, memory, generator, told)
        return act._replace(notes=act.notes | {"advice": told}), memory | counts


@checked
class RL3:
    """Meta-trains a recurrent policy over whole trials that reads what a planner makes of each; adapting is remembering.

    For tasks whose observations and actions are Discrete; UsageError for others. `net` builds a network of one's own, as RL2's
    does: between percept and clock its inputs hold the planner's advice.
    """

    name = "rl3"
    lanes = 1
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
        self.iteration, self.own_net = 0, net is not None
        self.planner = planner_for("rl3", tasks, self.config.prior_mean)
        self.distribution = distribution_over(tasks.action_space)
        seen = vector_size(tasks.observation_space) + vector_size(tasks.action_space) + PERCEIVED
        inputs = Inputs(seen + self.planner.advice_size + CLOCK, None)
        active = active_inputs(tasks, inputs) + self.planner.advice_size
        first = active, self.distribution, True, counter(seed, 0, "weights"), device, net
        self.net, self.weights, self.judging = begun("rl3", self.config, inputs, *first)
        self.value_head = value_head(self.net, self.weights)
        self.optimiser = Adam(self.weights.values(), lr=self.config.learning_rate, eps=1e-5)
        self.scale = unit_scale(device)

    def explorer(self) -> AdvisedPolicy:
        return AdvisedPolicy(self.planner, RecurrentPolicy(self.net, copied(self.weights), self.tasks, self.distribution))

    def adapt(self, policy: AdvisedPolicy, experience: Experience) -> AdvisedPolicy:
        """Carries memory and counts over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config = self.config
        experience = collected_trials(work, self, self.explorer(), config.trials)
        batch, metrics = self.prepare(experience)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * left(config.anneal_iterations, self.iteration)
        parts: dict[str, Tensor] = {}
        generator = counter(self.seed, self.iteration, "minibatches")
        for minibatch in ppo.minibatches(batch, config.n_epochs, config.minibatches, generator):
            parts = self.update(minibatch)
        self.iteration += 1
        return metrics | numbers(parts)

    def prepare(self, experience: Experience) -> tuple[ppo.Batch, Metrics]:
        """Turns experience into whole trials, moving the value scale on to their targets."""
        config, valid, notes = self.config, experience.valid, experience.act.notes
        value = self.scale.restore(notes["value"])
        advantage = trial_advantages(experience.transition.reward, value, valid, config.gamma, config.gae_lambda)
        inputs = timed_percept(self.tasks, experience.percept, *counted(experience.percept), notes["advice"])
        batch, self.scale, metrics = ppo.batch_of(
            experience, inputs, value, advantage, self.scale, self.value_head, config.value_rate
        )
        return ppo.Batch(*map(time_major, batch)), trial_metrics(self.tasks, experience) | metrics

    def update(self, batch: ppo.Batch) -> dict[str, Tensor]:
        """One step of the optimiser, on PPO's loss on whole trials, each remembered from its beginning."""
        config = self.config
        start = torch.zeros(batch.valid.shape[1], self.net.state_size, device=batch.valid.device)
        parameters, value, _ = functional_call(self.net, self.weights, (batch.inputs, start))
        ent_coef = config.ent_coef * left(config.anneal_iterations, self.iteration)
        total, parts = ppo.loss(self.distribution, parameters, value, batch, config.clip_range, config.vf_coef, ent_coef)
        groups = apart(self.weights, self.judging)
        norms = descend(self, total, self.optimiser, *groups, max_norm=config.max_grad_norm)
        return parts | {"train/grad_norm": torch.stack(norms).norm()}

    def known(self, trial: Trial) -> Known:
        """What the memory holds when the trial is over."""
        return Known("memory", trial.episodes[-1].end_memory["state"][:, 0])

    def retrace(self, trial: Trial, task: int) -> Retraced:
        """What a lane saw and was advised goes into its memory, and from there into its actions."""
        policy, percept = trial.policies[0].policy, trial.percept(task)
        advised = trial.joined(task, [experience.act.notes["advice"] for experience in trial.episodes])[None, None]
        seen, inputs = with_clock(timed_percept(self.tasks, percept, *counted(percept), advised)[0, 0])
        start = inputs.new_zeros(1, policy.net.state_size)
        parameters, _, _ = functional_call(policy.net, policy.weights, (inputs[:, None], start))
        return Retraced([seen], policy.distribution.log_prob(parameters[:, 0], trial.action(task)))

    def state_dict(self) -> State:
        return kept(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        take(self, state)
