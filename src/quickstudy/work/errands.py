"""Units of work in the hands of others: what one does not finish another does from the start, since counters say all."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from quickstudy.errors import EnvironmentFault, QuickstudyError, UsageError
from quickstudy.ops.tally import count
from quickstudy.protocol import Shard
from quickstudy.work.desk import Answer
from quickstudy.work.local import counters_of

START_SECONDS = 300.0
"""How long a worker may take to start, which is to import PyTorch."""


class Outcome(NamedTuple):
    """What came of handing out one unit of work."""

    number: int
    answer: Answer | None
    """None where nobody answered."""
    what: str = ""
    """Why not."""


def run_errands(
    shards: Sequence[Shard],
    attempts: int,
    hand_out: Callable[[deque[int]], None],
    outcomes: Callable[[], list[Outcome]],
    drop: Callable[[], None],
) -> list[Any]:
    """The results of all shards in their order.

    `hand_out` takes units of work, by number, from those that wait and gives them to whoever has none; `outcomes` waits until
    there is news; `drop` ends whoever is at something that is wanted no more. After `attempts` failures of one unit it
    raises what that raised, or EnvironmentFault.
    """
    waiting, results, failures = deque(range(len(shards))), dict[int, Any](), Counter[int]()
    try:
        while len(results) < len(shards):
            hand_out(waiting)
            for index, answer, what in outcomes():
                if answer is not None and answer.error is None:
                    results[index] = answer.result
                    count(answer.figures)
                    continue
                failures[index] += 1
                if answer is not None and (failures[index] == attempts or isinstance(answer.error, UsageError)):
                    raise raised_by(answer, shards[index])
                if failures[index] == attempts:
                    raise EnvironmentFault(f"{counters_of(shards[index])}: {what} ({attempts} attempts)")
                waiting.appendleft(index)
    except BaseException:
        drop()
        raise
    return [results[index] for index in range(len(shards))]


def raised_by(answer: Answer, shard: Shard) -> Exception:
    """What a unit of work raised elsewhere, with its place where the message doesn't say it."""
    assert answer.error is not None
    if not isinstance(answer.error, QuickstudyError):
        answer.error.add_note(f"in a worker process, {counters_of(shard)}:\n{answer.trace}")
    return answer.error


def too_late(deadline: float) -> str:
    """What is said of a unit of work that was not done in time."""
    return f"no answer within {deadline:g} s; if it needs longer, raise --deadline"
