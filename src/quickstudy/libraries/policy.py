"""pi_meta(a|h) = sum_i w_i(h) pi_i(a|s_i) and V_meta(h) = sum_i w_i(h) V_i(s_i): members side by side, as one policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Generator, Tensor

from quickstudy.libraries.rules import Played, Rule
from quickstudy.nets.distributions import Categorical, Distribution
from quickstudy.ops.tree import under, within
from quickstudy.protocol import Act, Experience, Memory, Percept, Policy

Restore = Callable[[Tensor], Tensor]
"""From a value as a member notes it to one in the units of the rewards."""


@dataclass(frozen=True)
class LibraryPolicy:
    """Draws a member by its weight and takes the action that it has drawn, which is a draw from the mixture.

    Without a generator, or where the rule says so, a discrete action of the greatest weighted sum is taken; of others that of
    the member that weighs most. A member that doesn't note its distribution is taken to be sure of the action it has drawn.
    """

    policies: tuple[Policy, ...]
    restore: tuple[Restore | None, ...]
    """None for a member that tells no value."""
    rule: Rule
    distribution: Distribution
    device: str
    start: Memory | None = None
    """What it goes on from besides members' memories; None at a trial's beginning."""

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        blank = torch.zeros(tasks, lanes, len(self.policies), device=self.device)
        played, rule = Played(blank, blank[..., 0])._asdict(), self.rule.initial_memory(tasks, lanes)
        memory = self.start or under("played ", played) | under("rule ", rule)
        for number, policy in enumerate(self.policies):
            memory |= under(own(number), policy.initial_memory(tasks, lanes))
        return memory

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        weights, rule = self.rule.weigh(percept, Played(**within("played ", memory)), within("rule ", memory))
        acts, kept = [], under("rule ", rule)
        for number, policy in enumerate(self.policies):
            act, after = policy.act(percept, within(own(number), memory), generator)
            acts.append(act)
            kept |= under(own(number), after)
        action = self.chosen(weights, acts, generator)
        told = [chance_of(self.distribution, act, action) for act in acts]
        by_member = torch.stack(told, -1)
        mixed = (weights.clamp(min=0).log() + by_member).logsumexp(-1)
        kept |= under("played ", Played(by_member, mixed)._asdict())
        notes = {"weights": weights} | self.valued(weights, acts)
        for number, act in enumerate(acts):
            notes |= under(own(number), act.notes | {"log_prob": told[number]})
        sure = self.rule.best_only or not all(tells(self.distribution, act) for act in acts)
        return Act(action, None if sure else mixed, notes), kept

    def chosen(
        self, weights: Float[Tensor, "task lane member"], acts: list[Act], generator: Generator | None
    ) -> Shaped[Tensor, "task lane ..."]:
        """The action that is taken; a single member's is its own."""
        if len(acts) == 1:
            return acts[0].action
        if isinstance(self.distribution, Categorical) and (generator is None or self.rule.best_only):
            chances = torch.stack([chances_of(self.distribution, act) for act in acts], -1)
            return (chances * weights[..., None, :]).sum(-1).argmax(-1)
        if generator is None:
            return taken(acts, weights.argmax(-1))
        return taken(acts, Categorical(len(acts)).sample(weights.log(), generator))

    def valued(self, weights: Float[Tensor, "task lane member"], acts: list[Act]) -> dict[str, Tensor]:
        """V_meta as a note, where each member tells its value."""
        if any(restore is None or "value" not in act.notes for restore, act in zip(self.restore, acts, strict=True)):
            return {}
        values = [restore(act.notes["value"]) for restore, act in zip(self.restore, acts, strict=True) if restore]
        return {"value": (weights * torch.stack(values, -1)).sum(-1)}

    def seen_by(self, number: int, experience: Experience) -> Experience:
        """Experience as a member has lived it: its own memory, its own notes, how likely the action was to it."""
        notes = within(own(number), experience.act.notes)
        log_prob = notes.pop("log_prob") if "parameters" in notes else None
        return experience._replace(
            act=experience.act._replace(log_prob=log_prob, notes=notes),
            start_memory=within(own(number), experience.start_memory),
            end_memory=within(own(number), experience.end_memory),
        )


def member(number: int) -> str:
    """What a member is called."""
    return f"member {number}"


def own(number: int) -> str:
    """With what the names begin of a member's part of memory and notes."""
    return f"{member(number)} "


def taken(acts: list[Act], choice: Int64[Tensor, "task lane"]) -> Shaped[Tensor, "task lane ..."]:
    """In each lane the action of the member that was chosen there."""
    actions = torch.stack([act.action for act in acts])
    index = choice.reshape(1, *choice.shape, *[1] * (actions.dim() - 3)).expand(1, *actions.shape[1:])
    return actions.gather(0, index)[0]


def tells(distribution: Distribution, act: Act) -> bool:
    """Whether a member has noted the distribution from which it drew."""
    return "parameters" in act.notes and act.notes["parameters"].shape[-1] == distribution.size


def chance_of(distribution: Distribution, act: Act, action: Shaped[Tensor, "task lane ..."]) -> Float[Tensor, "task lane"]:
    """log pi_i(a): of one that tells nothing 0 where it has drawn the same, and else minus infinity."""
    if tells(distribution, act):
        return distribution.log_prob(act.notes["parameters"], action)
    same = (act.action == action).flatten(2).all(-1) if action.dim() > 2 else act.action == action
    return torch.where(same, 0.0, -torch.inf)


def chances_of(distribution: Categorical, act: Act) -> Float[Tensor, "task lane action"]:
    """A member's chance of each action."""
    if tells(distribution, act):
        return act.notes["parameters"].softmax(-1)
    return torch.nn.functional.one_hot(act.action, distribution.size).float()


def telling(policy: Any) -> Any:
    """The same policy, which notes the distribution that it draws from where it, or one within it, can."""
    if is_dataclass(policy) and hasattr(policy, "keep_parameters"):
        return replace(policy, keep_parameters=True)  # pyright: ignore[reportArgumentType, reportCallIssue]
    if is_dataclass(policy) and isinstance(inner := getattr(policy, "policy", None), Policy):
        return replace(policy, policy=telling(inner))  # pyright: ignore[reportArgumentType, reportCallIssue]
    return policy
