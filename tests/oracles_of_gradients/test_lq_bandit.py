"""One step, action a, reward -(a - c)'H(a - c) / 2, policy N(theta, s^2): each method's fixed point is a linear equation.

Expectations over actions are sums over nodes of a Gauss-Hermite rule, exact for what is integrated here, so that the library's
own inner step and losses give expected updates. Training lands on the method's own fixed point and on no other's.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from quickstudy.algorithms.gradient.es_maml import slope
from quickstudy.algorithms.gradient.maml import improvement
from quickstudy.algorithms.gradient.reptile import averaged
from quickstudy.nets.distributions import DiagonalGaussian
from quickstudy.nets.networks import follow
from quickstudy.parts.gradient import Inner, Samples, Start, adapted, forward, outcomes

SPREAD, RATE, STEPS = 0.3, 0.3, 2
LOG_STD = math.log(SPREAD) + 0.5  # as the distribution has it
MANY, LONG = 0.7, 40
"""Rate and number of the steps that train a copy to the end."""
GOALS = torch.tensor([[2.0, 0.5], [-1.5, 1.0], [0.5, -2.0]], dtype=torch.float64)


def turned(angle: float) -> Tensor:
    """Curvatures .2 and 2.5 along axes that are turned by so many degrees."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    axes = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    return axes @ torch.tensor([0.2, 2.5], dtype=torch.float64).diag() @ axes.mT


CURVES = torch.stack([turned(angle) for angle in (0.0, 50.0, 115.0)])
NODES = torch.tensor([-math.sqrt(3), 0.0, math.sqrt(3)], dtype=torch.float64)
CHANCES = torch.tensor([1 / 6, 2 / 3, 1 / 6], dtype=torch.float64)
PAIRS, CHANCE = torch.cartesian_prod(NODES, NODES), torch.cartesian_prod(CHANCES, CHANCES).prod(1)


class Mean(nn.Module):
    """The mean of a Gaussian whose deviation is given."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.empty(2))

    def forward(self, inputs: Tensor) -> Tensor:
        mean = self.mean.expand(*inputs.shape[:-1], 2)
        return torch.cat([mean, torch.full_like(mean, LOG_STD)], dim=-1)


NET: Any = Mean()
GAUSSIAN = DiagonalGaussian(Box(-1, 1, (2,)))


def inner_of(first_order: bool = False) -> Inner:
    return Inner(None, NET, GAUSSIAN, "step", first_order, 1.0, 1.0)  # type: ignore[arg-type]


def lived(means: Tensor) -> Samples:
    """What N(mean, s^2) expects to live on each task, a node a lane: ratios weigh each by what it stands for."""
    action = (means.detach()[:, None] + SPREAD * PAIRS)[:, :, None]
    away = action - GOALS[:, None, None]
    reward = -(away * torch.einsum("tij,tlsj->tlsi", CURVES, away)).sum(-1) / 2
    means = means.detach()
    parameters = torch.cat([means, torch.full_like(means, LOG_STD)], -1)[:, None, None].expand(-1, 9, 1, 4)
    log_prob = GAUSSIAN.log_prob(parameters, action) - (9 * CHANCE).log()[None, :, None]
    every = torch.ones(3, 9, 1, dtype=torch.bool)
    return Samples(torch.ones(3, 9, 1, 1, dtype=torch.float64), action, log_prob, parameters, reward, every, every)


def start_at(theta: Tensor, rate: float = RATE) -> Start:
    return Start({"mean": theta.clone().requires_grad_()}, {"mean": torch.tensor(rate, dtype=torch.float64)})


def lives(inner: Inner, start: Start, steps: int) -> tuple[list[Samples], Start]:
    """Each stage as it is expected, and where the last step leads."""
    stages, axis = [lived(start.weights["mean"].expand(3, 2))], None
    for _ in range(steps):
        start, axis = adapted(inner, start, stages[-1], axis), 0
        stages.append(lived(start.weights["mean"]))
    return stages, start


def ascended(theta: Tensor, steps: int, rate: float, first_order: bool = False) -> Tensor:
    """A step up what policies gain after so many inner steps: MAML, FOMAML, and joint training after none."""
    inner, start = inner_of(first_order), start_at(theta)
    stages, _ = lives(inner, start, steps)
    now = outcomes(inner, start, stages, 1) if steps else [forward(NET, start.weights, stages[0].inputs, None)]
    [slope] = torch.autograd.grad(improvement(GAUSSIAN, now, stages[-1:]), [start.weights["mean"]])
    return theta + rate * slope


def drawn(theta: Tensor, steps: int, inner_rate: float, rate: float) -> Tensor:
    """A step of Reptile."""
    start = start_at(theta, inner_rate)
    _, end = lives(inner_of(), start, steps)
    follow(start.weights, averaged(end.weights), rate)
    return start.weights["mean"].detach()


def pushed(theta: Tensor) -> Tensor:
    """A step of ES-MAML, its pushes the nodes of the same rule, each as often as it is likely."""
    size = 2.0  # of any size: what is pushed is a quadratic
    gains = []
    for way in (size, -size):
        ends = [lives(inner_of(first_order=True), start_at(theta + way * push), STEPS)[1] for push in PAIRS]
        means = torch.stack([end.weights["mean"].detach() for end in ends])  # (push, task, 2)
        away = means - GOALS
        gains.append(-(away * torch.einsum("tij,ptj->pti", CURVES, away)).sum((1, 2)) / 2)
    weighed = {"mean": PAIRS * (len(PAIRS) * CHANCE)[:, None]}
    return theta + 3.0 * slope(gains[0], gains[1], weighed, size)["mean"]


METHODS: dict[str, Any] = {
    "joint": lambda theta: ascended(theta, 0, 0.6),
    "maml": lambda theta: ascended(theta, STEPS, 8.0),
    "fomaml": lambda theta: ascended(theta, STEPS, 4.0, first_order=True),
    "reptile": lambda theta: drawn(theta, STEPS, RATE, 1.0),
    "es-maml": pushed,
    "averaging": lambda theta: drawn(theta, LONG, MANY, 1.0),
}


def power(steps: int, rate: float = RATE) -> Tensor:
    """M^k, M = I - alpha H: what is left of the way to the goal after k steps."""
    return torch.linalg.matrix_power(torch.eye(2, dtype=torch.float64) - rate * CURVES, steps)


def solved(weighed: Tensor) -> Tensor:
    """theta with sum_i A_i (theta - c_i) = 0."""
    return torch.linalg.solve(weighed.sum(0), (weighed @ GOALS[..., None]).sum(0))[:, 0]


SOLUTIONS = {
    "joint": solved(CURVES),
    "maml": solved(power(STEPS).mT @ CURVES @ power(STEPS)),
    "es-maml": solved(power(STEPS).mT @ CURVES @ power(STEPS)),
    "fomaml": solved(CURVES @ power(STEPS)),
    "reptile": solved(torch.eye(2) - power(STEPS)),
    "averaging": GOALS.mean(0),
}


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """Where each method's training ends."""
    found = {}
    for name, step in METHODS.items():
        theta = torch.tensor([3.0, -3.0], dtype=torch.float64)
        for _ in range(3 if name == "averaging" else 30):
            theta = step(theta)
        found[name] = theta
    return found


@pytest.mark.parametrize("name", METHODS)
def test_training_lands_on_the_methods_own_fixed_point(name: str, trained: dict[str, Tensor]):
    others = {other for other in SOLUTIONS if not torch.equal(SOLUTIONS[other], SOLUTIONS[name])}
    nearest = min(float((SOLUTIONS[name] - SOLUTIONS[other]).norm()) for other in others)
    assert float((trained[name] - SOLUTIONS[name]).norm()) < 0.05 * nearest
    assert nearest > 0.05  # so that landing there tells something


def adapted_return(theta: Tensor) -> float:
    """The mean over tasks of the return after adapting, less what the deviation costs."""
    away = (power(STEPS) @ (theta - GOALS)[..., None])[..., 0]
    return float(-(away * (CURVES @ away[..., None])[..., 0]).sum(-1).mean() / 2)


def test_maml_wins_where_it_is_scored_and_joint_training_before_adapting(trained: dict[str, Tensor]):
    after = {name: adapted_return(theta) for name, theta in trained.items() if name != "es-maml"}
    assert (
        sorted(after, key=after.__getitem__)[-1] == "maml"
        and after["maml"] > max(value for name, value in after.items() if name != "maml") + 0.01
    )
    before = {
        name: float(-((theta - GOALS) * (CURVES @ (theta - GOALS)[..., None])[..., 0]).sum()) for name, theta in trained.items()
    }
    assert max(before, key=before.__getitem__) == "joint"


def test_the_inner_step_is_that_of_the_expected_return():
    """U_k - c = M^k (theta - c)."""
    theta = torch.tensor([0.7, -0.2], dtype=torch.float64)
    _, end = lives(inner_of(), start_at(theta), STEPS)
    expected = GOALS + (power(STEPS) @ (theta - GOALS)[..., None])[..., 0]
    torch.testing.assert_close(end.weights["mean"].detach(), expected)
