"""A textbook agent that learns one cart-pole from nothing.

It is an off-policy actor-critic made of the textbook's parts: a policy network, a value network, Adam
for both, a replay buffer, minibatches, a discount factor. Three things make learning from replay right:

- Replayed actions were chosen by older policies, so the critic values actions, Q(s, a), not states. Its target is that of
  Expected SARSA, r + gamma E_{a' ~ pi} Q(s', a'), the mean over the current policy's next action (van Seijen et al. 2009): it
  doesn't ask who chose `a`, so no importance weight is needed. A target network that follows slowly keeps it still enough
  to learn from (Lillicrap et al. 2016). The actor climbs E_{a ~ pi} Q(s, a), a sum over all actions in stored states, so it
  needs none either (Degris et al. 2012 for the stored states, Allen et al. 2017 for the sum); its entropy bonus makes it a
  near relation of discrete soft actor-critic (Christodoulou 2019).
- A fall (`terminated`) has no future. A time limit is no end: its target bootstraps from the true successor, `arrival`.
- Observations are divided by how far they reach, so that an angle of a few degrees isn't lost beside a position in metres.

Run it: python -m quickstudy.recipes.cartpole_agent [--seed S]. Beside an agent that was meta-trained and adapts to the same
cart-poles: python -m quickstudy.recipes.cartpole_comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import torch
import tyro
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor
from torch.func import functional_call
from torch.optim import Adam

from quickstudy.data.rollout import rollout
from quickstudy.errors import QuickstudyError, require_at_least
from quickstudy.families import make
from quickstudy.families.classic.cart_pole import MAX_ANGLE, MAX_POSITION
from quickstudy.nets.distributions import distribution_over
from quickstudy.nets.networks import Weights, initial_weights, multilayer, skeleton
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.printed import tell
from quickstudy.protocol import Act, Experience, Memory, Percept, TaskDistribution, Tasks, begin_trial, counter
from quickstudy.work import threads

EPISODES = 10
"""The return that counts is the mean of so many episodes, for either agent."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the agent from nothing can be told."""

    hidden_size: int = 64
    """Units of each of the two hidden layers of policy and value."""
    learning_rate: float = 5e-4
    """Adam's step size, for policy and value."""
    gamma: float = 0.99
    """Discount factor, a step."""
    ent_coef: float = 0.01
    """Weight of the entropy bonus, beside values on a scale of 0 to 1."""
    tau: float = 0.01
    """How fast the target network follows the value network, a step."""
    batch_size: int = 128
    """Transitions drawn from the replay buffer for each update; there is one update a step."""
    buffer_size: int = 50_000
    """Transitions that the replay buffer holds; then the newest takes the place of the oldest."""
    learning_starts: int = 200
    """Steps before the first update."""
    eval_freq: int = 250
    """Steps between evaluations, which take no part in learning."""
    max_steps: int = 100_000
    """Steps after which a task is given up."""
    reach: tuple[float, ...] = (MAX_POSITION, 2.0, MAX_ANGLE, 2.0)
    """What each part of the observation is divided by: position and angle by where they end the episode."""

    def __post_init__(self) -> None:
        counts = ("hidden_size", "batch_size", "buffer_size", "learning_starts", "eval_freq", "max_steps")
        require_at_least(1, "cartpole-agent", self, *counts)


class Batch(NamedTuple):
    """Stored transitions. There is no `truncated`: to a value, a time limit is a step like any other."""

    observation: Float[Tensor, "step feature"]
    action: Int[Tensor, "step"]
    reward: Float[Tensor, "step"]
    arrival: Float[Tensor, "step feature"]
    terminated: Bool[Tensor, "step"]


class ReplayBuffer:
    """The last `size` transitions of one lane of one task; the newest takes the place of the oldest."""

    def __init__(self, size: int, features: int):
        observations, numbers = torch.zeros(size, features), torch.zeros(size)
        self.rows = Batch(observations, numbers.long(), numbers, observations.clone(), numbers.bool())
        self.added = 0

    def __len__(self) -> int:
        return min(self.added, len(self.rows.reward))

    def add(self, *step: Tensor) -> None:
        """Stores a step of one lane of one task: a `Batch`'s fields, of shape (1, 1) or (1, 1, feature)."""
        for column, value in zip(self.rows, step, strict=True):
            column[self.added % len(column)] = value[0, 0]
        self.added += 1

    def sample(self, count: int, generator: Generator) -> Batch:
        """Draws `count` stored transitions, with replacement, each as likely as any other."""
        chosen = torch.randint(len(self), (count,), generator=generator)
        return Batch(*(column[chosen] for column in self.rows))


def value_targets(
    batch: Batch, next_logits: Float[Tensor, "step action"], next_values: Float[Tensor, "step action"], gamma: float
) -> Float[Tensor, "step"]:
    """(1 - gamma) r + gamma E_{a' ~ pi} Q(s', a'), without the second part where the episode terminated.

    Weighing the reward makes a value the weighted mean of the rewards to come: 1 for a pole that never falls.
    """
    expected = (next_logits.softmax(-1) * next_values).sum(-1)
    return (1 - gamma) * batch.reward + gamma * torch.where(batch.terminated, 0.0, expected)


def policy_loss(
    logits: Float[Tensor, "step action"], values: Float[Tensor, "step action"], ent_coef: float
) -> Float[Tensor, ""]:
    """-(E_{a ~ pi} Q(s, a) + ent_coef H(pi)), exact over all actions."""
    log_probs = logits.log_softmax(-1)
    return (log_probs.exp() * (ent_coef * log_probs - values)).sum(-1).mean()


class ActorCritic:
    """Policy, value and target network, all of one shape: one number for each action. It is the policy that acts."""

    def __init__(self, tasks: TaskDistribution, config: Config, seed: int, number: int):
        self.tasks, self.config = tasks, config
        self.distribution = distribution_over(tasks.action_space)
        inputs = vector_size(tasks.observation_space)
        self.net = skeleton(lambda: multilayer(inputs, config.hidden_size, 2, self.distribution.size))
        last_layer = {"4": 0.01}
        self.policy = initial_weights(self.net, counter(seed, number, "policy weights"), last_layer, "cpu")
        self.value = initial_weights(self.net, counter(seed, number, "value weights"), last_layer, "cpu")
        self.target = {name: weight.detach().clone() for name, weight in self.value.items()}
        self.policy_optimiser = Adam(self.policy.values(), lr=config.learning_rate)
        self.value_optimiser = Adam(self.value.values(), lr=config.learning_rate)
        self.reach = torch.tensor(config.reach)

    def inputs(self, observation: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead feature"]:
        """What the networks read."""
        return as_vector(self.tasks.observation_space, observation) / self.reach

    def __call__(self, weights: Weights, inputs: Float[Tensor, "*lead feature"]) -> Float[Tensor, "*lead action"]:
        """One number for each action: logits by the policy's weights, values by the others'."""
        return functional_call(self.net, weights, (inputs,))

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    @torch.no_grad()
    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        logits = self(self.policy, self.inputs(percept.observation))
        action = self.distribution.mode(logits) if generator is None else self.distribution.sample(logits, generator)
        return Act(action, None, {}), memory

    def update(self, batch: Batch) -> None:
        """One step of each optimiser, and the target network follows."""
        config = self.config
        with torch.no_grad():
            next_logits, next_values = self(self.policy, batch.arrival), self(self.target, batch.arrival)
            target = value_targets(batch, next_logits, next_values, config.gamma)
        values = self(self.value, batch.observation)
        taken = values.gather(-1, batch.action[:, None])[:, 0]
        value_loss = (taken - target).square().mean()
        actor_loss = policy_loss(self(self.policy, batch.observation), values.detach(), config.ent_coef)
        for loss, optimiser in ((value_loss, self.value_optimiser), (actor_loss, self.policy_optimiser)):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            for name, weight in self.value.items():
                self.target[name].lerp_(weight, config.tau)


class Point(NamedTuple):
    """How good an agent was after so many steps on its task, and how often the pole had fallen by then."""

    steps: float
    falls: float
    score: float
    """The mean return of `EPISODES` episodes."""


Curve = list[Point]


def learn(agent: ActorCritic, task: Tasks, seed: int, number: int) -> Iterator[Point]:
    """Learns one task step by step, and yields after each evaluation; `number` keeps the task's luck its own."""
    tasks, config = agent.tasks, agent.config
    buffer = ReplayBuffer(config.buffer_size, vector_size(tasks.observation_space))
    actions, replay = counter(seed, number, "actions"), counter(seed, number, "replay")
    env, evaluation_env, falls = tasks.make(1, 1), tasks.make(1, EPISODES), 0
    percept = begin_trial(env.reset(task, counter(seed, number, "dynamics")), tasks.action_space)
    for steps in range(1, config.max_steps + 1):
        act, _ = agent.act(percept, {}, actions)
        transition = env.step(act.action)
        seen, arrival = agent.inputs(percept.observation), agent.inputs(transition.arrival)
        buffer.add(seen, act.action, transition.reward, arrival, transition.terminated)
        percept = percept._replace(observation=transition.observation)
        falls += int(transition.terminated)
        if steps >= config.learning_starts:
            agent.update(buffer.sample(config.batch_size, replay))
        if steps % config.eval_freq == 0 or steps == config.max_steps:
            noise = counter(seed, steps, f"evaluation {number}")
            start = begin_trial(evaluation_env.reset(task, noise), tasks.action_space)
            greedy = rollout(evaluation_env, agent, start, {}, tasks.max_episode_steps, None, episodes=1)
            yield Point(steps, falls, float(returns(greedy)))


def returns(experience: Experience) -> Float[Tensor, "task"]:
    """The return of one episode, the mean over a task's lanes."""
    return (experience.transition.reward * experience.valid).sum(-1).mean(-1)


@dataclass(frozen=True, kw_only=True)
class OnePole:
    """Learn one cart-pole from nothing."""

    seed: int = 0
    """Which cart-pole, which first weights and which luck."""
    agent: Annotated[Config, tyro.conf.OmitArgPrefixes] = field(default_factory=Config)


def main(arguments: Sequence[str] | None = None) -> None:
    """Learns a held-out cart-pole and prints the return as it grows."""
    given = tyro.cli(OnePole, args=arguments, prog="python -m quickstudy.recipes.cartpole_agent")
    tasks = make("cart-pole")
    task = tasks.sample(1, "test", counter(given.seed, 0, "test tasks"))
    tell(", ".join(f"{name} {value.item():.2f}" for name, value in task.items()))
    tell(f"   steps   falls  return (mean of {EPISODES} episodes, most likely actions)")
    with threads(1):
        for point in learn(ActorCritic(tasks, given.agent, given.seed, 0), task, given.seed, 0):
            tell(f"{point.steps:8,}  {point.falls:6}  {point.score:6.1f}")
            if point.score >= tasks.max_episode_steps:
                break


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
    except QuickstudyError as error:
        sys.exit(f"error: {error}")
