"""Off-policy recurrent actor-critic: SAC or TD3 over whole trials from replay (Ni et al. 2022, arXiv:2110.05038).

Actor and critics each read the trial so far, observations, actions, rewards and episode ends, with a memory of their own, and
learn from trials of the past. Adapting is remembering, as in RL2; a trial is learnt from many times, which saves steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.replay import Replay
from quickstudy.data.session import Session
from quickstudy.errors import UsageError, require_at_least, require_positive, require_rates, require_share
from quickstudy.insight import Known, Retraced, Trial
from quickstudy.nets import options
from quickstudy.nets.networks import (
    Weights,
    bound,
    copied,
    copy_into,
    encoder,
    follow,
    head,
    initial_weights,
    last_layer,
    spread_gains,
    tried,
)
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.nets.packed import Packed, PackedEncoder
from quickstudy.nets.reader import behind, read
from quickstudy.nets.soft import SoftActions, aimed_entropy, point_actions, soft_actions
from quickstudy.nets.values import ValueScale, follow_targets, preserve_values, scale_fits, stored_scale, unit_scale
from quickstudy.ops.fit import COUNTED, require_fit
from quickstudy.ops.tree import as_mapping, tensors_in
from quickstudy.parts import soft
from quickstudy.parts.clock import active_inputs, counted, first_memory, left, timed_inputs, timed_percept, with_clock
from quickstudy.parts.collecting import collected_trials, numbers, require_shards, some_experience, trial_metrics
from quickstudy.parts.descend import descend
from quickstudy.parts.remembering import prioritise, read_replay, replay_state, take_replay
from quickstudy.parts.trials import Batch, batch_of, mixed_returns, records_of, returns_of, squared_error
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What the recurrent actor-critic can be told."""

    trials: int = 16
    """Trials collected in a meta-iteration, each on a task of its own."""
    updates: int = 0
    """Gradient steps in a meta-iteration; 0: as many as `update_every` says."""
    update_every: int = 40
    """Steps lived for each gradient step, where `updates` doesn't say how many there are."""
    batch_size: int = 16
    """Trials, or slices of trials, that a gradient step learns from."""
    buffer_trials: int = 4096
    """Trials that are kept, the newest."""
    buffer_on_disk: bool = False
    """Keep them in a memory-mapped file."""
    prioritised: float = 0.0
    """Draw trials by their mean TD error to this power (Schaul et al. 2016); 0: all alike."""
    importance: float = 0.5
    """How much of the bias of drawing by priority is undone: 0 nothing, 1 all."""
    slice_length: int = 0
    """Learn from stretches of so many steps, each from an empty memory; 0: from whole trials."""
    method: Literal["sac", "td3"] = "sac"
    """Soft actor-critic, or TD3 (continuous actions only)."""
    encoder: options.Encoder = "layer"
    memory: options.Memory = "gru"
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 1
    activation: options.Activation = "relu"
    layer_norm: options.LayerNorm = False
    vision: options.Vision = "auto"
    language: options.Language = "gru"
    film: options.Film = False
    initialisation: options.Initialisation = "spread"
    shortcut: bool = True
    """Actor and critics also read what is seen now, encoded, beside what is remembered."""
    shared_encoder: bool = False
    """The actor reads the critics' memory, which only the critics' errors train, and has none of its own."""
    learning_rate: float = 1e-3
    """Adam's step size for the critics."""
    policy_rate: float = 1e-3
    """Adam's step size for the actor; a slower one doesn't run after the critics' first errors where rewards are rare."""
    gamma: float = 0.99
    """Discount factor, a step of the trial."""
    trace: float = 0.0
    """How much of a target is made of the steps that followed, with no correction for their age; 0: the next value alone."""
    credit: Literal["trial", "episode"] = "trial"
    """How far an action answers for rewards: to the end of the trial, or of its episode (for tasks that reward survival)."""
    value_rate: float = 0.1
    """How fast the scale of the values follows the returns that are lived, a meta-iteration; 0: they have the rewards' own."""
    tau: float = 0.02
    """How fast the target networks follow, a gradient step."""
    entropy_share: float = 0.3
    """SAC, discrete actions: the part of the highest entropy that the temperature aims at."""
    temperature: float = 0.1
    """SAC: the temperature to begin with, on the scale of the values."""
    temperature_rate: float = 1e-2
    """SAC: Adam's step size for the logarithm of the temperature."""
    exploration_noise: float = 0.1
    """TD3: the deviation of the noise on actions that are tried, in half-ranges."""
    anneal_iterations: int = 0
    """Meta-iterations over which step size and entropy share fall linearly, to a hundredth; 0: they stay."""
    max_grad_norm: float = 1.0
    """Gradients of actor and critics are each scaled down to this norm."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(1, "recurrent-sac", self, "trials", "update_every", "batch_size", "buffer_trials", "shards")
        require_at_least(0, "recurrent-sac", self, "updates", "prioritised", "importance", "slice_length", "anneal_iterations")
        require_shards("recurrent-sac", self, "trials")
        require_share("recurrent-sac", self, "gamma", "tau")
        require_share("recurrent-sac", self, "trace", "value_rate", zero=True)
        options.require_network("recurrent-sac", self)
        require_rates("recurrent-sac", self)
        require_positive("recurrent-sac", self, "temperature", "exploration_noise")
        if self.prioritised and self.slice_length:
            raise UsageError("recurrent-sac: prioritised draws whole trials; set slice_length to 0")


POLICY_DELAY = {"sac": 1, "td3": 2}
"""Gradient steps of the critics for each of the policy (Fujimoto et al. 2018, sec. 5.2)."""


class Net(NamedTuple):
    """Skeletons; actor and critics have weights each for `encoder`."""

    encoder: Any
    """A module: what is seen, (row, feature), states to begin with, (trial, state), and `sizes`, the rows of each step
    (`nets.packed`) -> the state after each row, (row, state). `state_size` is its length; the heads read its first
    `hidden_size` numbers."""
    policy: nn.Module
    """(*lead, hidden) -> parameters of the actions, (*lead, size)."""
    critics: nn.Module
    """(*lead, hidden) and the action's vector, two arguments -> two critics, (critic, *lead, value)."""

    def shown(self, state: Float[Tensor, "*lead state"]) -> Float[Tensor, "*lead hidden"]:
        """What the heads read of a memory's state."""
        return state[..., : self.encoder.hidden_size]


Build = Callable[[Config, TaskDistribution, SoftActions], Net] | None


class Shortcut(nn.Module):
    """A `PackedEncoder` whose state has what was read at the step before the memory's own, so that heads see both."""

    def __init__(self, inputs: int, config: Config):
        super().__init__()
        self.encoder, self.read_size = encoder(inputs, config)
        self.memory = Packed(config.memory, self.read_size, config.hidden_size)
        self.state_size, self.hidden_size = (self.read_size + size for size in (self.memory.state_size, config.hidden_size))

    def forward(
        self, inputs: Float[Tensor, "row feature"], state: Float[Tensor, "sequence state"], sizes: list[int]
    ) -> Float[Tensor, "row state"]:
        read = self.encoder(inputs)
        return torch.cat([read, self.memory(read, state[:, self.read_size :], sizes)], dim=-1)


def net_for(config: Config, tasks: TaskDistribution, actions: SoftActions) -> Net:
    """The method's own networks."""
    inputs = timed_inputs(tasks, config).size
    memory = Shortcut(inputs, config) if config.shortcut else PackedEncoder(inputs, config.memory, config)
    hidden = memory.hidden_size
    twin = soft.Twin(lambda: head(hidden + actions.action_size, actions.values, config), "heads")
    return Net(memory, head(hidden, actions.size, config), twin)


class Side(NamedTuple):
    """The weights of the actor, or of the critics."""

    encoder: Weights
    head: Weights


class Learned(NamedTuple):
    """What is learnt."""

    actor: Side
    critic: Side
    log_temperature: Tensor


@dataclass(frozen=True)
class RememberingPolicy:
    """Acts from a memory of the trial so far; `start` is the memory it resumes from, None at a trial's beginning."""

    net: Net
    actor: Side
    tasks: TaskDistribution
    actions: SoftActions
    start: Memory | None = None

    @cached_property
    def acting(self) -> tuple[nn.Module, nn.Module]:
        """Encoder and policy with the actor's weights."""
        return bound(self.net.encoder, self.actor.encoder), bound(self.net.policy, self.actor.head)

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        return first_memory(tasks, lanes, self.net.encoder.state_size, tensors_in(self.actor)[0].device)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        lead, episode = percept.first.shape, memory["episode"] + percept.first
        inputs = timed_percept(self.tasks, percept, memory["step"], episode).flatten(0, 1)
        encoder, policy = self.acting
        # not len(), which an export would take for a constant
        rows = [inputs.shape[0]]
        state = encoder(inputs, memory["state"].flatten(0, 1), rows).unflatten(0, lead)
        parameters = policy(self.net.shown(state))
        action = self.actions.mode(parameters) if generator is None else self.actions.sample(parameters, generator)
        return Act(action, None, {}), {"state": state, "step": memory["step"] + 1, "episode": episode}


def remembered(
    net: Net, side: Side, inputs: Shaped[Tensor, "row entry"], sizes: list[int], state: Tensor | None = None
) -> Float[Tensor, "row state"]:
    """The state of one side's memory after each step, from a state (trial, state) or from nothing."""
    if state is None:
        state = tensors_in(side.encoder)[0].new_zeros(sizes[0], net.encoder.state_size)
    return functional_call(net.encoder, side.encoder, (inputs, state, sizes))


class Held(NamedTuple):
    """The states of the memories of actor and critics."""

    actor: Float[Tensor, "*lead state"]
    critic: Float[Tensor, "*lead state"]

    def place(self, net: Net) -> soft.Place:
        """Both as the heads read them."""
        return soft.Place(net.shown(self.actor), net.shown(self.critic))


def heads_of(learned: Learned) -> soft.Heads:
    """The heads of actor and critics."""
    return soft.Heads(learned.actor.head, learned.critic.head, learned.log_temperature)


@torch.no_grad()
def targets(
    net: Net,
    actions: SoftActions,
    config: Config,
    learned: Learned,
    batch: Batch,
    held: Held,
    scale: ValueScale,
    noise: Float[Tensor, "row noise"],
) -> tuple[Float[Tensor, "row"], Bool[Tensor, "row"]]:
    """What the critics approach, r + gamma V(next), or its mixture with later steps; and which steps have such a target.

    V is that of what is held after the next step of the trial. Where an episode reached its time limit and only episodes count,
    both memories read once more, as if it had gone on. The last step of a slice that the trial goes on from has no target.
    Critics and temperature are on a scale, targets on that of the rewards.
    """
    play, heads = soft.ActorCritic(net.policy, net.critics, actions), heads_of(learned)
    value, entropy = soft.soft_value(play, heads, heads.critics, held.place(net), noise)
    value, bonus = scale.restore(value).float(), learned.log_temperature.exp() * entropy * scale.std.float()
    following = batch.layout.following
    goes_on = following < len(value)
    ahead, bonus = (torch.cat([part, part.new_zeros(1)])[following] for part in (value, bonus))
    (at,) = batch.leaves.nonzero(as_tuple=True)
    if batch.arrival is not None and len(at):
        read, sizes = batch.arrival, [len(at)]
        beyond = Held(
            remembered(net, learned.actor, read, sizes, held.actor[at]),
            remembered(net, learned.critic, read, sizes, held.critic[at]),
        )
        there, _ = soft.soft_value(play, heads, heads.critics, beyond.place(net), noise[at])
        ahead = ahead.index_put((at,), scale.restore(there).float())
    discount, known = config.gamma * ~batch.ends, goes_on | batch.ends | batch.leaves
    if not config.trace:
        return batch.reward + discount * ahead, known
    trace = config.trace * (goes_on & ~batch.leaves)
    return mixed_returns(batch.reward, discount, ahead, bonus, trace, batch.layout.sizes), known


def try_net(inputs: int, net: Net, actions: SoftActions, actor: Side, critic: Side) -> None:
    """Raises UsageError where networks of one's own don't give what is asked of them."""
    sizes = {name: getattr(net.encoder, name, None) for name in ("state_size", "hidden_size")}
    if not all(isinstance(size, int) and size > 0 for size in sizes.values()):
        raise UsageError(f"recurrent-sac: the encoder of a net needs whole numbers state_size and hidden_size, not {sizes}")
    seen = torch.zeros(3, inputs, device=tensors_in(actor)[0].device)
    state = seen.new_zeros(3, net.encoder.state_size)
    tried("recurrent-sac", net.encoder, actor.encoder, (seen, state, [3]), tuple(state.shape), part="encoder")
    place = Held(state, state).place(net)
    soft.tried_heads("recurrent-sac", soft.ActorCritic(net.policy, net.critics, actions), actor.head, critic.head, place)


@checked
class RecurrentSAC:
    """Meta-trains a recurrent policy on trials from replay; adapting is remembering.

    `net(config, tasks, actions)` builds networks of one's own, a `Net` whose fields say what each reads and gives; a memory
    reads `timed_inputs(tasks, config).size` numbers at a step (`parts/clock.py`), `actions` has the sizes of actions. Their
    first weights are drawn here, orthogonal matrices and zero biases.
    """

    name = "recurrent-sac"
    lanes = 1
    Config = Config

    def __init__(
        self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu", net: Build = None
    ):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration, self.own_net = 0, net is not None
        config = self.config
        if config.method == "sac":
            self.actions = soft_actions(tasks.action_space, config.entropy_share)
        else:
            self.actions = point_actions(tasks.action_space, config.exploration_noise)
        inputs = timed_inputs(tasks, config)
        self.net = soft.built("recurrent-sac", Net, lambda: (net or net_for)(config, tasks, self.actions))
        self.net = self.net._replace(encoder=behind(inputs.reader, self.net.encoder))
        generator = counter(seed, 0, "weights")

        spread = {}
        if not net and config.initialisation == "spread":
            before = "" if config.encoder == "none" else "encoder"
            spread = spread_gains(config.hidden_size, active_inputs(tasks, inputs), "memory", before)

        def side(heads: nn.Module, ends: Mapping[str, float]) -> Side:
            memory = initial_weights(self.net.encoder, generator, spread, device)
            return Side(memory, initial_weights(heads, generator, {} if net else ends, device))

        critic = side(self.net.critics, soft.twin_end(config, "heads"))
        actor = side(self.net.policy, {f"{last_layer(config)}.": soft.SMALL})
        if net:
            try_net(inputs.size, self.net, self.actions, actor, critic)
        if config.shared_encoder:
            actor = actor._replace(encoder=critic.encoder)
        self.learned = Learned(actor, critic, soft.first_temperature(config.temperature, device))
        self.target = copied(self.learned)
        self.scale, self.scaled = unit_scale(device), net is None and config.value_rate > 0
        groups = [
            {"params": tensors_in(critic), "lr": config.learning_rate},
            {"params": self.actor_alone(), "lr": config.policy_rate},
            {"params": [self.learned.log_temperature], "lr": config.temperature_rate},
        ]
        self.optimiser = Adam(groups)  # gradients of sparse rewards are tiny: a large eps would stop them
        kinds = {"on_disk": config.buffer_on_disk, "prioritised": config.prioritised > 0}
        like = records_of(tasks, config.credit, some_experience(tasks, device))
        self.replay = Replay(1, config.buffer_trials, config.trials, **kinds, like=like, device=device)

    def actor_alone(self) -> list[Tensor]:
        """The weights that the actor doesn't share with the critics."""
        return tensors_in(self.learned.actor.head if self.config.shared_encoder else self.learned.actor)

    def explorer(self) -> RememberingPolicy:
        return RememberingPolicy(self.net, copied(self.learned.actor), self.tasks, self.actions)

    def adapt(self, policy: RememberingPolicy, experience: Experience) -> RememberingPolicy:
        """Carries the memory over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config, tasks = self.config, self.tasks
        experience = collected_trials(work, self, self.explorer(), config.trials)
        records = records_of(tasks, config.credit, experience)
        self.replay.extend(torch.zeros(config.trials, dtype=torch.long), records)
        if self.scaled:
            self.follow_returns(batch_of(records))
        for group, rate in zip(self.optimiser.param_groups, (config.learning_rate, config.policy_rate), strict=False):
            group["lr"] = rate * left(config.anneal_iterations, self.iteration)
        draws = counter(self.seed, self.iteration, "replay")
        noise = counter(self.seed, self.iteration, "noise", 0, self.device)
        parts: dict[str, Tensor] = {}
        updates = config.updates or max(1, round(float(experience.valid.sum()) / config.update_every))
        for number in range(updates):
            batch, weight, leaf = self.draw(draws)
            moves_policy = (self.iteration * updates + number) % POLICY_DELAY[config.method] == 0
            changed, error = self.update(batch, weight, noise, moves_policy)
            parts |= changed
            prioritise(self.replay, leaf, error, config.prioritised)
        self.iteration += 1
        return trial_metrics(tasks, experience) | numbers(parts)

    def follow_returns(self, lived: Batch) -> None:
        """Moves the scale of the values on to what was lived; no value moves with it (PopArt: van Hasselt et al. 2016)."""
        returns, every = returns_of(lived, self.config.gamma), torch.ones_like(lived.ends)
        before, self.scale = self.scale, follow_targets(self.scale, returns, every, self.config.value_rate)
        for side in (self.learned.critic, self.target.critic):
            for critic in range(2):
                last = f"heads.{critic}.{last_layer(self.config)}"
                preserve_values(side.head[f"{last}.weight"], side.head[f"{last}.bias"], before, self.scale)

    def draw(self, generator: Generator) -> tuple[Batch, Float[Tensor, "trial"], Int[Tensor, "leaf"]]:
        """A batch, the weight of each trial's error in the loss, and, where trials have priorities, their leaves."""
        config, replay = self.config, self.replay
        alike, row = torch.ones(config.batch_size, device=self.device), torch.zeros(1, dtype=torch.long)
        if replay.priorities is not None:
            task, number, leaf = replay.draw_by_priority(config.batch_size, generator)
            weight = replay.priorities.weights(leaf, config.importance).to(self.device)
            return batch_of(replay.at(task, number)), weight, leaf
        if config.slice_length:
            # one step more, for the value of what follows the last
            records = replay.slices(row, config.batch_size, config.slice_length + 1, generator)
        else:
            records = replay.sample(row, config.batch_size, generator)
        return batch_of({name: value[0] for name, value in records.items()}), alike, row.expand(config.batch_size)

    def update(
        self, batch: Batch, weight: Float[Tensor, "trial"], noise: Generator, moves_policy: bool
    ) -> tuple[dict[str, Tensor], Float[Tensor, "trial"]]:
        """One step of the optimiser and of the target networks; also returns each trial's mean TD error."""
        net, actions, learned, target, config = self.net, self.actions, self.learned, self.target, self.config
        play, td3, sizes = soft.ActorCritic(net.policy, net.critics, actions), config.method == "td3", batch.layout.sizes
        judging = remembered(net, learned.critic, batch.inputs, sizes)
        acting = judging.detach() if config.shared_encoder else remembered(net, learned.actor, batch.inputs, sizes)
        aiming = learned._replace(actor=target.actor if td3 else learned.actor, critic=target.critic)
        ahead = Held(
            remembered(net, target.actor, batch.inputs, sizes) if td3 else acting.detach(),
            remembered(net, target.critic, batch.inputs, sizes),
        )
        drawn = actions.noise(tuple(batch.reward.shape), noise)
        aims, known = targets(net, actions, config, aiming, batch, ahead, self.scale, drawn)
        values = soft.values_of(play, learned.critic.head, Held(acting, judging).place(net), batch.action)
        total, error = squared_error(values, self.scale.normalise(aims), known, batch.layout.sequence, weight)
        parts = {"train/critic_loss": total, "train/value": aims.mean()}
        if moves_policy:
            drawn = torch.zeros_like(drawn) if td3 else actions.noise(tuple(batch.reward.shape), noise)
            aim = None if td3 else aimed_entropy(actions, left(config.anneal_iterations, self.iteration))
            climbed, found = soft.climb(play, heads_of(learned), Held(acting, judging.detach()).place(net), drawn, aim)
            total, parts = total + climbed, parts | found
        groups = self.actor_alone(), tensors_in(learned.critic)
        norms = descend(self, total, self.optimiser, *groups, max_norm=config.max_grad_norm)
        for ours, theirs in ((learned.critic, target.critic), *(((learned.actor, target.actor),) if td3 else ())):
            follow(theirs.encoder, ours.encoder, config.tau)
            follow(theirs.head, ours.head, config.tau)
        parts |= {"train/critic_grad_norm": norms[1]} | ({"train/policy_grad_norm": norms[0]} if moves_policy else {})
        return {name: part.detach() for name, part in parts.items()}, error

    def known(self, trial: Trial) -> Known:
        """What the memory holds."""
        return Known("memory", trial.episodes[-1].end_memory["state"][:, 0])

    def retrace(self, trial: Trial, task: int) -> Retraced:
        """From what is seen, through the actor's memory, to its actions; the clock is held fixed."""
        policy, percept = trial.policies[0], trial.percept(task)
        told = timed_percept(self.tasks, percept, *counted(percept))[0, 0]
        seen, inputs = with_clock(read(self.net.encoder, policy.actor.encoder, told))
        state = remembered(self.net, policy.actor, inputs, [1] * len(seen))
        parameters = functional_call(self.net.policy, policy.actor.head, (self.net.shown(state),))
        return Retraced([seen], self.actions.log_prob(parameters, trial.action(task)))

    def own(self) -> dict[str, Any]:
        """What is learnt, each part once."""
        learned = as_mapping(self.learned)
        if self.config.shared_encoder:
            del learned["actor"]["encoder"]
        return learned

    def state_dict(self) -> State:
        return {
            "iteration": self.iteration,
            "learned": self.own(),
            "target": as_mapping(self.target),
            "optimiser": adam_state(self.optimiser),
            **({"value_scale": self.scale._asdict()} if self.scaled else {}),
            **replay_state(self.replay),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        patterns: dict[str, Any] = {"iteration": COUNTED, "optimiser": adam_fits(self.optimiser)}
        patterns |= {"value_scale": scale_fits} if self.scaled else {}
        require_fit("", state, {**self.state_dict(), **patterns})
        replay = read_replay(self.replay, state)
        self.iteration = state["iteration"]
        copy_into(self.own(), state["learned"])
        copy_into(as_mapping(self.target), state["target"])
        load_adam_state(self.optimiser, state["optimiser"])
        self.scale = stored_scale(state["value_scale"], self.device) if self.scaled else self.scale
        take_replay(self.replay, replay, state)
