"""What whoever does units of work for another process keeps, and what goes back."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from quickstudy.errors import QuickstudyError, ending
from quickstudy.ops.tally import counted
from quickstudy.protocol import Shard, TaskDistribution
from quickstudy.work.local import LocalSite, run_unit
from quickstudy.work.parcel import pack, unpack

Parcel = TypeVar("Parcel")


class Answer(NamedTuple):
    """What a unit of work came to: its result, or what it raised and where."""

    result: Any
    figures: Mapping[str, float] = {}
    """What was counted and timed meanwhile."""
    error: Exception | None = None
    trace: str = ""


class Desk:
    """Keeps the environments, and the function and values that the shards of one version share; both are opened once."""

    def __init__(self, site: Callable[[], tuple[TaskDistribution, str]]):
        self._site, self._place = site, None
        self._version: int | None = None
        self._order: Any = None

    def answer(
        self,
        version: int,
        order: Callable[[TaskDistribution], Any],
        shard: Shard,
        wrap: Callable[[Answer, TaskDistribution | None], Parcel],
    ) -> Parcel:
        """Does one unit of work, of the function and values that `order` opens; `wrap` makes a parcel of what it came to."""
        try:
            if self._place is None:
                self._place = LocalSite(*self._site())
            known = self._place.distribution
            if version != self._version:
                self._order, self._version = order(known), version
            function, shared = self._order
            counted()
            return wrap(Answer(run_unit(function, self._place, shared, shard), counted()), known)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return wrap(failed(error if isinstance(error, Exception) else QuickstudyError(ending(error))), None)

    def close(self) -> None:
        """Closes the environments."""
        if self._place is not None:
            self._place.close()


def failed(error: Exception) -> Answer:
    """The answer that says what was raised; in words, where it can't be sent."""
    answer = Answer(None, {}, error, traceback.format_exc())
    try:
        unpack(pack(answer))
    except Exception:
        return answer._replace(error=QuickstudyError(f"{type(error).__name__}: {error}"))
    return answer
