"""RL2: the agent's memory is its learning algorithm (Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763).

A recurrent policy sees its last action, reward and episode ends, and keeps its memory over the episodes of a trial. PPO
(Schulman et al. 2017) maximises the return of the whole trial, so the memory learns to explore first and exploit later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.errors import UsageError, require_at_least, require_discounts, require_rates
from quickstudy.insight import Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.networks import Build, Weights, copied
from quickstudy.nets.reader import read
from quickstudy.nets.values import unit_scale, value_head
from quickstudy.ops.policy_gradient import masked_mean
from quickstudy.ops.returns import episode_advantages, trial_advantages
from quickstudy.parts import ppo
from quickstudy.parts.clock import active_inputs, counted, left, timed_inputs, timed_percept, with_clock
from quickstudy.parts.collecting import collected_trials, numbers, require_shards, trial_metrics
from quickstudy.parts.descend import descend
from quickstudy.parts.kept import kept, take
from quickstudy.parts.noise import policy_distribution, require_noise
from quickstudy.parts.recurrent import RecurrentPolicy, apart, begun, time_major
from quickstudy.parts.teacher import Teacher, drawn_tasks, imitation, stored_teacher
from quickstudy.protocol import Agent, Experience, Metrics, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What RL2 can be told."""

    trials: int = 256
    """Trials collected in a meta-iteration, each on a task of its own."""
    encoder: options.Encoder = "layer"
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 0
    activation: options.Activation = "relu"
    layer_norm: options.LayerNorm = False
    vision: options.Vision = "auto"
    language: options.Language = "gru"
    film: options.Film = False
    memory: options.Memory = "gru"
    value: Literal["separate", "shared"] = "separate"
    """The value has an encoder and a memory of its own, or reads the policy's, which then serves two masters."""
    initialisation: options.Initialisation = "spread"
    noise: options.Noise = "independent"
    noise_steps: options.NoiseSteps = 0
    learning_rate: float = 2e-3
    """Adam's step size."""
    gamma: float = 0.98
    """Discount factor, a step of the trial."""
    gae_lambda: float = 0.95
    """Trace decay of the generalised advantage estimates."""
    credit: Literal["trial", "episode"] = "trial"
    """How far an action answers for rewards: to the end of the trial, or of its episode (for tasks that reward survival)."""
    n_epochs: int = 4
    """Passes over the collected trials in a meta-iteration."""
    minibatches: int = 4
    """Parts into which a pass divides the trials; a part holds whole trials."""
    minibatch_trials: int = 0
    """Trials of a minibatch, however many are collected; 0: as many as `minibatches` says."""
    clip_range: float = 0.2
    """PPO's bound on the change of an action's probability."""
    kl_cap: float = 0.0
    """Passes end where the policy's KL to the one that collected is above this, and the best pass below it stays; 0: no cap."""
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
    teacher: str = ""
    """Folder of a run of task-informed on the same tasks, whose actions are imitated in training; none: nobody's."""
    imitate: float = 1.0
    """Weight of the KL from the teacher's actions to the policy's in the loss, beside RL2's own."""
    imitate_iterations: int = 100
    """Meta-iterations over which that weight falls linearly to nothing; 0: it stays."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        options.require_network("rl2", self)
        require_noise("rl2", self)
        require_rates("rl2", self)
        require_at_least(1, "rl2", self, "minibatches", "shards", "trials", "n_epochs")
        require_at_least(0, "rl2", self, "anneal_iterations", "kl_cap", "minibatch_trials", "imitate", "imitate_iterations")
        require_shards("rl2", self, "trials")
        for name in ("minibatches", "minibatch_trials"):
            if getattr(self, name) > self.trials:
                raise UsageError(f"rl2: {name} ({getattr(self, name)}) must be no more than trials ({self.trials})")
        require_discounts("rl2", self)

    @property
    def parts(self) -> int:
        """Minibatches of a pass."""
        return -(-self.trials // self.minibatch_trials) if self.minibatch_trials else self.minibatches


@checked
class RL2:
    """Meta-trains a recurrent policy over whole trials; adapting is remembering.

    `net`, given the number of inputs and of the policy's parameters, builds a network of one's own. Its forward takes inputs
    (time, batch, feature) and a state (batch, state), which is zero when a trial begins, and gives parameters (time, batch,
    parameter), values (time, batch) and the state after the last step; `state_size` is the state's length. In its modules
    `policy` and `value` the last linear layer gives what they give: the first one's begins small, the other's is rescaled as
    value targets grow. It has no buffers, and `config` says nothing of it.
    """

    name = "rl2"
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
        self.distribution = policy_distribution("rl2", tasks.action_space, self.config, net is not None)
        inputs, separate = timed_inputs(tasks, self.config), self.config.value == "separate"
        first = active_inputs(tasks, inputs), self.distribution, separate, counter(seed, 0, "weights"), device, net
        self.net, self.weights, self.judging = begun("rl2", self.config, inputs, *first)
        self.value_head = value_head(self.net, self.weights)
        self.optimiser = Adam(self.weights.values(), lr=self.config.learning_rate, eps=1e-5)
        self.scale = unit_scale(device)
        self.teacher: Teacher | None = None
        self._taught_by = ""

    def explorer(self) -> RecurrentPolicy:
        return RecurrentPolicy(self.net, copied(self.weights), self.tasks, self.distribution, self.config.credit == "episode")

    def adapt(self, policy: RecurrentPolicy, experience: Experience) -> RecurrentPolicy:
        """Carries the memory over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def learn_from(self, agent: Agent) -> None:
        """Takes as teacher what the folder that the settings name holds; UsageError where it isn't one for these tasks."""
        teacher = Teacher(agent, self.tasks, self.distribution)
        if self._taught_by not in ("", teacher.sha256):
            raise UsageError(f"rl2: the teacher in {self.config.teacher} isn't the one that it had: its weights have changed")
        self.teacher, self._taught_by = teacher, teacher.sha256

    def train_step(self, work: Work) -> Metrics:
        config, policy = self.config, self.explorer()
        if config.teacher and not self.teacher:
            raise UsageError(f"rl2: it has no teacher yet: learn_from(quickstudy.load({config.teacher!r}))")
        experience = collected_trials(work, self, policy, config.trials)
        batch, metrics = self.prepare(policy, experience)
        if self.teacher and imitation(config, self.iteration):
            taught = self.teacher.told(experience, drawn_tasks(self, config.trials))
            batch = batch._replace(taught=time_major(taught))
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * left(config.anneal_iterations, self.iteration)
        parts = self.improve(batch, counter(self.seed, self.iteration, "minibatches"))
        self.iteration += 1
        return metrics | numbers(parts)

    def improve(self, batch: ppo.Batch, generator: Generator) -> dict[str, Tensor]:
        """PPO's passes, in which a cap on the KL moves the policy's weights back and leaves the value's."""
        config, parts = self.config, {}
        acting = {name: weight for name, weight in self.weights.items() if name not in self.judging}
        cap = ppo.Cap(config.kl_cap, acting, lambda: self.loss(self.weights, batch)[1]) if config.kl_cap else None
        for _ in range(config.n_epochs):
            for minibatch in ppo.minibatches(batch, 1, config.parts, generator):
                parts = self.update(minibatch)
            if cap and cap.exceeded():
                break
        return parts | (cap.settled() if cap else {})

    def prepare(self, policy: RecurrentPolicy, experience: Experience) -> tuple[ppo.Batch, Metrics]:
        """Turns experience into whole trials, moving the value scale on to their targets."""
        config, transition, valid = self.config, experience.transition, experience.valid
        value = self.scale.restore(experience.act.notes["value"])
        if config.credit == "trial":
            advantage = trial_advantages(transition.reward, value, valid, config.gamma, config.gae_lambda)
        else:
            at_limits = self.scale.restore(arrival_values(policy, experience))
            ends = transition.terminated, transition.truncated
            advantage = episode_advantages(transition.reward, value, at_limits, *ends, valid, config.gamma, config.gae_lambda)
        inputs = timed_percept(self.tasks, experience.percept, *counted(experience.percept))
        batch, self.scale, metrics = ppo.batch_of(
            experience, inputs, value, advantage, self.scale, self.value_head, config.value_rate
        )
        return ppo.Batch(*map(time_major, batch)), trial_metrics(self.tasks, experience) | metrics

    def update(self, batch: ppo.Batch) -> dict[str, Tensor]:
        """One step of the optimiser."""
        total, parts = self.loss(self.weights, batch)
        groups = apart(self.weights, self.judging)
        norms = descend(self, total, self.optimiser, *groups, max_norm=self.config.max_grad_norm)
        return parts | {"train/grad_norm": torch.stack(norms).norm()}

    def loss(self, weights: Weights, batch: ppo.Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """PPO's loss on whole trials, each remembered from its beginning, and its parts."""
        config = self.config
        start = torch.zeros(batch.valid.shape[1], self.net.state_size, device=batch.valid.device)
        parameters, value, _ = functional_call(self.net, weights, (batch.inputs, start))
        ent_coef = config.ent_coef * left(config.anneal_iterations, self.iteration)
        total, parts = ppo.loss(self.distribution, parameters, value, batch, config.clip_range, config.vf_coef, ent_coef)
        if not batch.taught.shape[-1]:
            return total, parts
        imitated = masked_mean(self.distribution.kl(batch.taught, parameters), batch.valid)
        total = total + imitation(config, self.iteration) * imitated
        return total, parts | {"train/loss": total.detach(), "train/teacher_kl": imitated.detach()}

    def known(self, trial: Trial) -> Known:
        """What the memory holds when the trial is over."""
        return Known("memory", trial.episodes[-1].end_memory["state"][:, 0])

    def retrace(self, trial: Trial, task: int) -> Retraced:
        """What a lane saw goes into its memory, and from there into its actions."""
        policy, percept = trial.policies[0], trial.percept(task)
        told = timed_percept(self.tasks, percept, *counted(percept))[0, 0]
        seen, inputs = with_clock(read(policy.net, policy.weights, told))
        start = inputs.new_zeros(1, policy.net.state_size)
        parameters, _, _ = functional_call(policy.net, policy.weights, (inputs[:, None], start))
        return Retraced([seen], policy.distribution.log_prob(parameters[:, 0], trial.action(task)))

    def state_dict(self) -> State:
        return {**kept(self), "teacher": self._taught_by} if self.config.teacher else kept(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        taught_by = stored_teacher(state, self.teacher) if self.config.teacher else ""
        take(self, {name: part for name, part in state.items() if name != "teacher"} if self.config.teacher else state)
        self._taught_by = taught_by or self._taught_by


@torch.no_grad()
def arrival_values(policy: RecurrentPolicy, experience: Experience) -> Float[Tensor, "task lane time"]:
    """The value, on the head's own scale, of where each truncated episode had arrived, as if it went on; zero elsewhere."""
    limits, nowhere = ppo.time_limits(experience), torch.zeros_like(experience.transition.reward)
    if not len(limits.step):
        return nowhere
    inputs = timed_percept(policy.tasks, limits.percept, limits.step, limits.episode)
    state = experience.act.notes["state"][limits.at]
    _, value, _ = functional_call(policy.net, policy.weights, (inputs[None], state))
    return nowhere.index_put(limits.at, value[0])
