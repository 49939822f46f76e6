"""Learners made of recipes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from quickstudy.algorithms import algorithm as registered
from quickstudy.arguments import checked, fill
from quickstudy.families import family
from quickstudy.printed import say
from quickstudy.protocol import Learner
from quickstudy.recipes import Recipe, closest, recipe
from quickstudy.runs.config import RunConfig, Training
from quickstudy.wrappers.normalised import Normalisation


class Tuned(NamedTuple):
    """A learner and the number of meta-iterations after which it has learnt."""

    learner: Learner
    iterations: int


@checked
def tuned(algorithm: str, tasks: str, *, seed: int = 0, device: str = "cpu", **options: Any) -> Tuned:
    """A learner with settings that are known to work for an algorithm on a family, and how many meta-iterations it takes.

    `options` are the family's. Of several recipes it takes the one for these options, else the closest, and says so; its tasks
    have the recipe's options where none are given. UsageError for an unknown name or option, or where there is no recipe.
    """
    registered(algorithm)
    fill(family(tasks), options, tasks)
    found = closest(algorithm, tasks, options, vars(family(tasks)()))
    config = configuration(found, seed, device)
    chosen = replace(config.task_options, **options)
    if chosen != config.task_options:
        say(f"no recipe is for these tasks; {found.name} is the closest, for {config.task_options}")
    return Tuned(replace(config, task_options=chosen).build_learner(), found.iterations)


def built(name: str, seed: int = 0) -> Tuned:
    """The learner of a recipe, by the recipe's name."""
    found = recipe(name)
    return Tuned(configuration(found, seed).build_learner(), found.iterations)


def configuration(found: Recipe, seed: int = 0, device: str = "cpu") -> RunConfig:
    """The whole configuration that a recipe stands for, every key and type checked."""
    where = f"recipe {found.name}"
    return RunConfig(
        algorithm=found.algorithm,
        algorithm_options=fill(registered(found.algorithm).config, dict(found.settings), f"{where} [algorithm]"),
        tasks=found.tasks,
        task_options=fill(family(found.tasks), dict(found.options), f"{where} [tasks]"),
        normalisation=fill(Normalisation, dict(found.normalisation), f"{where} [normalisation]"),
        training=fill(Training, {**found.changes["training"], "seed": seed, "device": device}, f"{where} [training]"),
    )
