"""Adaptation by gradient: a differentiable step, the loss it descends, and the baseline fitted on the task's own data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quickstudy.ops.policy_gradient import masked_mean, root
from quickstudy.ops.returns import discounted_sum
from quickstudy.ops.tree import Tree, tree_map


def inner_step(
    weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], rates: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """theta' = theta - alpha * gradient (Finn et al. 2017, eq. 1; per-parameter rates: Li et al. 2017, eq. 1).

    Gradients with a leading task axis turn weights that tasks share into weights of each task; those without a gradient stay.
    """
    moved = {name: weights[name] - rates[name] * gradient for name, gradient in gradients.items()}
    return {name: moved.get(name, weight) for name, weight in weights.items()}


class AdamMoments(NamedTuple):
    """Running means of gradients and of their squares, trees like the weights."""

    first: Any
    second: Any


def adam_step(
    weights: Tree,
    gradients: Any,
    moments: AdamMoments,
    step: int | Float[Tensor, ""],
    rate: float | Float[Tensor, "*entries"],
) -> tuple[Tree, AdamMoments]:
    """Step number `step`, from 1 on, of Adam (Kingma & Ba 2015, algorithm 1) on trees of tensors: new weights and new moments.

    m' = 0.9 m + 0.1 g,  v' = 0.999 v + 0.001 g^2,  w' = w - rate m' / (1 - 0.9^step) / (sqrt(v' / (1 - 0.999^step)) + 1e-5).

    The 1e-5 in the denominator keeps rounding from deciding where a gradient all but vanishes.
    """
    first = tree_map(lambda mean, gradient: 0.9 * mean + 0.1 * gradient, moments.first, gradients)
    second = tree_map(lambda mean, gradient: 0.999 * mean + 0.001 * gradient.square(), moments.second, gradients)

    def moved(weight: Tensor, mean: Tensor, square: Tensor) -> Tensor:
        return weight - rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-5)

    return tree_map(moved, weights, first, second), AdamMoments(first, second)


def path_loss(
    log_prob: Float[Tensor, "*lead time"],
    behaviour_log_prob: Float[Tensor, "*lead time"],
    advantage: Float[Tensor, "*lead time"],
    first: Bool[Tensor, "*lead time"],
    valid: Bool[Tensor, "*lead time"],
    trace: float = 1.0,
) -> Float[Tensor, ""]:
    """A loss whose derivatives of every order, at the behaviour policy, are those of minus the expected return.

    -mean((exp(W_t) - exp(W_t - w_t)) A_t),  W_t = trace W_{t-1} + w_t,  w_t = log pi(a_t | s_t) - log behaviour(a_t | s_t),

    with W = 0 before an episode. Loaded DiCE (Farquhar et al. 2019, eq. 12 and its lambda), with recorded log-probabilities:
    the advantage of a step is weighted by the likelihood ratio of the episode up to and with its action, less that of the
    episode before it. A trace below 1 lets the ratios of earlier actions fade, for less variance and some bias from the second
    derivative on; with 0 all derivatives are those of `step_loss`.
    """
    difference = (log_prob - behaviour_log_prob) * valid
    if trace < 1:
        kept = (trace * ~first).to(difference)
        path = discounted_sum(difference.flip(-1), kept.flip(-1)).flip(-1)
    else:
        total = difference.cumsum(-1)
        step = torch.arange(first.shape[-1], device=first.device)
        start = torch.where(first, step, 0).cummax(-1).values
        path = total - (total - difference).gather(-1, start)
    return -masked_mean((path.exp() - (path - difference).exp()) * advantage, valid)


def step_loss(
    log_prob: Float[Tensor, "*lead time"],
    behaviour_log_prob: Float[Tensor, "*lead time"],
    advantage: Float[Tensor, "*lead time"],
    valid: Bool[Tensor, "*lead time"],
) -> Float[Tensor, ""]:
    """The likelihood ratio of each action alone (ProMP's low-variance curvature: Rothfuss et al. 2019, eq. 13).

    -mean(r_t A_t),  r_t = pi(a_t | s_t) / behaviour(a_t | s_t).

    The gradient at the behaviour policy is exact; the Hessian is so for one-step episodes and leaves out, for longer ones, how
    earlier actions change which states are met.
    """
    return -masked_mean((log_prob - behaviour_log_prob).exp() * advantage, valid)


def score_loss(
    log_prob: Float[Tensor, "*lead time"], advantage: Float[Tensor, "*lead time"], valid: Bool[Tensor, "*lead time"]
) -> Float[Tensor, ""]:
    """-mean(log pi(a_t | s_t) A_t): how these very episodes teach, as a function of the policy that learns from them.

    The gradient is the policy gradient. The Hessian leaves out that another policy would have met other episodes: it is the
    right one only where that is accounted for beside it, by crediting the episodes with what came of them (E-MAML).
    """
    return -masked_mean(log_prob * advantage, valid)


def fitted_values(
    inputs: Float[Tensor, "task lane time feature"],
    returns: Float[Tensor, "task lane time"],
    step: Float[Tensor, "task lane time"],
    valid: Bool[Tensor, "task lane time"],
    ridge: float = 1e-3,
) -> Float[Tensor, "task lane time"]:
    """Values by least squares on each task's own data, linear in the inputs, their squares, and powers of the time.

    V = mean(y) + x w,  w = (X'X / n + ridge I)^-1 X'(y - mean(y)) / n.

    The linear feature baseline of Duan et al. 2016 (arXiv:1604.06778). `step` is the time within the episode. Features and
    returns are taken about their means, features over their deviations, and `ridge` is a share of each feature's variance: none
    is shrunk because another one is large, and the mean return never.
    """
    time, known = step[..., None] / 100, valid.flatten(1)[..., None].double()
    features = torch.cat([inputs, inputs.square(), time, time**2, time**3], dim=-1).flatten(1, 2).double()
    count = known.sum(1, keepdim=True).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return (values * known).sum(1, keepdim=True) / count

    targets = returns.flatten(1)[..., None].double()
    level, center = mean(targets), mean(features)
    deviation = root(mean((features - center).square()))
    features = (features - center) / deviation.where(deviation > 1e-9 * center.abs(), 1.0)
    kept = features * known
    gram = kept.mT @ kept / count + ridge * torch.eye(features.shape[-1], device=features.device, dtype=features.dtype)
    solution = torch.linalg.solve(gram, kept.mT @ (targets - level) / count)
    return (level + features @ solution)[..., 0].unflatten(1, returns.shape[1:]).to(returns)
