"""A model of what steps do, learnt from recorded trials: changes of what is seen, rewards, and ends; and plans tried in it.

It reads what is seen about its mean and over its deviation, and an action's vector, and tells the change over its deviation.
The moments that make these units are values of the learner; they stand still while a plan is tried or weights adapt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Generator, Tensor
from torch.nn import functional

from quickstudy.errors import UsageError
from quickstudy.nets.ensemble import Ensemble, bounded_log_variance, gaussian_error
from quickstudy.nets.networks import skeleton
from quickstudy.nets.options import Sizes
from quickstudy.ops.features import as_vector, unit_vector, vector_size
from quickstudy.ops.moments import Moments, merged, moments_of, no_moments
from quickstudy.ops.policy_gradient import masked_mean
from quickstudy.ops.returns import episode_index
from quickstudy.ops.senses import is_read
from quickstudy.protocol import Percept, TaskDistribution, counter, has_past

FARTHEST = 10.0
"""What is read lies within so many deviations of its mean: a plan may lead where nothing was seen."""


def require_vectors(what: str, tasks: TaskDistribution) -> None:
    """Raises UsageError where observations are no vectors, whose changes could be predicted."""
    if is_read(tasks.observation_space):
        raise UsageError(f"{what} predicts vectors, not images, sounds or texts: show features instead (qs.Encoded)")


class Steps(NamedTuple):
    """What single steps began with, did and led to."""

    seen: Float[Tensor, "*lead feature"]
    action: Float[Tensor, "*lead action"]
    reward: Float[Tensor, "*lead"]
    arrival: Float[Tensor, "*lead feature"]
    ends: Bool[Tensor, "*lead"]
    """The episode ended and had no future."""
    valid: Bool[Tensor, "*lead"]


def steps_of(tasks: TaskDistribution, records: Mapping[str, Shaped[Tensor, "*lead ..."]]) -> Steps:
    """Recorded steps as vectors."""
    space = tasks.observation_space
    seen, arrival = (as_vector(space, records[name]) for name in ("observation", "arrival"))
    action = unit_vector(tasks.action_space, records["action"])
    return Steps(seen, action, records["reward"], arrival, records["terminated"], records["valid"])


def up_to_the_end(valid: Bool[Tensor, "*lead time"], ended: Bool[Tensor, "*lead time"]) -> Bool[Tensor, "*lead time"]:
    """Which steps belong to the episode of the first one."""
    return valid & (episode_index(ended) == 0)


class Scales(NamedTuple):
    """The moments of all steps that were lived."""

    seen: Moments
    change: Moments
    reward: Moments
    ends: Moments


def no_scales(tasks: TaskDistribution, device: str) -> Scales:
    """Before the first step."""
    features = (vector_size(tasks.observation_space),)
    return Scales(*(no_moments(shape, device) for shape in (features, features, (), ())))


def with_steps(scales: Scales, steps: Steps) -> Scales:
    """The moments with more steps in them."""
    lived = Steps(*(part[steps.valid] for part in steps))
    found = lived.seen, lived.arrival - lived.seen, lived.reward, lived.ends.float()
    return Scales(*(merged(old, moments_of(new)) for old, new in zip(scales, found, strict=True)))


class Units(NamedTuple):
    """The same as a model uses them, in float32."""

    center: Float[Tensor, "feature"]
    spread: Float[Tensor, "feature"]
    aim_center: Float[Tensor, "aim"]
    """Of the changes of what is seen, zero, and of the reward."""
    aim_spread: Float[Tensor, "aim"]
    ending: Float[Tensor, ""]
    """1 where an episode was ever seen to end, 0 where ends aren't to be feared."""


def units_of(scales: Scales) -> Units:
    """Where nothing varies the unit is 1."""
    seen, change, reward, ends = scales
    aim_center = torch.cat([torch.zeros_like(change.mean), reward.mean[None]])
    aim_spread = torch.cat([(change.std**2 + change.mean**2).sqrt(), reward.std[None]])
    return Units(*(part.float() for part in (seen.mean, seen.std, aim_center, aim_spread, ends.mean > 0)))


def model_net(tasks: TaskDistribution, sizes: Sizes, members: int, beside: int = 0, gaussian: bool = False) -> Ensemble:
    """The skeleton of an ensemble that tells steps; beside what is seen and done it reads more numbers."""
    features = vector_size(tasks.observation_space)
    outputs = (2 if gaussian else 1) * (features + 1) + 1
    return skeleton(lambda: Ensemble(members, features + vector_size(tasks.action_space) + beside, outputs, sizes))


def small_end(sizes: Sizes) -> dict[str, float]:
    """The gain with which the last layer of `model_net` begins: at first nothing much changes."""
    return {f"weights.{sizes.hidden_layers}": 0.1}


def read(
    units: Units, seen: Float[Tensor, "*lead feature"], action: Float[Tensor, "*lead action"], *beside: Float[Tensor, "*lead _"]
) -> Float[Tensor, "*lead input"]:
    """What a model reads."""
    near = ((seen - units.center) / units.spread).clamp(-FARTHEST, FARTHEST)
    return torch.cat([near, action, *beside], dim=-1)


def aims_of(units: Units, steps: Steps) -> Float[Tensor, "*lead aim"]:
    """What a model is to tell: the change, and the reward, in their units."""
    lived = torch.cat([steps.arrival - steps.seen, steps.reward[..., None]], dim=-1)
    return (lived - units.aim_center) / units.aim_spread


class Foretold(NamedTuple):
    """What a model tells of a step."""

    aim: Float[Tensor, "*lead aim"]
    log_variance: Float[Tensor, "*lead aim"] | None
    """Of a Gaussian about it, where the model tells one."""
    ends: Float[Tensor, "*lead"]
    """The logit of the chance that the episode ends."""


def foretold(units: Units, outputs: Float[Tensor, "*lead output"]) -> Foretold:
    """The outputs of `model_net` by what they mean."""
    aims = len(units.aim_spread)
    rest = outputs[..., aims:-1]
    return Foretold(outputs[..., :aims], bounded_log_variance(rest) if rest.shape[-1] else None, outputs[..., -1])


def step_error(told: Foretold, aim: Float[Tensor, "*lead aim"], ends: Bool[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
    """How badly each step is told: the changes of all features together, its reward, and its end count alike."""
    if told.log_variance is None:
        each = 0.5 * (told.aim - aim).square()
    else:
        each = gaussian_error(told.aim, told.log_variance, aim)
    ending = functional.binary_cross_entropy_with_logits(told.ends, ends.to(told.ends), reduction="none")
    return each[..., :-1].mean(-1) + each[..., -1] + ending


def model_loss(units: Units, outputs: Float[Tensor, "*lead output"], steps: Steps) -> Float[Tensor, ""]:
    """The mean error of the steps that there were."""
    return masked_mean(step_error(foretold(units, outputs), aims_of(units, steps), steps.ends), steps.valid)


@torch.no_grad()
def measured(units: Units, outputs: Float[Tensor, "*lead output"], steps: Steps) -> dict[str, Tensor]:
    """Mean squared errors of changes and rewards, in their units: 1 where nothing is foreseen but the mean."""
    error = (foretold(units, outputs).aim - aims_of(units, steps)).square()
    return {
        "train/change_error": masked_mean(error[..., :-1].mean(-1), steps.valid),
        "train/reward_error": masked_mean(error[..., -1], steps.valid),
    }


Forward = Callable[[Float[Tensor, "particle task lane candidate input"]], Float[Tensor, "particle task lane candidate output"]]


class Imagined(NamedTuple):
    """A step that a model tells, after those before it."""

    change: Float[Tensor, "*lead aim"]
    """Of what is seen, and behind it the reward, in the world's own units."""
    ends: Float[Tensor, "*lead"]
    """The chance that the episode ends with it."""
    arrival: Float[Tensor, "*lead feature"]


def imagined(
    forward: Forward,
    units: Units,
    seen: Float[Tensor, "task lane feature"],
    plans: Float[Tensor, "task lane candidate time action"],
    particles: int,
    beside: Float[Tensor, "task lane beside"] | None,
    aim_of: Callable[[Foretold], Float[Tensor, "particle task lane candidate aim"]],
) -> Iterator[Imagined]:
    """Plans' steps one after another, (particle, task, lane, candidate) each; `aim_of` says which of what is told happens."""
    lead = (particles, *plans.shape[:3])
    state = seen[None, :, :, None].expand(*lead, -1)
    known = () if beside is None else (beside[None, :, :, None].expand(*lead, -1),)
    for time in range(plans.shape[3]):
        told = foretold(units, forward(read(units, state, plans[None, :, :, :, time].expand(*lead, -1), *known)))
        change = units.aim_center + units.aim_spread * aim_of(told)
        state = state + change[..., :-1]
        yield Imagined(change, told.ends.sigmoid() * units.ending, state)


def imagined_returns(
    forward: Forward,
    units: Units,
    seen: Float[Tensor, "task lane feature"],
    plans: Float[Tensor, "task lane candidate time action"],
    gamma: float,
    particles: int = 1,
    beside: Float[Tensor, "task lane beside"] | None = None,
    generator: Generator | None = None,
) -> Float[Tensor, "task lane candidate"]:
    """What plans return in a model, on average over particles that each keep to a member (Chua et al. 2018: TS-inf).

    sum_t gamma^t r_t prod_{k < t} (1 - p_k), p the chance of an end. Where the model tells Gaussians, changes and rewards are
    drawn from them; without a generator by the same numbers in every lane.
    """
    lead = (particles, *plans.shape[:3])
    alive, total = torch.ones(lead, device=seen.device), torch.zeros(lead, device=seen.device)
    draws = generator or counter(0, 0, "particles", 0, str(seen.device))
    own = lead if generator is not None else (particles, 1, 1, lead[3])

    def drawn(told: Foretold) -> Float[Tensor, "particle task lane candidate aim"]:
        if told.log_variance is None:
            return told.aim
        noise = torch.randn(*own, told.aim.shape[-1], generator=draws, device=told.aim.device)
        return told.aim + (0.5 * told.log_variance).exp() * noise

    for time, step in enumerate(imagined(forward, units, seen, plans, particles, beside, drawn)):
        total = total + gamma**time * alive * step.change[..., -1]
        alive = alive * (1 - step.ends)
    return total.mean(0)


def imagined_steps(
    forward: Forward,
    units: Units,
    seen: Float[Tensor, "task lane feature"],
    actions: Float[Tensor, "task lane time action"],
    beside: Float[Tensor, "task lane beside"] | None = None,
    particles: int = 1,
) -> tuple[Float[Tensor, "task lane time feature"], Float[Tensor, "task lane time"]]:
    """What a model tells of the steps that follow under given actions: where each arrives, and its reward.

    Both in the world's own units, on average over particles that each keep to a member; of Gaussians the mean goes on.
    """
    steps = list(imagined(forward, units, seen, actions[:, :, None], particles, beside, lambda told: told.aim))
    arrivals, rewards = zip(*((step.arrival, step.change[..., -1]) for step in steps), strict=True)
    return torch.stack(arrivals, 4).mean(0)[:, :, 0], torch.stack(rewards, 4).mean(0)[:, :, 0]


def by_member(net: Callable[[Tensor], Tensor], members: int) -> Forward:
    """An ensemble as plans are tried in it: particles are dealt out to its members in turn."""

    def forward(inputs: Float[Tensor, "particle task lane candidate input"]) -> Float[Tensor, "particle task lane candidate _"]:
        return net(inputs.reshape(members, -1, inputs.shape[-1])).view(*inputs.shape[:-1], -1)

    return forward


def packed_size(features: int, actions: int) -> int:
    """The numbers of a row of `pack`."""
    return 2 * features + actions + 3


def pack(steps: Steps) -> Float[Tensor, "*lead number"]:
    """Steps as rows of a memory."""
    single = torch.stack([steps.reward, steps.ends.float(), steps.valid.float()], dim=-1)
    return torch.cat([steps.seen, steps.action, steps.arrival, single], dim=-1)


def unpack(rows: Float[Tensor, "*lead number"], features: int) -> Steps:
    """What `pack` made rows of."""
    seen, rest = rows[..., :features], rows[..., features:]
    action, arrival, single = rest[..., : -features - 3], rest[..., -features - 3 : -3], rest[..., -3:]
    return Steps(seen, action, single[..., 0], arrival, single[..., 1] > 0.5, single[..., 2] > 0.5)


def last_step(tasks: TaskDistribution, percept: Percept, before: Float[Tensor, "*lead feature"]) -> Steps:
    """The step that led to a percept, from what was seen before it; not valid where a trial begins."""
    action, arrival = unit_vector(tasks.action_space, percept.action), as_vector(tasks.observation_space, percept.arrival)
    return Steps(before, action, percept.reward, arrival, percept.terminated, has_past(percept))


def pushed(
    past: Float[Tensor, "task lane time number"], step: Float[Tensor, "task lane number"]
) -> Float[Tensor, "task lane time number"]:
    """The last steps, with one more; where that is none, as they were."""
    if not past.shape[2]:
        return past
    there = step[..., None, -1:] > 0.5
    return torch.where(there, torch.cat([past[:, :, 1:], step[:, :, None]], dim=2), past)


def evidence_size(features: int, actions: int) -> int:
    """The numbers of a step of `evidence_of`."""
    return 2 * features + actions + 3


def evidence_of(units: Units, steps: Steps) -> Float[Tensor, "*lead evidence"]:
    """Steps as what adapts reads them: where they began, what was done, what came of it; zero where there was none."""
    aims, single = aims_of(units, steps), torch.stack([steps.ends, steps.valid], dim=-1).float()
    return torch.cat([read(units, steps.seen, steps.action), aims, single], dim=-1) * steps.valid[..., None]
