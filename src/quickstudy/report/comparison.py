"""What the page of a comparison shows: several runs that met the same tasks, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quickstudy.looks import looks_of
from quickstudy.report.budgets import uneven
from quickstudy.report.contents import rounded, shortened
from quickstudy.report.series import STEPS, series, short, validations
from quickstudy.runs.folder import Opened
from quickstudy.runs.seeds import holds_seeds
from quickstudy.scores import Evaluation

TRAINING = "rollout/ep_rew_mean"


class Learnt(NamedTuple):
    """A run's return by environment steps of training, each seed by itself: (seed, point), NaN where there is none."""

    label: str
    """What the return is of."""
    steps: NDArray[np.floating]
    returns: NDArray[np.floating]


def comparison(
    evaluations: Mapping[str, Evaluation], opened: Mapping[str, Sequence[Opened]], figures: Mapping[str, Any]
) -> dict[str, Any]:
    """All that the page shows of runs by the names of their folders.

    `figures` are what `quickstudy compare --json` tells of them: `runs`, `improvement` and `profile`.
    """
    first, budgets = next(iter(evaluations.values())), uneven(opened)
    looks = looks_of([each.algorithm for each in evaluations.values()])
    places = {name: number for number, name in enumerate(evaluations)}
    runs = [
        {key: row[key] for key in ("run", "algorithm", "seeds", "lanes")}
        | {"interval_over": row["interval_over"]}
        | rounded({key: row[key] for key in ("mean", "mean_low", "mean_high", "iqm")})
        | {
            "figures": rounded(row.get("figures", {})),
            "rows": [rounded(each) for each in evaluations[row["run"]].rows],
            "look": look.told,
        }
        | learnt(Path(row["run"]), opened[row["run"]])
        for row, look in zip(figures["runs"], looks, strict=True)
    ]
    return {
        "title": f"{len(runs)} runs on {first.tasks}",
        "tasks": first.num_tasks,
        "split": first.split,
        "splits": first.splits,
        "greedy": first.greedy,
        "episodes": first.returns.shape[1],
        "runs": runs,
        "budgets": budgets.plain(places) if budgets else None,
        "improvement": [
            {"x": places[row["x"]], "y": places[row["y"]]} | rounded({key: row[key] for key in ("probability", "low", "high")})
            for row in figures["improvement"]
            if places[row["x"]] < places[row["y"]]
        ],
        "profile": {
            "taus": [short(row["tau"]) for row in figures["profile"]],
            "runs": [
                {key: [shortened(row["runs"][place][key], 4) for row in figures["profile"]] for key in ("share", "low", "high")}
                for place in places.values()
            ],
        },
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": version("quickstudy"),
    }


def by_steps(opened: Mapping[str, Sequence[Opened]]) -> dict[str, Learnt]:
    """Learning curves for a figure: on validation tasks where every run was evaluated on some more than once, else in training.

    A seed's returns are those of the last episode, or what its method improves.
    """
    folders = {name: folders_of(Path(name), runs) for name, runs in opened.items()}
    validated = {name: [validations([folder]) for folder in each] for name, each in folders.items()}
    if all(len(stops) > 1 for each in validated.values() for stops in each):
        label = "return of the last episode\non validation tasks"
        return {
            name: aligned(
                label, [{stop["iteration"]: (stop["steps"], stop["returns"][-1]) for stop in stops} for stops in each]
            )
            for name, each in validated.items()
        }
    found = {}
    for name, runs in opened.items():
        lines = series(folders[name], [run.config.training.seed for run in runs])["seeds"]
        points = [enumerate(zip(line.get(STEPS, []), line.get(TRAINING, []), strict=False)) for line in lines]
        found[name] = aligned("return in training", [dict(each) for each in points])
    return found


def aligned(label: str, seeds: Sequence[Mapping[int, tuple[Any, Any]]]) -> Learnt:
    """Steps and returns of several seeds, each by how far training was, side by side; NaN where a seed has none there."""
    places, nothing = sorted(set().union(*seeds)), (np.nan, np.nan)
    table = np.array([[seed.get(place, nothing) for place in places] for seed in seeds], float).reshape(len(seeds), -1, 2)
    return Learnt(label, table[..., 0], table[..., 1])


def folders_of(folder: Path, runs: Sequence[Opened]) -> list[Path]:
    """The folder of each seed's run."""
    seeds = [run.config.training.seed for run in runs]
    return [folder / f"seed-{seed}" for seed in seeds] if holds_seeds(folder) else [folder]


def learnt(folder: Path, runs: Sequence[Opened]) -> dict[str, Any]:
    """Returns over environment steps, of the seeds together: on validation tasks in the last episode, and in training."""
    seeds, folders = [run.config.training.seed for run in runs], folders_of(folder, runs)
    found, validated = series(folders, seeds), validations(folders)
    line = found.get("iqm", found["seeds"][0])
    return {
        "validation": [[stop["steps"], stop["returns"][-1]] for stop in validated],
        "validation_iqm": any(stop["statistic"] == "iqm" for stop in validated),
        "training": [list(pair) for pair in zip(line.get(STEPS, []), line.get(TRAINING, []), strict=False)],
    }
