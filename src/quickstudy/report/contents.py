"""What a page shows, as plain values: measured and thinned out here, so that the page only draws."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from quickstudy.algorithms.baselines import Forgetful, Random
from quickstudy.evaluation import Evaluation, batch_of, evaluate, pool
from quickstudy.protocol import Agent
from quickstudy.report.series import series, short, validations
from quickstudy.runs.folder import Opened, stored_config
from quickstudy.runs.seeds import holds_seeds
from quickstudy.storage import read_json


def contents(
    folder: Path, runs: Sequence[Opened], informed: Sequence[Opened] = (), *, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """All that a report of a run, or of a folder of seeds, shows.

    `informed` are the runs of a policy that is told the task, trained on the same tasks. `options` are those of `evaluate`;
    everyone meets the same tasks.
    """
    folders = [folder / f"seed-{run.config.training.seed}" for run in runs] if holds_seeds(folder) else [folder]
    seeds = [run.config.training.seed for run in runs]
    config = runs[0].config
    return {
        "title": f"{config.algorithm} on {config.tasks}",
        "run": folder.name,
        "seeds": seeds,
        "done": min(run.learner.iteration for run in runs),
        "iterations": config.training.iterations,
        "facts": facts(folder, folders[0]),
        "adaptation": adaptation(runs, informed, options or {}) | {"validation": validations(folders)},
        "series": series(folders, seeds),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": version("quickstudy"),
    }


def adaptation(runs: Sequence[Opened], informed: Sequence[Opened], options: dict[str, Any]) -> dict[str, Any]:
    """Return by episode on held-out tasks: of the runs, of the same without adaptation, of chance, of those who are told."""
    learners, told = [run.learner for run in runs], [run.learner for run in informed]
    batch = min(batch_of(agent.lanes) for agent in [*learners, *told])
    seeds = [run.config.training.seed for run in runs]

    def scored(agents: Sequence[Agent], numbers: Sequence[int]) -> Evaluation:
        evaluations = [evaluate(agent, batch=batch, **options) for agent in agents]
        return pool(evaluations, numbers) if len(evaluations) > 1 else evaluations[0]

    ours = scored(learners, seeds)
    forgetful = scored([Forgetful(learner) for learner in learners], seeds)
    adapts = not torch.equal(forgetful.returns, ours.returns)
    curves = {"learner": ours} | ({"unadapted": forgetful} if adapts else {})
    curves["random"] = scored([Random(learners[0].tasks, device=learners[0].device)], [])
    if told:
        curves["informed"] = scored(told, [run.config.training.seed for run in informed])
    return {
        "algorithm": ours.algorithm,
        "split": ours.split,
        "splits": ours.splits,
        "tasks": ours.num_tasks,
        "greedy": ours.greedy,
        "lanes": ours.lanes,
        "trained_episodes": ours.trained_episodes,
        "adapts": adapts,
        "curves": [{"who": who, "rows": [rounded(row) for row in found.rows]} for who, found in curves.items()],
    }


def rounded(row: dict[str, float]) -> dict[str, float | int | None]:
    """A row of an evaluation with six digits."""
    return {name: short(value) for name, value in row.items()}


def facts(folder: Path, first: Path) -> dict[str, Any]:
    """What was run: each section of the configuration, the command, and the machine of the first run."""
    stored_config(folder)
    sections = tomllib.loads((folder / "config.toml").read_text())
    system = first / "system.json"
    return {
        "config": {name: {key: str(value) for key, value in values.items()} for name, values in sections.items()},
        "command": (folder / "command.txt").read_text().strip() if (folder / "command.txt").exists() else "",
        "system": flat(read_json(system)) if system.exists() else {},
    }


def flat(tree: dict[str, Any]) -> dict[str, str]:
    """A tree of plain values as one table."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= flat(value) if isinstance(value, dict) else {key: str(value)}
    return found
