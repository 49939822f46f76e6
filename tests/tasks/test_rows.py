"""Tables whose rows stay in their splits, weights of a Dirichlet, and rules that are told the task."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import scipy.stats
import torch
from gymnasium import spaces

from quickstudy.algorithms.baselines.random import Random
from quickstudy.check.tasks import check_tasks
from quickstudy.errors import UsageError
from quickstudy.evaluation import evaluate
from quickstudy.families import FAMILIES, make
from quickstudy.ops.features import as_vector
from quickstudy.ops.senses import is_read
from quickstudy.protocol import counter
from quickstudy.tasks.gymnasium_tasks import GymnasiumTasks
from quickstudy.tasks.parameters import Dirichlet, gamma_logarithm, in_words, splits_of
from quickstudy.tasks.rows import Rows
from quickstudy.tasks.told import Told

PATIENTS = Rows(
    ("ada", "bo", "cy", "di", "ed"), ((50.0, 1.0), (70.0, 3.0), (60.0, 1.0), (90.0, 2.0), (55.0, 2.0)), (0, 1), (2,), (3,), (4,)
)


@pytest.mark.parametrize("split", ["train", "validation", "test", "extrapolation"])
def test_a_split_has_its_own_rows_and_no_others(split: str) -> None:
    drawn = PATIENTS.sample(200, split, counter(0, 0, split))  # type: ignore[arg-type]
    assert set(drawn.tolist()) == set(getattr(PATIENTS, split))
    assert splits_of({"patient": PATIENTS}) == "partitioned"


def test_features_are_scaled_and_rows_are_called_by_name() -> None:
    told = PATIENTS.normalise(torch.tensor([0, 3]))
    assert told.tolist() == [[-1.0, -1.0], [1.0, 0.0]]
    assert in_words({"patient": PATIENTS}, {"patient": torch.tensor([1])}, 0) == {"patient": "bo"}


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        (((0, 1), (1,), (2, 3, 4)), "one split"),
        (((0, 1), (2,), (3,)), "one split"),
        (((0, 1, 2), (), (3, 4)), "at least one row"),
    ],
)
def test_rows_in_two_splits_or_in_none_are_refused(splits: tuple[tuple[int, ...], ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Rows(PATIENTS.names, PATIENTS.features, *splits)


@pytest.mark.parametrize("weight", [0.05, 0.5, 1.0, 3.0, 40.0])
def test_gamma_variables_are_the_quantile(weight: float) -> None:
    shares = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    found = gamma_logarithm(shares, torch.full_like(shares, weight)).exp()
    assert torch.allclose(found, torch.tensor(scipy.stats.gamma.ppf(shares.numpy(), weight)), rtol=1e-6)


def test_dirichlet_has_its_mean_and_spread() -> None:
    alpha = torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64)
    drawn = Dirichlet((3.0, 1.0, 0.5), (2,)).sample(20_000, "train", counter(0, 0, "dirichlet"))
    assert drawn.shape == (20_000, 2, 3) and torch.allclose(drawn.sum(-1), torch.ones(20_000, 2, dtype=torch.float64))
    mean = alpha / alpha.sum()
    assert torch.allclose(drawn.mean((0, 1)), mean, atol=5e-3)
    assert torch.allclose(drawn.var((0, 1)), mean * (1 - mean) / (alpha.sum() + 1), atol=3e-3)


@pytest.mark.parametrize("alpha", [(1.0,), (1.0, 0.0), (1.0, 1e6)])
def test_bad_weights_are_refused(alpha: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="alpha"):
        Dirichlet(alpha)


NATIVE = [name for name, entry in FAMILIES.items() if entry.simulator.tasks == "tasks.native:NativeTasks"]


@pytest.mark.parametrize("family", NATIVE)
def test_who_is_told_gets_observation_and_task_as_they_are(family: str) -> None:
    tasks = make(family)
    if is_read(tasks.observation_space):
        with pytest.raises(UsageError, match="no plain numbers"):
            Told(tasks)
        return
    told, drawn = Told(tasks), tasks.sample(3, "test", counter(0, 0, "told"))
    seen = told.make(3, 2).reset(drawn, counter(0, 0, "noise"))
    own, task = told.parted(seen)
    plain = tasks.make(3, 2).reset(drawn, counter(0, 0, "noise"))
    assert torch.equal(own, as_vector(tasks.observation_space, plain))
    for name, value in drawn.items():
        assert task[name].dtype == value.dtype and torch.equal(task[name], value[:, None].expand(-1, 2, *value.shape[1:]))


class Clinic(gymnasium.Env[Any, Any]):
    """What a step pays is the number of the patient."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)
    patient = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), float(self.patient), False, False, {}


def test_few_rows_are_partitioned_and_reach_an_environment_of_ones_own_by_number() -> None:
    tasks = GymnasiumTasks(Clinic, max_episode_steps=2, patient=PATIENTS)
    report = check_tasks(tasks)
    assert not report.failed, str(report)
    found = evaluate(Random(tasks), num_tasks=4)
    assert torch.equal(found.returns[:, 0], 2.0 * found.drawn["patient"]) and set(found.drawn["patient"].tolist()) == {3}
