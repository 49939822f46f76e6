"""Which pictures a method gets follows from what it tells of itself, whoever wrote it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from small import TINY
from torch import Tensor

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.insight import (
    Believed,
    Descends,
    Descent,
    Foreseen,
    Foresees,
    Foretells,
    Known,
    KnowsTasks,
    Retraced,
    Retraces,
    Trial,
    innermost,
)
from quickstudy.protocol import Experience, Policy
from quickstudy.report.contents import of_trials
from quickstudy.report.trials import Lived, live_trials
from quickstudy.wrappers.normalised import Normalisation, Normalised

GRID = {"size": 3, "max_episode_steps": 3, "episodes_per_trial": 2}
KINDS = {"known": KnowsTasks, "retrace": Retraces, "descent": Descends, "foretold": Foretells, "foreseen": Foresees}
LEARNS = sorted(name for name, entry in ALGORITHMS.items() if entry.place.split(".")[0] not in ("baselines", "model"))
"""Methods that learn a policy that adapts: all of them say what they know and what their decisions answer to."""
PLANS = sorted(name for name, entry in ALGORITHMS.items() if entry.place.startswith("model.") and entry.knows == "trial")
"""Methods that plan in a model that adapts: they say what they know, and no slope leads from a plan to what was seen."""
MODELS = sorted(name for name, entry in ALGORITHMS.items() if entry.place.startswith("model."))
"""Methods that plan in a model, whether it adapts or not: they say what it foresaw."""
OPTIONS: dict[str, dict[str, Any]] = {"varibad": {"reward_loss": "bernoulli", "reward_reads": "arrival"}}


def lived_by(name: str) -> Lived:
    """Trials of a registered method on the grid, untrained."""
    entry = ALGORITHMS[name]
    agent = entry.make(qs.tasks.make("grid-navigation", **GRID), entry.config(**TINY[name] | OPTIONS.get(name, {})), seed=1)
    return live_trials(agent, batch=8, num_tasks=4)


def pictures(found: dict[str, Any]) -> set[str]:
    """What a report shows of trials, by the names above."""
    json.dumps(found, allow_nan=False)
    [first, *_] = found["steps"]["trials"]
    shown = {name for name in ("causes", "exact", "decoded") if name in first}
    shown |= {"entries"} if "belief" in first else set()
    shown |= {name for name in ("inner", "foreseen") if found[name]}
    return shown | ({found["embedding"]["kind"]} if found["embedding"] else set())


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_a_registered_method_has_the_pictures_of_what_it_tells(name: str):
    """Of trials on the grid: what is known in the end, the belief step by step, causes, cells, and inner steps."""
    lived = lived_by(name)
    told = {what for what, kind in KINDS.items() if isinstance(lived.agent, kind)}
    models = ({"known"} if name in PLANS else set()) | ({"foreseen"} if name in MODELS else set())
    assert told >= {"known", "retrace"} if name in LEARNS else told == models
    expected = {"causes"} if "retrace" in told else set()
    expected |= {"inner"} if "descent" in told else set()
    expected |= {"foreseen"} if "foreseen" in told else set()
    expected |= {"decoded"} if "foretold" in told else set()
    # of several lanes more is known than what one of them has seen; who is told the task needs no posterior
    expected |= {"exact"} if lived.agent.lanes == 1 and ALGORITHMS[name].knows != "task" else set()
    if isinstance(lived.agent, KnowsTasks):
        known = lived.agent.known(lived.trial)
        expected |= {known.kind} | ({"entries"} if known.believed else set())
    assert pictures(of_trials(lived)) == expected


def test_the_best_known_methods_tell_as_much_as_this():
    assert isinstance(lived_by("varibad").agent, Foretells) and isinstance(lived_by("promp").agent, Descends)


@pytest.mark.parametrize("name", LEARNS)
def test_a_retraced_trial_is_the_one_that_was_lived_and_no_decision_answers_to_what_came_later(name: str):
    lived = lived_by(name)
    assert isinstance(lived.agent, Retraces)
    retraced, steps = lived.agent.retrace(lived.trial, 2), sum(lived.trial.lengths(2))
    assert retraced.log_prob.shape == (steps,) and {len(each) for each in retraced.seen} == {steps}
    recorded = [experience.act.log_prob for experience in lived.episodes]
    if all(each is not None for each in recorded):
        was = lived.trial.joined(2, recorded)  # pyright: ignore[reportArgumentType]
        torch.testing.assert_close(retraced.log_prob.detach(), was, atol=1e-5, rtol=1e-4)
    moved = torch.zeros(steps, steps)
    for step, decision in enumerate(retraced.log_prob):
        for slope in torch.autograd.grad(decision, retraced.seen, retain_graph=True, materialize_grads=True, allow_unused=True):
            moved[step] += slope.abs().sum(1)
    assert torch.isfinite(moved).all() and not moved.triu(1).any()
    assert bool((moved[steps // 2 :, : steps // 2].sum(1) > 0).all()), "what came earlier moves nothing"


class OfOnesOwn:
    """An agent that acts by chance, and makes up what it tells."""

    name, lanes, device = "own", 1, "cpu"

    def __init__(self, tasks: Any):
        self.tasks, self._random = tasks, qs.Random(tasks)

    def explorer(self) -> Policy:
        return self._random.explorer()

    def adapt(self, policy: Any, experience: Experience) -> Policy:
        return self._random.adapt(policy, experience)

    def known(self, trial: Trial) -> Known:
        mean = [torch.randn(*experience.valid[:, 0].shape, 5) for experience in trial.episodes]
        return Known("belief", mean[-1][:, -1], Believed(mean, [each.abs() for each in mean]))

    def retrace(self, trial: Trial, task: int) -> Retraced:
        seen = torch.ones(sum(trial.lengths(task)), 2, requires_grad=True)
        return Retraced([seen], seen.sum(1).cumsum(0))

    def descent(self, policy: Any, experience: Experience) -> Descent:
        gradient = torch.eye(len(experience.valid))
        return Descent(gradient.sum(1), gradient)

    def foretold(self, believed: tuple[Tensor, Tensor], arrivals: Tensor, samples: int) -> Tensor | None:
        return torch.full((len(believed[0]), len(arrivals)), 0.5)

    def foreseen(self, trial: Trial, ahead: int) -> Foreseen:
        lives = trial.followed(ahead)
        return Foreseen(
            [each[..., None] * torch.ones(9) for each in lives],
            [each * 1.0 for each in lives],
            [each[..., 0] * 0.5 for each in lives],
        )


def test_a_method_of_ones_own_that_tells_of_itself_has_its_pictures_too():
    found = of_trials(live_trials(OfOnesOwn(qs.tasks.make("grid-navigation", **GRID)), batch=8, num_tasks=4))
    assert pictures(found) == {"belief", "entries", "causes", "exact", "decoded", "inner", "foreseen"}
    [first, *_] = found["steps"]["trials"]
    assert first["causes"][:3] == [[2], [2, 2], [2, 2, 2]]
    assert first["decoded"][0] == pytest.approx([1 / 9] * 9, abs=1e-3)
    assert found["foreseen"]["errors"] == [{"steps": [0, 1, 2]} | dict.fromkeys(("low", "middle", "high"), [0.5] * 3)] * 2
    assert found["inner"]["losses"] == [[[1] * 4] * 2] * 2 and all(pair[1] == 0 for pair in found["inner"]["pairs"])


def test_who_tells_nothing_has_trials_and_no_more():
    assert pictures(of_trials(live_trials(qs.Random(qs.tasks.make("cart-pole")), batch=8, num_tasks=2))) == set()


def test_a_normaliser_leads_to_the_learner_within_and_to_what_that_saw():
    tasks = qs.tasks.make("point-navigation", max_episode_steps=3, episodes_per_trial=2)
    for observation in (True, False):
        agent = Normalised(
            qs.RL2(tasks, qs.RL2.Config(hidden_size=8)),
            Normalisation(normalise_observation=observation, normalise_reward=True),
        )
        lived = live_trials(agent, batch=8, num_tasks=2)
        learner, trial = innermost(agent, lived.trial)
        assert learner is agent.learner
        assert isinstance(learner, Retraces)
        recorded = [each.act.log_prob for each in lived.episodes]
        torch.testing.assert_close(
            learner.retrace(trial, 1).log_prob.detach(),
            lived.trial.joined(1, recorded),  # pyright: ignore[reportArgumentType]
        )


WRONG: dict[str, tuple[str, Any]] = {
    "known gives a NoneType": ("known", lambda found: None),
    "known gives 'magic', not a kind of memory": ("known", lambda found: found._replace(kind="magic")),
    "known's end gives (4,), not a tensor (4, any)": ("known", lambda found: found._replace(end=found.end[:, 0])),
    "known's end gives NaN or infinity": ("known", lambda found: found._replace(end=found.end * torch.nan)),
    "known's std gives 1 tensors, not one for each of 2": (
        "known",
        lambda found: found._replace(believed=found.believed._replace(std=found.believed.std[:1])),
    ),
    "retrace's log_prob gives (5,), not a tensor (6)": (
        "retrace",
        lambda found: found._replace(log_prob=found.log_prob[1:]),
    ),
    "retrace's log_prob gives no gradient": ("retrace", lambda found: found._replace(log_prob=found.log_prob.detach())),
    "retrace's seen gives a result, not a leaf": ("retrace", lambda found: found._replace(seen=[found.seen[0] * 1])),
    "retrace's seen gives nothing": ("retrace", lambda found: found._replace(seen=[])),
    "descent's loss gives (), not a tensor (4)": ("descent", lambda found: found._replace(loss=found.loss.sum())),
    "foreseen gives a tuple, not a Foreseen": ("foreseen", tuple),
    "foreseen's reward gives 1 tensors, not one for each of 2": (
        "foreseen",
        lambda found: found._replace(reward=found.reward[1:]),
    ),
    "foreseen's features gives (4, 3, 2, 9), not a tensor (4, 3, 3, 9)": (
        "foreseen",
        lambda found: found._replace(features=[each[:, :, :2] for each in found.features]),
    ),
    "foreseen's error gives NaN or infinity": (
        "foreseen",
        lambda found: found._replace(error=[each * torch.nan for each in found.error]),
    ),
    "descent's gradient gives (4, 0), not": ("descent", lambda found: found._replace(gradient=found.gradient[:, :0])),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_a_method_of_ones_own_tells_wrongly_is_said_in_a_line(said: str, monkeypatch: pytest.MonkeyPatch):
    what, spoil = WRONG[said]
    right = getattr(OfOnesOwn, what)
    monkeypatch.setattr(OfOnesOwn, what, lambda *given: spoil(right(*given)))
    with pytest.raises(qs.UsageError) as refused:
        of_trials(live_trials(OfOnesOwn(qs.tasks.make("grid-navigation", **GRID)), batch=8, num_tasks=4))
    assert f"own: {said}" in str(refused.value) and "\n" not in str(refused.value)
