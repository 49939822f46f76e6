"""An agent's step and its adaptation as functions of tensors in a fixed order."""

from __future__ import annotations

import copy
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from quickstudy.errors import UsageError
from quickstudy.parts.gradient import Start, WeightedPolicy
from quickstudy.protocol import Act, Agent, Experience, Memory, Percept, Policy, Transition, begin_trial
from quickstudy.runtime.contents import LIVED


class Recording:
    """A distribution that keeps the parameters of which it was asked for an action last."""

    def __init__(self, distribution: Any):
        self.distribution = distribution
        self.parameters: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "distribution":  # while a copy of it is made
            raise AttributeError(name)
        return getattr(self.distribution, name)

    def mode(self, parameters: Tensor) -> Tensor:
        """The most likely action."""
        self.parameters = parameters
        return self.distribution.mode(parameters)

    def sample(self, parameters: Tensor, generator: Generator) -> Tensor:
        """An action, drawn."""
        self.parameters = parameters
        return self.distribution.sample(parameters, generator)


class Adapts(NamedTuple):
    """How an agent adapts, and the weights that move when it does so by gradient."""

    how: str
    weights: dict[str, Tensor]
    two_kinds: bool = False
    """Whether its first step on a task differs from later ones."""


@dataclass(frozen=True)
class Exportable:
    """An agent whose policy draws from a distribution that is known here."""

    agent: Agent
    policy: Any
    distribution: Any
    experience: Experience
    """Random steps, one task, with which functions are traced."""
    adapts: Adapts
    memory: Memory
    """With which a task begins, without axes of tasks and lanes."""
    valued: bool
    """Whether the policy tells a value that can be brought into the unit of rewards."""

    def step(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Percept, memory and weights, (lane, ...) but the weights, to greedy action, parameters, value if any, and memory."""
        percept = Percept(*(tensor[None] for tensor in tensors[:7]))
        names = list(self.memory)
        memory = {name: tensor[None] for name, tensor in zip(names, tensors[7:], strict=False)}
        recording = Recording(self.distribution)
        policy = with_weights(self.policy, dict(zip(self.adapts.weights, tensors[7 + len(names) :], strict=True)))
        act, memory = with_distribution(policy, recording).act(percept, memory, None)
        assert recording.parameters is not None
        value = [self.scale.restore(act.notes["value"][0]).float()] if self.valued else []
        # a memory that stays is given back as another tensor: no output of a graph is an input
        return act.action[0], recording.parameters[0], *value, *(memory[name][0] + 0 for name in names)

    @property
    def scale(self) -> Any:
        """What brings a value into the unit of the rewards that were trained on; None where there is no such scale."""
        return getattr(within(self.agent), "scale", None)

    def step_example(self, lanes: int) -> list[Tensor]:
        """What `step` may be given: random observations in so many lanes where a trial begins."""
        percept = begin_trial(self.experience.percept.observation.flatten(0, 2)[:lanes, None], self.agent.tasks.action_space)
        memory = [value.expand(lanes, *value.shape).clone() for value in self.memory.values()]
        return [*(part[:, 0].contiguous() for part in percept), *memory, *self.adapts.weights.values()]

    def adapt(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """What was lived, as `LIVED` names it, whether it is the first step on this task, and weights, to weights."""
        lived, first_step, names = tensors[: len(LIVED)], tensors[len(LIVED)], list(self.adapts.weights)
        experience = lived_as(self.distribution, *(tensor[None] for tensor in lived))
        weights = dict(zip(names, tensors[len(LIVED) + 1 :], strict=True))
        first = weights_in(self.agent.adapt(with_weights(self.policy, weights), experience))
        if not self.adapts.two_kinds:
            return tuple(first[name].reshape(weights[name].shape) for name in names)
        later = weights_in(self.agent.adapt(with_weights(self.policy, weights, axis=0), experience))
        return tuple(torch.where(first_step, first[name], later[name]).reshape(weights[name].shape) for name in names)

    def adapt_example(self) -> list[Tensor]:
        """What `adapt` may be given: the random steps, as a first step on a task."""
        return [*told_of(self.experience), torch.tensor(True), *self.adapts.weights.values()]


def exportable(agent: Agent, horizon: int) -> Exportable:
    """The agent, once it is clear that policy and adaptation are of a kind that can be exported; UsageError otherwise."""
    policy = agent.explorer()
    inner = innermost(policy)
    distribution = distribution_of(policy)
    if isinstance(inner, WeightedPolicy) and inner.start.moments:
        raise UsageError(
            f"{agent.name} adapts by Adam, whose first step has its full length whichever way a gradient near zero points:"
            " rounding alone would lead an exported one elsewhere"
        )
    if not is_dataclass(inner) or distribution is None:
        raise UsageError(f"{agent.name} draws no action from parameters of a distribution (it plans, mixes or follows a rule)")
    with torch.no_grad():
        experience = random_experience(agent, policy, distribution, horizon)
        try:
            after = agent.adapt(policy, experience)
        except Exception as error:
            raise UsageError(
                f"{agent.name} doesn't adapt by what an exported file could hold: {type(error).__name__}"
            ) from error
        first = policy.initial_memory(1, 1)
        memory = {name: value[0, 0] for name, value in first.items()}
        percept = begin_trial(experience.percept.observation[:, :1, 0], agent.tasks.action_space)
        valued = getattr(within(agent), "scale", None) is not None and "value" in policy.act(percept, first, None)[0].notes
        return Exportable(agent, policy, distribution, experience, adapts(agent, policy, after, experience), memory, valued)


def within(agent: Any) -> Any:
    """The learner within a wrapper."""
    return getattr(agent, "learner", agent)


def adapts(agent: Agent, policy: Any, after: Any, experience: Experience) -> Adapts:
    """How an agent adapts, seen from what became of a policy; UsageError where it does so in no way that a file could hold."""
    inner, moved = innermost(policy), innermost(after)
    if moved is inner:
        return Adapts("nothing", {})
    if isinstance(inner, WeightedPolicy):
        weights = weights_in(policy)
        again = weights_in(agent.adapt(with_weights(policy, weights, axis=0), experience))
        alike = all(
            torch.allclose(each.reshape(again[name].shape), again[name], atol=1e-6) for name, each in weights_in(after).items()
        )
        return Adapts("gradient", weights, not alike)
    # a wrapper's own policy keeps the memory, or the one within it
    if any(getattr(each, "start", None) is experience.end_memory for each in (after, moved)):
        return Adapts("memory", {})
    raise UsageError(f"{agent.name} adapts by neither its memory nor a gradient step: that isn't exported")


def innermost(policy: Any) -> Any:
    """The policy that acts within wrappers."""
    return innermost(policy.policy) if isinstance(getattr(policy, "policy", None), Policy) else policy


def rebuilt(policy: Any, **fields: Any) -> Any:
    """A policy with other fields in the one that acts within wrappers."""
    if isinstance(getattr(policy, "policy", None), Policy):
        return replace(policy, policy=rebuilt(policy.policy, **fields))
    return replace(policy, **fields)


def distribution_of(policy: Any) -> Any:
    """What a policy draws from, where it is a distribution that has parameters; None otherwise."""
    inner = innermost(policy)
    for holder in (inner, getattr(inner, "net", None)):
        for name in ("distribution", "actions"):
            if hasattr(getattr(holder, name, None), "mode"):
                return getattr(holder, name)
    return None


def with_distribution(policy: Any, distribution: Any) -> Any:
    """A policy that draws otherwise."""
    inner = innermost(policy)
    for name in ("distribution", "actions"):
        if hasattr(inner, name):
            return rebuilt(policy, **{name: distribution})
    return rebuilt(policy, net=inner.net._replace(actions=distribution))


def weights_in(policy: Any) -> dict[str, Tensor]:
    """The weights of a policy that adapt."""
    return innermost(policy).start.divided()[0]


def with_weights(policy: Any, weights: dict[str, Tensor], axis: Any = None) -> Any:
    """A policy with other such weights, as first ones or, with `axis` 0, as a task's own, whose axis is put before them."""
    if not weights:
        return policy
    start: Start = innermost(policy).start
    own = {name: value if axis is None else value[None] for name, value in weights.items()}
    return rebuilt(policy, start=start._replace(weights=start.weights | own), axis=axis)


@torch.no_grad()
def random_experience(agent: Agent, policy: Any, distribution: Any, horizon: int) -> Experience:
    """Steps of a policy where observations and rewards are drawn at random, one task, in the agent's lanes."""
    space, lanes = copy.deepcopy(agent.tasks.observation_space), agent.lanes
    space.seed(0)
    few = torch.as_tensor(np.stack([np.asarray(space.sample()) for _ in range(64)]))
    seen = few[torch.arange(lanes * horizon) % 64].to(torch.float32 if few.is_floating_point() else few.dtype)
    recording, generator = Recording(distribution), torch.Generator().manual_seed(0)
    memory = policy.initial_memory(1, lanes * horizon)
    with_distribution(policy, recording).act(begin_trial(seen[None], agent.tasks.action_space), memory, None)
    assert recording.parameters is not None
    parameters = recording.parameters[0].unflatten(0, (lanes, horizon))
    action, observation = distribution.sample(parameters, generator), seen.unflatten(0, (lanes, horizon))
    reward, never = torch.randn(lanes, horizon, generator=generator), torch.zeros(lanes, horizon, dtype=torch.bool)
    lived = observation, action, parameters, reward, observation.roll(1, 0), never, never.clone(), ~never
    experience = lived_as(distribution, *(tensor[None] for tensor in lived))
    return experience._replace(end_memory=policy.initial_memory(1, lanes))


def lived_as(distribution: Any, *lived: Tensor) -> Experience:
    """Experience of what was lived, as `LIVED` names it, each of a single episode in each lane, (1, lane, time, ...)."""
    observation, action, parameters, reward, arrival, terminated, truncated, valid = lived
    never = torch.zeros_like(valid)
    first = torch.cat([torch.ones_like(valid[..., :1]), never[..., 1:]], dim=-1)
    # what each percept tells of the step before is read by no adaptation
    past = torch.zeros_like(action), torch.zeros_like(reward), torch.zeros_like(arrival), never, never
    percept = Percept(observation, first, *past)
    act = Act(action, distribution.log_prob(parameters, action), {"parameters": parameters})
    end = Percept(*(part[:, :, -1] for part in percept))
    return Experience(percept, act, Transition(arrival, arrival, reward, terminated, truncated, {}), valid, {}, end, {})


def told_of(experience: Experience) -> list[Tensor]:
    """What `lived_as` makes experience of, without the axis of tasks."""
    transition, act = experience.transition, experience.act
    ends = transition.arrival, transition.terminated, transition.truncated, experience.valid
    lived = experience.percept.observation, act.action, act.notes["parameters"], transition.reward, *ends
    return [tensor[0] for tensor in lived]
