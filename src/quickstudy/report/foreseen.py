"""What a model foresaw: the error of its next step, all tasks together and one by one, and predictions beside what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.insight import Foreseen, Foresees, foreseen_by
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.report.series import short
from quickstudy.report.trials import Lived
from quickstudy.tasks.changes import STEP
from quickstudy.tasks.observes import observes

AHEAD = 15
"""Steps that a prediction reaches, as far as planners here look unless they are told otherwise."""
FEATURES = 6
"""As many of what is seen are drawn, the first ones."""
SEGMENTS = 20
"""As many predictions of an episode are drawn."""
MOMENTS = 100
"""As many steps of an episode are drawn of what was lived; a longer one's are spread evenly."""
POINTS = 400
"""As many steps of an episode are drawn of its error."""
QUARTILES = 0.25, 0.5, 0.75


def foreseen(lived: Lived) -> dict[str, Any] | None:
    """Errors by step over all tasks, and each shown task's trial; None for an agent without a model.

    Steps count from 0, the step of a change is the first that the changed world answers. Everything is in the units of what
    the agent within all wrappers sees.
    """
    if not isinstance(lived.agent, Foresees):
        return None
    longest = max(experience.valid.shape[2] for experience in lived.episodes)
    ahead = min(AHEAD, longest)
    features = vector_size(lived.agent.tasks.observation_space)
    found = foreseen_by(lived.agent, lived.trial, ahead, features)
    changes = lived.tasks[STEP].ceil().long().cpu() if STEP in lived.tasks else None
    reach, every = max(1, lived.agent.tasks.max_episode_steps // 4), -(-longest // POINTS)
    return {
        "ahead": ahead,
        "tasks": len(found.error[0]),
        "features": features,
        "names": observes(lived.agent.tasks)[:FEATURES],
        "errors": [over_tasks(error, range(0, error.shape[1], every)) for error in found.error],
        "around": None if changes is None else around(found.error, changes, reach),
        "story": None if changes is None else story(found.error, changes, reach),
        "trials": [
            {
                "change": None if changes is None else int(changes[task]),
                "episodes": [episode_of(lived, found, task, number) for number in range(len(lived.episodes))],
            }
            for task in lived.shown
        ],
    }


def over_tasks(error: Float[Tensor, "task step"], steps: Sequence[int]) -> dict[str, list[Any]]:
    """Median and quartiles over the tasks that had each of these steps; a step that none had is left out."""
    kept = [step for step in steps if not bool(error[:, step].isnan().all())]
    found = error[:, kept].nanquantile(error.new_tensor(QUARTILES), dim=0).tolist()
    return {"steps": kept} | dict(
        zip(("low", "middle", "high"), ([short(value, 3) for value in row] for row in found), strict=True)
    )


def from_change(error: Float[Tensor, "task step"], changes: Tensor, distances: Tensor) -> Float[Tensor, "task distance"]:
    """Each task's error at these distances from the step of its own change; NaN where there was no such step."""
    steps = changes[:, None] + distances
    there = (steps >= 0) & (steps < error.shape[1])
    return error.cpu().gather(1, steps.clamp(0, error.shape[1] - 1)).masked_fill(~there, math.nan)


def around(errors: Sequence[Float[Tensor, "task step"]], changes: Tensor, reach: int) -> list[dict[str, list[Any]]]:
    """Medians and quartiles by the distance from each task's own change, so far to either side, episode by episode."""
    found, every = [], -(-2 * reach // POINTS)
    distances = torch.arange(-(reach // every) * every, reach, every)
    for error in errors:
        told = over_tasks(from_change(error, changes, distances), range(len(distances)))
        found.append(told | {"steps": distances[told["steps"]].tolist()})
    return found


def story(errors: Sequence[Float[Tensor, "task step"]], changes: Tensor, reach: int) -> dict[str, Any]:
    """The median error, of all episodes, just before the change, just after it, and `from` to `to` steps after it."""
    near, later = min(3, reach), min(10, reach)
    parts = {"before": range(-later, 0), "at": range(near), "later": range(reach - later, reach)}
    found = {
        name: torch.cat([from_change(error, changes, torch.tensor(part)) for error in errors]).nanmedian()
        for name, part in parts.items()
    }
    return {name: short(float(value), 3) for name, value in found.items()} | {"from": reach - later, "to": reach}


def episode_of(lived: Lived, found: Foreseen, task: int, number: int) -> dict[str, Any]:
    """An episode of a task: its error, what was seen, and what was foreseen from every few steps on.

    Each feature is a list of its own; a prediction begins with what was seen at its step.
    """
    experience, length = lived.episodes[number], lived.trial.lengths(task)[number]
    every, apart = -(-length // POINTS), max(found.features[number].shape[2] + 1, -(-length // SEGMENTS))
    space, transition = lived.agent.tasks.observation_space, experience.transition
    # where it began, and where each step led: one more than there are steps
    begun = as_vector(space, experience.percept.observation[task, 0, :1])
    seen = torch.cat([begun, as_vector(space, transition.arrival[task, 0, :length])])[:, :FEATURES]
    thinner = -(-length // MOMENTS)
    shown = sorted({*range(0, length + 1, thinner), length})
    told = []
    for start in range(0, length, apart):
        reached = min(length - start, found.features[number].shape[2])
        path = torch.cat([seen[start : start + 1], found.features[number][task, start, :reached, :FEATURES]])
        places = sorted({*range(0, reached + 1, thinner), reached})
        told.append({"steps": [start + place for place in places], "features": columns(path[places])})
    return {
        "length": length,
        "errors": {
            "steps": list(range(0, length, every)),
            "middle": [short(value, 3) for value in found.error[number][task, :length:every].tolist()],
        },
        "lived": {"steps": shown, "features": columns(seen[shown])},
        "foreseen": told,
    }


def columns(rows: Float[Tensor, "step feature"]) -> list[list[Any]]:
    """Each feature's numbers as a list, as plain values."""
    return [[short(value, 4) for value in column] for column in rows.T.tolist()]
