"""VariBAD: act on a belief about the task (Zintgraf et al. 2020, arXiv:1910.08348).

A recurrent encoder turns what happened in the trial into a Gaussian belief. It learns that by predicting the rewards of whole
trials (`parts/belief.py`), with a buffer and an optimiser of its own. PPO (`parts/ppo.py`) trains a memoryless policy, which
reads observation and belief, for the return of the whole trial, so it explores as far as that pays. HyperX's bonuses (Zintgraf
et al. 2021, arXiv:2010.01062) are an option.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.replay import Records, Replay
from quickstudy.data.session import Session
from quickstudy.errors import UsageError, require_at_least, require_discounts, require_rates
from quickstudy.insight import Believed, Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.belief import FIRST_LOG_VARIANCE, Belief, Predicts, belief_nets
from quickstudy.nets.distributions import Distribution, distribution_over
from quickstudy.nets.networks import (
    ActorCritic,
    Build,
    Weights,
    bound,
    built,
    copied,
    copy_into,
    initial_weights,
    last_linear,
    spread_gains,
    tried,
)
from quickstudy.nets.novelty import Novelty, discounted_scale
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.nets.reader import behind, inputs_for, read
from quickstudy.nets.values import scale_fits, stored_scale, unit_scale, value_head
from quickstudy.ops.features import inputs_of
from quickstudy.ops.fit import COUNTED, require_fit
from quickstudy.ops.moments import Moments, moments_fit, no_moments
from quickstudy.ops.policy_gradient import masked_mean
from quickstudy.ops.returns import episode_advantages, trial_advantages
from quickstudy.ops.senses import is_read, numbers_in
from quickstudy.ops.tree import within
from quickstudy.parts import ppo
from quickstudy.parts.belief import (
    Trials,
    active_evidence,
    as_records,
    as_trials,
    evidence,
    negative_elbo,
    paying,
    surprise,
    terms,
)
from quickstudy.parts.clock import CLOCK, clock, counted, first_memory, left
from quickstudy.parts.collecting import collected_trials, numbers, require_shards, some_experience, trial_metrics, trial_steps
from quickstudy.parts.descend import descend
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, State, TaskDistribution, Work, counter

ALL = torch.zeros(1, dtype=torch.long)
"""The one row of the buffer: trials of all tasks lie together."""


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What VariBAD can be told."""

    trials: int = 256
    """Trials collected in a meta-iteration, each on a task of its own."""
    encoder: options.Encoder = "none"
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 2
    activation: options.Activation = "tanh"
    layer_norm: options.LayerNorm = False
    vision: options.Vision = "auto"
    language: options.Language = "gru"
    film: options.Film = False
    learning_rate: float = 1e-3
    """Adam's step size for policy and value."""
    gamma: float = 0.98
    """Discount factor, a step of the trial."""
    gae_lambda: float = 0.95
    """Trace decay of the generalised advantage estimates."""
    credit: Literal["trial", "episode"] = "trial"
    """How far an action answers for rewards: to the end of the trial, or of its episode (for tasks that reward survival)."""
    n_epochs: int = 4
    """Passes over the collected steps in a meta-iteration."""
    minibatches: int = 4
    """Parts into which a pass divides the steps."""
    clip_range: float = 0.2
    """PPO's bound on the change of an action's probability."""
    ent_coef: float = 0.02
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    anneal_iterations: int = 0
    """Meta-iterations over which step sizes and entropy bonus fall linearly, to a hundredth; 0: they stay."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    value_rate: float = 0.1
    """How fast the scale of the value targets follows them, a meta-iteration."""
    latent_size: int = 16
    """Entries of the latent that the belief is over."""
    memory: options.Memory = "gru"
    initialisation: options.Initialisation = "spread"
    belief_size: int = 64
    """Units of the belief's memory and of the decoders."""
    belief_rate: float = 1e-3
    """Adam's step size for encoder and decoders."""
    belief_updates: int = 10
    """Updates of encoder and decoders in a meta-iteration."""
    early_iterations: int = 0
    """First meta-iterations, with `early_updates` instead: a policy can only use a belief that knows something."""
    early_updates: int = 20
    """Updates of encoder and decoders in each of those."""
    belief_batch: int = 64
    """Trials drawn from the buffer in each of them."""
    belief_terms: int = 32
    """Steps of each trial from whose belief the whole trial is predicted, drawn anew in each update."""
    buffer_trials: int = 4096
    """Trials that the buffer keeps, the newest."""
    kl_weight: float = 0.01
    """Weight of the KL to the belief before: what a squared error of a reward counts as noise; 1 makes the bound exact."""
    reward_loss: Literal["squared", "bernoulli"] = "squared"
    """Predict the reward, or only whether it is above zero."""
    reward_reads: Literal["transition", "arrival"] = "transition"
    """Predict a reward from observation, action and arrival, or from where the step arrived alone."""
    transition_weight: float = 0.0
    """Weight of predicting the transitions too; 0: they aren't."""
    novelty_weight: float = 0.0
    """HyperX: weight of the bonus for new pairs of observation and belief, in standard deviations of its discounted sum."""
    error_weight: float = 0.0
    """HyperX: weight of the bonus for what the decoders predict badly, in the same unit."""
    bonus_iterations: int = 0
    """Meta-iterations over which the bonuses fall linearly to nothing; 0: they stay."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        options.require_network("varibad", self)
        require_rates("varibad", self)
        sizes = "trials", "latent_size", "belief_size", "belief_batch", "belief_terms", "buffer_trials"
        require_at_least(1, "varibad", self, "minibatches", "shards", "n_epochs", *sizes)
        weights = "kl_weight", "transition_weight", "novelty_weight", "error_weight"
        counts = "anneal_iterations", "belief_updates", "early_iterations", "early_updates", "bonus_iterations"
        require_at_least(0, "varibad", self, *counts, *weights)
        require_shards("varibad", self, "trials")
        require_discounts("varibad", self)


@dataclass(frozen=True)
class BeliefPolicy:
    """Acts on observation, belief and clock; `start` is the memory it resumes from, None at a trial's beginning."""

    net: nn.Module
    weights: Weights
    encoder: Any
    """That of the belief."""
    encoder_weights: Weights
    tasks: TaskDistribution
    distribution: Distribution
    keep_parameters: bool = False
    """Record the parameters of the distribution, which who mixes policies needs."""
    start: Memory | None = None

    @cached_property
    def acting(self) -> nn.Module:
        """The network with its weights."""
        return bound(self.net, self.weights)

    @cached_property
    def believing(self) -> nn.Module:
        """The encoder with its weights."""
        return bound(self.encoder, self.encoder_weights)

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        return first_memory(tasks, lanes, self.encoder.state_size, self.encoder_weights["embedding.bias"].device)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        episode = memory["episode"] + percept.first
        inputs, state = self.read(percept, memory["state"], memory["step"], episode)
        parameters = self.acting(inputs)
        distribution = self.distribution
        action = distribution.mode(parameters) if generator is None else distribution.sample(parameters, generator)
        notes = {"inputs": inputs, "state": state} | ({"parameters": parameters} if self.keep_parameters else {})
        memory = {"state": state, "step": memory["step"] + 1, "episode": episode}
        return Act(action, distribution.log_prob(parameters, action), notes), memory

    def read(
        self,
        percept: Percept,
        state: Float[Tensor, "*lead state"],
        step: Float[Tensor, "*lead"],
        episode: Float[Tensor, "*lead"],
    ) -> tuple[Shaped[Tensor, "*lead entry"], Float[Tensor, "*lead state"]]:
        """What the policy reads at a step (observation, belief, clock), and the encoder's memory after it."""
        tasks, lead = self.tasks, percept.first.shape
        seen = evidence(percept, tasks.observation_space, tasks.action_space).flatten(0, -2)
        belief, state = self.believing(seen[None], state.flatten(0, -2))
        found = Belief(*(part[0].unflatten(0, lead) for part in belief))
        inputs = hyper_state(tasks, percept.observation, found, clock(tasks, step, episode))
        return inputs, state.unflatten(0, lead)


def hyper_state(
    tasks: TaskDistribution, observation: Shaped[Tensor, "*lead ..."], belief: Belief, *behind: Float[Tensor, "*lead _"]
) -> Shaped[Tensor, "*lead entry"]:
    """Observation and belief; as they are, log-variances far from zero would saturate a first layer."""
    believed = belief.mean, belief.log_variance - FIRST_LOG_VARIANCE
    return inputs_of(tasks.observation_space, observation, *believed, *behind)


def belief_in(inputs: Shaped[Tensor, "*lead entry"], latent: int) -> Belief:
    """The belief in what the policy reads, between observation and clock."""
    mean, spread = numbers_in(inputs, 2 * latent + CLOCK)[..., :-CLOCK].chunk(2, dim=-1)
    return Belief(mean, spread + FIRST_LOG_VARIANCE)


@checked
class VariBAD:
    """Meta-trains a belief and a policy that acts on it; adapting is believing.

    `net`, given the number of inputs and of the policy's parameters, builds a network of one's own for policy and value. Its
    modules are `encoder`, which may be the identity, `policy` and `value`, each linear in the end; its forward takes inputs
    (..., feature) and gives policy(encoder(inputs)) and value(encoder(inputs)) without its last axis. The policy acts without
    the value; its last layer begins small, the value's is rescaled as targets grow. It has no buffers and
    no dropout, and `config` says nothing of it.
    """

    name = "varibad"
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
        config, spaces = self.config, (tasks.observation_space, tasks.action_space)
        self.iteration, self.scale, self.own_net = 0, unit_scale(device), net is not None
        self.distribution = distribution_over(tasks.action_space)
        if config.transition_weight and is_read(tasks.observation_space):
            raise UsageError("varibad: transition_weight predicts vectors, not images, sounds or texts; set it to 0")
        build = net or (lambda inputs, outputs: ActorCritic(config, inputs, outputs))
        inputs = inputs_for(tasks.observation_space, 2 * config.latent_size + CLOCK, config)
        mine = built("varibad", build, inputs.size, self.distribution.size, "encoder", "policy", "value")
        self.net = behind(inputs.reader, mine)
        gains = {last_linear(self.net, "policy"): 0.01}
        self.weights = initial_weights(self.net, counter(seed, 0, "weights"), gains, device)
        if net:
            told = torch.zeros(3, inputs.size, device=device)
            tried("varibad", self.net, self.weights, (told,), (3, self.distribution.size), (3,))
            tried("varibad", *self.actor(), (told,), (3, self.distribution.size), part="policy behind encoder")
        self.value_head = value_head(self.net, self.weights)
        self.predicts = Predicts(config.reward_reads, config.reward_loss, config.transition_weight)
        self.model = belief_nets(*spaces, config.latent_size, config.belief_size, self.predicts, config, config.memory)
        active = active_evidence(*spaces, self.model["encoder"])
        spread = spread_gains(config.belief_size, active, "memory", "embedding") if config.initialisation == "spread" else {}
        self.model_weights = {
            name: initial_weights(each, counter(seed, 0, f"{name} weights"), spread if name == "encoder" else {}, device)
            for name, each in self.model.items()
        }
        self.optimiser = Adam(self.weights.values(), lr=config.learning_rate, eps=1e-5)
        self.model_parameters = [weight for weights in self.model_weights.values() for weight in weights.values()]
        self.model_optimiser = Adam(self.model_parameters, lr=config.belief_rate)
        like = as_records(tasks, some_experience(tasks, device), trial_steps(tasks))
        self.replay = Replay(1, config.buffer_trials, config.trials, like=like, device=device)
        reached = inputs_for(tasks.observation_space, 2 * config.latent_size, config)
        self.novelty = Novelty(reached, config.belief_size, config.belief_rate, seed=seed, device=device)
        self.bonuses = {name: no_moments((), device) for name in ("novelty", "error")}
        """The moments of the bonuses' discounted sums."""

    def explorer(self) -> BeliefPolicy:
        (net, mine), encoder = self.actor(), self.model["encoder"]
        told = copied(self.model_weights["encoder"])
        return BeliefPolicy(net, copied(mine), encoder, told, self.tasks, self.distribution)

    def actor(self) -> tuple[nn.Module, Weights]:
        """What acts, without the value: reader, encoder and policy, or, where there is nothing before it, the policy alone.

        Stored sessions know these by their names.
        """
        names = [name for name in ("reader", "encoder", "policy") if hasattr(self.net, name)]
        parts: OrderedDict[str, nn.Module] = OrderedDict((part, getattr(self.net, part)) for part in names)
        if isinstance(parts["encoder"], nn.Identity) and "reader" not in parts:
            return parts["policy"], within("policy.", self.weights)
        return nn.Sequential(parts), {name: w for name, w in self.weights.items() if name.split(".")[0] in parts}

    def adapt(self, policy: BeliefPolicy, experience: Experience) -> BeliefPolicy:
        """Carries the belief over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config, policy = self.config, self.explorer()
        experience = collected_trials(work, self, policy, config.trials)
        records = as_records(self.tasks, experience, trial_steps(self.tasks))
        bonus, metrics = self.bonus(experience, records)
        batch, measured = self.prepare(policy, experience, bonus)
        self.replay.extend(ALL.expand(config.trials), records)
        for optimiser, rate in ((self.optimiser, config.learning_rate), (self.model_optimiser, config.belief_rate)):
            optimiser.param_groups[0]["lr"] = rate * left(config.anneal_iterations, self.iteration)
        parts: dict[str, Tensor] = {}
        early = self.iteration < config.early_iterations
        for number in range(config.early_updates if early else config.belief_updates):
            parts |= self.update_belief(counter(self.seed, self.iteration, "belief", number))
        generator = counter(self.seed, self.iteration, "minibatches")
        for minibatch in ppo.minibatches(batch, config.n_epochs, config.minibatches, generator):
            parts |= self.update(minibatch)
        self.iteration += 1
        return metrics | measured | numbers(parts)

    def update_belief(self, generator: Generator) -> dict[str, Tensor]:
        """One step of the optimiser of encoder and decoders."""
        config, drawn = self.config, self.replay.sample(ALL, self.config.belief_batch, generator)
        trials = self.trials({name: value[0] for name, value in drawn.items()})
        term, noise = terms(trials, min(config.belief_terms, trials.valid.shape[1]), config.latent_size, generator)
        total, parts = negative_elbo(self.model, self.model_weights, trials, term, noise, self.predicts, config.kl_weight)
        descend(self, total, self.model_optimiser, self.model_parameters, max_norm=config.max_grad_norm, lower="belief-rate")
        return parts

    def trials(self, records: Records) -> Trials:
        """Recorded trials as the belief's model reads them."""
        return as_trials(records, self.tasks.observation_space, self.tasks.action_space, self.predicts)

    def beliefs(self, experience: Experience) -> Belief:
        """What was believed at each step."""
        return belief_in(experience.act.notes["inputs"], self.config.latent_size)

    @torch.no_grad()
    def values(self, inputs: Shaped[Tensor, "*lead entry"]) -> Float[Tensor, "*lead"]:
        """The value of what the policy reads, in the reward's own unit."""
        return self.scale.restore(functional_call(self.net, self.weights, (inputs,))[1])

    def bonus(self, experience: Experience, records: Records) -> tuple[Float[Tensor, "task lane time"], Metrics]:
        """HyperX's bonuses for each step (Zintgraf et al. 2021, sec. 4), and what they come to."""
        config, valid, found = self.config, experience.valid, {}
        # the belief after each step; the last one is acted on by nobody and not recorded: the one before stands in
        belief = Belief(*(torch.cat([part[..., 1:, :], part[..., -1:, :]], dim=-2) for part in self.beliefs(experience)))
        if config.novelty_weight:
            reached = hyper_state(self.tasks, experience.transition.arrival, belief)
            found["novelty"] = self.novelty(reached)
            self.novelty.learn(reached[valid], config.minibatches, counter(self.seed, self.iteration, "novelty"))
        if config.error_weight:
            lived = {name: value if name == "ending" else value[:, : valid.shape[-1]] for name, value in records.items()}
            trials = self.trials(lived)
            error = surprise(self.model, self.model_weights, belief.mean.flatten(0, 1), trials, self.predicts)
            found["error"] = error.view_as(valid)
        total, share = torch.zeros_like(experience.transition.reward), left(config.bonus_iterations, self.iteration, least=0.0)
        for name, each in found.items():
            self.bonuses[name] = discounted_scale(self.bonuses[name], each, valid, config.gamma)
            found[name] = share * getattr(config, f"{name}_weight") * each / self.bonuses[name].std.to(each)
            total = total + found[name]
        return total, {f"rollout/{name}_bonus": masked_mean(each, valid).item() for name, each in found.items()}

    def prepare(self, policy: BeliefPolicy, experience: Experience, bonus: Tensor) -> tuple[ppo.Batch, Metrics]:
        """Turns experience into single steps, moving the value scale on to their targets."""
        config, transition, valid, inputs = self.config, experience.transition, experience.valid, experience.act.notes["inputs"]
        value, reward = self.values(inputs), transition.reward + bonus
        if config.credit == "trial":
            advantage = trial_advantages(reward, value, valid, config.gamma, config.gae_lambda)
        else:
            limits = ppo.time_limits(experience)
            at_limits = torch.zeros_like(value).index_put(limits.at, self.values(beyond(policy, experience, limits)))
            ends = transition.terminated, transition.truncated
            advantage = episode_advantages(reward, value, at_limits, *ends, valid, config.gamma, config.gae_lambda)
        # no gradient reaches the encoder: beliefs are what they were when the action was taken
        batch, self.scale, metrics = ppo.batch_of(
            experience, inputs, value, advantage, self.scale, self.value_head, config.value_rate
        )
        return ppo.Batch(*(values[valid] for values in batch)), trial_metrics(self.tasks, experience) | metrics

    def update(self, batch: ppo.Batch) -> dict[str, Tensor]:
        """One step of PPO's optimiser."""
        config, (parameters, value) = self.config, functional_call(self.net, self.weights, (batch.inputs,))
        ent_coef = config.ent_coef * left(config.anneal_iterations, self.iteration)
        total, parts = ppo.loss(self.distribution, parameters, value, batch, config.clip_range, config.vf_coef, ent_coef)
        [norm] = descend(self, total, self.optimiser, self.weights.values(), max_norm=config.max_grad_norm)
        return parts | {"train/grad_norm": norm}

    def known(self, trial: Trial) -> Known:
        """The belief at each step, and the one with which the last step was taken."""
        beliefs = [self.beliefs(experience) for experience in trial.episodes]
        mean, std = [each.mean[:, 0] for each in beliefs], [each.std[:, 0] for each in beliefs]
        last = trial.episodes[-1].valid[:, 0].sum(1) - 1
        return Known("belief", mean[-1][torch.arange(len(last), device=last.device), last], Believed(mean, std))

    def retrace(self, trial: Trial, task: int) -> Retraced:
        """What a lane saw makes the belief, which the policy reads beside what it sees now."""
        policy, tasks, percept = trial.policies[0], self.tasks, trial.percept(task)
        told = evidence(percept, tasks.observation_space, tasks.action_space)[0, 0]
        told = read(policy.encoder, policy.encoder_weights, told).detach().requires_grad_()
        nothing = torch.zeros(len(told), 2 * self.config.latent_size + CLOCK, device=told.device)
        seen = inputs_of(tasks.observation_space, percept.observation[0, 0], nothing)
        now = read(policy.net, policy.weights, seen)[:, : -nothing.shape[1]].detach().requires_grad_()
        start = told.new_zeros(1, policy.encoder.state_size)
        belief, _ = functional_call(policy.encoder, policy.encoder_weights, (told[:, None], start))
        mean, log_variance = (part[:, 0] for part in belief)
        passed = clock(tasks, *counted(percept))[0, 0]
        inputs = torch.cat([now, mean, log_variance - FIRST_LOG_VARIANCE, passed], dim=1)
        parameters = functional_call(policy.net, policy.weights, (inputs,))
        return Retraced([told, now], policy.distribution.log_prob(parameters, trial.action(task)))

    def foretold(
        self, believed: tuple[Tensor, Tensor], arrivals: Shaped[Tensor, "place ..."], samples: int
    ) -> Float[Tensor, "step place"] | None:
        """The chance of each observation to pay where a step arrives there; None where the decoder doesn't tell."""
        if (self.config.reward_loss, self.config.reward_reads) != ("bernoulli", "arrival"):
            return None
        places = inputs_of(self.tasks.observation_space, arrivals.to(self.device))
        return paying(self.model, self.model_weights, believed, places, samples, counter(self.seed, 0, "samples of beliefs"))

    def state_dict(self) -> State:
        weights = {"policy": self.weights} | self.model_weights
        return {
            "iteration": self.iteration,
            "weights": {name: {key: weight.detach() for key, weight in each.items()} for name, each in weights.items()},
            "optimiser": adam_state(self.optimiser),
            "model_optimiser": adam_state(self.model_optimiser),
            "value_scale": self.scale._asdict(),
            "novelty": self.novelty.state_dict(),
            "bonuses": {name: moments._asdict() for name, moments in self.bonuses.items()},
            "replay": self.replay.ledger(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        patterns = {
            "iteration": COUNTED,
            "optimiser": adam_fits(self.optimiser),
            "model_optimiser": adam_fits(self.model_optimiser),
            "value_scale": scale_fits,
            "novelty": self.novelty.fits,
            "bonuses": {name: moments_fit(moments) for name, moments in self.bonuses.items()},
        }
        require_fit("", state, {**self.state_dict(), **patterns})
        replay = self.replay.read(state["replay"])
        self.iteration = state["iteration"]
        for name, weights in ({"policy": self.weights} | self.model_weights).items():
            copy_into(weights, state["weights"][name])
        load_adam_state(self.optimiser, state["optimiser"])
        load_adam_state(self.model_optimiser, state["model_optimiser"])
        self.scale = stored_scale(state["value_scale"], self.device)
        self.novelty.load_state_dict(state["novelty"])
        for name, moments in state["bonuses"].items():
            self.bonuses[name] = Moments(**{key: value.to(self.device) for key, value in moments.items()})
        self.replay.take(replay)


@torch.no_grad()
def beyond(policy: BeliefPolicy, experience: Experience, limits: ppo.Limits) -> Shaped[Tensor, "end entry"]:
    """What the policy would read where episodes arrived at their time limits, if they went on."""
    inputs, _ = policy.read(limits.percept, experience.act.notes["state"][limits.at], limits.step, limits.episode)
    return inputs
