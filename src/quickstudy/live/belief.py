"""What is believed of where a task hides, moment by moment: by the agent, and by one who reckons exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from quickstudy.insight import KnowsTasks, Trial, innermost, known_by
from quickstudy.ops.tree import tree_map
from quickstudy.oracles.posteriors import Posterior, posterior_of
from quickstudy.protocol import Agent, Experience, Percept, Policy
from quickstudy.report.cells import foretold
from quickstudy.report.series import short

Told = dict[str, Any]


def beliefs_of(agent: Agent) -> Callable[[Policy, Experience], Told | None]:
    """A function that is told the episodes of one trial in turn, and says of each moment what was believed of each cell.

    `exact` is the posterior, `own` what the agent's belief foretells, where it does; None for tasks without a posterior, and
    for agents that pool several lanes. An episode has a moment for its start and one after each step.
    """
    posterior = posterior_of(agent.tasks)
    if posterior is None or agent.lanes > 1:
        return lambda policy, experience: None
    chances = posterior.prior.expand(1, 1, -1)

    def told(policy: Policy, experience: Experience) -> Told:
        nonlocal chances
        known = posterior.after_each((tree_map(Tensor.cpu, each) for each in moments(experience)), chances)
        chances = known[:, :, -1]
        own = believed(agent, posterior, policy, experience)
        return {"size": posterior.size, "exact": rows(known[0, 0])} | ({} if own is None else {"own": rows(own)})

    return told


def moments(experience: Experience) -> list[Percept]:
    """What was seen at each step of an episode of one lane, and after its end."""
    steps = int(experience.valid.sum())
    return [*(Percept(*(part[:, :, step] for part in experience.percept)) for step in range(steps)), experience.end_percept]


@torch.no_grad()
def believed(agent: Agent, posterior: Posterior, policy: Policy, experience: Experience) -> Float[Tensor, "moment cell"] | None:
    """What the agent's belief foretells at each moment of an episode of one lane; None where it doesn't."""
    agent, trial = innermost(agent, Trial([policy, policy], [with_end(policy, experience)]))
    found = known_by(agent, trial).believed if isinstance(agent, KnowsTasks) else None
    return None if found is None else foretold(agent, posterior, found.mean[0][0], found.std[0][0])


def with_end(policy: Policy, experience: Experience) -> Experience:
    """An episode of one lane and the moment after its end as one more step, in which nothing more happens."""
    steps = int(experience.valid.sum())
    act, memory = policy.act(experience.end_percept, experience.end_memory, None)

    def longer(values: Shaped[Tensor, "1 1 _ ..."], last: Shaped[Tensor, "1 1 ..."]) -> Shaped[Tensor, "1 1 _ ..."]:
        return torch.cat([values[:, :, :steps], last[:, :, None]], dim=2)

    return experience._replace(
        percept=tree_map(longer, experience.percept, experience.end_percept),
        act=tree_map(longer, experience.act, act),
        transition=tree_map(lambda values: longer(values, values[:, :, steps - 1]), experience.transition),
        valid=longer(experience.valid, experience.valid[:, :, steps - 1]),
        end_memory=memory,
    )


def rows(chances: Float[Tensor, "moment cell"]) -> list[list[Any]]:
    """Chances as plain values."""
    return [[short(value, 3) for value in moment] for moment in chances.tolist()]
