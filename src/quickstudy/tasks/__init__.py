"""Task distributions: what makes them and steps them; `make` builds a family by name, which `families/` knows."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickstudy.families import FAMILIES as FAMILIES
    from quickstudy.families import describe as describe
    from quickstudy.families import family as family
    from quickstudy.families import make as make

PUBLIC = "FAMILIES", "describe", "family", "make"
"""What this public door opens on: the floor above, imported when first asked for."""


def __dir__() -> list[str]:
    return list(PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'quickstudy.tasks' has no attribute '{name}'")
    return getattr(import_module("quickstudy.families"), name)
