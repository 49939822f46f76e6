"""What a method knows of its task: one table, by the kind of its policy, says where each keeps that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.belief.pearl import PosteriorPolicy
from quickstudy.algorithms.belief.varibad import BeliefPolicy
from quickstudy.algorithms.memory.recurrent_sac import RememberingPolicy
from quickstudy.algorithms.memory.rl2 import RecurrentPolicy
from quickstudy.parts.gradient import WeightedPolicy
from quickstudy.report.series import short
from quickstudy.report.tasks import MOST_AXES, as_rows
from quickstudy.report.trials import Lived
from quickstudy.wrappers.normalised import Normalised, NormalisedPolicy, normalised_experience


class Believed(NamedTuple):
    """A Gaussian belief at each step of every episode; its entries are independent."""

    mean: list[Float[Tensor, "task time latent"]]
    std: list[Float[Tensor, "task time latent"]]


class Known(NamedTuple):
    """What is known of each task."""

    kind: Literal["memory", "belief", "weights"]
    end: Float[Tensor, "task number"]
    """At the end of the trial."""
    believed: Believed | None = None


def remembered(lived: Lived) -> Known:
    """RL2, recurrent SAC: what the memory holds."""
    return Known("memory", lived.episodes[-1].end_memory["state"][:, 0])


def believed(lived: Lived) -> Known:
    """VariBAD: a belief that moves at every step."""
    beliefs = [lived.agent.beliefs(experience) for experience in lived.episodes]  # type: ignore[attr-defined]
    mean = [belief.mean[:, 0] for belief in beliefs]
    std = [(0.5 * belief.log_variance[:, 0]).exp() for belief in beliefs]
    last = lived.episodes[-1].valid[:, 0].sum(1) - 1
    return Known("belief", mean[-1][torch.arange(len(last), device=last.device), last], Believed(mean, std))


def posterior(lived: Lived) -> Known:
    """PEARL: a belief that moves between episodes; the first one is the prior."""
    mean, std = [], []
    for policy, experience in zip(lived.policies[:-1], lived.episodes, strict=True):
        belief, (tasks, _, steps) = policy.belief, experience.valid.shape  # type: ignore[attr-defined]
        for found, part in ((mean, belief.mean), (std, belief.std)):
            found.append(part.expand(tasks, -1)[:, None].expand(-1, steps, -1))
    return Known("belief", lived.policies[-1].belief.mean, Believed(mean, std))  # type: ignore[attr-defined]


def moved(lived: Lived) -> Known:
    """MAML: how far each weight has moved from where all tasks begin."""
    first, last = (lived.policies[place].start.weights for place in (0, -1))  # type: ignore[attr-defined]
    return Known("weights", torch.cat([(last[name] - first[name]).flatten(1) for name in first], dim=1))


MINDS: dict[type[Any], Callable[[Lived], Known]] = {
    RecurrentPolicy: remembered,
    RememberingPolicy: remembered,
    BeliefPolicy: believed,
    PosteriorPolicy: posterior,
    WeightedPolicy: moved,
}
"""For each kind of policy, where it keeps what it knows."""


def inside(lived: Lived) -> Lived:
    """The trials as the learner within a normaliser has lived them."""
    if not isinstance(lived.agent, Normalised):
        return lived
    policies, episodes = [], lived.episodes
    for policy in lived.policies:
        policies.append(policy.policy if isinstance(policy, NormalisedPolicy) else policy)
    [first, *_] = lived.policies
    if isinstance(first, NormalisedPolicy):
        episodes = [normalised_experience(experience, first.statistics) for experience in episodes]
    return lived._replace(agent=lived.agent.learner, policies=policies, episodes=episodes)


def known(lived: Lived) -> Known | None:
    """What the agent of these trials knows of each task; None where it is of a kind that keeps nothing, or none we know of."""
    find = MINDS.get(type(lived.policies[0]))
    return find(lived) if find else None


def embedding(lived: Lived, found: Known) -> dict[str, Any]:
    """Every task where the two principal components of what is known of it put it."""
    places, shares = principal(found.end.detach().double().cpu().numpy())
    names, rows = as_rows(lived.tasks, len(places))
    return {
        "kind": found.kind,
        "size": found.end.shape[1],
        "axes": names[:MOST_AXES],
        "shares": [short(share, 4) for share in shares],
        "tasks": [
            {"at": [short(number) for number in row[:MOST_AXES]], "place": [short(number, 5) for number in place]}
            for row, place in zip(rows, places.tolist(), strict=True)
        ],
    }


def principal(table: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """The first two principal components of rows, (row, 2), and the share of the variance that each has.

    Each component's largest number is positive: its sign says nothing, and so it is the same in every run.
    """
    left, sizes, _ = np.linalg.svd(table - table.mean(0), full_matrices=False)
    places = np.zeros((len(table), 2))
    count = min(2, len(sizes))
    places[:, :count] = left[:, :count] * sizes[:count]
    largest = np.take_along_axis(places, np.abs(places).argmax(0)[None], axis=0)
    shares = np.square(sizes) / max(np.square(sizes).sum(), 1e-300)
    return places * np.where(largest < 0, -1, 1), [*shares[:2].tolist(), 0.0, 0.0][:2]
