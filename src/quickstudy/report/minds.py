"""What an agent knows of its tasks, where it says so, and where that puts them in a plane."""

from __future__ import annotations

from typing import Any

import numpy as np

from quickstudy.insight import Known, KnowsTasks, innermost, known_by
from quickstudy.report.series import short
from quickstudy.report.tasks import MOST_AXES
from quickstudy.report.trials import Lived
from quickstudy.tasks.entries import as_rows
from quickstudy.tasks.parameters import parameters_of


def inside(lived: Lived) -> Lived:
    """The trials as the agent within all that is around it has lived them."""
    agent, (policies, episodes) = innermost(lived.agent, lived.trial)
    return lived._replace(agent=agent, policies=policies, episodes=episodes)


def known(lived: Lived) -> Known | None:
    """What the agent of these trials knows of each task; None where it doesn't tell."""
    return known_by(lived.agent, lived.trial) if isinstance(lived.agent, KnowsTasks) else None


def embedding(lived: Lived, found: Known) -> dict[str, Any]:
    """Every task where the two principal components of what is known of it put it."""
    places, shares = principal(found.end.detach().double().cpu().numpy())
    names, rows = as_rows(lived.tasks, len(places), parameters_of(lived.agent.tasks))
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
