"""The words of quickstudy as types: the protocol that every method, task family and loop of this library speaks.

Axes always come in the order task, lane, time, then features. Everything is a mapping: meta-learning maps a
distribution of tasks to a learner, adaptation maps a policy and its experience to a better policy, acting maps
a percept and a memory to an action and a memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import gymnasium
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor

Split = Literal["train", "validation", "test", "extrapolation"]
Splits = Literal["iid", "partitioned"]
"""How train, validation and test differ: separate draws from one support, or disjoint sets of tasks."""
Tasks = dict[str, Tensor]
"""The parameters that pick one MDP each out of a family: named tensors with a leading task axis.

They hold numbers as they were drawn, and of values that are no numbers their places in a list.
"""
Memory = dict[str, Tensor]
"""What a policy remembers from step to step: named tensors (task, lane, ...)."""
Observation = Shaped[Tensor, "task lane ..."]
Metrics = dict[str, float]
State = Mapping[str, Any]
"""A tree of tensors, plain values and ledgers (`ops/state.py`) with string keys: what a checkpoint holds."""


class Percept(NamedTuple):
    """What a policy sees at a step, with leading axes (task, lane) or, stacked, (task, lane, time).

    Everything but `observation` and `first` tells of the step before. At the first step of a trial that is all
    zero; at the first step of a later episode it still holds how the episode before ended.
    """

    observation: Shaped[Tensor, "*lead ..."]
    first: Bool[Tensor, "*lead"]
    """An episode begins here."""
    action: Shaped[Tensor, "*lead ..."]
    reward: Float[Tensor, "*lead"]
    arrival: Shaped[Tensor, "*lead ..."]
    """The true successor of the step before: differs from `observation` where an episode has just ended."""
    terminated: Bool[Tensor, "*lead"]
    truncated: Bool[Tensor, "*lead"]


class Act(NamedTuple):
    """What a policy does at a step."""

    action: Shaped[Tensor, "*lead ..."]
    log_prob: Float[Tensor, "*lead"] | None
    notes: dict[str, Tensor]
    """What the method wants recorded with the step (value, distribution, latent ...), stacked over time."""


class Transition(NamedTuple):
    """What an environment answers to an action."""

    observation: Shaped[Tensor, "*lead ..."]
    """Where the lane stands now: after an end, the first observation of the next episode."""
    arrival: Shaped[Tensor, "*lead ..."]
    """The true successor of the action, also where the episode ended with it."""
    reward: Float[Tensor, "*lead"]
    terminated: Bool[Tensor, "*lead"]
    """The episode ended and has no future."""
    truncated: Bool[Tensor, "*lead"]
    """The episode was cut by its time limit."""
    info: dict[str, Tensor]
    """What the environment reports to the scorer and never to the policy; (task, lane) each.

    `success` is bool, or int8 with -1 at steps that don't say. `dense_reward` guides training, where a method asks for it.
    Tasks may name `figures` of their field besides, which are told at every step (`tasks/figures.py`).
    """


class Experience(NamedTuple):
    """What was seen and done: tensors with leading axes (task, lane, time)."""

    percept: Percept
    act: Act
    transition: Transition
    valid: Bool[Tensor, "task lane time"]
    """False while a lane that has had its episodes waits."""
    start_memory: Memory
    end_percept: Percept
    """What each lane would see next, (task, lane)."""
    end_memory: Memory


@runtime_checkable
class Policy(Protocol):
    """A mapping percept x memory -> action x memory, for many tasks and lanes at once."""

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        """The memory with which this policy starts to act."""
        ...

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        """Chooses an action in every lane: drawn with `generator`, or the distribution's mode where it is None."""
        ...


@runtime_checkable
class BatchEnv(Protocol):
    """Every lane of every task, stepped at once."""

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        """Begins a trial: puts each task into its lanes and begins an episode in all of them."""
        ...

    def restart(self) -> Observation:
        """Begins a new episode of the same trial in every lane, wherever each stood."""
        ...

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        """One step in every lane. Box actions are clipped to their space; an ended episode starts anew by itself."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class TaskDistribution(Protocol):
    """Where tasks are drawn from, and what steps them."""

    @property
    def observation_space(self) -> gymnasium.Space[Any]: ...
    @property
    def action_space(self) -> gymnasium.Space[Any]: ...
    @property
    def max_episode_steps(self) -> int: ...
    @property
    def episodes_per_trial(self) -> int: ...
    @property
    def splits(self) -> Splits: ...
    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        """Draws `count` tasks of a split, on the CPU; UsageError where there is no such split.

        The caller's generator differs by split, see `counter`.
        """
        ...

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        """The task parameters as one row each, scaled to [-1, 1]: what a policy that is told the task reads."""
        ...

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> BatchEnv:
        """Builds a batch of environments once, to be used for many trials."""
        ...

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        """One observation as the environment itself gives it, as policies read it; ValueError where it doesn't fit."""
        ...

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        """One action of a policy as the environment itself takes it."""
        ...


Shared = TypeVar("Shared")
Result = TypeVar("Result")


class Shard(NamedTuple):
    """The counters of one unit of work: all that tells it apart from its neighbours."""

    seed: int
    iteration: int
    number: int
    tasks: int
    split: Split


@runtime_checkable
class Site(Protocol):
    """The place where a unit of work runs: it keeps the environments that were built there."""

    distribution: TaskDistribution
    device: str

    def env(self, tasks: int, lanes: int) -> BatchEnv: ...


@runtime_checkable
class Work(Protocol):
    """Runs units of work, wherever that may be, and gives their results back in the order of the shards.

    A unit of work is a module-level pure function of what all shards share and of one shard's counters.
    """

    def map(
        self, function: Callable[[Site, Shared, Shard], Result], shared: Shared, shards: Sequence[Shard]
    ) -> list[Result]: ...


@runtime_checkable
class Agent(Protocol):
    """What can be evaluated: an explorer, and a way to adapt it. Baselines and oracles are agents that don't train."""

    name: str
    tasks: TaskDistribution
    device: str
    lanes: int
    """Parallel episodes of a task that one adaptation pools (MAML 20, RL2 1)."""

    def explorer(self) -> Policy:
        """The policy of one who knows nothing yet about the task."""
        ...

    def adapt(self, policy: Any, experience: Experience) -> Policy:
        """A better policy for the tasks of `experience`, from `policy`: the explorer or what an earlier call gave.

        Pure; differentiable where grad mode is on.
        """
        ...


@runtime_checkable
class Learner(Agent, Protocol):
    """An agent that meta-training improves."""

    config: Any
    seed: int
    iteration: int
    """Meta-iterations done so far."""

    def train_step(self, work: Work) -> Metrics:
        """One meta-iteration. Its metrics hold `rollout/timesteps`, the environment steps it took."""
        ...

    def state_dict(self) -> State:
        """All that the next step depends on."""
        ...

    def load_state_dict(self, state: State) -> None: ...


def begin_trial(observation: Observation, action_space: gymnasium.Space[Any]) -> Percept:
    """The percept with which a trial begins in every lane: there is no past."""
    lead, device = observation.shape[:2], observation.device
    zero, never = torch.zeros(lead, device=device), torch.zeros(lead, dtype=torch.bool, device=device)
    kind = torch.float32 if isinstance(action_space, gymnasium.spaces.Box) else torch.int64
    action = torch.zeros(*lead, *(action_space.shape or ()), dtype=kind, device=device)
    return Percept(observation, ~never, action, zero, torch.zeros_like(observation), never, never)


def begin_episode(observation: Observation, last: Percept) -> Percept:
    """The percept with which a later episode of a trial begins: it keeps the last action, reward and end flags."""
    return last._replace(observation=observation, first=torch.ones_like(last.first))


def has_past(percept: Percept) -> Bool[Tensor, "*lead"]:
    """Where a step came before this one in the same trial, so that action and reward mean something."""
    return ~percept.first | percept.terminated | percept.truncated


def counter(seed: int, iteration: int, purpose: str, shard: int = 0, device: str = "cpu") -> Generator:
    """A random generator made from counters alone, so that no random state needs saving.

    The CPU generator reads 32 bits of its seed: adding an odd multiple of the iteration to a hash of the rest keeps
    the iterations of one purpose apart for certain.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{shard}".encode(), digest_size=4).digest()
    value = (int.from_bytes(digest, "little") + iteration * 0x9E3779B1) % 2**32
    return Generator(device).manual_seed(value)
