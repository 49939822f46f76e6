"""What every algorithm must do, on tasks whose optimum is known by hand: a new entry in the list is tested at once."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from probes import HiddenButton, HiddenSide, Survival
from small import NUMBERED, SMALL, TINY
from trained import on_buttons, trial_return

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.check.learner import CLAUSES, Subject
from quickstudy.check.report import judge
from quickstudy.protocol import Learner
from quickstudy.work import InProcess

REACHES = {"trial": "optimum", "nothing": "memoryless_optimum", "task": "informed_optimum"}
"""What an algorithm must reach, by what it can know."""


PROBES = {"discrete": HiddenButton, "continuous": HiddenSide}
RESUMED = ("rl2", "recurrent-sac")
"""Whose state is tried within normalisers in the quick suite: one that learns on-policy, and one with a replay."""

SEEING = (("session", "rl2"), ("session", "maml"))
"""What the quick suite tries, beside resuming, where observations are seen and read."""

NUMBERED_ALONE = {name for name, entry in ALGORITHMS.items() if entry.observations == "discrete"}
"""Whose observations must be numbered."""

NOT_SEEING = {name for name, entry in ALGORITHMS.items() if entry.observations != "any"}
"""Whose observations can't be images or texts."""

LATER = (
    *("cadm", "es-maml", "grbal", "mpc", "multi-task-sac", "norml", "promp"),
    *("rebal", "reptile", "rl3", "task-informed"),
)
"""Whose formulae are held by tests of their own or of what they are made of: what they reach is left to the slow suite."""

every_algorithm = pytest.mark.parametrize("name", sorted(ALGORITHMS))
every_probe = pytest.mark.parametrize(
    ("name", "probe"),
    [
        pytest.param(name, probe, marks=pytest.mark.slow if probe == "continuous" or name in LATER else ())
        for name in sorted(ALGORITHMS)
        for probe in sorted(PROBES)
        if probe == "discrete" or name not in NUMBERED_ALONE
    ],
)


def make(name: str, dynamics: Any, seed: int = 0, **options: Any) -> Learner:
    entry = ALGORITHMS[name]
    return entry.make(qs.NativeTasks(dynamics), entry.config(**SMALL[name] | options), seed=seed)


def train(learner: Learner, iterations: int) -> list[dict[str, float]]:
    work = InProcess(learner.tasks, learner.device)
    return [learner.train_step(work) for _ in range(iterations)]


@pytest.mark.parametrize(
    ("name", "clause", "normalised"),
    [
        pytest.param(name, clause, normalised, marks=() if quick else pytest.mark.slow)
        for name in sorted(ALGORITHMS)
        for clause in sorted(CLAUSES)
        for normalised in (False, True)
        for quick in [not normalised or (clause == "resuming" and name in RESUMED)]
    ],
)
def test_keeps_its_contract(name: str, clause: str, normalised: bool, monkeypatch: pytest.MonkeyPatch):
    """The suite that `quickstudy check` runs, on every learner as it is and in its normalisers."""
    entry = ALGORITHMS[name]
    if name in NUMBERED_ALONE:
        monkeypatch.setattr("quickstudy.check.learner.SMALL_TASKS", NUMBERED)

    def make_learner(tasks: Any, config: Any, **options: Any) -> Learner:
        learner = entry.make(tasks, config, **options)
        vector = isinstance(learner.tasks.observation_space, gymnasium.spaces.Box)
        normalisation = qs.Normalisation(normalise_observation=vector, normalise_reward=True)
        return qs.Normalised(learner, normalisation) if normalised else learner

    finding = judge(clause, lambda: CLAUSES[clause](Subject(make_learner, entry.config(**TINY[name]))))
    assert finding.passed, finding.detail


@pytest.mark.parametrize(
    ("name", "clause"),
    [
        pytest.param(name, clause, marks=() if clause == "resuming" or (clause, name) in SEEING else pytest.mark.slow)
        for name in sorted(ALGORITHMS.keys() - NOT_SEEING)
        for clause in sorted(CLAUSES)
    ],
)
def test_keeps_its_contract_where_it_sees_and_reads(name: str, clause: str, monkeypatch: pytest.MonkeyPatch):
    """The same on image, text and vector at once, in episodes of many lengths."""
    missions = {"mission": {"size": 3, "max_episode_steps": 4, "episodes_per_trial": 2}}
    monkeypatch.setattr("quickstudy.check.learner.SMALL_TASKS", missions)
    entry = ALGORITHMS[name]
    finding = judge(clause, lambda: CLAUSES[clause](Subject(entry.make, entry.config(**TINY[name]))))
    assert finding.passed, finding.detail


def optimum(name: str, dynamics: Any) -> float:
    """The best return of a trial for one who can know what this algorithm can."""
    return getattr(dynamics, REACHES[ALGORITHMS[name].knows])


@every_probe
def test_reaches_the_optimum_of_what_it_can_know_and_no_more(name: str, probe: str):
    if probe == "discrete":
        before, learner = on_buttons(name)
    else:
        learner = make(name, PROBES[probe]())
        before = trial_return(learner)
        train(learner, 100)
    after, goal = trial_return(learner), optimum(name, learner_dynamics(learner.tasks))
    assert goal - ALGORITHMS[name].shortfall.get(probe, 0.15) < after < goal + 0.1
    assert after > before or before > goal - 0.15  # any memoryless policy is an optimal one on hidden buttons


@every_algorithm
def test_shards_cut_the_work_and_leave_its_amount(name: str):
    whole, cut = (train(make(name, HiddenButton(), shards=shards), 1)[0] for shards in (1, 2))
    assert whole["rollout/timesteps"] == cut["rollout/timesteps"]


@pytest.mark.slow
@every_algorithm
def test_what_is_cut_into_shards_is_learnt_as_well(name: str):
    learner = make(name, HiddenButton(), shards=2)
    train(learner, 60)
    assert trial_return(learner) > optimum(name, HiddenButton()) - ALGORITHMS[name].shortfall.get("discrete", 0.15)


@pytest.mark.slow
@pytest.mark.parametrize("credit", ["trial", "episode"])
def test_rl2_survives_where_every_step_is_rewarded(credit: Any):
    """A fall costs the rest of an episode: a memory must find the button that lives, at once, and keep to it."""
    learner = make("rl2", Survival(), credit=credit, gamma=0.97)
    train(learner, 100)
    assert trial_return(learner) > Survival.optimum - 1.5


@pytest.mark.slow
def test_a_short_sighted_discount_over_the_trial_makes_dying_nearly_free():
    """Why `credit="episode"` and a gamma near 1 exist."""
    learner = make("rl2", Survival(), credit="trial", gamma=0.2)
    train(learner, 100)
    assert trial_return(learner) < Survival.optimum - 1.5


@pytest.mark.slow
def test_rl2_with_an_lstm_learns_too():
    learner = make("rl2", HiddenButton(), memory="lstm")
    train(learner, 60)
    assert trial_return(learner) > HiddenButton.optimum - 0.15


def test_a_wiped_memory_costs_what_it_was_worth():
    _, learner = on_buttons("rl2")
    for every in ("episode", "step"):
        wiped = qs.evaluate(qs.Forgetful(learner, every), num_tasks=400).returns.sum(1).mean()
        assert abs(float(wiped) - HiddenButton.memoryless_optimum) < 0.15


def test_a_longer_trial_than_in_training_is_marked_as_extrapolation():
    learner = make("rl2", HiddenButton())
    assert "extrapolate" not in str(qs.evaluate(learner, num_tasks=5))
    longer = qs.evaluate(learner, num_tasks=5, episodes=5)
    assert longer.returns.shape == (5, 5) and "episodes after 3 extrapolate" in str(longer)


def learner_dynamics(tasks: Any) -> Any:
    return tasks.tasks.dynamics if isinstance(tasks, qs.Informed) else tasks.dynamics
