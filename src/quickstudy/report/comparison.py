"""What the page of a comparison shows: several runs that met the same tasks, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from quickstudy.evaluation import Evaluation
from quickstudy.report.contents import rounded, shortened
from quickstudy.report.series import STEPS, series, short, validations
from quickstudy.runs.folder import Opened
from quickstudy.runs.seeds import holds_seeds

TRAINING = "rollout/ep_rew_mean"


def comparison(
    evaluations: Mapping[str, Evaluation], opened: Mapping[str, Sequence[Opened]], figures: Mapping[str, Any]
) -> dict[str, Any]:
    """All that the page shows of runs by the names of their folders.

    `figures` are what `quickstudy compare --json` tells of them: `runs`, `improvement` and `profile`.
    """
    first = next(iter(evaluations.values()))
    places = {name: number for number, name in enumerate(evaluations)}
    runs = [
        {key: row[key] for key in ("run", "algorithm", "seeds", "lanes")}
        | {"interval_over": row["interval_over"]}
        | rounded({key: row[key] for key in ("mean", "mean_low", "mean_high", "iqm")})
        | {"rows": [rounded(each) for each in evaluations[row["run"]].rows]}
        | learnt(Path(row["run"]), opened[row["run"]])
        for row in figures["runs"]
    ]
    return {
        "title": f"{len(runs)} runs on {first.tasks}",
        "tasks": first.num_tasks,
        "split": first.split,
        "splits": first.splits,
        "greedy": first.greedy,
        "episodes": first.returns.shape[1],
        "runs": runs,
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


def learnt(folder: Path, runs: Sequence[Opened]) -> dict[str, Any]:
    """Returns over environment steps, of the seeds together: on validation tasks in the last episode, and in training."""
    seeds = [run.config.training.seed for run in runs]
    folders = [folder / f"seed-{seed}" for seed in seeds] if holds_seeds(folder) else [folder]
    found, validated = series(folders, seeds), validations(folders)
    line = found.get("iqm", found["seeds"][0])
    return {
        "validation": [[stop["steps"], stop["returns"][-1]] for stop in validated],
        "validation_iqm": any(stop["statistic"] == "iqm" for stop in validated),
        "training": [list(pair) for pair in zip(line.get(STEPS, []), line.get(TRAINING, []), strict=False)],
    }
