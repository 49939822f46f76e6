"""How benchmarks/belief.py measures a belief, against cases worked by hand on a 3x3 grid, whose goals are 2, 5, 6, 7 and 8."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import quickstudy as qs
from quickstudy.oracles.posteriors import posterior_of
from quickstudy.protocol import Percept
from quickstudy.report.cells import exact, foretold

TASKS = qs.tasks.make("grid-navigation", size=3, max_episode_steps=3, episodes_per_trial=2)
POSTERIOR: Any = posterior_of(TASKS)
GOALS = [2, 5, 6, 7, 8]


@pytest.fixture(scope="module")
def measure() -> Any:
    path = Path(__file__).parent.parent / "benchmarks" / "belief.py"
    spec = spec_from_file_location("benchmarks_belief", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def percepts(arrivals: list[int], rewards: list[float]) -> Percept:
    """One trial from its beginning: what is seen before each step, of those before."""
    steps = len(arrivals) + 1
    arrival = torch.tensor([[[0, *arrivals]]])
    ended = torch.tensor([[[step > 0 and step % 3 == 0 for step in range(steps)]]])
    first = ended.clone()
    first[..., 0] = True
    never = torch.zeros_like(ended)
    return Percept(arrival * ~ended, first, torch.zeros_like(arrival), torch.tensor([[[0.0, *rewards]]]), arrival, never, ended)


def uniform(*cells: int) -> Tensor:
    chances = torch.zeros(9)
    chances[list(cells)] = 1 / len(cells)
    return chances


def test_the_exact_posterior_rules_out_what_was_entered_and_is_certain_once_the_goal_is_met():
    seen = percepts([1, 2, 5, 0, 3, 6], [-0.1, -0.1, -0.1, -0.1, -0.1, 1.0])
    expected = [uniform(*GOALS), uniform(*GOALS), uniform(5, 6, 7, 8), *[uniform(6, 7, 8)] * 3, uniform(6)]
    torch.testing.assert_close(exact(POSTERIOR, seen)[0, 0], torch.stack(expected))
    torch.testing.assert_close(POSTERIOR.prior, uniform(*GOALS))


def test_total_variation_is_the_chance_that_would_have_to_move(measure: Any):
    assert float(measure.total_variation(uniform(*GOALS), uniform(5, 6, 7, 8))) == pytest.approx(1 / 5)
    assert float(measure.total_variation(uniform(*GOALS), uniform(6))) == pytest.approx(4 / 5)
    assert float(measure.total_variation(uniform(2), uniform(6))) == 1


def rigged(scores: Tensor) -> qs.VariBAD:
    """A learner whose decoder gives each cell the same logit whatever the belief."""
    config = qs.VariBAD.Config(latent_size=2, belief_size=9, reward_loss="bernoulli", reward_reads="arrival")
    learner = qs.VariBAD(TASKS, config)
    weights = learner.model_weights["reward"]
    with torch.no_grad():
        for weight in weights.values():
            weight.zero_()
        weights["of_latent.2.bias"][0] = 1.0
        weights["of_step.0.weight"].copy_(torch.eye(9))
        weights["of_step.2.weight"][0] = scores
    return learner


def test_a_decoded_goal_is_the_normalised_chance_of_each_cell_to_pay():
    chances = torch.tensor([0.1, 0.1, 0.8, 0.2, 0.4, 0.2, 0.1, 0.05, 0.05])
    told = foretold(rigged(torch.logit(chances)), POSTERIOR, torch.randn(4, 2), torch.rand(4, 2))
    torch.testing.assert_close(told, (chances / 2).expand(4, 9))


def test_one_who_never_learns_is_as_far_off_as_the_prior(measure: Any):
    """A decoder that answers with the prior, whatever was seen, has the prior's own distance."""
    scores = torch.full((9,), -40.0)
    scores[GOALS] = 0.0
    ours, prior = measure.measure(rigged(scores), POSTERIOR, trials=20)
    assert ours == pytest.approx(prior) and prior > 0
