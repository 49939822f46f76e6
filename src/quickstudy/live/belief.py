"""What is believed of a hidden goal on a grid, moment by moment: by the agent, and by one who reckons exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from quickstudy.algorithms.varibad import VariBAD
from quickstudy.nets.belief import Belief
from quickstudy.oracles.grid import Search, posterior
from quickstudy.protocol import Agent, Experience, Percept, counter
from quickstudy.report.series import short
from quickstudy.tasks.grid_navigation import GridNavigation
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
    if not isinstance(family, GridNavigation) or agent.lanes > 1 or len(Search(family).goals()) == 0:
        return lambda experience: None
    decodes = (
        isinstance(agent, VariBAD) and agent.predicts.reward_loss == "bernoulli" and agent.predicts.reward_reads == "arrival"
    )
    possible = prior(family).expand(1, 1, -1)

    def told(experience: Experience) -> Told:
        nonlocal possible
        exact = []
        for percept in moments(experience):
            possible = posterior(percept, possible)
            exact.append(possible[0, 0] / possible.sum())
        found = {"size": family.size, "exact": rows(torch.stack(exact))}
        if decodes:
            found["own"] = rows(decoded(agent, experience))  # type: ignore[arg-type]
        return found

    return told


def prior(family: GridNavigation) -> Float[Tensor, "cell"]:
    """Uniform over the goal cells."""
    goals = torch.from_numpy(Search(family).goals())
    chances = torch.zeros(family.size**2).index_fill(0, goals[:, 0] * family.size + goals[:, 1], 1.0)
    return chances / chances.sum()


def moments(experience: Experience) -> list[Percept]:
    """What was seen at each step of an episode of one lane, and after its end."""
    steps = int(experience.valid.sum())
    return [*(Percept(*(part[:, :, step] for part in experience.percept)) for step in range(steps)), experience.end_percept]


@torch.no_grad()
def decoded(learner: VariBAD, experience: Experience) -> Float[Tensor, "moment cell"]:
    """The chance of each cell to pay, by the decoder, as a distribution over cells."""
    policy, memory = learner.explorer(), experience.end_memory
    inputs, _ = policy.read(experience.end_percept, memory["state"], memory["step"], memory["episode"] + 1)
    notes = experience.act.notes | {"inputs": torch.cat([experience.act.notes["inputs"], inputs[:, :, None]], 2)}
    belief = learner.beliefs(experience._replace(act=experience.act._replace(notes=notes)))
    mean, log_variance = (part[0, 0] for part in belief)
    noise = torch.randn(SAMPLES, *mean.shape, generator=counter(learner.seed, 0, "samples of beliefs"))
    latent = Belief(mean, log_variance).sample(noise)
    cells = functional.one_hot(torch.arange(learner.tasks.observation_space.n)).float()  # type: ignore[attr-defined]
    logits = functional_call(learner.model["reward"], learner.model_weights["reward"], (latent, cells.expand(SAMPLES, -1, -1)))
    chances = logits[..., 0].sigmoid().mean(0)
    return chances / chances.sum(-1, keepdim=True)


def rows(chances: Float[Tensor, "moment cell"]) -> list[list[Any]]:
    """Chances as plain values."""
    return [[short(value, 3) for value in moment] for moment in chances.tolist()]
