"""Off-policy recurrent actor-critic: SAC or TD3 over whole trials from replay (Ni et al. 2022, arXiv:2110.05038).

Actor and critics each read the trial so far, observations, actions, rewards and episode ends, with a memory of their own, and
learn from trials of the past. Adapting is remembering, as in RL2; a trial is learnt from many times, which saves steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.replay import Records, Replay
from quickstudy.data.rollout import Plan, collect, concatenate
from quickstudy.data.session import Session
from quickstudy.errors import NotFinite, UsageError, require_at_least
from quickstudy.nets.networks import Weights, copy_into, follow, initial_weights, multilayer, skeleton
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.nets.packed import Layout, PackedGRU, layout_of
from quickstudy.nets.soft import SoftActions, SquashedPoint, soft_actions
from quickstudy.ops.features import percept_size, percept_vector
from quickstudy.ops.returns import episode_returns
from quickstudy.ops.spaces import ranges_of
from quickstudy.ops.tree import as_mapping, tensors_in, tree_map
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, Shard, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What the recurrent actor-critic can be told."""

    trials: int = 64
    """Trials collected in a meta-iteration, each on a task of its own."""
    updates: int = 16
    """Gradient steps in a meta-iteration."""
    batch_size: int = 64
    """Trials, or slices of trials, that a gradient step learns from."""
    replay_size: int = 4096
    """Trials that are kept, the newest."""
    replay_on_disk: bool = False
    """Keep them in a memory-mapped file."""
    prioritised: float = 0.0
    """Draw trials by their mean TD error to this power (Schaul et al. 2016); 0: all alike."""
    importance: float = 0.5
    """How much of the bias of drawing by priority is undone: 0 nothing, 1 all."""
    slice_length: int = 0
    """Learn from stretches of so many steps, each from an empty memory; 0: from whole trials."""
    method: Literal["sac", "td3"] = "sac"
    """Soft actor-critic, or TD3 (continuous actions only)."""
    hidden_size: int = 64
    """Units of each encoder, memory and head."""
    shared_encoder: bool = False
    """The actor reads the critics' memory, which only the critics' errors train, and has none of its own."""
    learning_rate: float = 1e-3
    """Adam's step size for the critics."""
    policy_rate: float = 3e-4
    """Adam's step size for the actor: slower than the critics, it doesn't run after their first errors."""
    gamma: float = 0.98
    """Discount factor, a step of the trial."""
    trace: float = 0.0
    """How much of a target is made of the steps that followed, with no correction for their age; 0: the next value alone."""
    credit: Literal["trial", "episode"] = "trial"
    """How far an action answers for rewards: to the end of the trial, or of its episode (for tasks that reward survival)."""
    target_rate: float = 0.01
    """How fast the target networks follow, a gradient step."""
    entropy_share: float = 0.3
    """SAC, discrete actions: the part of the highest entropy that the temperature aims at."""
    temperature: float = 0.1
    """SAC: the temperature to begin with."""
    temperature_rate: float = 3e-2
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
        at_least_one = ("trials", "updates", "batch_size", "replay_size", "hidden_size", "shards")
        require_at_least(1, "recurrent-sac", self, *at_least_one)
        require_at_least(0, "recurrent-sac", self, "prioritised", "importance", "slice_length", "anneal_iterations")
        if self.trials % self.shards:
            raise UsageError(f"recurrent-sac: trials ({self.trials}) must be a multiple of shards ({self.shards})")
        if not 0 < self.gamma <= 1 or not 0 < self.target_rate <= 1:
            raise UsageError(f"recurrent-sac: gamma ({self.gamma}) and target_rate ({self.target_rate}) must be in (0, 1]")
        if not 0 <= self.trace <= 1:
            raise UsageError(f"recurrent-sac: trace ({self.trace}) must be in [0, 1]")
        if self.temperature <= 0 or self.exploration_noise <= 0:
            raise UsageError("recurrent-sac: temperature and exploration_noise must be above 0")
        if self.prioritised and self.slice_length:
            raise UsageError("recurrent-sac: prioritised draws whole trials; set slice_length to 0")


POLICY_DELAY = {"sac": 1, "td3": 2}
"""Gradient steps of the critics for each of the policy (Fujimoto et al. 2018, sec. 5.2)."""


def actions_of(tasks: TaskDistribution, config: Config) -> SoftActions:
    """The actions of a space as the method takes them; UsageError where it can't."""
    space = tasks.action_space
    if config.method == "sac":
        return soft_actions(space, config.entropy_share)
    if isinstance(space, spaces.Box) and space.shape and bool(ranges_of(space).bounded.all()):
        return SquashedPoint(space, config.exploration_noise)
    raise UsageError(f"recurrent-sac: td3 takes a Box with bounds for actions, not {space}; set method to sac")


class Encoder(nn.Module):
    """The memory of an actor or of critics: what it holds after each step."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.encoder = nn.Linear(inputs, hidden)
        self.memory = PackedGRU(hidden, hidden)

    def forward(
        self, inputs: Float[Tensor, "row feature"], state: Float[Tensor, "trial hidden"], sizes: list[int]
    ) -> Float[Tensor, "row hidden"]:
        return self.memory(self.encoder(inputs).relu(), state, sizes)


class Critics(nn.Module):
    """Two critics over one memory."""

    def __init__(self, hidden: int, action: int, values: int):
        super().__init__()
        self.heads = nn.ModuleList(multilayer(hidden + action, hidden, 1, values, nn.ReLU) for _ in range(2))

    def forward(
        self, hidden: Float[Tensor, "*lead hidden"], action: Float[Tensor, "*lead action"]
    ) -> Float[Tensor, "critic *lead value"]:
        inputs = torch.cat([hidden, action], dim=-1)
        return torch.stack([head(inputs) for head in self.heads])


class Net(NamedTuple):
    """Skeletons."""

    encoder: Encoder
    policy: nn.Sequential
    critics: Critics


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

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        if self.start is not None:
            return self.start
        bias = self.actor.encoder["encoder.bias"]
        zero = torch.zeros(tasks, lanes, device=bias.device)
        return {"state": zero[..., None].repeat(1, 1, len(bias)), "step": zero, "episode": zero}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        lead, episode = percept.first.shape, memory["episode"] + percept.first
        inputs = inputs_of(self.tasks, percept, memory["step"], episode).flatten(0, 1)
        before = memory["state"].flatten(0, 1)
        state = functional_call(self.net.encoder, self.actor.encoder, (inputs, before, [len(inputs)])).unflatten(0, lead)
        parameters = functional_call(self.net.policy, self.actor.head, (state,))
        action = self.actions.mode(parameters) if generator is None else self.actions.sample(parameters, generator)
        return Act(action, None, {}), {"state": state, "step": memory["step"] + 1, "episode": episode}


def inputs_of(
    tasks: TaskDistribution, percept: Percept, step: Float[Tensor, "*lead"], episode: Float[Tensor, "*lead"]
) -> Float[Tensor, "*lead feature"]:
    """What a memory reads at a step: the percept, and how much of the trial has passed, in steps and in episodes."""
    steps = (step / (tasks.episodes_per_trial * tasks.max_episode_steps)).clamp(max=1)
    episodes = (episode / tasks.episodes_per_trial).clamp(max=1)
    vector = percept_vector(percept, tasks.observation_space, tasks.action_space)
    return torch.cat([vector, steps[..., None], episodes[..., None]], dim=-1)


def records_of(tasks: TaskDistribution, credit: Literal["trial", "episode"], experience: Experience) -> Records:
    """Each trial as a record of the longest trial's length, time first.

    By trial, all that follows counts: an episode's end is none, and the trial ends with its last step. By episode, a
    termination ends all, and a time limit is answered for by where the episode had arrived.
    """
    percept, transition, valid = experience.percept, experience.transition, experience.valid
    step = torch.arange(valid.shape[-1], device=valid.device).float().expand(valid.shape)
    episode, never = percept.first.float().cumsum(-1), torch.zeros_like(valid)
    last = valid & ~torch.cat([valid[..., 1:], never[..., :1]], dim=-1)
    fields = {
        "inputs": inputs_of(tasks, percept, step, episode),
        "action": experience.act.action,
        "reward": transition.reward,
        "ends": last if credit == "trial" else transition.terminated,
        "leaves": never if credit == "trial" else transition.truncated,
        "valid": valid,
    }
    if credit == "episode":
        reached = (transition.arrival, never, experience.act.action, transition.reward, transition.arrival, never, never)
        fields["arrival"] = inputs_of(tasks, Percept(*reached), step + 1, episode)
    missing = tasks.episodes_per_trial * tasks.max_episode_steps - valid.shape[-1]
    trials = {name: value.flatten(0, 1) for name, value in fields.items()}
    return {
        name: torch.cat([value, value.new_zeros(len(value), missing, *value.shape[2:])], dim=1)
        for name, value in trials.items()
    }


class Batch(NamedTuple):
    """Trials, or slices of them, as rows: the first steps of all, the longest trial first, then the second steps, and so on."""

    inputs: Float[Tensor, "row feature"]
    action: Shaped[Tensor, "row ..."]
    reward: Float[Tensor, "row"]
    ends: Bool[Tensor, "row"]
    """Nothing that comes after this step is counted."""
    leaves: Bool[Tensor, "row"]
    """What comes after this step is not the next step of the trial, but what `arrival` would lead to."""
    arrival: Float[Tensor, "row feature"] | None
    """What the memories would read if the episode went on beyond its time limit; None where `leaves` never holds."""
    layout: Layout


def batch_of(records: Mapping[str, Shaped[Tensor, "trial time ..."]]) -> Batch:
    """Records as the update reads them."""
    layout = layout_of(records["valid"])
    rows = {name: layout.rows(value) for name, value in records.items()}
    inputs, action, reward, ends, leaves = (rows[name] for name in ("inputs", "action", "reward", "ends", "leaves"))
    return Batch(inputs, action, reward, ends, leaves, rows.get("arrival"), layout)


def remembered(
    net: Net,
    side: Side,
    inputs: Float[Tensor, "row feature"],
    sizes: list[int],
    state: Float[Tensor, "trial hidden"] | None = None,
) -> Float[Tensor, "row hidden"]:
    """What the memory of one side holds after each step, from a state or from nothing."""
    if state is None:
        bias = side.encoder["encoder.bias"]
        state = torch.zeros(sizes[0], len(bias), device=bias.device)
    return functional_call(net.encoder, side.encoder, (inputs, state, sizes))


class Held(NamedTuple):
    """What the memories of actor and critics hold."""

    actor: Float[Tensor, "*lead hidden"]
    critic: Float[Tensor, "*lead hidden"]


def soft_value(
    net: Net, actor: Weights, critic: Weights, actions: SoftActions, temperature: Tensor, held: Held, noise: Tensor
) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"]]:
    """The soft value of where two memories are, and the policy's entropy there, by the heads of actor and critics."""
    parameters = functional_call(net.policy, actor, (held.actor,))
    return actions.soft_value(
        parameters, lambda action: functional_call(net.critics, critic, (held.critic, action)), temperature, noise
    )


@torch.no_grad()
def targets(
    net: Net,
    actor: Side,
    critic: Side,
    actions: SoftActions,
    temperature: Tensor,
    config: Config,
    batch: Batch,
    held: Held,
    noise: Tensor,
) -> tuple[Float[Tensor, "row"], Bool[Tensor, "row"]]:
    """What the critics approach, r + gamma V(next), or its mixture with later steps; and which steps have such a target.

    V is that of what is held after the next step of the trial. Where an episode reached its time limit and only episodes count,
    both memories read once more, as if it had gone on. The last step of a slice that the trial goes on from has no target.
    """
    value, entropy = soft_value(net, actor.head, critic.head, actions, temperature, held, noise)
    following = batch.layout.following
    goes_on = following < len(value)
    ahead, bonus = (torch.cat([part, part.new_zeros(1)])[following] for part in (value, temperature * entropy))
    (at,) = batch.leaves.nonzero(as_tuple=True)
    if batch.arrival is not None and len(at):
        read, sizes = batch.arrival[at], [len(at)]
        beyond = Held(
            remembered(net, actor, read, sizes, held.actor[at]), remembered(net, critic, read, sizes, held.critic[at])
        )
        there, _ = soft_value(net, actor.head, critic.head, actions, temperature, beyond, noise[at])
        ahead = ahead.index_put((at,), there)
    trace = config.trace * (goes_on & ~batch.leaves)
    aims = mixed_returns(batch.reward, config.gamma * ~batch.ends, ahead, bonus, trace, batch.layout.sizes)
    return aims, goes_on | batch.ends | batch.leaves


def mixed_returns(
    reward: Float[Tensor, "row"],
    discount: Float[Tensor, "row"],
    ahead: Float[Tensor, "row"],
    bonus: Float[Tensor, "row"],
    trace: Float[Tensor, "row"],
    sizes: list[int],
) -> Float[Tensor, "row"]:
    """G = r + discount ((1 - trace) V(next) + trace (G(next) + bonus)): Peng's Q(lambda), uncorrected (Kozuno et al. 2021).

    `bonus` is what the next step's entropy is worth. With a trace of zero it is the target of one step.
    """
    later, aims = reward.new_zeros(0), []
    for r, d, v, b, t in zip(*(part.split(sizes)[::-1] for part in (reward, discount, ahead, bonus, trace)), strict=True):
        later = torch.cat([later, v[len(later) :]])
        later = r + d * (v + t * (later + b - v))
        aims.append(later)
    return torch.cat(aims[::-1])


def squared_error(
    values: Float[Tensor, "critic row"],
    aims: Float[Tensor, "row"],
    known: Bool[Tensor, "row"],
    trial: Int[Tensor, "row"],
    weight: Float[Tensor, "trial"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "trial"]]:
    """The critics' loss, trials weighted, and the mean size of each trial's TD error."""
    error = (values - aims) * known
    sums = torch.zeros(2, len(weight), device=weight.device).index_add(
        1, trial, torch.stack([error.detach().abs().mean(0), known.float()])
    )
    return 0.5 * (error.square() * weight[trial]).sum() / known.sum().clamp(min=1), sums[0] / sums[1].clamp(min=1)


def aimed_entropy(actions: SoftActions, share: float) -> float:
    """What is left of the entropy aimed at; one that is negative, as densities have it, stays."""
    return actions.target_entropy * (share if actions.target_entropy > 0 else 1.0)


def left(config: Config, iteration: int) -> float:
    """What is left of step size and entropy share in a meta-iteration."""
    return max(0.01, 1 - iteration / config.anneal_iterations) if config.anneal_iterations else 1.0


@checked
class RecurrentSAC:
    """Meta-trains a recurrent policy on trials from replay; adapting is remembering."""

    name = "recurrent-sac"
    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration = 0
        config = self.config
        self.actions = actions_of(tasks, config)
        inputs, hidden = percept_size(tasks.observation_space, tasks.action_space) + 2, config.hidden_size
        self.net = Net(
            skeleton(lambda: Encoder(inputs, hidden)),
            skeleton(lambda: multilayer(hidden, hidden, 1, self.actions.size, nn.ReLU)),
            skeleton(lambda: Critics(hidden, self.actions.action_size, self.actions.values)),
        )
        generator = counter(seed, 0, "weights")

        def side(head: nn.Module, gains: Mapping[str, float]) -> Side:
            return Side(
                initial_weights(self.net.encoder, generator, {}, device), initial_weights(head, generator, gains, device)
            )

        critic = side(self.net.critics, {"heads.0.2": 0.01, "heads.1.2": 0.01})
        actor = side(self.net.policy, {"2": 0.01})
        if config.shared_encoder:
            actor = actor._replace(encoder=critic.encoder)
        log_temperature = torch.tensor(config.temperature, device=device).log().requires_grad_()
        self.learned = Learned(actor, critic, log_temperature)
        self.target = tree_map(lambda weight: weight.detach().clone(), self.learned)
        groups = [
            {"params": tensors_in(critic), "lr": config.learning_rate},
            {"params": self.actor_alone(), "lr": config.policy_rate},
            {"params": [log_temperature], "lr": config.temperature_rate},
        ]
        self.optimiser = Adam(groups)  # gradients of sparse rewards are tiny: a large eps would stop them
        self.replay = Replay(
            1,
            config.replay_size,
            config.trials,
            on_disk=config.replay_on_disk,
            prioritised=config.prioritised > 0,
            device=device,
        )

    def actor_alone(self) -> list[Tensor]:
        """The weights that the actor doesn't share with the critics."""
        return tensors_in(self.learned.actor.head if self.config.shared_encoder else self.learned.actor)

    def explorer(self) -> RememberingPolicy:
        actor = tree_map(lambda weight: weight.detach().clone(), self.learned.actor)
        return RememberingPolicy(self.net, actor, self.tasks, self.actions)

    def adapt(self, policy: RememberingPolicy, experience: Experience) -> RememberingPolicy:
        """Carries the memory over to the next episode."""
        return replace(policy, start=experience.end_memory)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config, tasks = self.config, self.tasks
        plan = Plan(self.explorer(), 1, tasks.episodes_per_trial * tasks.max_episode_steps, tasks.episodes_per_trial)
        shards = [
            Shard(self.seed, self.iteration, number, config.trials // config.shards, "train") for number in range(config.shards)
        ]
        experience = concatenate(work.map(collect, plan, shards))
        self.replay.extend(torch.zeros(config.trials, dtype=torch.long), records_of(tasks, config.credit, experience))
        for group, rate in zip(self.optimiser.param_groups, (config.learning_rate, config.policy_rate), strict=False):
            group["lr"] = rate * left(config, self.iteration)
        draws = counter(self.seed, self.iteration, "replay")
        noise = counter(self.seed, self.iteration, "noise", 0, self.device)
        parts: dict[str, Tensor] = {}
        for number in range(config.updates):
            batch, weight, leaf = self.draw(draws)
            moves_policy = (self.iteration * config.updates + number) % POLICY_DELAY[config.method] == 0
            changed, error = self.update(batch, weight, noise, moves_policy)
            parts |= changed
            if self.replay.priorities is not None:
                self.replay.priorities.update(leaf, (error.cpu() + 1e-3) ** config.prioritised)
        self.iteration += 1
        return collection_metrics(tasks, experience) | {name: part.item() for name, part in parts.items()}

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
        return batch_of({name: value[0] for name, value in records.items()}), alike, row

    def update(
        self, batch: Batch, weight: Float[Tensor, "trial"], noise: Generator, moves_policy: bool
    ) -> tuple[dict[str, Tensor], Float[Tensor, "trial"]]:
        """One step of the optimiser and of the target networks; also returns each trial's mean TD error."""
        net, actions, learned, target, config = self.net, self.actions, self.learned, self.target, self.config
        td3, temperature, sizes = config.method == "td3", learned.log_temperature.detach().exp(), batch.layout.sizes
        judging = remembered(net, learned.critic, batch.inputs, sizes)
        acting = judging.detach() if config.shared_encoder else remembered(net, learned.actor, batch.inputs, sizes)
        held = Held(acting, judging)
        actor = target.actor if td3 else learned.actor
        ahead = Held(
            remembered(net, actor, batch.inputs, sizes) if td3 else held.actor.detach(),
            remembered(net, target.critic, batch.inputs, sizes),
        )
        lead = tuple(batch.reward.shape)
        drawn = actions.noise(lead, noise)
        aims, known = targets(net, actor, target.critic, actions, temperature, config, batch, ahead, drawn)
        values = functional_call(net.critics, learned.critic.head, (held.critic, actions.action_vector(batch.action)))
        total, error = squared_error(actions.taken(values, batch.action), aims, known, batch.layout.sequence, weight)
        parts = {"train/critic_loss": total, "train/value": aims.mean()}
        if moves_policy:
            # the critics judge, and aren't moved by it
            judges = {name: value.detach() for name, value in learned.critic.head.items()}
            drawn = torch.zeros_like(drawn) if td3 else actions.noise(lead, noise)
            fixed = Held(held.actor, held.critic.detach())
            value, entropy = soft_value(net, learned.actor.head, judges, actions, temperature, fixed, drawn)
            surplus = entropy.detach().mean() - aimed_entropy(actions, left(config, self.iteration))
            total = total - value.mean() + (0.0 if td3 else learned.log_temperature * surplus)
            parts |= {"train/policy_loss": -value.mean(), "train/entropy": entropy.mean(), "train/temperature": temperature}
        self.optimiser.zero_grad()
        total.backward()
        norms = [clip_grad_norm_(side, config.max_grad_norm) for side in (self.actor_alone(), tensors_in(learned.critic))]
        if not all(torch.isfinite(norm) for norm in norms):
            raise NotFinite(f"recurrent-sac: the gradient is not finite in iteration {self.iteration}; lower --learning-rate")
        self.optimiser.step()
        for ours, theirs in ((learned.critic, target.critic), *(((learned.actor, target.actor),) if td3 else ())):
            follow(theirs.encoder, ours.encoder, config.target_rate)
            follow(theirs.head, ours.head, config.target_rate)
        parts |= {"train/critic_grad_norm": norms[1]} | ({"train/policy_grad_norm": norms[0]} if moves_policy else {})
        return {name: part.detach() for name, part in parts.items()}, error

    def own(self) -> dict[str, Any]:
        """What is learnt, each part once."""
        learned = as_mapping(self.learned)
        if self.config.shared_encoder:
            del learned["actor"]["encoder"]
        return learned

    def state_dict(self) -> State:
        priorities = {} if self.replay.priorities is None else {"priorities": self.replay.priorities.values}
        return {
            "iteration": self.iteration,
            "learned": self.own(),
            "target": as_mapping(self.target),
            "optimiser": adam_state(self.optimiser),
            "replay": self.replay.ledger(),
            **priorities,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.iteration = state["iteration"]
        copy_into(self.own(), state["learned"])
        copy_into(as_mapping(self.target), state["target"])
        load_adam_state(self.optimiser, state["optimiser"])
        self.replay.load(state["replay"])
        if self.replay.priorities is not None:
            self.replay.priorities.load(state["priorities"].cpu())


def collection_metrics(tasks: TaskDistribution, experience: Experience) -> Metrics:
    """Steps and returns of the collected trials."""
    transition, valid = experience.transition, experience.valid
    ended = transition.terminated | transition.truncated
    returns = episode_returns(transition.reward, ended, valid, tasks.episodes_per_trial).mean((0, 1))
    metrics = {
        "rollout/timesteps": float(valid.sum()),
        "rollout/ep_rew_mean": returns.mean().item(),
        "rollout/ep_len_mean": float(valid.sum()) / (valid[..., 0].numel() * tasks.episodes_per_trial),
    }
    return metrics | {f"adapt/episode_{number}/return_mean": mean for number, mean in enumerate(returns.tolist(), 1)}
