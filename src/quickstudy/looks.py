"""How each method is drawn: one colour, mark and dash, the same in every figure and on every page.

Any two of the colours lie apart for people with and without colour blindness, and stand out from white and from dark paper
(tests/test_looks.py reckons both). Marks and dashes tell them apart where colour is missing altogether.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any, Literal, NamedTuple

MEMORY_WIPED = ", memory wiped every "
"""What an agent's name has where its memory is wiped (`Forgetful`)."""


class Look(NamedTuple):
    """A colour on light and on dark paper, a mark, and the lengths of dashes and gaps; none for a solid line."""

    name: str
    light: str
    dark: str
    symbol: Literal["circle", "square", "triangle", "diamond", "star", "cross", "wye"] = "circle"
    dash: tuple[int, ...] = ()

    @property
    def told(self) -> dict[str, Any]:
        """What a page is told of it; colours are variables of the page's style."""
        return {"color": f"var(--of-{self.name})", "symbol": self.symbol, "dash": ",".join(map(str, self.dash)) or None}


BEST = "#1b1b1b", "#e9ecee"
CHANCE = "#8a8a8a", "#8f9498"

LOOKS: dict[str, Look] = {
    look.name: look
    for look in (
        Look("rl2", "#2a6c8b", "#5abffd"),
        Look("varibad", "#742892", "#8659aa", "diamond", (6, 2)),
        Look("maml", "#0f5b47", "#58b060", "triangle", (10, 3, 2, 3)),
        Look("pearl", "#de68c3", "#e794cd", "star", (4, 2)),
        Look("recurrent-sac", "#0772e0", "#9fd8fe", "square", (8, 3)),
        Look("promp", "#65a261", "#bce50d", "wye", (3, 2)),
        Look("multi-task", "#5f3100", "#a27344", "cross", (5, 3)),
        Look("multi-task-sac", "#886b58", "#f6d49d", "square", (2, 3)),
        Look("unadapted", "#c74501", "#f87922", "square", (7, 4)),
        Look("task-informed", "#b18c15", "#c9c162", "diamond", (10, 3, 2, 3)),
        Look("rl3", "#2a2f5b", "#595dfc", "circle", (5, 2, 2, 2)),
        Look("reptile", "#6400cd", "#be73dc", "diamond", (2, 2)),
        Look("grbal", "#af0a3a", "#f80305", "triangle", (5, 2)),
        Look("rebal", "#9b3769", "#d52c7e", "circle", (8, 3, 2, 3)),
        Look("cadm", "#bb2e9d", "#cb07d9", "star", (2, 2)),
        Look("mpc", "#5b5009", "#a9b199", "square", (12, 3)),
        # who is akin to another one has its colour, and line and mark of its own
        Look("norml", "#65a261", "#bce50d", "circle", (9, 2, 2, 2)),
        Look("es-maml", "#0f5b47", "#58b060", "cross", (1, 3)),
        Look("random", *CHANCE, "triangle", (2, 4)),
        Look("from-scratch", *CHANCE, "cross", (6, 4)),
        Look("bayes-optimal", *BEST, "star", (1, 2)),
        Look("optimal", *BEST, "wye", (12, 4)),
    )
}
"""By method. Whatever stands here has its colour wherever it is drawn."""
FREE = tuple(LOOKS)[:11]
"""For methods that don't stand here: those that no other method of the same picture has, in this order."""


def look_of(algorithm: str) -> Look | None:
    """The look of an agent by its name; None for one that has none of its own."""
    if MEMORY_WIPED in algorithm:
        return LOOKS["unadapted"]
    # tables call RL2 what the command line calls rl2
    return LOOKS.get(algorithm.split(",")[0].lower().replace(" ", "-").removeprefix("near-"))


def looks_of(algorithms: Sequence[str]) -> list[Look]:
    """The looks of agents in one picture, by their names: each its own, and whatever has none the next that is free.

    Of several agents of one method the first has its look, and the others take free ones, so that they can be told apart.
    """
    found: list[Look | None] = []
    for algorithm in algorithms:
        look = look_of(algorithm)
        found.append(None if look in found else look)
    taken = {look.name for look in found if look}
    free = cycle([LOOKS[name] for name in FREE if name not in taken] or list(LOOKS.values()))
    return [look or next(free) for look in found]


def variables() -> str:
    """The colours as variables of a page's style."""
    return "\n".join(
        [":root {", *(f"  --of-{each.name}: light-dark({each.light}, {each.dark});" for each in LOOKS.values()), "}"]
    )
