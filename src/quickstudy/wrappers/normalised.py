"""Observations and rewards on a scale of about 1, around any learner: running statistics, kept in its checkpoint.

The statistics move once after each meta-iteration. They stand still while a trial is lived, in adaptation and at test. The
percept keeps the raw reward, which is what tells tasks apart; only the reward that a learner is trained on is scaled, by the
spread of discounted returns, and its raw value stands beside it as `transition.info["raw_reward"]`. What a
learner keeps in a replay stays as it was normalised when it was seen. Of several senses the vectors are normalised; images,
sounds, texts and choices are on a scale already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.errors import UsageError
from quickstudy.insight import Trial
from quickstudy.ops.fit import require_fit
from quickstudy.ops.moments import Moments, merged, moments_fit, moments_of, no_moments
from quickstudy.ops.senses import Senses, parts_of, sense_of, split
from quickstudy.ops.spaces import Space, ranges_of
from quickstudy.protocol import (
    Act,
    BatchEnv,
    Experience,
    Learner,
    Memory,
    Metrics,
    Observation,
    Percept,
    Policy,
    Result,
    Shard,
    Shared,
    Site,
    Split,
    Splits,
    State,
    TaskDistribution,
    Tasks,
    Transition,
    Work,
    has_past,
)


@checked
@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """What is normalised."""

    normalise_observation: bool = False
    """Give each entry of the observation's vectors mean 0 and standard deviation 1, by running statistics."""
    normalise_reward: bool = False
    """Divide the rewards that the learner trains on by the spread of discounted returns."""
    reward_gamma: float = 0.99
    """Discount of those returns."""


class Statistics(NamedTuple):
    """What was seen in training so far."""

    observation: Moments | None
    returns: Moments | None


class NormalisedTasks:
    """The same tasks, their observations normalised by fixed statistics; remembers the raw ones for the next statistics."""

    def __init__(self, tasks: TaskDistribution, statistics: Moments):
        self.tasks, self.statistics = tasks, statistics
        self.observation_space = unbounded(tasks.observation_space)
        self.action_space = tasks.action_space
        self.max_episode_steps, self.episodes_per_trial = tasks.max_episode_steps, tasks.episodes_per_trial
        self.splits: Splits = tasks.splits

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return self.tasks.sample(count, split, generator)

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return self.tasks.normalise(tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> NormalisedEnv:
        return NormalisedEnv(self.tasks.make(tasks, lanes, device), self.tasks.observation_space, self.statistics)

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        return normalised(self.tasks.observation_space, self.tasks.encode(observation), self.statistics)

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return self.tasks.decode(action)


def vectors_of(space: Space) -> dict[str, spaces.Box]:
    """The parts of an observation that are normalised, by name."""
    return {
        name: part
        for name, part in parts_of(space).items()
        if isinstance(part, spaces.Box) and sense_of(part) == "vector" and torch.Size(part.shape).numel()
    }


def numbers_shape(tasks: TaskDistribution) -> tuple[int, ...]:
    """The shape of what is normalised of an observation; UsageError where there is nothing."""
    space, vectors = tasks.observation_space, vectors_of(tasks.observation_space)
    if not vectors:
        raise UsageError(f"{tasks!r}: observations are {space}, there is nothing to normalise")
    if isinstance(space, Senses):
        return (sum(torch.Size(part.shape).numel() for part in vectors.values()),)
    return space.shape or ()


def unbounded(space: Space) -> Space:
    """The space of normalised observations."""
    if not isinstance(space, Senses):
        return spaces.Box(-np.inf, np.inf, space.shape)
    vectors = {name: spaces.Box(-np.inf, np.inf, part.shape) for name, part in vectors_of(space).items()}
    return Senses({**space.parts, **vectors})


def numbers_of(space: Space, observation: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead ..."]:
    """What is normalised of observations: a vector itself, of several senses the vectors one after another."""
    if not isinstance(space, Senses):
        return observation
    parts, lead = split(space, observation), observation.shape[:-1]
    return torch.cat([parts[name].reshape(*lead, -1) for name in vectors_of(space)], dim=-1)


def normalised(space: Space, observation: Shaped[Tensor, "*lead ..."], statistics: Moments) -> Shaped[Tensor, "*lead ..."]:
    """Observations whose vectors have mean 0 and standard deviation 1.

    Of several senses, a reader puts the bounds of each entry to -1 and 1. So what shall be 1 there is shown as its upper bound.
    """
    numbers = statistics.normalise(numbers_of(space, observation))
    if not isinstance(space, Senses):
        return numbers
    vectors, shown = vectors_of(space), {}
    sizes = [torch.Size(part.shape).numel() for part in vectors.values()]
    for (name, part), values in zip(vectors.items(), numbers.split(sizes, dim=-1), strict=True):
        ranges = ranges_of(part, observation.device)
        shown[name] = (ranges.center + ranges.half * values).reshape(*values.shape[:-1], *part.shape)
    return space.replaced(observation, shown)


RAW = "raw_observation", "raw_arrival"
"""Where a step's info keeps, until they are counted, what was seen before it and after it."""


class NormalisedEnv:
    """Shows normalised observations; the raw ones stand beside each step, since only who lives knows which steps count."""

    def __init__(self, env: BatchEnv, space: Space, statistics: Moments):
        self._env, self._space, self._statistics = env, space, statistics

    def _shown(self, observation: Observation) -> Observation:
        self._raw = numbers_of(self._space, observation)
        return normalised(self._space, observation, self._statistics)

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        return self._shown(self._env.reset(tasks, generator))

    def restart(self) -> Observation:
        return self._shown(self._env.restart())

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        before, transition = self._raw, self._env.step(action)
        raw = before, numbers_of(self._space, transition.arrival)
        return transition._replace(
            observation=self._shown(transition.observation),
            arrival=normalised(self._space, transition.arrival, self._statistics),
            info=transition.info | dict(zip(RAW, raw, strict=True)),
        )

    def close(self) -> None:
        self._env.close()


class NormalisedSite:
    """A site whose environments show normalised observations."""

    def __init__(self, site: Site, statistics: Moments):
        self._site, self._statistics = site, statistics
        self.distribution: TaskDistribution = NormalisedTasks(site.distribution, statistics)
        self._space = site.distribution.observation_space
        self.device = site.device

    def env(self, tasks: int, lanes: int) -> NormalisedEnv:
        return NormalisedEnv(self._site.env(tasks, lanes), self._space, self._statistics)


class Wrapped(NamedTuple):
    """What the shards of a wrapped unit of work share."""

    function: Callable[[Site, Any, Shard], Any]
    shared: Any
    statistics: Moments | None


def normalised_unit(site: Site, wrapped: Wrapped, shard: Shard) -> tuple[Any, Moments | None]:
    """A unit of work as it is, in normalised environments; beside its result, the moments of what it saw."""
    if wrapped.statistics is None:
        return wrapped.function(site, wrapped.shared, shard), None
    result = wrapped.function(NormalisedSite(site, wrapped.statistics), wrapped.shared, shard)
    return counted(result, no_moments(wrapped.statistics.mean.shape, site.device))


def counted(result: Any, seen: Moments) -> tuple[Any, Moments]:
    """A result whose experience keeps no raw observations, and the moments with those that were lived in it.

    Each counts once: what an episode began with, and where each of its steps arrived. A lane that waits sees nothing.
    """
    if isinstance(result, list):
        parts = []
        for part in result:
            part, seen = counted(part, seen)
            parts.append(part)
        return parts, seen
    if not isinstance(result, Experience):
        return result, seen
    info = dict(result.transition.info)
    before, after = (info.pop(name) for name in RAW)
    for values in (before[result.valid & result.percept.first], after[result.valid]):
        seen = merged(seen, moments_of(values))
    return result._replace(transition=result.transition._replace(info=info)), seen


class NormalisedWork:
    """Runs the units of work of the learner inside, scaling the rewards of the experience that they bring back."""

    def __init__(self, work: Work, statistics: Statistics, gamma: float):
        self._work, self._statistics, self._gamma = work, statistics, gamma
        self.later = statistics
        """The statistics after what was seen here."""
        self.reward_scale = 1.0
        """What rewards are divided by: one number for a whole meta-iteration, known when its first experience is."""

    def map(self, function: Callable[[Site, Shared, Shard], Result], shared: Shared, shards: Sequence[Shard]) -> list[Result]:
        wrapped = Wrapped(function, shared, self._statistics.observation)
        results = []
        for result, seen in self._work.map(normalised_unit, wrapped, shards):
            if seen is not None and self.later.observation is not None:
                self.later = self.later._replace(observation=merged(self.later.observation, seen))
            results.append(self._scaled(result))
        return results

    def _scaled(self, result: Any) -> Any:
        if self.later.returns is None:
            return result
        if isinstance(result, Experience):
            return self._scaled_experience(result, self.later.returns)
        return [self._scaled(part) for part in result] if isinstance(result, list) else result

    def _scaled_experience(self, experience: Experience, returns: Moments) -> Experience:
        transition = experience.transition
        now = merged(returns, moments_of(discounted_returns(experience, self._gamma)[experience.valid]))
        if self.later.returns is self._statistics.returns:
            self.reward_scale = float(now.std)
        self.later = self.later._replace(returns=now)
        info = transition.info | {"raw_reward": transition.reward}
        return experience._replace(transition=transition._replace(reward=transition.reward / self.reward_scale, info=info))


def discounted_returns(experience: Experience, gamma: float) -> Float[Tensor, "task lane time"]:
    """At each step, the discounted sum of the rewards of its episode up to it."""
    transition = experience.transition
    ended, total, sums = transition.terminated | transition.truncated, torch.zeros_like(transition.reward[..., 0]), []
    for step in range(transition.reward.shape[-1]):
        total = total * gamma + transition.reward[..., step]
        sums.append(total)
        total = total * ~ended[..., step]
    return torch.stack(sums, -1)


@dataclass(frozen=True)
class NormalisedPolicy:
    """Another policy, shown normalised observations."""

    policy: Policy
    statistics: Moments
    space: Space
    """Of the raw observations."""

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return self.policy.initial_memory(tasks, lanes)

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        return self.policy.act(normalised_percept(self.space, percept, self.statistics), memory, generator)


def normalised_percept(space: Space, percept: Percept, statistics: Moments) -> Percept:
    """The percept with normalised observations, where there is a past in `arrival` too; action and reward stay raw."""
    arrival = where_lead(has_past(percept), normalised(space, percept.arrival, statistics), percept.arrival)
    return percept._replace(observation=normalised(space, percept.observation, statistics), arrival=arrival)


@checked
class Normalised:
    """A learner that sees normalised observations, or trains on normalised rewards, or both.

        qs.Normalised(qs.RL2(tasks), qs.Normalisation(normalise_observation=True))

    Of several senses the vectors are normalised. UsageError where observations are to be normalised and have none. The learner
    must not have begun to train.
    """

    iteration: int = cast(
        int, property(lambda self: self.learner.iteration, lambda self, to: setattr(self.learner, "iteration", to))
    )
    """Meta-iterations done so far, which the learner inside counts."""

    def __init__(self, learner: Learner, normalisation: Normalisation):
        self.learner, self.normalisation = learner, normalisation
        self.name, self.tasks, self.config = learner.name, learner.tasks, learner.config
        self.seed, self.device, self.lanes = learner.seed, learner.device, learner.lanes
        shape = numbers_shape(learner.tasks) if normalisation.normalise_observation else None
        self.statistics = Statistics(
            None if shape is None else no_moments(shape, learner.device),
            no_moments((), learner.device) if normalisation.normalise_reward else None,
        )

    def explorer(self) -> Policy:
        policy, statistics = self.learner.explorer(), self.statistics.observation
        return policy if statistics is None else NormalisedPolicy(policy, statistics, self.tasks.observation_space)

    def adapt(self, policy: Any, experience: Experience) -> Policy:
        if not isinstance(policy, NormalisedPolicy):
            return self.learner.adapt(policy, experience)
        seen = normalised_experience(policy.space, experience, policy.statistics)
        return replace(policy, policy=self.learner.adapt(policy.policy, seen))

    def inside(self, trial: Trial) -> tuple[Learner, Trial]:
        """The learner within, and the trials as it has seen them."""
        [first, *_] = trial.policies
        if not isinstance(first, NormalisedPolicy):
            return self.learner, trial
        policies = [policy.policy for policy in trial.policies]
        episodes = [normalised_experience(first.space, each, first.statistics) for each in trial.episodes]
        return self.learner, Trial(policies, episodes)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)

    def train_step(self, work: Work) -> Metrics:
        inside = NormalisedWork(work, self.statistics, self.normalisation.reward_gamma)
        metrics = self.learner.train_step(inside)
        self.statistics = inside.later
        # returns are told in the environment's own units
        returns = ("rew_mean", "return_mean")
        return {name: value * inside.reward_scale if name.endswith(returns) else value for name, value in metrics.items()}

    def state_dict(self) -> State:
        kept = {name: moments._asdict() for name, moments in self.statistics._asdict().items() if moments is not None}
        return {"learner": self.learner.state_dict(), "statistics": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        kept = {name: moments_fit(moments) for name, moments in self.statistics._asdict().items() if moments is not None}
        require_fit("", state, {"learner": {}, "statistics": kept})
        self.learner.load_state_dict(state["learner"])
        stored = {
            name: Moments(**{key: value.to(self.device) for key, value in moments.items()})
            for name, moments in state["statistics"].items()
        }
        self.statistics = self.statistics._replace(**stored)


def where_lead(mask: Bool[Tensor, "*lead"], yes: Tensor, no: Tensor) -> Tensor:
    """Takes `yes` where the mask over the leading axes holds and `no` elsewhere."""
    return torch.where(mask.reshape(*mask.shape, *[1] * (yes.dim() - mask.dim())), yes, no)


def normalised_experience(space: Space, experience: Experience, statistics: Moments) -> Experience:
    """Experience as the learner inside would have seen it."""
    transition = experience.transition
    seen = {name: normalised(space, getattr(transition, name), statistics) for name in ("observation", "arrival")}
    return experience._replace(
        percept=normalised_percept(space, experience.percept, statistics),
        transition=transition._replace(**seen),
        end_percept=normalised_percept(space, experience.end_percept, statistics),
    )
