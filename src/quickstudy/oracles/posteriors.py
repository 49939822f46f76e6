"""What could be known of a task at each step of its trial: exact posteriors, for families of which one can be reckoned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.oracles import grid
from quickstudy.protocol import Percept, TaskDistribution
from quickstudy.tasks.native import NativeTasks


class Posterior(NamedTuple):
    """Of tasks that hide at one of the cells of a square where arriving pays."""

    size: int
    """Cells in a row."""
    arrivals: Shaped[Tensor, "cell ..."]
    """What is observed on arrival in each cell, row by row."""
    prior: Float[Tensor, "cell"]
    update: Callable[[Percept, Float[Tensor, "task lane cell"]], Float[Tensor, "task lane cell"]]
    """The chances after one more step, up to a factor."""

    def after_each(
        self, percepts: Iterable[Percept], chances: Float[Tensor, "task lane cell"]
    ) -> Float[Tensor, "task lane time cell"]:
        """The posterior at each of some steps, from the chances before the first of them."""
        found = []
        for percept in percepts:
            chances = self.update(percept, chances)
            chances = chances / chances.sum(-1, keepdim=True)
            found.append(chances)
        return torch.stack(found, 2)


def of_grid(family: GridNavigation) -> Posterior:
    """Uniform over the goal cells that were not entered, or the one where the goal was met."""
    goals = torch.from_numpy(grid.Search(family).goals())
    prior = torch.zeros(family.size**2).index_fill(0, goals[:, 0] * family.size + goals[:, 1], 1.0)
    cells = torch.cartesian_prod(torch.arange(family.size), torch.arange(family.size))
    arrivals = family.observation(cells, {})
    return Posterior(family.size, arrivals, prior / prior.sum(), partial(grid.posterior, family))


POSTERIORS: dict[type[Any], Callable[[Any], Posterior]] = {GridNavigation: of_grid}
"""By family, what makes its posterior of the family's options."""


def posterior_of(tasks: TaskDistribution) -> Posterior | None:
    """What can be known of these tasks; None where nobody has reckoned it."""
    find = POSTERIORS.get(type(tasks.dynamics)) if isinstance(tasks, NativeTasks) else None
    return find(tasks.dynamics) if find else None  # pyright: ignore[reportAttributeAccessIssue]
