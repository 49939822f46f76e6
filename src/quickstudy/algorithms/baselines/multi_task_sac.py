"""One memoryless policy for all tasks, trained with SAC (Haarnoja et al. 2018, arXiv:1812.05905) and fine-tuned on a new one.

A fixed set of training tasks shares one replay. On a new task the same gradient steps go on, on copies of the weights and on
what was seen of that task alone: the baseline of methods that learn how to adapt. Without fine-tuning it never adapts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.replay import Records, Replay
from quickstudy.data.rollout import SEEN, Lifetime
from quickstudy.data.session import Session
from quickstudy.errors import require_at_least, require_positive, require_rates, require_share
from quickstudy.nets import options
from quickstudy.nets.networks import copied, copy_into, follow, initial_weights
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.nets.reader import behind, inputs_for
from quickstudy.nets.soft import SoftActions, soft_actions
from quickstudy.ops.adaptation import AdamMoments, adam_step
from quickstudy.ops.features import inputs_of
from quickstudy.ops.fit import COUNTED, require_fit
from quickstudy.ops.tree import as_mapping, tensors_in, tree_map
from quickstudy.parts import soft, transitions
from quickstudy.parts.collecting import collected_episodes, numbers, require_shards, rollout_metrics, some_experience
from quickstudy.parts.descend import descend
from quickstudy.parts.remembering import prioritise, read_replay, replay_state, take_replay
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What multi-task SAC can be told."""

    num_train_tasks: int = 128
    """Tasks that are drawn once, and trained on."""
    n_envs: int = 16
    """Training tasks stepped at once in a meta-iteration, an episode each."""
    updates: int = 64
    """Gradient steps in a meta-iteration."""
    batch_size: int = 256
    """Transitions that a gradient step learns from, each of a task drawn anew."""
    buffer_size: int = 10_000
    """Transitions of each task that are kept, the newest."""
    buffer_on_disk: bool = False
    """Keep them in a memory-mapped file."""
    prioritised: float = 0.0
    """Draw transitions by their TD error to this power (Schaul et al. 2016); 0: all alike."""
    importance: float = 0.5
    """How much of the bias of drawing by priority is undone: 0 nothing, 1 all."""
    encoder: options.Encoder = "none"
    hidden_size: options.HiddenSize = 64
    hidden_layers: options.HiddenLayers = 2
    activation: options.Activation = "relu"
    layer_norm: options.LayerNorm = False
    vision: options.Vision = "auto"
    language: options.Language = "gru"
    film: options.Film = False
    learning_rate: float = 1e-3
    """Adam's step size."""
    gamma: float = 0.99
    """Discount factor, a step of the episode."""
    tau: float = 0.01
    """How fast the target critics follow, a gradient step."""
    entropy_share: float = 0.3
    """Discrete actions: the part of the highest entropy that the temperature aims at."""
    temperature: float = 0.1
    """The temperature to begin with."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm."""
    fine_tune_steps: int = 100
    """Gradient steps on a new task after each of its episodes; 0: the policy stays as it is."""
    fine_tune_rate: float = 1e-3
    """Adam's step size on a new task."""
    fine_tune_batch: int = 64
    """Transitions of the new task that such a step learns from."""
    shards: int = 1
    """Units of work into which collecting is divided; part of the result, whatever runs them."""

    def __post_init__(self) -> None:
        require_at_least(
            1, "multi-task-sac", self, "num_train_tasks", "n_envs", "updates", "batch_size", "buffer_size", "shards"
        )
        require_at_least(1, "multi-task-sac", self, "fine_tune_batch")
        require_at_least(0, "multi-task-sac", self, "fine_tune_steps", "prioritised", "importance")
        require_shards("multi-task-sac", self, "n_envs", at_most="num_train_tasks")
        require_share("multi-task-sac", self, "gamma", "tau")
        options.require_network("multi-task-sac", self)
        require_rates("multi-task-sac", self)
        require_positive("multi-task-sac", self, "temperature")


class Net(NamedTuple):
    """Skeletons."""

    policy: nn.Module
    """Observation, (*lead, feature) -> parameters of the actions, (*lead, size)."""
    critics: nn.Module
    """Observation and the action's vector, two arguments -> two critics, (critic, *lead, value)."""


Build = Callable[[Config, TaskDistribution, SoftActions], Net] | None


def net_for(config: Config, tasks: TaskDistribution, actions: SoftActions) -> Net:
    """The method's own networks."""
    seen = inputs_for(tasks.observation_space, 0, config).size
    critics = soft.twin_net(seen + actions.action_size, actions.values, config, "nets")
    return Net(soft.policy_net(seen, actions.size, config), critics)


class Batch(NamedTuple):
    """Single transitions."""

    observation: Shaped[Tensor, "step entry"]
    action: Shaped[Tensor, "step ..."]
    reward: Float[Tensor, "step"]
    terminated: Bool[Tensor, "step"]
    arrival: Shaped[Tensor, "step entry"]


def batch_of(records: Records) -> Batch:
    """Records as an update reads them."""
    return Batch(**{name: records[name] for name in Batch._fields})


@dataclass(frozen=True)
class FineTunedPolicy:
    """Acts on the observation alone, with weights that all tasks share (`axis` None) or with a set for each task (`axis` 0)."""

    net: soft.ActorCritic
    brain: soft.Brain
    tasks: TaskDistribution
    axis: Literal[0] | None = None
    seen: Records | None = None
    """The task's own transitions so far (task, step, ...), those with `valid` first."""
    rounds: int = 0
    """How often it was fine-tuned."""

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        inputs = inputs_of(self.tasks.observation_space, percept.observation)
        forward = vmap(lambda own, seen: functional_call(self.net.policy, own, (seen,)), in_dims=(self.axis, 0))
        parameters = forward(self.brain.learned.policy, inputs)
        actions = self.net.actions
        action = actions.mode(parameters) if generator is None else actions.sample(parameters, generator)
        return Act(action, actions.log_prob(parameters, action), {}), memory


def records_of(tasks: TaskDistribution, experience: Experience) -> Records:
    """Experience as transitions (task, step, ...), lanes one after another; only `valid` ones were lived.

    A time limit is no termination: where it cuts an episode, the value of where it arrived is counted.
    """
    transition, space = experience.transition, tasks.observation_space
    fields = {
        "observation": inputs_of(space, experience.percept.observation),
        "action": experience.act.action,
        "reward": transition.reward,
        "terminated": transition.terminated,
        "arrival": inputs_of(space, transition.arrival),
        "valid": experience.valid,
    }
    return {name: value.flatten(1, 2) for name, value in fields.items()}


def losses(
    net: soft.ActorCritic,
    gamma: float,
    brain: soft.Brain,
    batch: Batch,
    noise: Float[Tensor, "2 step noise"],
    weight: Float[Tensor, "step"],
) -> tuple[Float[Tensor, ""], tuple[Float[Tensor, "step"], dict[str, Tensor]]]:
    """The losses of critics, policy and temperature, each with a gradient in its own part alone; TD errors, and the parts."""
    here, there = (soft.Place(seen, seen) for seen in (batch.observation, batch.arrival))
    here = soft.seen_by(net, brain.learned.critics, here)
    aims = soft.aims_of(net, brain, gamma, soft.Outcome(batch.reward, batch.terminated, there), noise[0])
    error = soft.values_of(net, brain.learned.critics, here, batch.action) - aims
    critic_loss = 0.5 * (error.square() * weight).sum(0).mean()
    climbed, parts = soft.climb(net, brain.learned, here, noise[1], net.actions.target_entropy)
    parts |= {"train/critic_loss": critic_loss, "train/value": aims.mean()}
    return critic_loss + climbed, (error.detach().abs().mean(0), parts)


class Draws(NamedTuple):
    """The randomness of fine-tuning, the same for each task, so that a task's outcome doesn't hang on its neighbours."""

    share: Float[Tensor, "round draw"]
    """Which transitions a gradient step takes, as shares of all there are."""
    noise: Float[Tensor, "round 2 draw noise"]


def fine_tuned(net: soft.ActorCritic, config: Config, brain: soft.Brain, seen: Records, draws: Draws) -> soft.Brain:
    """Gradient steps on the transitions of one task: all that a task's own learning is."""
    (learned, target), count = brain, seen["valid"].sum()
    moments = AdamMoments(*(tree_map(torch.zeros_like, learned) for _ in range(2)))
    for number, (share, noise) in enumerate(zip(*draws, strict=True), 1):
        step = (share * count).long()
        batch = Batch(**{name: seen[name][step] for name in Batch._fields})

        def loss(learned: soft.Heads, target: Any = target, batch: Batch = batch, noise: Tensor = noise) -> Tensor:
            return losses(net, config.gamma, soft.Brain(learned, target), batch, noise, torch.ones_like(batch.reward))[0]

        learned, moments = adam_step(learned, grad(loss)(learned), moments, number, config.fine_tune_rate)
        target = {name: torch.lerp(old, learned.critics[name], config.tau) for name, old in target.items()}
    return soft.Brain(learned, target)


def draws_of(config: Config, actions: SoftActions, generator: Generator) -> Draws:
    """The draws of one fine-tuning."""
    steps, size = config.fine_tune_steps, config.fine_tune_batch
    share = torch.rand(steps, size, generator=generator, device=generator.device)
    return Draws(share, actions.noise((steps, 2, size), generator))


def joined(before: Records | None, new: Records) -> Records:
    """Transitions of each task, what was lived first, in its order, and cut off where the longest life ends."""
    together = new if before is None else {name: torch.cat([before[name], value], dim=1) for name, value in new.items()}
    valid = together["valid"]
    order = (~valid).long().argsort(dim=1, stable=True)[:, : int(valid.sum(1).max())]
    return {name: value[torch.arange(len(order), device=order.device)[:, None], order] for name, value in together.items()}


def as_it_is(policy: FineTunedPolicy, experience: Experience) -> FineTunedPolicy:
    """What adapting is while training tasks are lived: nothing."""
    return policy


@checked
class MultiTaskSAC:
    """Trains one memoryless actor-critic on a set of tasks; adapting is training on, on the new task.

    `net(config, tasks, actions)` builds networks of one's own, a `Net` whose fields say what each reads and gives; `actions`
    has the sizes. Their first weights are drawn here, orthogonal matrices and zero biases. Fine-tuning takes them through
    `vmap`.
    """

    name = "multi-task-sac"
    lanes = 1
    Config = Config

    def __init__(
        self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu", net: Build = None
    ):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration, self.own_net = 0, net is not None
        config = self.config
        self.actions = soft_actions(tasks.action_space, config.entropy_share)
        self.train_tasks = tasks.sample(config.num_train_tasks, "train", counter(seed, 0, "training tasks"))
        nets = soft.built("multi-task-sac", Net, lambda: (net or net_for)(config, tasks, self.actions))
        inputs = [inputs_for(tasks.observation_space, 0, config) for _ in nets]
        nets = Net(*(behind(each.reader, part) for each, part in zip(inputs, nets, strict=True)))
        self.net = soft.ActorCritic(*nets, self.actions)
        ends = ({}, {}) if net else (soft.policy_end(config), soft.twin_end(config, "nets"))
        policy = initial_weights(self.net.policy, counter(seed, 0, "policy"), ends[0], device)
        critics = initial_weights(self.net.critics, counter(seed, 0, "critics"), ends[1], device)
        if net:
            seen = torch.zeros(3, inputs[0].size, device=device)
            soft.tried_heads("multi-task-sac", self.net, policy, critics, soft.Place(seen, seen))
        self.learned = soft.Heads(policy, critics, soft.first_temperature(config.temperature, device))
        self.target = copied(critics)
        self.optimiser = Adam(tensors_in(self.learned), lr=config.learning_rate, eps=1e-5)
        sizes = config.num_train_tasks, *transitions.room(tasks, config.buffer_size, 1)
        kinds = {"on_disk": config.buffer_on_disk, "prioritised": config.prioritised > 0}
        like, _ = self.kept(some_experience(tasks, device))
        self.replay = Replay(*sizes, **kinds, like={name: value[:1] for name, value in like.items()}, device=device)

    def kept(self, experience: Experience) -> tuple[Records, Int[Tensor, "record"]]:
        """Experience as the replay keeps it, and the place of each record's task in it."""
        transition = experience.transition
        fields = {"action": experience.act.action, "reward": transition.reward, "terminated": transition.terminated}
        records, task = transitions.kept(self.tasks, experience, fields)
        seen = {name: inputs_of(self.tasks.observation_space, records[name]) for name in SEEN if name in records}
        return records | seen, task

    def explorer(self) -> FineTunedPolicy:
        return FineTunedPolicy(self.net, copied(soft.Brain(self.learned, self.target)), self.tasks)

    def adapt(self, policy: FineTunedPolicy, experience: Experience) -> FineTunedPolicy:
        """Trains on, on all that was seen of each task, with weights of its own."""
        if not self.config.fine_tune_steps:
            return policy
        seen = joined(policy.seen, records_of(self.tasks, experience))
        draws = draws_of(self.config, self.actions, counter(self.seed, policy.rounds, "fine-tuning", 0, self.device))
        trained = vmap(lambda brain, own: fine_tuned(self.net, self.config, brain, own, draws), in_dims=(policy.axis, 0))
        return replace(policy, brain=trained(policy.brain, seen), axis=0, seen=seen, rounds=policy.rounds + 1)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config = self.config
        draws = counter(self.seed, self.iteration, "replay")
        lived = torch.randperm(config.num_train_tasks, generator=draws)[: config.n_envs]
        life = Lifetime(self.explorer(), as_it_is, 1, 1)
        chosen = {name: part[lived] for name, part in self.train_tasks.items()}
        [experience] = collected_episodes(work, self, life, chosen)
        records, task = self.kept(experience)
        transitions.extend(self.replay, lived[task.cpu()], records)
        noise = counter(self.seed, self.iteration, "noise", 0, self.device)
        parts: dict[str, Tensor] = {}
        for _ in range(config.updates):
            batch, weight, leaf = self.draw(draws)
            parts, error = self.update(batch, weight, self.actions.noise((2, config.batch_size), noise))
            prioritise(self.replay, leaf, error, config.prioritised)
        self.iteration += 1
        steps, paid = float(experience.valid.sum()), float((experience.transition.reward * experience.valid).sum())
        return rollout_metrics(steps, paid / config.n_envs, steps / config.n_envs) | numbers(parts)

    def draw(self, generator: Generator) -> tuple[Batch, Float[Tensor, "step"], Int[Tensor, "step"]]:
        """A batch, the weight of each TD error in the loss, and, where transitions have priorities, their leaves."""
        config, replay = self.config, self.replay
        lived = replay.counts.nonzero()[:, 0]
        task = lived[torch.randint(len(lived), (config.batch_size,), generator=generator)]
        if replay.priorities is None:
            found = {name: value[:, 0] for name, value in transitions.drawn(replay, task, 1, generator).items()}
            return batch_of(found), torch.ones(config.batch_size, device=self.device), task
        task, number, leaf = replay.draw_by_priority(config.batch_size, generator)
        found = transitions.looked_up(replay, task, number)
        return batch_of(found), replay.priorities.weights(leaf, config.importance).to(self.device), leaf

    def update(
        self, batch: Batch, weight: Float[Tensor, "step"], noise: Float[Tensor, "2 step noise"]
    ) -> tuple[dict[str, Tensor], Float[Tensor, "step"]]:
        """One step of the optimiser and of the target critics; returns the parts of the loss, and TD errors."""
        brain, config = soft.Brain(self.learned, self.target), self.config
        total, (error, parts) = losses(self.net, config.gamma, brain, batch, noise, weight)
        [norm] = descend(self, total, self.optimiser, tensors_in(self.learned), max_norm=config.max_grad_norm)
        follow(self.target, self.learned.critics, config.tau)
        return {name: part.detach() for name, part in parts.items()} | {"train/grad_norm": norm}, error

    def state_dict(self) -> State:
        return {
            "iteration": self.iteration,
            "learned": as_mapping(self.learned),
            "target": self.target,
            "optimiser": adam_state(self.optimiser),
            **replay_state(self.replay),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        patterns = {"iteration": COUNTED, "optimiser": adam_fits(self.optimiser)}
        require_fit("", state, {**self.state_dict(), **patterns})
        replay = read_replay(self.replay, state)
        self.iteration = state["iteration"]
        copy_into(as_mapping(self.learned), state["learned"])
        copy_into(self.target, state["target"])
        load_adam_state(self.optimiser, state["optimiser"])
        take_replay(self.replay, replay, state)
