"""A bandit of three arms and a softmax policy: all that is expected is a finite sum, and estimators have exact means.

Errors are asserted, not cosines: those of wrong estimators are above .99 here.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quickstudy.algorithms.gradient.maml import above_others, improvement, teaching
from quickstudy.nets.distributions import Categorical
from quickstudy.parts.gradient import Inner, Samples, Start, adapted, inner_loss, outcomes

PAYS, RATE = torch.tensor([1.0, 0.2, -0.7], dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
LOGITS = torch.tensor([0.4, -0.3, 0.1], dtype=torch.float64)
ARMS = range(3)


class Logits(nn.Module):
    """The logits of three arms."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.empty(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.logits


def inner_of(ratio: Any, first_order: bool = False) -> Inner:
    net: Any = Logits()
    return Inner(None, net, Categorical(3), ratio, first_order, 1.0, 1.0)  # type: ignore[arg-type]


def pulled(arms: list[int], logits: Tensor, recorded: Tensor | None = None, baseline: float = 0.0) -> Samples:
    """Pulls of given arms by a policy, a lane each; `recorded` are their chances in ratios, by default its own."""
    chosen, every = torch.tensor(arms)[None, :, None], torch.ones(1, len(arms), 1, dtype=torch.bool)
    parameters = logits.detach().expand(1, len(arms), 1, 3)
    log_prob = (logits.detach().softmax(0)[chosen] if recorded is None else recorded[None, :, None]).log()
    return Samples(torch.ones_like(parameters), chosen, log_prob, parameters, PAYS[chosen] - baseline, every, every)


def expected(logits: Tensor, baseline: float = 0.0) -> Samples:
    """Each arm once; ratios over 1/3 make of the mean over them the expectation."""
    return pulled(list(ARMS), logits, torch.full((3,), 1 / 3, dtype=torch.float64), baseline)


def start_at(logits: Tensor) -> Start:
    return Start({"logits": logits.clone().requires_grad_()}, {"logits": RATE})


def value(logits: Tensor) -> Tensor:
    return logits.softmax(0) @ PAYS


def taught(logits: Tensor, arms: list[int]) -> Tensor:
    """Logits after a step on these pulls, theta + alpha mean(grad log pi(a) r): what learns from them, written out."""
    chosen = torch.tensor(arms)
    scores = nn.functional.one_hot(chosen, 3) - logits.softmax(0)
    return logits + RATE * (scores * PAYS[chosen, None]).mean(0)


def gradient_of(function: Any) -> Tensor:
    leaf = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


def sets_of(pulls: int) -> list[tuple[list[int], float]]:
    """All that may be pulled, and how likely it is."""
    chances = LOGITS.softmax(0)
    return [(list(arms), float(chances[list(arms)].prod())) for arms in product(ARMS, repeat=pulls)]


def truth(pulls: int) -> Tensor:
    """Of F_n(theta) = E_D J(theta + alpha g(D)), D so many pulls by theta."""

    def expectation(logits: Tensor) -> Tensor:
        chances = logits.softmax(0)
        terms = [chances[list(arms)].prod() * value(taught(logits, list(arms))) for arms in product(ARMS, repeat=pulls)]
        return torch.stack(terms).sum()

    return gradient_of(expectation)


def meta_gradient(ratio: Any, pulls: int, credited: bool, first_order: bool = False, baseline: float = 0.0) -> Tensor:
    """The mean of the library's meta-gradient over all that may be pulled, what is lived after adapting as its expectation."""
    inner, total = inner_of(ratio, first_order), torch.zeros(3, dtype=torch.float64)
    for arms, chance in sets_of(pulls):
        start, first = start_at(LOGITS), pulled(arms, LOGITS)
        after = expected(taught(LOGITS, arms))
        before, now = outcomes(inner, start, [first, after], 2)
        gain = improvement(inner.distribution, [now], [after])
        if credited:
            gain = gain + teaching(inner.distribution, [before], [first], [gain.detach()[None] - baseline])
        total += chance * torch.autograd.grad(gain, start.weights["logits"])[0]
    return total


@pytest.mark.parametrize("pulls", [1, 2, 3])
def test_credit_to_the_episodes_that_taught_is_what_the_meta_gradient_lacked(pulls: int):
    """Exact for any number of pulls, with any baseline. Ratios in the inner loss stand for most of it, up to terms that fall
    with the number of pulls; with both the same effect is counted twice, which is as wrong as without either."""
    exact = truth(pulls)
    torch.testing.assert_close(meta_gradient("none", pulls, True), exact)
    torch.testing.assert_close(meta_gradient("none", pulls, True, baseline=0.9), exact)
    wrong = {
        "no credit": meta_gradient("none", pulls, False),
        "both": meta_gradient("step", pulls, True),
        "first order": meta_gradient("none", pulls, False, first_order=True),
    }
    for name, found in wrong.items():
        assert (found - exact).norm() > 0.09 * exact.norm(), name
        assert torch.cosine_similarity(found, exact, 0) > 0.99  # which is why errors are asserted here
    ratios = (meta_gradient("step", pulls, False) - exact).norm() / exact.norm()
    assert 0.007 < pulls * ratios < 0.008


def test_credit_passes_through_every_step_that_taught():
    """Two steps of one pull each: the second one's pull is credited at the logits that the first one led to."""

    def expectation(logits: Tensor) -> Tensor:
        terms = []
        for one, two in product(ARMS, repeat=2):
            then = taught(logits, [one])
            chance = logits.softmax(0)[one] * then.softmax(0)[two]
            terms.append(chance * value(taught(then, [two])))
        return torch.stack(terms).sum()

    inner, total = inner_of("none"), torch.zeros(3, dtype=torch.float64)
    for one, two in product(ARMS, repeat=2):
        start, then = start_at(LOGITS), taught(LOGITS, [one])
        stages = [pulled([one], LOGITS), pulled([two], then), expected(taught(then, [two]))]
        *before, now = outcomes(inner, start, stages, 3)
        gain = improvement(inner.distribution, [now], stages[-1:])
        gain = gain + teaching(inner.distribution, before, stages[:-1], [gain.detach()[None]] * 2)
        chance = LOGITS.softmax(0)[one] * then.softmax(0)[two]
        total += chance * torch.autograd.grad(gain, start.weights["logits"])[0]
    torch.testing.assert_close(total, gradient_of(expectation))


def test_the_other_tasks_as_a_baseline_leave_the_mean_and_take_variance():
    """Two tasks that pull once each: all pairs. Less the mean of both, its own too, half of the credit would be gone."""
    scores = torch.eye(3, dtype=torch.float64) - LOGITS.softmax(0)
    returns = torch.stack([value(taught(LOGITS, [arm])) for arm in ARMS]) + 5  # far from zero, as returns are
    chances = LOGITS.softmax(0)
    exact = (chances[:, None] * scores * returns[:, None]).sum(0)

    def moments(credit: Any) -> tuple[Tensor, Tensor]:
        pairs = list(product(ARMS, repeat=2))
        chance = torch.stack([chances[one] * chances[two] for one, two in pairs])
        found = torch.stack([(scores[list(pair)] * credit(returns[list(pair)])[:, None]).mean(0) for pair in pairs])
        mean = chance @ found
        return mean, chance @ (found - mean).square().sum(1)

    (plain, much), (ours, little), (naive, _) = map(moments, (lambda r: r, above_others, lambda r: r - r.mean()))
    torch.testing.assert_close(plain, exact)
    torch.testing.assert_close(ours, exact)
    torch.testing.assert_close(naive, exact / 2)
    assert little < 0.01 * much


@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_ratios_have_the_hessian_of_the_return_with_any_baseline_and_log_probabilities_have_not(baseline: float):
    def hessian(of: Any) -> Tensor:
        return torch.func.jacrev(torch.func.jacrev(of))(LOGITS)

    samples = Samples(*(part[0] for part in expected(LOGITS, baseline)))
    recorded = samples._replace(log_prob=LOGITS.log_softmax(0)[:, None])
    losses = {ratio: (inner_of(ratio), recorded) for ratio in ("step", "path", "none")}
    exact = hessian(value)
    for ratio, (inner, each) in losses.items():
        # each arm once, weighed by how likely it is
        weighed = each._replace(advantage=each.advantage * 3 * LOGITS.softmax(0)[:, None])
        error = (hessian(lambda logits, i=inner, s=weighed: -inner_loss(i, {"logits": logits}, s)) - exact).norm()
        assert error > 0.15 if ratio == "none" else error < 1e-12, (ratio, error)


def test_what_two_steps_of_reptile_are_of():
    """(U_2 - theta) / a = 2 g + a H g + O(a^2), g and H of the return."""
    slope = torch.func.grad(value)(LOGITS)
    curved = torch.func.jacrev(torch.func.grad(value))(LOGITS) @ slope
    left = []
    for rate in (0.1, 0.01, 0.001):
        start = Start({"logits": LOGITS}, {"logits": torch.tensor(rate, dtype=torch.float64)})
        once = adapted(inner_of("step", True), start, expected(LOGITS), None)
        twice = adapted(inner_of("step", True), once, expected(once.weights["logits"][0]), 0)
        moved = (twice.weights["logits"][0] - LOGITS) / rate
        left.append(float((moved - 2 * slope - rate * curved).norm()) / rate**2)
    assert left[2] == pytest.approx(left[1], rel=0.02) and left[0] == pytest.approx(left[1], rel=0.1) and left[2] > 1e-3
