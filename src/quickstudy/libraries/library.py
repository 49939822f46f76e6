"""A library: agents that stand ready, and the agent that they are together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gymnasium.spaces import Discrete

from quickstudy.arguments import checked
from quickstudy.data.session import Session
from quickstudy.errors import UsageError
from quickstudy.libraries.fitted import fitted
from quickstudy.libraries.foresight import Foresight, foresight_of
from quickstudy.libraries.policy import LibraryPolicy, Restore, member, telling
from quickstudy.libraries.reuse import Choose, Reuse, performance_of
from quickstudy.libraries.rules import Bayes, Exp4, Praise, Rule
from quickstudy.nets.distributions import distribution_over
from quickstudy.protocol import Agent, Experience, TaskDistribution
from quickstudy.wrappers.normalised import Normalised


@checked
@dataclass(frozen=True, kw_only=True)
class Weighing:
    """How the members of a library are weighed."""

    weights: Literal["exp4", "bayes", "reuse", "greedy"] = "exp4"
    """By what a member's actions have earned (exp4), by how likely what happened is in its family (bayes), a member for a whole
    episode by what is believed (reuse), or the action of the greatest sum of members' chances by reward (greedy)."""
    floor: float | None = None
    """The share of trust that is dealt out evenly; without it 0.1 for exp4, 0.01 for reuse and 0 for bayes."""
    likelihood: Literal["known", "fitted"] = "known"
    """Of steps in a member's family: as somebody has reckoned it, or by a network that is fitted to trials first."""
    choose: Choose = "expected-improvement"
    """How reuse chooses the member that acts in an episode."""
    signal: Literal["returns", "steps"] = "returns"
    """What moves the belief of reuse: what an episode returned, or the likelihood of each step."""
    measured_tasks: int = 64
    """Training tasks of each member's family on which reuse measures every member first."""
    reward_low: float = 0.0
    """For exp4, the least that a step pays; what pays less counts as that."""
    reward_high: float = 1.0
    """For exp4, the most that a step pays; what pays more counts as that."""

    def __post_init__(self) -> None:
        if self.floor is not None and not (0 < self.floor <= 1 if self.weights == "exp4" else 0 <= self.floor <= 1):
            least = "more than 0" if self.weights == "exp4" else "at least 0"
            raise UsageError(f"library: floor is {self.floor:g}, for {self.weights} it must be {least} and at most 1")
        if self.floor is not None and self.weights == "greedy":
            raise UsageError("library: greedy has no floor; take exp4, which explores")
        if self.measured_tasks < 1:
            raise UsageError(f"library: measured_tasks is {self.measured_tasks}, it must be at least 1")
        if not self.reward_low < self.reward_high:
            raise UsageError(f"library: reward_low is {self.reward_low:g}, it must be less than reward_high")


@checked
class Library:
    """Several agents as one, the meta-policy on them: pi_meta(a|h) = sum_i w_i(h) pi_i(a|s_i).

        qs.Library(tasks, [qs.load("runs/a"), qs.load("runs/b")], qs.Weighing(weights="exp4"))

    Each member acts with a memory of its own and adapts as it does alone. Its notes hold the weights and, where all members
    tell a value, V_meta(h) = sum_i w_i(h) V_i(s_i), as `value`. `foresights` gives a likelihood for each member, for bayes and
    for reuse by steps; by default that of the family that it was trained on. UsageError where a member's spaces aren't the
    tasks', or there is no such likelihood.
    """

    def __init__(
        self,
        tasks: TaskDistribution,
        members: Sequence[Agent],
        weighing: Weighing | None = None,
        *,
        foresights: Sequence[Foresight] | None = None,
    ):
        self.tasks, self.members, self.weighing = tasks, tuple(members), weighing or Weighing()
        require_members(tasks, self.members)
        self.name = f"library of {len(self.members)}, {self.weighing.weights}"
        self.device, self.lanes = self.members[0].device, max(agent.lanes for agent in self.members)
        self.rule = rule_of(self.weighing, tasks, self.members, foresights)

    def explorer(self) -> LibraryPolicy:
        policies = tuple(telling(agent.explorer()) for agent in self.members)
        restore = tuple(restore_of(agent) for agent in self.members)
        return LibraryPolicy(policies, restore, self.rule, distribution_over(self.tasks.action_space), self.device)

    def adapt(self, policy: LibraryPolicy, experience: Experience) -> LibraryPolicy:
        """Each member adapts to what it has lived; the weights go on."""
        adapted = [
            agent.adapt(own, policy.seen_by(number, experience))
            for number, (agent, own) in enumerate(zip(self.members, policy.policies, strict=True))
        ]
        kept = {name: value for name, value in experience.end_memory.items() if not name.startswith("member ")}
        return replace(policy, policies=tuple(adapted), start=kept)

    def session(self, *, seed: int = 0, greedy: bool = False) -> Session:
        """This agent at work in the world, step by step."""
        return Session(self, seed=seed, greedy=greedy)


def require_members(tasks: TaskDistribution, members: Sequence[Agent]) -> None:
    """Raises UsageError where there is no member, or one that can't act here."""
    if not members:
        raise UsageError("library: it needs at least one member")
    for number, agent in enumerate(members):
        for what in ("observation_space", "action_space"):
            own, here = getattr(agent.tasks, what), getattr(tasks, what)
            if own != here:
                called = what.replace("_", " ")
                raise UsageError(f"library: {member(number)}, {agent.name}, has {called} {own}, the tasks have {here}")
        if agent.device != members[0].device:
            raise UsageError(f"library: {member(number)} is on {agent.device}, the first on {members[0].device}")


def rule_of(
    weighing: Weighing, tasks: TaskDistribution, members: Sequence[Agent], foresights: Sequence[Foresight] | None
) -> Rule:
    """What weighs the members; UsageError where it can't."""
    count, device = len(members), members[0].device
    by_steps = weighing.weights == "bayes" or (weighing.weights == "reuse" and weighing.signal == "steps")
    if foresights is not None and (not by_steps or len(foresights) != count):
        raise UsageError(f"library: foresights are for bayes, or reuse by steps, one for each of {count} members")
    match weighing.weights:
        case "exp4":
            floor = 0.1 if weighing.floor is None else weighing.floor
            return Exp4(count, floor, weighing.reward_low, weighing.reward_high, device)
        case "greedy":
            if not isinstance(tasks.action_space, Discrete):
                raise UsageError(f"library: greedy is for Discrete actions, these are {tasks.action_space}; take exp4")
            return Praise(count, device)
        case "bayes":
            return bayes_of(weighing.likelihood, weighing.floor or 0.0, members, foresights)
    floor = 0.01 if weighing.floor is None else weighing.floor
    steps = bayes_of(weighing.likelihood, floor, members, foresights) if by_steps else None
    return Reuse(performance_of(members, weighing.measured_tasks), weighing.choose, floor, steps)


def bayes_of(likelihood: str, floor: float, members: Sequence[Agent], foresights: Sequence[Foresight] | None) -> Bayes:
    """Weights by likelihoods that are given, known, or fitted here."""
    device = members[0].device
    if foresights is not None:
        return Bayes(tuple(foresights), floor, device)
    if likelihood == "fitted":
        return Bayes(tuple(fitted(agent) for agent in members), floor, device)
    found = [foresight_of(agent.tasks, device) for agent in members]
    for number, foresight in enumerate(found):
        if foresight is None:
            raise UsageError(
                f"library: nobody has reckoned a likelihood of the family of {member(number)}, {members[number].name}; fit one"
                " (likelihood fitted), take exp4, or give foresights"
            )
    return Bayes(tuple(each for each in found if each is not None), floor, device)


def restore_of(agent: Any) -> Restore | None:
    """What gives a member's noted values in the units of rewards; None where they are of scaled rewards."""
    if isinstance(agent, Normalised):
        return restore_of(agent.learner) if agent.statistics.returns is None else None
    scale = getattr(agent, "scale", None)
    return scale.restore if scale is not None else lambda value: value
