"""A planner: many sequences of actions are tried in a model at once, and the next ones are drawn where the best lay.

It knows no model: what it plans with is a function from plans to returns. Plans are what networks read of actions
(`unit_vector`): entries of a Box in [-1, 1], clipped before they are tried as the environment clips them; one of n, Discrete.
Axes are task, lane, candidate, time, entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from gymnasium import Space, spaces
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor
from torch.nn import functional
from typing_extensions import Doc

from quickstudy.errors import UsageError, require_at_least, require_positive, require_share
from quickstudy.ops.shooting import best_of, colouring, elite_weights, fitted, path_weights
from quickstudy.ops.spaces import ranges_of
from quickstudy.ops.tree import where_lane
from quickstudy.protocol import counter

Plans = Float[Tensor, "task lane candidate time entry"]
Score = Callable[[Plans], Float[Tensor, "task lane candidate"]]
"""What each plan is expected to return."""

Planner = Annotated[
    Literal["cem", "mppi", "random"],
    Doc(
        "How plans are found: drawn anew around the best ones (cross-entropy method), around all by their returns (MPPI), or"
        " the best of many random ones."
    ),
]
PlanSteps = Annotated[int, Doc("Steps that a plan looks ahead.")]
Candidates = Annotated[int, Doc("Plans that are tried at once.")]
Refits = Annotated[int, Doc("Times that candidates are drawn, each around what the ones before came to.")]
EliteShare = Annotated[float, Doc("cem: the share of the candidates that the next ones are drawn around.")]
PlanTemperature = Annotated[
    float,
    Doc("mppi: how much worse returns still count, in deviations of the candidates' returns; 0 in the limit: the best alone."),
]
NoiseColor = Annotated[
    float, Doc("How much candidates keep to an action over time: power falls with f^-color; 0: white noise.")
]
LeastDeviation = Annotated[
    float,
    Doc("Candidates deviate by this at least, in half-ranges of actions; the chance of a random one, where they are Discrete."),
]

FIRST_DEVIATION = 0.7
"""Of the first candidates of a step, in half-ranges."""
KEPT = 0.3
"""The share of the elites that are tried again beside the next candidates (iCEM: Pinneri et al. 2020, sec. 3.3)."""


@runtime_checkable
class Search(Protocol):
    """A configuration that says how plans are found."""

    @property
    def planner(self) -> Literal["cem", "mppi", "random"]: ...
    @property
    def plan_steps(self) -> int: ...
    @property
    def candidates(self) -> int: ...
    @property
    def refits(self) -> int: ...
    @property
    def elite_share(self) -> float: ...
    @property
    def plan_temperature(self) -> float: ...
    @property
    def noise_color(self) -> float: ...
    @property
    def least_deviation(self) -> float: ...


def require_search(what: str, config: Search) -> None:
    """Raises UsageError where nothing can be found so."""
    require_at_least(1, what, config, "plan_steps", "candidates", "refits")
    require_at_least(0, what, config, "noise_color")
    require_share(what, config, "elite_share")
    require_share(what, config, "least_deviation", zero=True)
    require_positive(what, config, "plan_temperature")


class Proposal(NamedTuple):
    """What candidates are drawn from, independently at each time."""

    mean: Float[Tensor, "task lane time entry"]
    """Of Discrete actions their chances."""
    deviation: Float[Tensor, "task lane time entry"]
    """Of Discrete actions it says nothing."""


@runtime_checkable
class Actions(Protocol):
    """How plans of one kind of actions are drawn and fitted."""

    @property
    def size(self) -> int:
        """Entries of an action."""
        ...

    @property
    def noises(self) -> int:
        """Normal numbers that an action is drawn with."""
        ...

    def first(self, tasks: int, lanes: int, steps: int, device: torch.device | str) -> Proposal:
        """What the first candidates of a step are drawn from, where nothing was planned before."""
        ...

    def drawn(self, proposal: Proposal, noise: Float[Tensor, "task lane candidate time noise"]) -> Plans: ...

    def anyhow(self, noise: Float[Tensor, "*lead noise"]) -> Float[Tensor, "*lead entry"]:
        """Actions drawn from all there are."""
        ...

    def bounded(self, proposal: Proposal, least: float) -> Proposal:
        """The proposal with a floor under what it may still find."""
        ...

    def taken(self, entries: Float[Tensor, "*lead entry"]) -> Shaped[Tensor, "*lead ..."]:
        """The action as the environment takes it; of a mean its mode."""
        ...


@dataclass(frozen=True)
class BoxActions:
    """Independent normals, clipped to the bounds."""

    space: spaces.Box

    @property
    def size(self) -> int:
        return math.prod(self.space.shape)

    @property
    def noises(self) -> int:
        return self.size

    def first(self, tasks: int, lanes: int, steps: int, device: torch.device | str) -> Proposal:
        mean = torch.zeros(tasks, lanes, steps, self.size, device=device)
        return Proposal(mean, torch.full_like(mean, FIRST_DEVIATION))

    def drawn(self, proposal: Proposal, noise: Float[Tensor, "task lane candidate time noise"]) -> Plans:
        return (proposal.mean[:, :, None] + proposal.deviation[:, :, None] * noise).clamp(-1, 1)

    def anyhow(self, noise: Float[Tensor, "*lead noise"]) -> Float[Tensor, "*lead entry"]:
        return (noise / math.sqrt(2)).erf()

    def bounded(self, proposal: Proposal, least: float) -> Proposal:
        return proposal._replace(deviation=proposal.deviation.clamp(min=least))

    def taken(self, entries: Float[Tensor, "*lead entry"]) -> Shaped[Tensor, "*lead ..."]:
        ranges = ranges_of(self.space, entries.device)
        return (ranges.center + ranges.half * entries).unflatten(-1, self.space.shape)


@dataclass(frozen=True)
class DiscreteActions:
    """One of so many at each time, with chances of its own."""

    size: int
    noises: int = 1

    def first(self, tasks: int, lanes: int, steps: int, device: torch.device | str) -> Proposal:
        mean = torch.full((tasks, lanes, steps, self.size), 1 / self.size, device=device)
        return Proposal(mean, torch.zeros_like(mean))

    def drawn(self, proposal: Proposal, noise: Float[Tensor, "task lane candidate time noise"]) -> Plans:
        bounds = proposal.mean.cumsum(-1)[:, :, None, :, :-1]
        return functional.one_hot((uniform(noise) > bounds).sum(-1), self.size).float()

    def anyhow(self, noise: Float[Tensor, "*lead noise"]) -> Float[Tensor, "*lead entry"]:
        number = (uniform(noise[..., 0]) * self.size).long().clamp(max=self.size - 1)
        return functional.one_hot(number, self.size).float()

    def bounded(self, proposal: Proposal, least: float) -> Proposal:
        return proposal._replace(mean=(1 - least) * proposal.mean + least / self.size)

    def taken(self, entries: Float[Tensor, "*lead entry"]) -> Shaped[Tensor, "*lead ..."]:
        return entries.argmax(-1)


def uniform(noise: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Numbers uniform on [0, 1] of standard normal ones."""
    return torch.special.ndtr(noise)


def actions_for(what: str, space: Space[Any]) -> Actions:
    """How actions of a space are planned; UsageError where they can't be."""
    if isinstance(space, spaces.Discrete):
        return DiscreteActions(int(space.n))
    if isinstance(space, spaces.Box) and bool(ranges_of(space).bounded.all()):
        return BoxActions(space)
    raise UsageError(f"{what}: action space {space}: a planner takes Discrete, or Box with bounds; rl2 and maml take others")


class Planned(NamedTuple):
    """What a search came to."""

    proposal: Proposal
    returns: Float[Tensor, "task lane refit"]
    """What the plans that were fitted to are expected to return, on average, at each refit."""


def search(
    actions: Actions,
    config: Search,
    proposal: Proposal,
    score: Score,
    noise: Float[Tensor, "refit task lane candidate time noise"],
) -> Planned:
    """The plans that are left when candidates have been drawn, tried and fitted to so many times (de Boer et al. 2005).

    The first candidate is what the middle of the proposal says, so that a good plan isn't lost.
    """
    count, kept, returns = max(1, round(config.elite_share * config.candidates)), None, []
    for draws in noise:
        plans = actions.anyhow(draws) if config.planner == "random" else actions.drawn(proposal, draws)
        plans = plans if kept is None else torch.cat([kept, plans], dim=2)
        found = score(plans)
        if config.planner == "cem":
            weights = elite_weights(found, count)
            kept = plans.take_along_dim(best_of(found, math.ceil(KEPT * count))[..., None, None], dim=2)
        else:
            weights = elite_weights(found, 1) if config.planner == "random" else path_weights(found, config.plan_temperature)
        proposal = actions.bounded(Proposal(*fitted(weights, plans)), config.least_deviation)
        returns.append((weights * found.nan_to_num()).sum(-1))
    return Planned(proposal, torch.stack(returns, -1))


def draws(
    actions: Actions, config: Search, tasks: int, lanes: int, generator: Generator | None, device: torch.device | str
) -> Float[Tensor, "refit task lane candidate time noise"]:
    """The noise of a search, for each lane its own; without a generator the same for all, at every step.

    The first candidate has none.
    """
    refits = 1 if config.planner == "random" else config.refits
    shape = (config.candidates, config.plan_steps, actions.noises)
    lead = (1, 1) if generator is None else (tasks, lanes)
    white = torch.randn(refits, *lead, *shape, generator=generator or counter(0, 0, "plans", 0, str(device)), device=device)
    noise = torch.einsum("st,...tn->...sn", colouring(config.plan_steps, config.noise_color).to(device), white)
    if config.planner != "random":
        noise[..., 0, :, :] = 0
    return noise.expand(refits, tasks, lanes, *shape)


def acted(
    actions: Actions,
    config: Search,
    plan: Float[Tensor, "task lane time entry"],
    first: Bool[Tensor, "task lane"],
    score: Score,
    generator: Generator | None,
    random_share: float = 0.0,
) -> tuple[Shaped[Tensor, "task lane ..."], Float[Tensor, "task lane time entry"]]:
    """The first action of a plan, and what the next step begins to plan from: the rest of it (iCEM: sec. 3.2).

    Where an episode begins nothing is planned yet. With `random_share` that share of the actions is drawn from all there are.
    """
    tasks, lanes, steps, _ = plan.shape
    blank = actions.first(tasks, lanes, steps, plan.device)
    proposal = blank._replace(mean=where_lane(first, blank.mean, plan))
    mean = proposal.mean
    if random_share < 1:
        noise = draws(actions, config, tasks, lanes, generator, plan.device)
        mean = search(actions, config, proposal, score, noise).proposal.mean
    action, rest = mean[:, :, 0], torch.cat([mean[:, :, 1:], blank.mean[:, :, -1:]], dim=2)
    if generator is not None and random_share:
        strays = torch.rand(tasks, lanes, generator=generator, device=plan.device) < random_share
        noise = torch.randn(tasks, lanes, actions.noises, generator=generator, device=plan.device)
        action = where_lane(strays, actions.anyhow(noise), action)
    return actions.taken(action), rest
