"""What is believed of a hidden goal on a grid, moment by moment: by the agent, and by one who reckons exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.belief.varibad import VariBAD
from quickstudy.families.classic.grid_navigation import GridNavigation
from quickstudy.nets.belief import Belief
from quickstudy.oracles.grid import posterior
from quickstudy.protocol import Agent, Experience, Percept
from quickstudy.report.cells import decoded, prior, tells_cells
from quickstudy.report.series import short
from quickstudy.tasks.native import NativeTasks

SAMPLES = 64
"""Samples of a belief whose decoded chances are averaged."""
Told = dict[str, Any]


def beliefs_of(agent: Agent) -> Callable[[Experience], Told | None]:
    """A function that is told the episodes of one trial in turn, and says of each moment what was believed of each cell.

    `exact` is the posterior, `own` the belief of the agent where it can be decoded; None for other tasks, and for agents that
    pool several lanes. An episode has a moment for its start and one after each step.
    """
    family = agent.tasks.dynamics if isinstance(agent.tasks, NativeTasks) else None
    if not isinstance(family, GridNavigation) or agent.lanes > 1:
        return lambda experience: None
    possible = prior(family).expand(1, 1, -1)

    def told(experience: Experience) -> Told:
        nonlocal possible
        exact = []
        for percept in moments(experience):
            possible = posterior(percept, possible)
            exact.append(possible[0, 0] / possible.sum())
        found = {"size": family.size, "exact": rows(torch.stack(exact))}
        if tells_cells(agent):
            found["own"] = rows(decoded(agent, beliefs(agent, experience), SAMPLES))
        return found

    return told


def moments(experience: Experience) -> list[Percept]:
    """What was seen at each step of an episode of one lane, and after its end."""
    steps = int(experience.valid.sum())
    return [*(Percept(*(part[:, :, step] for part in experience.percept)) for step in range(steps)), experience.end_percept]


@torch.no_grad()
def beliefs(learner: VariBAD, experience: Experience) -> Belief:
    """What was believed at each moment of an episode of one lane, (moment, latent)."""
    policy, memory = learner.explorer(), experience.end_memory
    inputs, _ = policy.read(experience.end_percept, memory["state"], memory["step"], memory["episode"] + 1)
    notes = experience.act.notes | {"inputs": torch.cat([experience.act.notes["inputs"], inputs[:, :, None]], 2)}
    believed = learner.beliefs(experience._replace(act=experience.act._replace(notes=notes)))
    return Belief(*(part[0, 0] for part in believed))


def rows(chances: Float[Tensor, "moment cell"]) -> list[list[Any]]:
    """Chances as plain values."""
    return [[short(value, 3) for value in moment] for moment in chances.tolist()]
