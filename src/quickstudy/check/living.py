"""Clauses on how environments live: what comes back, from what it depends, and how episodes end."""

from __future__ import annotations

import shlex
from typing import Any

import torch
from torch import Tensor

from quickstudy.check.report import Broken, Unjudged
from quickstudy.check.walk import (
    LANES,
    SHORT,
    Trial,
    Walk,
    draw,
    episode_lengths,
    fresh_walk,
    global_states,
    random_actions,
    same_lanes,
    seed_globally,
    walk,
)
from quickstudy.errors import EnvironmentFault
from quickstudy.ops.senses import split
from quickstudy.tasks.changes import AFTER, STEP

UNBOUNDED = 1e6


def steps(trial: Trial) -> str:
    """Random actions meet no fault."""
    try:
        count = trial.first_walk.steps.reward.numel() + trial.long_walk.steps.reward.numel()
    except EnvironmentFault as fault:
        if fault.replay is None:
            raise Broken(str(fault)) from fault
        again = f"quickstudy check {shlex.quote(trial.called)} --task {fault.replay['task']} --seed {trial.seed}"
        raise Broken(f"{fault}; live it again: {again}") from fault
    return f"{count} random steps in {LANES} tasks"


def values(trial: Trial) -> str:
    """Observations and rewards are finite and stay within reason."""
    steps, space = trial.walked().steps, trial.tasks.observation_space
    seen = [
        (f"observation '{name}'" if name else "observation", value)
        for each in (steps.arrival, steps.observation)
        for name, value in split(space, each).items()
    ]
    for name, value in (("reward", steps.reward), *seen):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise Broken(f"a {name} is NaN or infinite")
        if float(value.abs().max()) > UNBOUNDED:
            raise Broken(f"a {name} reached {float(value.abs().max()):.3g}: bound it, or no network can learn from it")
    if steps.reward.dtype != torch.float32 or steps.terminated.dtype != torch.bool or steps.truncated.dtype != torch.bool:
        raise Broken("rewards must be float32, terminated and truncated bool")
    return f"rewards from {float(steps.reward.min()):.3g} to {float(steps.reward.max()):.3g}"


def determinism(trial: Trial) -> str:
    """The same counters give the same bits."""
    same = same_lanes(trial.walked(), trial.walked("second_walk"))
    if not bool(same.all()):
        raise Broken(
            f"{int((~same).sum())} of {LANES} tasks went another way under the same seed and actions:"
            " draw every random number from the generator or the seed that reset is given"
        )
    return "two walks from the same seed are equal bit for bit"


def global_randomness(trial: Trial) -> str:
    """Global random states are neither read nor moved."""
    before = trial.walked()
    seed_globally(trial.seed + 1)
    states = global_states()
    fresh_walk(trial.tasks, trial.drawn, trial.actions, trial.seed)
    after = global_states()
    moved = [name for name in states if not torch.equal(*pair(states[name], after[name]))]
    if moved:
        raise Broken(f"the global random state of {', '.join(moved)} moved: use the generator or self.np_random instead")
    same = same_lanes(before, trial.walked("second_walk"))
    if bool(same.all()) and not bool(same_lanes(before, trial.walked("odd_walk")).all()):
        raise Broken("walks depend on a global random state: use the generator or self.np_random instead")
    return "no global random state is read or moved"


def reset(trial: Trial) -> str:
    """A used environment that is reset is as good as a new one."""
    trial.require_determinism()
    seed_globally(trial.seed)
    env = trial.tasks.make(LANES, 1)
    space = trial.tasks.action_space
    try:
        walk(env, draw(trial.tasks, trial.seed + 1), random_actions(trial.tasks, trial.seed + 1, SHORT), trial.seed + 1, space)
        again = walk(env, trial.drawn, trial.actions, trial.seed, space)
    finally:
        env.close()
    same = same_lanes(trial.walked(), again)
    if not bool(same.all()):
        raise Broken(
            f"in {int((~same).sum())} of {LANES} tasks an environment that was used before differs from a new one:"
            " reset must put everything back"
        )
    return "a used environment goes the same way as a new one"


def parameters(trial: Trial) -> str:
    """Each parameter changes something that can be seen."""
    trial.require_determinism()
    others = draw(trial.tasks, trial.seed, purpose="check other tasks")

    def matters(name: str, before: Walk) -> bool:
        after = fresh_walk(trial.tasks, trial.drawn | {name: others[name]}, before.actions, trial.seed)
        return not bool(same_lanes(before, after).all())

    for name in trial.drawn:
        if not matters(name, trial.walked()) and not matters(name, trial.walked("long_walk")):
            if (name == STEP or name.startswith(AFTER)) and not changed(trial):
                raise Unjudged(f"no random episode lasted until its change, of which '{name}' tells")
            raise Broken(
                f"another value of '{name}' changed nothing in {len(trial.long_walk.actions)} random steps in {LANES} tasks:"
                " it never reaches the environment"
            )
    return f"another value of {', '.join(trial.drawn)} makes a difference"


def changed(trial: Trial) -> bool:
    """Whether some random episode lasted until its task's change in mid-episode."""
    steps = trial.drawn[STEP].flatten().tolist() if STEP in trial.drawn else []
    lengths = episode_lengths(trial.walked("long_walk"))
    return not steps or any(length > steps[task] for task, _, length, _ in lengths)


def time_limit(trial: Trial) -> str:
    """Episodes last no longer than the time limit, which is reported as truncation."""
    limit, long = trial.tasks.max_episode_steps, trial.walked("long_walk")
    ended = (long.steps.terminated | long.steps.truncated)[:, 0]
    if ended.shape[1] > limit and not bool(ended[:, :limit].any(1).all()):
        raise Broken(f"an episode went on after {limit} steps, the time limit that max_episode_steps states")
    episodes = list(episode_lengths(long))
    if any(steps > limit for _, _, steps, _ in episodes):
        raise Broken(f"an episode lasted more than {limit} steps, the time limit that max_episode_steps states")
    if bool((long.steps.terminated & long.steps.truncated).any()):
        raise Broken("a step is both terminated and truncated: truncated means that the episode could have gone on")
    hows = {how for _, _, steps, how in episodes if steps == limit}
    if hows == {"terminated"} and limit > 1 and sum(steps == limit for _, _, steps, _ in episodes) >= LANES // 2:
        raise Broken(f"every episode of {limit} steps was terminated: report the time limit as truncated")
    firsts = [(steps, how) for _, number, steps, how in episodes if number == 0]
    if len(firsts) == LANES and set(firsts) == {(firsts[0][0], "terminated")} and 1 < firsts[0][0] < limit:
        raise Broken(f"every first episode terminated after exactly {firsts[0][0]} steps: is it a time limit?")
    if not hows:
        raise Unjudged(f"no random episode lasted the {limit} steps of the time limit")
    return f"episodes of {limit} steps are truncated"


def ends(trial: Trial) -> str:
    """After an end, the next episode begins as a first one does, and has as long to live."""
    long, limit = trial.walked("long_walk"), trial.tasks.max_episode_steps
    episodes = list(episode_lengths(long))
    if not episodes:
        raise Unjudged("no random episode ended")
    later = [(steps, how) for _, number, steps, how in episodes if number > 0]
    if any(how == "truncated" and steps < limit for steps, how in later) and not any(
        how == "truncated" and steps < limit for _, number, steps, how in episodes if number == 0
    ):
        steps = min(steps for steps, how in later if how == "truncated")
        raise Broken(f"a later episode was truncated after {steps} steps, a first one after {limit}: restart the clock")
    firsts = [steps for _, number, steps, _ in episodes if number == 0]
    if later and max(steps for steps, _ in later) == 1 and min(firsts) > 1:
        raise Broken("every episode after the first ends at once: reset must clear what ended the one before")
    ended = long.steps.terminated | long.steps.truncated
    stays = (
        (long.steps.arrival == long.steps.observation).flatten(3).all(-1)
        if long.steps.arrival.dim() > 3
        else (long.steps.arrival == long.steps.observation)
    )
    began = {tuple(row) for row in long.first.flatten(0, 1).reshape(LANES, -1).tolist()}
    arrived = {tuple(row) for row in long.steps.arrival[ended].reshape(int(ended.sum()), -1).tolist()}
    if bool(stays[ended].all()) and not arrived <= began:
        raise Broken("after an end the observation is the last one of the episode before: a new episode must begin by itself")
    if not later:
        return "an ended episode starts anew"
    return f"{len(episodes)} episodes, each beginning anew"


def pair(one: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Two random states as tensors that can be compared."""
    if isinstance(one, Tensor):
        return one, other
    return torch.tensor(0), torch.tensor(int(one != other))
