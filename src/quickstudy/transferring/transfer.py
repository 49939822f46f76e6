"""A run on new tasks: its policy fine-tuned, its own adaptation, and learning from nothing, at equal environment steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from quickstudy.algorithms.baselines.random import Random
from quickstudy.arguments import checked
from quickstudy.evaluation import evaluate
from quickstudy.families.making import called
from quickstudy.ops.tally import begins
from quickstudy.protocol import Agent, Learner, Split, TaskDistribution
from quickstudy.tasks.given import Given
from quickstudy.transferring.arms import LEARNT, Pieces, adapted, learnt, on_grid
from quickstudy.transferring.ground import Ground, Runs, ground
from quickstudy.transferring.outcome import Arm, Transfer, best_tail
from quickstudy.transferring.start import FineTuning

SHARE = 0.8
"""The threshold, where none is named: so much of the way from random's return to the best asymptote."""
OLD_TASKS = 20
"""Test tasks of a run's own family on which it is looked at what was forgotten."""
CHANCES = 20
"""Episodes of each task that are lived at random."""


@checked
def transfer(
    runs: Agent | Runs,
    tasks: TaskDistribution,
    how: FineTuning | None = None,
    *,
    budget: int = 50_000,
    num_tasks: int = 5,
    seeds: int = 3,
    split: Split = "test",
    seed: int = 0,
    threshold: float | None = None,
    trained_steps: Mapping[str, float] | None = None,
) -> Transfer:
    """Learns the same new tasks in several ways, each for `budget` environment steps, and compares what was earned meanwhile.

    The ways: each run's policy fine-tuned by PPO, `from-scratch`, which is `multi-task` on that one task, and each run's own
    adaptation. `tasks` may be of any family; where its spaces differ from a run's, the trunk is kept (`transferring/spaces.py`)
    and the run's own adaptation left out. What is earned is the return of the episodes that updates learn from, so that looking
    costs no steps. Each of `seeds` seeds begins from the run, or from each in turn of several by one name, those of its seeds.
    `threshold` is a return, by default 0.8 of the way from random's to the best asymptote. `trained_steps` are those of the
    runs' own training, by name.

    UsageError where the budget pays no update, or nothing can be learnt from the runs.
    """
    found = ground(runs, tasks, how or FineTuning(), budget, num_tasks, seeds, split, seed)
    trained, ways = trained_steps or {}, (None, *found.tuned)
    begins(f"learning {num_tasks} tasks in {len(ways)} ways", budget * num_tasks * seeds * len(ways), LEARNT)
    arms = [learnt_arm(found, name, trained) for name in ways]
    arms += [adapted_arm(found, name, trained) for name in found.adapting]
    chance = evaluate(Random(tasks), Given(tasks, found.drawn), num_tasks=num_tasks, episodes=CHANCES, split=split, seed=seed)
    random = chance.returns.double().mean(1).numpy()[None]
    low = float(random.mean())
    reach = low + SHARE * (best_tail(arms) - low) if threshold is None else threshold
    return Transfer(called(tasks), split, seed, budget, found.length, reach, random, tuple(arms), (*found.notes, *alone(found)))


def learnt_arm(found: Ground, name: str | None, trained: Mapping[str, float]) -> Arm:
    """What PPO earns that begins from a run, or from nothing."""
    pieces: list[list[Pieces]] = []
    forgotten: list[list[float]] = []
    for number in range(found.seeds):
        learners = [found.begun(name, place, number) for place in range(found.num_tasks)]
        before = old_return(found, name, number, learners[0])
        pieces.append([learnt(learner, found.budget) for learner in learners])
        forgotten.append([before - old_return(found, name, number, learner) for learner in learners])
    source, lost = found.source(name, 0), np.array(forgotten)
    return Arm(
        name=f"fine-tune {name}" if name else "from-scratch",
        kind="fine-tune" if name else "from-scratch",
        algorithm=source.name if source else "from-scratch",
        run=name,
        trained_steps=trained.get(name) if name else None,
        start=starts_of(pieces),
        curve=curves_of(found, pieces),
        forgotten=lost if np.isfinite(lost).all() else None,
    )


def adapted_arm(found: Ground, name: str, trained: Mapping[str, float]) -> Arm:
    """What a run earns as it adapts itself."""
    pieces: list[list[Pieces]] = []
    for number in range(found.seeds):
        agent = found.runs[name][number % len(found.runs[name])]
        pieces.append(adapted(agent, found.tasks, found.drawn, found.budget, found.split, found.seed + number))
    algorithm, steps = found.runs[name][0].name, trained.get(name)
    return Arm(f"adapt {name}", "adapt", algorithm, name, steps, starts_of(pieces), curves_of(found, pieces))


def old_return(found: Ground, name: str | None, number: int, learner: Learner) -> float:
    """The mean return of a learner on the test tasks of the run that it began from; NaN where it can't act on them."""
    source = found.source(name, number)
    if source is None or source.tasks.observation_space != learner.tasks.observation_space:
        return float("nan")
    if source.tasks.action_space != learner.tasks.action_space:
        return float("nan")
    return float(evaluate(learner, source.tasks, num_tasks=OLD_TASKS, seed=found.seed).returns.double().mean())


def starts_of(pieces: list[list[Pieces]]) -> Float[NDArray[np.floating], "seed task"]:
    """What each earned before anything was learnt."""
    return np.array([[each.returns[0] for each in row] for row in pieces])


def curves_of(found: Ground, pieces: list[list[Pieces]]) -> Float[NDArray[np.floating], "seed task point"]:
    """What each earned, all by the same steps."""
    return np.array([[on_grid(each, found.points, float(found.length)) for each in row] for row in pieces])


def alone(found: Ground) -> list[str]:
    """Which runs are of one training, so that nothing is known of others."""
    names = [name for name, agents in found.runs.items() if len(agents) == 1]
    if found.seeds == 1 or not names:
        return []
    return [f"of one training each, so that intervals say nothing of other trainings: {', '.join(names)}"]
