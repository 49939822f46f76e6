"""One memoryless policy for all tasks, trained with SAC (Haarnoja et al. 2018, arXiv:1812.05905) and fine-tuned on a new one.

A fixed set of training tasks shares one replay. On a new task the same gradient steps go on, on copies of the weights and on
what was seen of that task alone: the baseline of methods that learn how to adapt. Without fine-tuning it never adapts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from quickstudy.arguments import checked
from quickstudy.data.replay import Records, Replay
from quickstudy.data.rollout import Chosen, Lifetime, collect_chosen, concatenate
from quickstudy.data.session import Session
from quickstudy.errors import NotFinite, UsageError, require_at_least
from quickstudy.nets.networks import Weights, copy_into, follow, initial_weights, multilayer, skeleton
from quickstudy.nets.optimiser import adam_state, load_adam_state
from quickstudy.nets.soft import SoftActions, soft_actions
from quickstudy.ops.adaptation import Moments, adam_step
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.tree import as_mapping, tensors_in, tree_map
from quickstudy.protocol import Act, Experience, Memory, Metrics, Percept, Shard, State, TaskDistribution, Work, counter


@checked
@dataclass(frozen=True, kw_only=True)
class Config:
    """What multi-task SAC can be told."""

    num_train_tasks: int = 128
    """Tasks that are drawn once, and trained on."""
    meta_batch_size: int = 16
    """How many of them are lived in a meta-iteration, an episode each."""
    updates: int = 64
    """Gradient steps in a meta-iteration."""
    batch_size: int = 256
    """Transitions that a gradient step learns from, each of a task drawn anew."""
    replay_size: int = 10_000
    """Transitions of each task that are kept, the newest."""
    replay_on_disk: bool = False
    """Keep them in a memory-mapped file."""
    prioritised: float = 0.0
    """Draw transitions by their TD error to this power (Schaul et al. 2016); 0: all alike."""
    importance: float = 0.5
    """How much of the bias of drawing by priority is undone: 0 nothing, 1 all."""
    hidden_size: int = 64
    """Units of each of the two hidden layers of policy and critics."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    gamma: float = 0.99
    """Discount factor, a step of the episode."""
    target_rate: float = 0.01
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
        positive = ("num_train_tasks", "meta_batch_size", "updates", "batch_size", "replay_size", "hidden_size", "shards")
        require_at_least(1, "multi-task-sac", self, *positive, "fine_tune_batch")
        require_at_least(0, "multi-task-sac", self, "fine_tune_steps", "prioritised", "importance")
        if self.meta_batch_size % self.shards or self.meta_batch_size > self.num_train_tasks:
            raise UsageError(
                f"multi-task-sac: meta_batch_size ({self.meta_batch_size}) must be a multiple of shards ({self.shards}),"
                f" no more than num_train_tasks ({self.num_train_tasks})"
            )
        if not 0 < self.gamma <= 1 or not 0 < self.target_rate <= 1:
            raise UsageError(f"multi-task-sac: gamma ({self.gamma}) and target_rate ({self.target_rate}) must be in (0, 1]")
        if self.temperature <= 0:
            raise UsageError(f"multi-task-sac: temperature ({self.temperature}) must be above 0")


class Critics(nn.Module):
    """Two networks that value actions."""

    def __init__(self, inputs: int, hidden: int, values: int):
        super().__init__()
        self.nets = nn.ModuleList(multilayer(inputs, hidden, 2, values, nn.ReLU) for _ in range(2))

    def forward(
        self, observation: Float[Tensor, "*lead feature"], action: Float[Tensor, "*lead action"]
    ) -> Float[Tensor, "critic *lead value"]:
        inputs = torch.cat([observation, action], dim=-1)
        return torch.stack([net(inputs) for net in self.nets])


class Net(NamedTuple):
    """Skeletons."""

    policy: nn.Sequential
    critics: Critics


class Learned(NamedTuple):
    """What gradients move."""

    policy: Weights
    critics: Weights
    log_temperature: Tensor


class Brain(NamedTuple):
    """All that a policy learns on with: what is learnt, and the critics that its targets are made of."""

    learned: Learned
    target: Weights


class Batch(NamedTuple):
    """Single transitions."""

    observation: Float[Tensor, "step feature"]
    action: Shaped[Tensor, "step ..."]
    reward: Float[Tensor, "step"]
    terminated: Bool[Tensor, "step"]
    arrival: Float[Tensor, "step feature"]


@dataclass(frozen=True)
class FineTunedPolicy:
    """Acts on the observation alone, with weights that all tasks share (`axis` None) or with a set for each task (`axis` 0)."""

    net: Net
    brain: Brain
    tasks: TaskDistribution
    actions: SoftActions
    axis: Literal[0] | None = None
    seen: Records | None = None
    """The task's own transitions so far (task, step, ...), those with `valid` first."""
    rounds: int = 0
    """How often it was fine-tuned."""

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        inputs = as_vector(self.tasks.observation_space, percept.observation)
        forward = vmap(lambda own, seen: functional_call(self.net.policy, own, (seen,)), in_dims=(self.axis, 0))
        parameters = forward(self.brain.learned.policy, inputs)
        action = self.actions.mode(parameters) if generator is None else self.actions.sample(parameters, generator)
        return Act(action, self.actions.log_prob(parameters, action), {}), memory


def records_of(tasks: TaskDistribution, experience: Experience) -> Records:
    """Experience as transitions (task, step, ...), lanes one after another; only `valid` ones were lived.

    A time limit is no termination: where it cuts an episode, the value of where it arrived is counted.
    """
    transition, space = experience.transition, tasks.observation_space
    fields = {
        "observation": as_vector(space, experience.percept.observation),
        "action": experience.act.action,
        "reward": transition.reward,
        "terminated": transition.terminated,
        "arrival": as_vector(space, transition.arrival),
        "valid": experience.valid,
    }
    return {name: value.flatten(1, 2) for name, value in fields.items()}


def losses(
    net: Net,
    actions: SoftActions,
    gamma: float,
    learned: Learned,
    target: Weights,
    batch: Batch,
    noise: Float[Tensor, "2 step noise"],
    weight: Float[Tensor, "step"],
) -> tuple[Float[Tensor, ""], tuple[Float[Tensor, "step"], dict[str, Tensor]]]:
    """The losses of critics, policy and temperature, each with a gradient in its own part alone; TD errors, and the parts.

    The critics approach r + gamma V(arrival) (Haarnoja et al. 2018, eq. 5 and 6), the policy climbs V (eq. 7), the temperature
    falls while the entropy is above its aim (eq. 18).
    """
    temperature = learned.log_temperature.detach().exp()

    def value(observation: Tensor, critics: Weights, noise: Tensor) -> tuple[Tensor, Tensor]:
        parameters = functional_call(net.policy, learned.policy, (observation,))
        judge = lambda action: functional_call(net.critics, critics, (observation, action))  # noqa: E731
        return actions.soft_value(parameters, judge, temperature, noise)

    following = value(batch.arrival, target, noise[0])[0].detach()
    aims = batch.reward + gamma * following * ~batch.terminated
    values = functional_call(net.critics, learned.critics, (batch.observation, actions.action_vector(batch.action)))
    error = actions.taken(values, batch.action) - aims
    critic_loss = 0.5 * (error.square() * weight).sum(0).mean()
    judges = {name: part.detach() for name, part in learned.critics.items()}
    climbed, entropy = value(batch.observation, judges, noise[1])
    temperature_loss = learned.log_temperature * (entropy.mean().detach() - actions.target_entropy)
    parts = {
        "train/critic_loss": critic_loss,
        "train/policy_loss": -climbed.mean(),
        "train/value": aims.mean(),
        "train/entropy": entropy.mean(),
        "train/temperature": temperature,
    }
    return critic_loss - climbed.mean() + temperature_loss, (error.detach().abs().mean(0), parts)


class Draws(NamedTuple):
    """The randomness of fine-tuning, the same for each task, so that a task's outcome doesn't hang on its neighbours."""

    share: Float[Tensor, "round draw"]
    """Which transitions a gradient step takes, as shares of all there are."""
    noise: Float[Tensor, "round 2 draw noise"]


def fine_tuned(net: Net, actions: SoftActions, config: Config, brain: Brain, seen: Records, draws: Draws) -> Brain:
    """Gradient steps on the transitions of one task: all that a task's own learning is."""
    (learned, target), count = brain, seen["valid"].sum()
    moments = Moments(*(tree_map(torch.zeros_like, learned) for _ in range(2)))
    for number, (share, noise) in enumerate(zip(*draws, strict=True), 1):
        step = (share * count).long()
        batch = Batch(**{name: seen[name][step] for name in Batch._fields})

        def loss(learned: Learned, target: Weights = target, batch: Batch = batch, noise: Tensor = noise) -> Tensor:
            return losses(net, actions, config.gamma, learned, target, batch, noise, torch.ones_like(batch.reward))[0]

        learned, moments = adam_step(learned, grad(loss)(learned), moments, number, config.fine_tune_rate)
        target = {name: torch.lerp(old, learned.critics[name], config.target_rate) for name, old in target.items()}
    return Brain(learned, target)


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
    """Trains one memoryless actor-critic on a set of tasks; adapting is training on, on the new task."""

    name = "multi-task-sac"
    lanes = 1
    Config = Config

    def __init__(self, tasks: TaskDistribution, config: Config | None = None, *, seed: int = 0, device: str = "cpu"):
        self.tasks, self.config, self.seed, self.device = tasks, config or Config(), seed, device
        self.iteration = 0
        config = self.config
        self.actions = soft_actions(tasks.action_space, config.entropy_share)
        self.train_tasks = tasks.sample(config.num_train_tasks, "train", counter(seed, 0, "training tasks"))
        inputs = vector_size(tasks.observation_space)
        self.net = Net(
            skeleton(lambda: multilayer(inputs, config.hidden_size, 2, self.actions.size, nn.ReLU)),
            skeleton(lambda: Critics(inputs + self.actions.action_size, config.hidden_size, self.actions.values)),
        )
        policy = initial_weights(self.net.policy, counter(seed, 0, "policy"), {"4": 0.01}, device)
        critics = initial_weights(self.net.critics, counter(seed, 0, "critics"), {"nets.0.4": 0.01, "nets.1.4": 0.01}, device)
        self.learned = Learned(policy, critics, torch.tensor(config.temperature, device=device).log().requires_grad_())
        self.target = {name: weight.detach().clone() for name, weight in critics.items()}
        self.optimiser = Adam(tensors_in(self.learned), lr=config.learning_rate, eps=1e-5)
        self.replay = Replay(
            config.num_train_tasks,
            config.replay_size,
            tasks.max_episode_steps,
            on_disk=config.replay_on_disk,
            prioritised=config.prioritised > 0,
            device=device,
        )

    def explorer(self) -> FineTunedPolicy:
        brain = tree_map(lambda weight: weight.detach().clone(), Brain(self.learned, self.target))
        return FineTunedPolicy(self.net, brain, self.tasks, self.actions)

    def adapt(self, policy: FineTunedPolicy, experience: Experience) -> FineTunedPolicy:
        """Trains on, on all that was seen of each task, with weights of its own."""
        if not self.config.fine_tune_steps:
            return policy
        seen = joined(policy.seen, records_of(self.tasks, experience))
        draws = draws_of(self.config, self.actions, counter(self.seed, policy.rounds, "fine-tuning", 0, self.device))
        trained = vmap(
            lambda brain, own: fine_tuned(self.net, self.actions, self.config, brain, own, draws), in_dims=(policy.axis, 0)
        )
        return replace(policy, brain=trained(policy.brain, seen), axis=0, seen=seen, rounds=policy.rounds + 1)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        config = self.config
        draws = counter(self.seed, self.iteration, "replay")
        lived = torch.randperm(config.num_train_tasks, generator=draws)[: config.meta_batch_size]
        chosen = Chosen(
            Lifetime(self.explorer(), as_it_is, 1, 1), {name: part[lived] for name, part in self.train_tasks.items()}
        )
        size = config.meta_batch_size // config.shards
        shards = [Shard(self.seed, self.iteration, number, size, "train") for number in range(config.shards)]
        experience = concatenate([episode for (episode,) in work.map(collect_chosen, chosen, shards)])
        records = records_of(self.tasks, experience)
        valid = records.pop("valid")
        self.replay.extend(lived[valid.nonzero()[:, 0].cpu()], {name: value[valid] for name, value in records.items()})
        noise = counter(self.seed, self.iteration, "noise", 0, self.device)
        parts: dict[str, Tensor] = {}
        for _ in range(config.updates):
            batch, weight, leaf = self.draw(draws)
            parts, error = self.update(batch, weight, self.actions.noise((2, config.batch_size), noise))
            if self.replay.priorities is not None:
                self.replay.priorities.update(leaf, (error.cpu() + 1e-3) ** config.prioritised)
        self.iteration += 1
        metrics = {
            "rollout/timesteps": float(valid.sum()),
            "rollout/ep_rew_mean": float((experience.transition.reward * experience.valid).sum()) / config.meta_batch_size,
            "rollout/ep_len_mean": float(valid.sum()) / config.meta_batch_size,
        }
        return metrics | {name: part.item() for name, part in parts.items()}

    def draw(self, generator: Generator) -> tuple[Batch, Float[Tensor, "step"], Int[Tensor, "step"]]:
        """A batch, the weight of each TD error in the loss, and, where transitions have priorities, their leaves."""
        config, replay = self.config, self.replay
        lived = replay.counts.nonzero()[:, 0]
        task = lived[torch.randint(len(lived), (config.batch_size,), generator=generator)]
        if replay.priorities is None:
            records = {name: value[:, 0] for name, value in replay.sample(task, 1, generator).items()}
            return Batch(**records), torch.ones(config.batch_size, device=self.device), task
        task, number, leaf = replay.draw_by_priority(config.batch_size, generator)
        return Batch(**replay.at(task, number)), replay.priorities.weights(leaf, config.importance).to(self.device), leaf

    def update(
        self, batch: Batch, weight: Float[Tensor, "step"], noise: Float[Tensor, "2 step noise"]
    ) -> tuple[dict[str, Tensor], Float[Tensor, "step"]]:
        """One step of the optimiser and of the target critics; returns the parts of the loss, and TD errors."""
        total, (error, parts) = losses(
            self.net, self.actions, self.config.gamma, self.learned, self.target, batch, noise, weight
        )
        self.optimiser.zero_grad()
        total.backward()
        norm = clip_grad_norm_(tensors_in(self.learned), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise NotFinite(f"multi-task-sac: the gradient is not finite in iteration {self.iteration}; lower --learning-rate")
        self.optimiser.step()
        follow(self.target, self.learned.critics, self.config.target_rate)
        return {name: part.detach() for name, part in parts.items()} | {"train/grad_norm": norm}, error

    def state_dict(self) -> State:
        priorities = {} if self.replay.priorities is None else {"priorities": self.replay.priorities.values}
        return {
            "iteration": self.iteration,
            "learned": as_mapping(self.learned),
            "target": self.target,
            "optimiser": adam_state(self.optimiser),
            "replay": self.replay.ledger(),
            **priorities,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.iteration = state["iteration"]
        copy_into(as_mapping(self.learned), state["learned"])
        copy_into(self.target, state["target"])
        load_adam_state(self.optimiser, state["optimiser"])
        self.replay.load(state["replay"])
        if self.replay.priorities is not None:
            self.replay.priorities.load(state["priorities"].cpu())
