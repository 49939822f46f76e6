"""What the numbers of an observation are called, where tasks say so: what agrees between families with other spaces."""

from __future__ import annotations

from typing import Any


def observes(tasks: Any) -> tuple[str, ...]:
    """The names of an observation's numbers, one each, of a task distribution or of dynamics; nothing, where it names none."""
    return getattr(tasks, "observes", ())
