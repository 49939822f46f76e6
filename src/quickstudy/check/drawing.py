"""Clauses on what a task distribution says and draws: spaces, tasks, splits, and first observations."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from gymnasium import spaces as gym_spaces
from jaxtyping import Float, Shaped
from torch import Tensor

from quickstudy.check.report import Broken
from quickstudy.check.walk import (
    LANES,
    Trial,
    draw,
)
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.senses import dtype_of, is_read, numbers_of, parts_of, sense_of, split
from quickstudy.ops.spaces import leaves_of, values_of
from quickstudy.protocol import Split, Tasks, counter
from quickstudy.tasks.lanes import Source
from quickstudy.tasks.parameters import FEWEST_TO_PARTITION, env_values, in_words, parameters_of
from quickstudy.tasks.rows import Rows

DRAWS = 10_000
MOST = 64
"""Numbers of an image, a sound, or another of several senses, that a fit reads."""
LEAK = 0.9
"""A task that a linear fit reads from first observations with this share of its variance is told."""


def spaces(trial: Trial) -> str:
    """Spaces that policies can use, and observations of the type and within the bounds that they say."""
    tasks = trial.tasks
    vector_size(tasks.action_space)
    for part in parts_of(tasks.observation_space).values():
        sense_of(part)
    env = tasks.make(LANES, 1)
    try:
        first = env.reset(trial.drawn, counter(trial.seed, 0, "check dynamics"))
    finally:
        env.close()
    space = tasks.observation_space
    kind = dtype_of(space)
    if first.dtype != kind or first.shape != (LANES, 1, *(space.shape or ())):
        raise Broken(
            f"reset gave observations of {first.dtype} {tuple(first.shape)},"
            f" the space says {kind} {(LANES, 1, *(space.shape or ()))}"
        )
    if isinstance(tasks, Source):
        raw_observations(trial, tasks)
    seen = split(space, torch.cat([first.flatten(0, 1), trial.walked().steps.arrival.flatten(0, 2)]))
    for name, part in parts_of(space).items():
        require_within(f"observation '{name}'" if name else "observation", part, seen[name])
    return f"observations {space}, actions {tasks.action_space}"


def require_within(what: str, space: gymnasium.Space[Any], seen: Shaped[Tensor, "row ..."]) -> None:
    """Broken where something that was seen lies beyond what its space says."""
    if isinstance(space, gym_spaces.Box):
        low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
        slack = 1e-4 * (1 + seen.abs()) if seen.is_floating_point() else 0
        outside = (seen < low - slack) | (seen > high + slack)
        if bool(outside.any()):
            where = int(outside.flatten(1).nonzero()[0, 1])
            value = seen.flatten(1)[outside.flatten(1)[:, where], where][0].item()
            raise Broken(
                f"{what} entry {where} was {value:.6g}, outside [{low.flatten()[where]:g}, {high.flatten()[where]:g}];"
                " widen observation_space or mend the environment"
            )
        return
    wrong = seen[(seen < 0) | (seen >= torch.as_tensor(numbers_of(space)))]
    if len(wrong):
        raise Broken(f"{'an ' if what == 'observation' else ''}{what} was {wrong[0].item()}, not in {space}")


def raw_observations(trial: Trial, tasks: Source) -> None:
    """What the environment itself returns has the type that its space says."""
    env = tasks.build()
    try:
        tasks.put(env, env_values(tasks.parameters, {name: value[:1] for name, value in trial.drawn.items()})[0])
        observation, _ = env.reset(seed=trial.seed)
        for when in ("reset", "step"):
            values = values_of(tasks.env_observation_space, observation)
            for name, space in leaves_of(tasks.env_observation_space).items():
                found = getattr(values[name], "dtype", None)
                if isinstance(space, gym_spaces.Box) and found != space.dtype:
                    raise Broken(
                        f"{when} returned an observation{f' {name!r}' if name else ''} of type"
                        f" {found or type(values[name]).__name__}, observation_space says {space.dtype}"
                    )
            observation = env.step(trial.tasks.decode(trial.actions[0][0, 0]))[0]
    finally:
        env.close()


def sampling(trial: Trial) -> str:
    """The same generator draws the same tasks, another one others; each parameter is one finite row a task."""
    tasks = trial.tasks
    for count in (1, 7):
        for name, value in draw(tasks, trial.seed, count).items():
            if not isinstance(value, Tensor) or value.shape[:1] != (count,):
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise Broken(f"sample({count}) gave {name} of shape {shape}, it must begin with {count}")
            if not bool(torch.isfinite(value.double()).all()):
                raise Broken(f"sample drew {name} = {value.tolist()}, which is not finite")
    one, again, other = (draw(tasks, seed, 64) for seed in (trial.seed, trial.seed, trial.seed + 1))
    if any(not torch.equal(one[name], again[name]) for name in one):
        raise Broken("equal generators drew different tasks: draw from the generator that sample is given, and nothing else")
    if all(torch.equal(one[name], other[name]) for name in one):
        raise Broken("another generator drew the same tasks: draw from the generator that sample is given")
    rows = tasks.normalise(one)
    if rows.dim() != 2 or len(rows) != 64 or not bool(torch.isfinite(rows).all()):
        raise Broken(f"normalise gave shape {tuple(rows.shape)} for 64 tasks, or values that are not finite")
    if float(rows.abs().max()) > 10:
        raise Broken(f"normalise gave values up to {float(rows.abs().max()):.3g}: scale them to about [-1, 1]")
    return f"parameters {', '.join(one)}"


def splits(trial: Trial) -> str:
    """No task is in two splits, or the distribution says that its splits are separate draws."""
    tasks = trial.tasks
    kind = getattr(tasks, "splits", None)
    if kind not in ("iid", "partitioned"):
        raise Broken(f"splits is {kind!r}, it must be 'iid' or 'partitioned'")
    names: tuple[Split, ...] = ("train", "validation", "test")
    sets = {name: task_set(trial, name) for name in names}
    if kind == "iid":
        return "iid: train, validation and test are separate draws from one support, and may share tasks"
    total = len(set[bytes]().union(*sets.values()))
    # rows have their splits stated, however few they are; what is dealt out needs enough to deal
    stated = any(isinstance(parameter, Rows) for parameter in parameters_of(tasks).values())
    if total < FEWEST_TO_PARTITION and not stated:
        raise Broken(f"{total} tasks are too few to partition, at least {FEWEST_TO_PARTITION} are needed; say splits = 'iid'")
    pairs: tuple[tuple[Split, Split], ...] = (("train", "test"), ("train", "validation"), ("validation", "test"))
    for one, other in pairs:
        shared = sets[one].keys() & sets[other].keys()
        if shared:
            words = ", ".join(f"{name}={value}" for name, value in task_in_words(trial, one, sets[one][min(shared)]).items())
            raise Broken(f"{len(shared)} tasks are in both {one} and {other} ({DRAWS} draws of each): {words}")
    return f"partitioned: no task of {DRAWS:,} draws of each split is in another"


def many(trial: Trial, split: Split) -> Tasks:
    """Many tasks of a split."""
    return trial.tasks.sample(DRAWS, split, counter(trial.seed, 0, f"check {split}"))


def task_set(trial: Trial, split: Split) -> dict[bytes, int]:
    """Many tasks of a split, each as the bytes of its numbers, and one place where it was drawn."""
    columns = [value.reshape(DRAWS, -1).numpy() for value in many(trial, split).values()]
    return {b"".join(column[place].tobytes() for column in columns): place for place in range(DRAWS)}


def task_in_words(trial: Trial, split: Split, place: int) -> dict[str, str]:
    """One of them for people to read."""
    return in_words(parameters_of(trial.tasks), many(trial, split), place)


def hidden_task(trial: Trial) -> str:
    """First observations don't tell the task, but for parameters that it names in `shows`."""
    shows: tuple[str, ...] = getattr(trial.tasks, "shows", ())
    rounds, size = 16, 64
    env = trial.tasks.make(size, 1)
    inputs, targets = [], []
    try:
        for number in range(rounds):
            drawn = draw(trial.tasks, trial.seed + number, size, "check leak")
            first = env.reset(drawn, counter(trial.seed, number, "check leak"))
            inputs.append(plain(trial.tasks.observation_space, first)[:, 0])
            targets.append(trial.tasks.normalise(drawn))
    finally:
        env.close()
    share = explained(torch.cat(inputs).double(), torch.cat(targets).double())
    for column in range(len(share)):
        share[column] *= parameter_name(trial, column) not in shows
    if float(share.max()) > LEAK:
        raise Broken(
            f"first observations tell parameter '{parameter_name(trial, int(share.argmax()))}'"
            f" ({float(share.max()):.0%} of its variance): a task must be found out, not shown"
        )
    return "first observations don't tell the task" + (f", but for {', '.join(shows)}, which it shows" if shows else "")


def plain(space: gymnasium.Space[Any], seen: Shaped[Tensor, "*lead ..."]) -> Float[Tensor, "*lead entry"]:
    """Observations as numbers: of an image or a sound some, spread over it, of a text its words' numbers."""
    found = []
    for part, value in zip(parts_of(space).values(), split(space, seen).values(), strict=True):
        vector = as_vector(part, value.long() if dtype_of(part) == torch.int64 else value)
        found.append(vector[..., :: -(-vector.shape[-1] // MOST)] if is_read(space) else vector)
    return torch.cat(found, dim=-1)


def parameter_name(trial: Trial, column: int) -> str:
    """Which parameter a column of `normalise` belongs to."""
    parameters = parameters_of(trial.tasks)
    for name, value in trial.drawn.items():
        column -= parameters[name].normalise(value).shape[1] if name in parameters else value[0].numel()
        if column < 0:
            return name
    return "(unnamed)"


def explained(inputs: Float[Tensor, "row feature"], targets: Float[Tensor, "row target"]) -> Float[Tensor, "target"]:
    """The share of each target's variance that a linear fit in the features and their squares predicts on rows not fitted."""
    varies = inputs.std(0) > 1e-9
    if not bool(varies.any()):
        return torch.zeros(targets.shape[1], dtype=torch.double)
    scaled = (inputs[:, varies] - inputs[:, varies].mean(0)) / inputs[:, varies].std(0)
    features = torch.cat([scaled, scaled.square(), torch.ones(len(scaled), 1)], 1)
    fitted, held = slice(0, None, 2), slice(1, None, 2)
    gram = features[fitted].T @ features[fitted] + 1e-3 * torch.eye(features.shape[1])
    weights = torch.linalg.solve(gram, features[fitted].T @ targets[fitted])
    missed = (targets[held] - features[held] @ weights).square().mean(0)
    return 1 - missed / targets[held].var(0).clamp(min=1e-12)
