"""What an agent may tell of itself, where it can: pages ask for these and know no method.

Each is one function that an agent has or hasn't. A method of one's own that has it gets the picture too (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional

from quickstudy.errors import UsageError
from quickstudy.protocol import Agent, Experience, Percept


class Trial(NamedTuple):
    """Trials on some tasks, episode by episode, as `live` lives them."""

    policies: Sequence[Any]
    """With which each episode was lived, and at the end what they led to."""
    episodes: Sequence[Experience]

    def lengths(self, task: int) -> list[int]:
        """How many steps each episode of a task has in the first lane."""
        return [int(experience.valid[task, 0].sum()) for experience in self.episodes]

    def joined(self, task: int, parts: Sequence[Shaped[Tensor, "task lane _ ..."]]) -> Shaped[Tensor, "time ..."]:
        """Of what each episode holds, the steps of a task's first lane one after another, without those in which it waited."""
        return torch.cat([values[task, 0, :length] for values, length in zip(parts, self.lengths(task), strict=True)])

    def percept(self, task: int) -> Percept:
        """All that a task's first lane saw, (1, 1, time)."""
        parts = zip(*(experience.percept for experience in self.episodes), strict=True)
        return Percept(*(self.joined(task, part)[None, None] for part in parts))

    def action(self, task: int) -> Shaped[Tensor, "time ..."]:
        """All that it did."""
        return self.joined(task, [experience.act.action for experience in self.episodes])

    def followed(self, ahead: int) -> list[Bool[Tensor, "task time ahead"]]:
        """By episode, which of the `ahead` steps from each one on, itself the first, there were in the first lane."""
        alive = [experience.valid[:, 0] for experience in self.episodes]
        return [functional.pad(each, (0, ahead - 1)).unfold(1, ahead, 1) for each in alive]


class Believed(NamedTuple):
    """A Gaussian belief at each step of every episode; its entries are independent."""

    mean: list[Float[Tensor, "task time latent"]]
    std: list[Float[Tensor, "task time latent"]]


KINDS = Literal["memory", "belief", "weights"]


class Known(NamedTuple):
    """What is known of each task."""

    kind: KINDS
    end: Float[Tensor, "task number"]
    """At the end of the trial."""
    believed: Believed | None = None


class Retraced(NamedTuple):
    """One lane's trial once more, its episodes one after another, from what was seen to how likely its actions were."""

    seen: list[Float[Tensor, "time feature"]]
    """What a gradient is asked of: leaves of autograd, the numbers that were seen at each step.

    Each spans the whole trial. They may hold what came of the step too, such as its reward.
    """
    log_prob: Float[Tensor, "time"]
    """Of the action that was taken at each step; the path to `seen` of earlier steps is what is asked about."""


class Descent(NamedTuple):
    """What adaptation goes down."""

    loss: Float[Tensor, "task"]
    gradient: Float[Tensor, "task weight"]


class Foreseen(NamedTuple):
    """What a model, as it stood at each step of every episode, tells of the next steps under the actions that were taken then.

    Of the first lane, in the units of what the agent sees; NaN where the episode had no such step.
    """

    features: list[Float[Tensor, "task time ahead feature"]]
    """Where the first, the second, ... step arrives, as a vector (`as_vector`)."""
    reward: list[Float[Tensor, "task time ahead"]]
    error: list[Float[Tensor, "task time"]]
    """How far the first of these steps is from what came: root mean square over features, in units of the model.

    1 is what foreseeing no change at all would cost.
    """


@runtime_checkable
class KnowsTasks(Protocol):
    """An agent that keeps what it knows of its task where it can be shown."""

    def known(self, trial: Trial) -> Known:
        """What is known of each task, by episode and step where that is a belief, and at the end."""
        ...


@runtime_checkable
class Retraces(Protocol):
    """An agent whose decisions can be traced back to what came before."""

    def retrace(self, trial: Trial, task: int) -> Retraced:
        """The trial of a task's first lane, differentiable from decisions to what was seen."""
        ...


@runtime_checkable
class Descends(Protocol):
    """An agent that adapts by going down a loss."""

    def descent(self, policy: Any, experience: Experience) -> Descent:
        """The loss of each task's experience where the policy's weights are, and its gradient."""
        ...


@runtime_checkable
class Foretells(Protocol):
    """An agent whose belief tells which arrivals pay."""

    def foretold(
        self, believed: tuple[Tensor, Tensor], arrivals: Shaped[Tensor, "place ..."], samples: int
    ) -> Float[Tensor, "step place"] | None:
        """The chance of each observation to pay where a step arrives there; beliefs are mean and deviation, (step, latent).

        A mean over samples of the belief; None where this agent's model tells nothing of that kind.
        """
        ...


@runtime_checkable
class Foresees(Protocol):
    """An agent with a model of what steps do to what is seen, which is a vector."""

    def foreseen(self, trial: Trial, ahead: int) -> Foreseen:
        """What the model tells of the `ahead` steps that follow, 1 or more, at each step of each episode."""
        ...


@runtime_checkable
class Wraps(Protocol):
    """An agent around another, which has lived the same trials otherwise."""

    def inside(self, trial: Trial) -> tuple[Agent, Trial]:
        """The agent within, and the trials as it has lived them."""
        ...


def innermost(agent: Agent, trial: Trial) -> tuple[Agent, Trial]:
    """The agent within all that is around it, and the trials as it has lived them."""
    while isinstance(agent, Wraps):
        agent, trial = agent.inside(trial)
    return agent, trial


def known_by(agent: KnowsTasks, trial: Trial) -> Known:
    """What an agent says it knows; UsageError where that is not what `Known` holds."""
    found, lives = agent.known(trial), [experience.valid.shape for experience in trial.episodes]
    require(agent, "known", isinstance(found, Known), f"a {type(found).__name__}", "a Known")
    require(agent, "known", found.kind in get_args(KINDS), repr(found.kind), f"a kind of {', '.join(get_args(KINDS))}")
    require_shape(agent, "known's end", found.end, (lives[0][0], None))
    for name, parts in (found.believed or Believed([], []))._asdict().items():
        count = len(lives) if found.believed else 0
        require(agent, f"known's {name}", len(parts) == count, f"{len(parts)} tensors", f"one for each of {count} episodes")
        for part, (tasks, _, steps) in zip(parts, lives, strict=False):
            require_shape(agent, f"known's {name}", part, (tasks, steps, None))
    return found


def retraced_by(agent: Retraces, trial: Trial, task: int) -> Retraced:
    """A trial as an agent lives it once more; UsageError where that is not what `Retraced` holds."""
    found, steps = agent.retrace(trial, task), sum(trial.lengths(task))
    require(agent, "retrace", isinstance(found, Retraced), f"a {type(found).__name__}", "a Retraced")
    require_shape(agent, "retrace's log_prob", found.log_prob, (steps,))
    require(agent, "retrace's log_prob", found.log_prob.requires_grad, "no gradient", "a way to what was seen")
    require(agent, "retrace's seen", bool(found.seen), "nothing", "what was seen")
    for part in found.seen:
        require_shape(agent, "retrace's seen", part, (steps, None))
        leaf = part.is_leaf and part.requires_grad
        require(agent, "retrace's seen", leaf, "a result", "a leaf of autograd, made with requires_grad_()")
    return found


def descent_by(agent: Descends, policy: Any, experience: Experience) -> Descent:
    """What an agent goes down; UsageError where that is not what `Descent` holds."""
    found, tasks = agent.descent(policy, experience), len(experience.valid)
    require(agent, "descent", isinstance(found, Descent), f"a {type(found).__name__}", "a Descent")
    require_shape(agent, "descent's loss", found.loss, (tasks,))
    require_shape(agent, "descent's gradient", found.gradient, (tasks, None))
    return found


def foreseen_by(agent: Foresees, trial: Trial, ahead: int, features: int | None = None) -> Foreseen:
    """What an agent's model foresees; UsageError where that is not what `Foreseen` holds, of so many `features`."""
    found, lives = agent.foreseen(trial, ahead), trial.followed(ahead)
    require(agent, "foreseen", isinstance(found, Foreseen), f"a {type(found).__name__}", "a Foreseen")
    for name, parts in found._asdict().items():
        given, wanted = f"{len(parts)} tensors", f"one for each of {len(lives)} episodes"
        require(agent, f"foreseen's {name}", len(parts) == len(lives), given, wanted)
        for part, there in zip(parts, lives, strict=True):
            shape = {"features": (*there.shape, features), "reward": there.shape, "error": there.shape[:2]}[name]
            require_shape(agent, f"foreseen's {name}", part, shape, there[..., 0] if name == "error" else there)
    return found


def require_shape(
    agent: Any, what: str, value: Any, shape: tuple[int | None, ...], there: Bool[Tensor, "*lead"] | None = None
) -> None:
    """Raises UsageError where a tensor has another shape, None standing for any size but 0, or holds what is not finite.

    With `there`, a mask over its first axes, only what that leaves need be finite.
    """
    wanted = f"a tensor ({', '.join('any' if size is None else str(size) for size in shape)})"
    require(agent, what, isinstance(value, Tensor), f"a {type(value).__name__}", wanted)
    fits = value.dim() == len(shape) and all(
        given > 0 if size is None else given == size for given, size in zip(value.shape, shape, strict=True)
    )
    require(agent, what, fits, str(tuple(value.shape)), wanted)
    finite = torch.isfinite(value if there is None else value[there])
    require(agent, what, bool(finite.all()), "NaN or infinity", "finite numbers")


def require(agent: Any, what: str, holds: bool, given: str, wanted: str) -> None:
    """Raises UsageError where an agent doesn't tell what it should."""
    if not holds:
        raise UsageError(f"{agent.name}: {what} gives {given}, not {wanted}; see quickstudy.insight")
