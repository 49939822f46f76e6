"""The ways in which quickstudy says no: each message is one line that says what, where, why and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any


class QuickstudyError(Exception):
    """Something that a user can mend; the command line prints the message and leaves with status 1."""


class UsageError(QuickstudyError):
    """A name, option or file that the user gave is wrong; the command line leaves with status 2."""


class EnvironmentFault(QuickstudyError):
    """An environment broke its contract; the message names task, lane and step.

    `replay`, where there is one, is all that it takes to live those steps again: the task's parameters, the seeds of its resets
    and the actions, as plain values. `quickstudy check TASKS --replay FILE` does it.
    """

    def __init__(self, message: str, replay: dict[str, Any] | None = None):
        super().__init__(message)
        self.replay = replay


class NotFinite(QuickstudyError):
    """A number on which training depends became NaN or infinite, before it was used: see `not_finite` of `Training`."""


class NotFiniteFault(EnvironmentFault, NotFinite):
    """An environment returned NaN or infinity."""


def shorten(value: object) -> str:
    """A value in at most sixty characters."""
    try:
        text = repr(value[:1000] if isinstance(value, str) else value).replace("\n", " ")
    except Exception:  # whatever it is that somebody's own repr raises
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def ending(error: BaseException) -> str:
    """What somebody's own code did that didn't come back, in words."""
    if isinstance(error, SystemExit):
        return f"called sys.exit({'' if error.code is None else shorten(error.code)})"
    return f"raised {in_a_line(error)}"


def in_a_line(error: BaseException) -> str:
    """An exception of somebody's own code: its class and at most 300 characters of what it says."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # whatever it is that somebody's own __str__ raises
        text = ""
    text = text if len(text) <= 300 else f"{text[:297]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the closest known name, or lists them all where none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def require_at_least(least: int, what: str, options: object, *names: str) -> None:
    """Raises UsageError, which names the option and its value, where one of the named options is less than `least`."""
    require_counts(what, least, **{name: getattr(options, name) for name in names})


def require_share(what: str, options: object, *names: str, zero: bool = False) -> None:
    """Raises UsageError, which names the option and its value, where one is not in (0, 1], or in [0, 1] with `zero`."""
    for name in names:
        value = getattr(options, name)
        if not 0 <= value <= 1 or (value == 0 and not zero):
            raise UsageError(f"{what}: {name} ({value}) must be in {'[' if zero else '('}0, 1]")


def require_discounts(what: str, options: object) -> None:
    """Raises UsageError where `gamma` is not in (0, 1] or `gae_lambda` not in [0, 1]."""
    require_share(what, options, "gamma")
    require_share(what, options, "gae_lambda", zero=True)


def require_counts(what: object, least: int, **counts: float | None) -> None:
    """Raises UsageError, which names the number and its value, where one of them is less than `least`; None is left out."""
    for name, count in counts.items():
        if count is not None and count < least:
            raise UsageError(f"{what}: {name} is {count}, it must be at least {least}")


def require_rates(what: str, options: Any) -> None:
    """Raises UsageError where a step size or a pace is negative, or a bound on a step isn't above 0."""
    names = [field.name for field in fields(options)]
    require_at_least(0, what, options, *(name for name in names if name.endswith("_rate")))
    require_positive(what, options, *(name for name in names if name in ("clip_range", "max_grad_norm")))


def require_positive(what: str, options: object, *names: str) -> None:
    """Raises UsageError, which names the option and its value, where one is not above 0."""
    for name in names:
        if getattr(options, name) <= 0:
            raise UsageError(f"{what}: {name} ({getattr(options, name)}) must be above 0")
