"""What all ways to learn the new tasks share: the tasks, the budget, the settings of who begins from nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quickstudy.algorithms.baselines.multi_task import Config as Settings
from quickstudy.algorithms.baselines.multi_task import MultiTask
from quickstudy.data.rollout import draw_tasks
from quickstudy.errors import UsageError, require_counts
from quickstudy.protocol import Agent, Learner, Shard, Split, TaskDistribution, Tasks
from quickstudy.tasks.given import Given
from quickstudy.transferring.arms import episodes_paid, one_of, round_steps
from quickstudy.transferring.spaces import same_spaces
from quickstudy.transferring.start import FineTuning, begun, require_fine_tunable, seen_by, settings_for
from quickstudy.work import LocalSite

Runs = Mapping[str, Agent | Sequence[Agent]]
"""Runs by name: one, or those of several seeds."""


@dataclass(frozen=True)
class Ground:
    """The tasks that are learnt, and how."""

    tasks: TaskDistribution
    drawn: Tasks
    num_tasks: int
    seeds: int
    budget: int
    split: Split
    seed: int
    how: FineTuning
    scratch: Settings
    runs: Mapping[str, Sequence[Agent]]
    tuned: tuple[str, ...]
    """The runs that can be fine-tuned."""
    adapting: tuple[str, ...]
    """The runs whose own adaptation the spaces and the budget allow."""
    notes: tuple[str, ...]
    """Why others are left out."""

    @property
    def length(self) -> int:
        """Environment steps of scratch's update, which are a stretch of every curve."""
        return self.how.lanes * self.tasks.max_episode_steps

    @property
    def points(self) -> int:
        """Stretches in the budget."""
        return self.budget // self.length

    def source(self, name: str | None, number: int) -> Agent | None:
        """The run with which the seed of that number begins; None for who begins from nothing."""
        return self.runs[name][number % len(self.runs[name])] if name else None

    def begun(self, name: str | None, place: int, number: int) -> Learner:
        """Who is to learn the task at a place, with the seed of that number."""
        one, source = Given(self.tasks, one_of(self.drawn, place)), self.source(name, number)
        if source is None:
            return MultiTask(one, self.scratch, seed=self.seed + number)
        return begun(source, seen_by(source, one), self.how, self.seed + number)


def ground(
    runs: Agent | Runs,
    tasks: TaskDistribution,
    how: FineTuning,
    budget: int,
    num_tasks: int,
    seeds: int,
    split: Split,
    seed: int,
) -> Ground:
    """What there is to learn and by whom; UsageError where the budget pays no update, or no run can learn."""
    require_counts("transfer", 1, budget=budget, num_tasks=num_tasks, seeds=seeds)
    named = named_runs(runs)
    tuned, adapting, notes = [], [], []
    for name, [first, *_] in named.items():
        try:
            require_fine_tunable(first)
            tuned.append(name)
        except UsageError as error:
            notes.append(f"not fine-tuned: {error}")
        if problem := unadaptable(first, tasks, budget):
            notes.append(f"{name} is left out as it adapts itself: {problem}")
        else:
            adapting.append(name)
    if not tuned and not adapting:
        raise UsageError("; ".join(notes))
    drawn = draw_tasks(LocalSite(tasks), Shard(seed, 0, 0, num_tasks, split))
    scratch = scratch_settings([named[name][0] for name in tuned], tasks, how)
    found = Ground(
        tasks, drawn, num_tasks, seeds, budget, split, seed, how, scratch, named, tuple(tuned), tuple(adapting), tuple(notes)
    )
    for name in (None, *tuned):
        learner = found.begun(name, 0, 0)
        if (least := round_steps(learner)) > budget:
            raise UsageError(
                f"a budget of {budget:,} environment steps pays no update of {name or 'from-scratch'}, which lives {least:,};"
                " raise budget, or lower lanes"
            )
    return found


def named_runs(runs: Agent | Runs) -> dict[str, list[Agent]]:
    """Each run's agents by name; UsageError where there are none."""
    if isinstance(runs, Agent):
        return {runs.name: [runs]}
    named = {name: [run] if isinstance(run, Agent) else list(run) for name, run in runs.items()}
    for name, agents in named.items():
        if not agents or not all(isinstance(agent, Agent) for agent in agents):
            raise UsageError(f"transfer: '{name}' names no agents; give a learner such as qs.load('RUN'), or a list of them")
    if not named:
        raise UsageError("transfer: runs is empty; give a learner such as qs.load('RUN'), or several by name")
    return named


def unadaptable(agent: Agent, tasks: TaskDistribution, budget: int) -> str:
    """Why an agent's own adaptation can't be measured; nothing where it can."""
    if not same_spaces(agent.tasks, seen_by(agent, tasks)):
        return "its spaces are others"
    if not episodes_paid(agent, tasks, budget):
        return f"its {agent.lanes} lanes of {tasks.max_episode_steps} steps are more than the budget of {budget:,}"
    return ""


def scratch_settings(sources: Sequence[Agent], tasks: TaskDistribution, how: FineTuning) -> Settings:
    """PPO's settings from nothing: with the settings and the network of the first run that is memoryless, else the defaults."""
    for source in sources:
        config = begun(source, seen_by(source, tasks), how, 0).config
        if isinstance(config, Settings):
            return config
    return settings_for(Settings(), tasks, how)
