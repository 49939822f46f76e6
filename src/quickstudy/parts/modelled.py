"""What learners of a model share: trials that go into a replay, a meta-iteration on them, and what is stored of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.nn import functional
from torch.optim import Adam

from quickstudy.data.replay import Replay
from quickstudy.errors import UsageError, require_at_least, require_rates, require_share
from quickstudy.insight import Foreseen, Trial
from quickstudy.nets.networks import Weights, copy_into
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.ops.features import as_vector, unit_vector
from quickstudy.ops.fit import COUNTED, require_fit
from quickstudy.ops.moments import Moments, moments_fit
from quickstudy.ops.tree import tree_map
from quickstudy.parts.belief import as_records
from quickstudy.parts.collecting import collected_trials, numbers, require_shards, some_experience, trial_metrics, trial_steps
from quickstudy.parts.descend import descend
from quickstudy.parts.dynamics import (
    Forward,
    Scales,
    Steps,
    Units,
    imagined_steps,
    packed_size,
    steps_of,
    units_of,
    up_to_the_end,
    with_steps,
)
from quickstudy.parts.planning import Actions, require_search
from quickstudy.protocol import Experience, Memory, Metrics, Percept, State, TaskDistribution, Work, counter

ALL = torch.zeros(1, dtype=torch.long)
"""The one row of the replay: trials of all tasks lie together."""


@runtime_checkable
class Modelled(Protocol):
    """Such a learner."""

    tasks: TaskDistribution
    device: str
    iteration: int
    weights: dict[str, Weights]
    """By what they are of."""
    optimiser: Adam
    scales: Scales
    replay: Replay


def trial_replay(tasks: TaskDistribution, trials: int, spare: int, device: str) -> Replay:
    """An empty replay of whole trials."""
    like = as_records(tasks, some_experience(tasks, device), trial_steps(tasks))
    return Replay(1, trials, spare, like=like, device=device)


def require_modelled(what: str, config: Any, *counts: str, least: tuple[str, ...] = ()) -> None:
    """Raises UsageError where a learner of a model can't be so: besides its search, `counts` are to be 1 or more, `least` 0."""
    require_search(what, config)
    require_rates(what, config)
    require_at_least(1, what, config, "shards", "hidden_size", "trials", "batch_size", "buffer_trials", *counts)
    require_at_least(0, what, config, "updates", "hidden_layers", *least)
    require_share(what, config, "gamma")
    require_share(what, config, "random_share", zero=True)
    require_shards(what, config, "trials")


def require_particles(what: str, config: Any) -> None:
    """Raises UsageError where particles can't be dealt out to an ensemble's members alike."""
    if config.particles % config.members:
        raise UsageError(f"{what}: particles ({config.particles}) must be a multiple of members ({config.members})")


def meta_iteration(work: Work, learner: Any) -> Metrics:
    """Lives trials, and then learns from the replay: so many updates, as the learner's own `update` makes one."""
    draws = counter(learner.seed, learner.iteration, "replay")
    metrics, parts = lived(work, learner), {}
    units = units_of(learner.scales)
    for _ in range(learner.config.updates):
        parts = learner.update(units, draws)
    learner.iteration += 1
    return metrics | numbers(parts)


def descended(learner: Any, loss: Float[Tensor, ""]) -> dict[str, Tensor]:
    """One step of the optimiser along a loss; what is told of it."""
    [norm] = descend(learner, loss, learner.optimiser, all_weights(learner.weights), max_norm=learner.config.max_grad_norm)
    return {"train/loss": loss.detach(), "train/grad_norm": norm}


def nothing_past(tasks: int, lanes: int, actions: Actions, units: Units, past_steps: int, plan_steps: int) -> dict[str, Tensor]:
    """A memory of so many last steps, none of which there has been, and of a plan."""
    features, device = len(units.center), units.center.device
    return {
        "plan": actions.first(tasks, lanes, plan_steps, device).mean,
        "past": torch.zeros(tasks, lanes, past_steps, packed_size(features, actions.size), device=device),
        "seen": torch.zeros(tasks, lanes, features, device=device),
    }


def lived(work: Work, learner: Any) -> Metrics:
    """Lives a meta-iteration's trials, the first ones at random, and takes them into replay and moments."""
    tasks, config = learner.tasks, learner.config
    trials = config.trials
    policy = replace(learner.explorer(), random_share=config.random_share if learner.iteration else 1.0)
    experience = collected_trials(work, learner, policy, trials)
    records = as_records(tasks, experience, trial_steps(tasks))
    learner.replay.extend(ALL.expand(trials), records)
    learner.scales = with_steps(learner.scales, steps_of(tasks, records))
    return trial_metrics(tasks, experience)


def windows(learner: Modelled, count: int, past: int, future: int, generator: Generator) -> tuple[Steps, Steps]:
    """Steps around so many moments of trials, (row, time) each: the last ones before, and those that follow in its episode.

    What came before may lie in earlier episodes of the trial; each step knows where it led.
    """
    drawn = learner.replay.around(ALL, count, past, future, generator)
    records = {name: value[0] for name, value in drawn.items()}
    steps, ended = steps_of(learner.tasks, records), records["terminated"] | records["truncated"]
    before, after = (Steps(*(part[:, at] for part in steps)) for at in (slice(None, past), slice(past, None)))
    return before, after._replace(valid=up_to_the_end(after.valid, ended[:, past:]))


@runtime_checkable
class Foreseer(Protocol):
    """A policy that plans in a model, or in one that adapts."""

    @property
    def tasks(self) -> TaskDistribution: ...
    @property
    def units(self) -> Units: ...
    def model(self, percept: Percept, memory: Memory) -> tuple[Forward, Tensor | None, Memory]:
        """The model as it stands at a step, what it reads beside, and the memory, less the plan, with the step before."""
        ...


@torch.no_grad()
def foreseen(trial: Trial, ahead: int, members: int = 1) -> Foreseen:
    """What the models of trials, each as it stood at its step, tell of those that followed; of an ensemble the mean."""
    lived = zip(trial.policies, trial.episodes, trial.followed(ahead), strict=False)  # the last policy has yet to live
    found = [foreseen_in(policy, experience, there, members) for policy, experience, there in lived]
    return Foreseen(*map(list, zip(*found, strict=True)))


def foreseen_in(
    policy: Foreseer, experience: Experience, there: Bool[Tensor, "task time ahead"], members: int
) -> tuple[Float[Tensor, "task time ahead feature"], Float[Tensor, "task time ahead"], Float[Tensor, "task time"]]:
    """The same of an episode: features, rewards, and the error of the first step."""
    space, ahead = policy.tasks.observation_space, there.shape[2]
    percept = tree_map(lambda part: part[:, :1], experience.percept)
    memory = tree_map(lambda part: part[:, :1], experience.start_memory)
    seen, arrival = (as_vector(space, part[:, :1]) for part in (percept.observation, experience.transition.arrival))
    action = functional.pad(unit_vector(policy.tasks.action_space, experience.act.action[:, :1]), (0, 0, 0, ahead))
    told = []
    for time in range(seen.shape[2]):
        now = Percept(*(part[:, :, time] for part in percept))
        forward, beside, memory = policy.model(now, memory)
        following = action[:, :, time : time + ahead]
        told.append(imagined_steps(forward, policy.units, seen[:, :, time], following, beside, members))
    features, reward = (torch.stack(part, 2)[:, 0] for part in zip(*told, strict=True))
    missed = (features[:, :, 0] - arrival[:, 0]) / policy.units.aim_spread[:-1]
    error = missed.square().mean(-1).sqrt()
    gone = ~there
    return (
        features.masked_fill(gone[..., None], math.nan),
        reward.masked_fill(gone, math.nan),
        error.masked_fill(gone[..., 0], math.nan),
    )


def all_weights(weights: Mapping[str, Weights]) -> list[torch.Tensor]:
    """What the optimiser moves."""
    return [weight for part in weights.values() for weight in part.values() if weight.requires_grad]


def kept(learner: Modelled) -> State:
    """All that its next meta-iteration depends on, besides its settings and tasks."""
    return {
        "iteration": learner.iteration,
        "weights": {name: {key: each.detach() for key, each in part.items()} for name, part in learner.weights.items()},
        "optimiser": adam_state(learner.optimiser),
        "scales": {name: moments._asdict() for name, moments in learner.scales._asdict().items()},
        "replay": learner.replay.ledger(),
    }


def take(learner: Modelled, state: Mapping[str, Any]) -> None:
    """Puts back what `kept` gave; ValueError, before anything changes, where it is not of this learner."""
    scales = {name: moments_fit(moments) for name, moments in learner.scales._asdict().items()}
    require_fit("", state, {**kept(learner), "iteration": COUNTED, "optimiser": adam_fits(learner.optimiser), "scales": scales})
    replay = learner.replay.read(state["replay"])
    learner.iteration = state["iteration"]
    copy_into(learner.weights, state["weights"])
    load_adam_state(learner.optimiser, state["optimiser"])
    stored = {name: {key: value.to(learner.device) for key, value in each.items()} for name, each in state["scales"].items()}
    learner.scales = Scales(**{name: Moments(**each) for name, each in stored.items()})
    learner.replay.take(replay)
