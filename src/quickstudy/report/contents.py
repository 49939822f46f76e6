"""What a page shows, as plain values: measured and thinned out here, so that the page only draws."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from quickstudy.algorithms.baselines.random import Random
from quickstudy.evaluation import batch_of, evaluate
from quickstudy.looks import Look, looks_of
from quickstudy.ops.falling import fall_of
from quickstudy.protocol import Agent
from quickstudy.report.budgets import uneven
from quickstudy.report.foreseen import foreseen
from quickstudy.report.inner import inner_steps
from quickstudy.report.minds import embedding, inside, known
from quickstudy.report.references import references
from quickstudy.report.series import series, short, validations
from quickstudy.report.steps import steps
from quickstudy.report.tasks import task_map
from quickstudy.report.trials import Lived, dynamics_of, live_trials
from quickstudy.report.world import world
from quickstudy.runs.course import returns_of
from quickstudy.runs.folder import Opened
from quickstudy.runs.seeds import holds_seeds
from quickstudy.scores import Evaluation, pool, told_alike
from quickstudy.storage import SMALL, Refused, read_json, read_text
from quickstudy.tasks.parameters import parameters_of
from quickstudy.wrappers.forgetful import Forgetful


def contents(
    folder: Path, runs: Sequence[Opened], informed: Sequence[Opened] = (), *, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """All that a report of a run, or of a folder of seeds, shows.

    `informed` are the runs of a policy that is told the task, trained on the same tasks. `options` are those of `evaluate`;
    everyone meets the same tasks.
    """
    folders = [folder / f"seed-{run.config.training.seed}" for run in runs] if holds_seeds(folder) else [folder]
    seeds = [run.config.training.seed for run in runs]
    config, tasks = runs[0].config, runs[0].learner.tasks
    batch = min(batch_of(run.learner.lanes) for run in [*runs, *informed])
    options = {"batch": batch} | (options or {})
    scored = evaluations(runs, informed, options)
    budgets = uneven({"run": runs, "told": informed}) if informed else None
    return {
        "title": f"{config.algorithm} on {config.tasks}",
        "run": folder.name,
        "seeds": seeds,
        "done": min(run.learner.iteration for run in runs),
        "iterations": config.training.last,
        "lived": min(run.progress.timesteps for run in runs),
        "most_steps": config.training.steps,
        "facts": facts(folder, folders[0]),
        "styles": {who: look.told for who, look in looks_by_role(scored).items()},
        "adaptation": adaptation(scored)
        | {"validation": validations(folders), "budgets": budgets.plain({"run": 0, "told": 1}) if budgets else None},
        "map": task_map(
            [scored[who] for who in ("learner", "beyond") if who in scored], parameters_of(tasks), dynamics_of(tasks)
        ),
        **of_trials(live_trials(runs[0].learner, **options)),
        "series": series(folders, seeds),
        "falls": falls(folders, seeds),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": version("quickstudy"),
    }


def falls(folders: Sequence[Path], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Of the seeds whose return in training fell from its best: how far, and after which meta-iteration."""
    courses = {seed: returns_of(folder) for folder, seed in zip(folders, seeds, strict=True)}
    found = {seed: fall_of(list(course), list(course.values())) for seed, course in courses.items()}
    return [rounded(fall._asdict()) | {"seed": seed} for seed, fall in found.items() if fall]


def of_trials(lived: Lived) -> dict[str, Any]:
    """What is shown of trials that are looked at closely; None for what the agent, or the family, doesn't tell."""
    mind = inside(lived)
    found = known(mind)
    return {
        "world": world(lived),
        "embedding": embedding(mind, found) if found else None,
        "inner": inner_steps(mind),
        "foreseen": foreseen(mind),
        "steps": steps(mind, found),
    }


def evaluations(runs: Sequence[Opened], informed: Sequence[Opened], options: dict[str, Any]) -> dict[str, Evaluation]:
    """What everyone gets on the same tasks: the runs, the same without adaptation, chance, those who are told, and the oracles.

    `beyond` are the runs on tasks beyond those of training, where there are such and the tasks asked for are others.
    """
    learners, told = [run.learner for run in runs], [run.learner for run in informed]
    seeds = [run.config.training.seed for run in runs]

    def scored(agents: Sequence[Agent], numbers: Sequence[int], **others: Any) -> Evaluation:
        found = [evaluate(agent, **(options | others)) for agent in agents]
        return pool(found, numbers) if len(found) > 1 else found[0]

    found = {"learner": scored(learners, seeds)}
    forgetful = scored([Forgetful(learner) for learner in learners], seeds)
    if not torch.equal(forgetful.returns, found["learner"].returns):
        found["unadapted"] = forgetful
    found["random"] = scored([Random(learners[0].tasks, device=learners[0].device)], [])
    if told:
        found["informed"] = scored(told, [run.config.training.seed for run in informed])
    for name, each in references(learners[0].tasks, options.get("episodes")):
        found[name] = scored([each], [])
    extrapolates = any(getattr(parameter, "extrapolates", False) for parameter in parameters_of(learners[0].tasks).values())
    if extrapolates and found["learner"].split != "extrapolation":
        found["beyond"] = scored(learners, seeds, split="extrapolation")
    return told_alike(found)


def adaptation(scored: dict[str, Evaluation]) -> dict[str, Any]:
    """Return by episode on held-out tasks."""
    ours = scored["learner"]
    return {
        "algorithm": ours.algorithm,
        "split": ours.split,
        "splits": ours.splits,
        "tasks": ours.num_tasks,
        "greedy": ours.greedy,
        "lanes": ours.lanes,
        "trained_episodes": ours.trained_episodes,
        "adapts": "unadapted" in scored,
        "gain": rounded(ours.gain) | {"says": ours.adapts} if ours.gain else None,
        "curves": [
            {"who": who, "interval_over": found.interval_over, "rows": [rounded(row) for row in found.rows]}
            for who, found in scored.items()
            if who != "beyond"
        ],
    }


def looks_by_role(scored: Mapping[str, Evaluation]) -> dict[str, Look]:
    """How everyone who is drawn looks, the learner first: its method's look is its own."""
    drawn = {who: evaluation for who, evaluation in scored.items() if who != "beyond"}
    return dict(zip(drawn, looks_of([evaluation.algorithm for evaluation in drawn.values()]), strict=True))


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of an evaluation with six digits, rows within it likewise."""
    return {name: rounded(value) if isinstance(value, Mapping) else shortened(value) for name, value in row.items()}


def shortened(value: float | None, digits: int = 6) -> float | int | None:
    """A number as few characters; None where there is none."""
    return None if value is None else short(value, digits)


def facts(folder: Path, first: Path) -> dict[str, Any]:
    """What was run: each section of the configuration, the command, and the machine of the first run."""
    config = tomllib.loads(read_text(folder / "config.toml"))
    # beside its sections it tells its format
    sections = {name: values for name, values in config.items() if isinstance(values, dict)}
    return {
        "config": {name: {key: str(value) for key, value in values.items()} for name, values in sections.items()},
        "command": command_of(folder),
        "system": system_of(first),
    }


def command_of(folder: Path) -> str:
    """The command that began a run; empty where it isn't kept."""
    try:
        return read_text(folder / "command.txt").strip()
    except FileNotFoundError:
        return ""


def system_of(folder: Path) -> dict[str, str]:
    """The machine that a run began on, as one table; empty where it isn't kept."""
    try:
        found = read_json(folder / "system.json", SMALL)
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict):
        raise Refused(f"{folder / 'system.json'} is no table of what the run began on")
    try:
        return flat(found)
    except RecursionError as error:
        raise Refused(f"{folder / 'system.json'} is nested too deeply") from error


def flat(tree: dict[str, Any]) -> dict[str, str]:
    """A tree of plain values as one table."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= flat(value) if isinstance(value, dict) else {key: str(value)}
    return found
