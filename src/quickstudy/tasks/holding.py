"""Batches of environments some of whose lanes wait while others are stepped."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.protocol import BatchEnv


@runtime_checkable
class Holding(Protocol):
    """What a BatchEnv may offer besides: lanes that wait."""

    def hold(self, lanes: Bool[Tensor, "task lane"]) -> None:
        """These lanes alone stay where they are from now on, until a restart; what steps say of them means nothing."""
        ...


def hold(env: BatchEnv, lanes: Bool[Tensor, "task lane"]) -> None:
    """Lets some lanes of an environment wait, and all others go on; UsageError where it can't do that."""
    if not isinstance(env, Holding):
        raise UsageError(
            f"a {type(env).__name__} can't let lanes whose episode is over wait for others, which actions that are held for"
            " several steps need; give it a method hold(lanes), or repeat each action in its own step"
        )
    env.hold(lanes)
