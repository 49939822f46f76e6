"""What a command says on stderr."""

from __future__ import annotations


def complaint(said: str) -> str:
    """The one line that isn't about what the command is at."""
    [line] = [line for line in said.splitlines() if not line.endswith(" ...")]
    return line
