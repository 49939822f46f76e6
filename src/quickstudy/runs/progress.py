"""How far a run has come: what a checkpoint holds, the best score on validation tasks so far, and when training is over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from quickstudy.ops.fit import COUNTED
from quickstudy.protocol import Metrics, State
from quickstudy.runs.config import Training

VALIDATION = "validation/"


class Progress(NamedTuple):
    """How far a run has come: what a checkpoint holds."""

    iteration: int
    learner: State
    timesteps: int
    metrics_bytes: int
    best_score: float = 0.0
    best_iteration: int = 0
    """The meta-iteration after which the score on validation tasks was best, of those by `evaluate_every`; 0: none yet."""
    since_best: int = 0
    """The evaluations since then, none of which was better."""

    def reached(self, iteration: int, learner: State, timesteps: int, metrics_bytes: int) -> Progress:
        """The same, further on."""
        return self._replace(iteration=iteration, learner=learner, timesteps=timesteps, metrics_bytes=metrics_bytes)

    def judged(self, iteration: int, scores: Metrics) -> Progress:
        """The same after an evaluation on validation tasks: a score that is only as good, or no number, is no better."""
        score = score_of(scores)
        if math.isfinite(score) and (not self.best_iteration or score > self.best_score):
            return self._replace(best_score=score, best_iteration=iteration, since_best=0)
        return self._replace(since_best=self.since_best + 1)


PATTERN = dict.fromkeys(Progress._fields, COUNTED) | {"best_score": 0.0}
"""What each part of a checkpoint must be; the learner's is its own."""
BEFORE = Progress._field_defaults
"""What went without saying in the checkpoints of earlier versions."""


def score_of(scores: Mapping[str, float]) -> float:
    """The score on validation tasks that is to be best: the mean return of a trial's episodes, of the first as of the last."""
    returns = [value for name, value in scores.items() if name.startswith(VALIDATION)]
    return sum(returns) / len(returns) if returns else math.nan


def out_of_patience(training: Training, since_best: int) -> bool:
    """Whether so many evaluations without a better score end a training."""
    return 0 < training.patience <= since_best


def since_best(training: Training, scores: Mapping[int, Metrics]) -> int:
    """The evaluations since the best one, told by the scores of those there were, by meta-iteration."""
    progress = Progress(0, {}, 0, 0)
    for iteration, found in scores.items():
        if training.evaluate_every and iteration % training.evaluate_every == 0:
            progress = progress.judged(iteration, found)
    return progress.since_best


def is_over(training: Training, progress: Progress) -> bool:
    """Whether a training has used up its budget, or its patience."""
    used_up = training.share(progress.iteration, progress.timesteps) >= 1
    return used_up or out_of_patience(training, progress.since_best)


def ending(training: Training, progress: Progress) -> str:
    """Why a training is over, in words."""
    if not out_of_patience(training, progress.since_best):
        return f"it has done its {training.budget}"
    best = f", {progress.best_score:.4g} after meta-iteration {progress.best_iteration}" if progress.best_iteration else ""
    return f"{progress.since_best} evaluation{'s' * (progress.since_best > 1)} in a row brought no better score{best}"
