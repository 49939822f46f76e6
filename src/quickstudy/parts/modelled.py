"""What learners of a model share: trials that go into a replay, the moments of their steps, and what is stored of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator
from torch.optim import Adam

from quickstudy.data.replay import Replay
from quickstudy.nets.networks import Weights, copy_into
from quickstudy.nets.optimiser import adam_fits, adam_state, load_adam_state
from quickstudy.ops.fit import COUNTED, require_fit
from quickstudy.ops.moments import Moments, moments_fit
from quickstudy.parts.belief import as_records
from quickstudy.parts.collecting import collected_trials, some_experience, trial_metrics, trial_steps
from quickstudy.parts.dynamics import Scales, Steps, steps_of, up_to_the_end, with_steps
from quickstudy.protocol import Metrics, State, TaskDistribution, Work

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
