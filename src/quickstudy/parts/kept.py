"""What is stored of a learner that one optimiser moves: weights, its moments, and, where PPO does, the scale of its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch.optim import Adam

from quickstudy.nets.networks import Weights, copy_into
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.nets.values import ValueScale, scale_fits, stored_scale
from quickstudy.ops.fit import COUNTED, require_fit
from quickstudy.protocol import State


@runtime_checkable
class Improved(Protocol):
    """Such a learner."""

    iteration: int
    weights: Weights
    optimiser: Adam
    scale: ValueScale
    device: str


@runtime_checkable
class Descending(Protocol):
    """A learner of which an optimiser moves all that is learned, under names of its own."""

    iteration: int
    learned: Weights
    optimiser: Adam

    def state_dict(self) -> State: ...


def kept_learned(learner: Descending) -> State:
    """All that its next meta-iteration depends on, besides its settings and tasks."""
    return {
        "iteration": learner.iteration,
        "learned": {name: value.detach() for name, value in learner.learned.items()},
        "optimiser": adam_state(learner.optimiser),
    }


def take_learned(learner: Descending, state: Mapping[str, Any]) -> None:
    """Puts back what `kept_learned` gave; ValueError, before anything changes, where it doesn't fit the learner's own state."""
    require_fit("", state, {**learner.state_dict(), "iteration": COUNTED, "optimiser": adam_fits(learner.optimiser)})
    learner.iteration = state["iteration"]
    copy_into(learner.learned, state["learned"])
    load_adam_state(learner.optimiser, state["optimiser"])


def kept(learner: Improved) -> State:
    """All that its next meta-iteration depends on, besides its settings and tasks."""
    return {
        "iteration": learner.iteration,
        "weights": {name: weight.detach() for name, weight in learner.weights.items()},
        "optimiser": adam_state(learner.optimiser),
        "value_scale": learner.scale._asdict(),
    }


def take(learner: Improved, state: Mapping[str, Any]) -> None:
    """Puts back what `kept` gave; ValueError, before anything changes, where it is not of this learner."""
    patterns = {"iteration": COUNTED, "optimiser": adam_fits(learner.optimiser), "value_scale": scale_fits}
    require_fit("", state, {**kept(learner), **patterns})
    learner.iteration = state["iteration"]
    copy_into(learner.weights, state["weights"])
    load_adam_state(learner.optimiser, state["optimiser"])
    learner.scale = stored_scale(state["value_scale"], learner.device)
