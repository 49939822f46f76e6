"""The pieces of an inner step against closed forms; its meta-gradient is tested with MAML."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from quickstudy.ops.adaptation import fitted_values, inner_step, path_loss, step_loss


def test_an_inner_step_gives_each_task_its_weights():
    weights, gradients = {"w": torch.ones(3)}, {"w": torch.arange(6.0).view(2, 3)}
    assert inner_step(weights, gradients, {"w": torch.tensor(0.5)})["w"].tolist() == [[1, 0.5, 0], [-0.5, -1, -1.5]]
    assert inner_step(weights, gradients, {"w": torch.tensor([0.0, 1.0, 0.0])})["w"].tolist() == [[1, 0, 1], [1, -3, 1]]


def test_both_losses_have_the_policy_gradient_and_differ_in_curvature_only():
    generator = torch.Generator().manual_seed(0)
    behaviour, advantage = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    first = torch.tensor([True, False, False, True, False, False]).expand(3, 6)
    every = torch.ones_like(first)

    def step(log_prob: torch.Tensor) -> torch.Tensor:
        return step_loss(log_prob, behaviour, advantage, every)

    def path(log_prob: torch.Tensor) -> torch.Tensor:
        return path_loss(log_prob, behaviour, advantage, first, every)

    for loss in (step, path):
        torch.testing.assert_close(torch.func.grad(loss)(behaviour), -advantage / 18)
    curvature = torch.func.jacrev(torch.func.jacrev(path))(behaviour)[0, :, 0, :] * -18
    # the second derivative in the log-probabilities of steps s <= t of one episode is the advantage of the later one
    expected = torch.stack([torch.stack([advantage[0, max(s, t)] * (s // 3 == t // 3) for t in range(6)]) for s in range(6)])
    torch.testing.assert_close(curvature, expected)
    alone = torch.func.jacrev(torch.func.jacrev(step))(behaviour)[0, :, 0, :] * -18
    torch.testing.assert_close(alone, advantage[0].diag())


def test_lambda_leads_from_the_ratio_of_the_step_to_that_of_the_path():
    """Derivatives of the first three orders: at the ends those of the two losses, and between them of W_t written out."""
    generator = torch.Generator().manual_seed(1)
    behaviour, advantage = torch.randn(2, 2, 6, generator=generator, dtype=torch.float64)
    log_prob = behaviour + 0.1 * torch.randn(2, 6, generator=generator, dtype=torch.float64)
    first = torch.tensor([True, False, False, True, False, False]).expand(2, 6)
    valid = torch.tensor([True] * 5 + [False]).expand(2, 6)

    def path(trace: float) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda log_prob: path_loss(log_prob, behaviour, advantage, first, valid, trace)

    def written_out(log_prob: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for lane in range(2):
            weight = torch.zeros((), dtype=torch.float64)
            for t in range(5):
                weight = (0.0 if t % 3 == 0 else 0.6) * weight
                now = log_prob[lane, t] - behaviour[lane, t]
                total, weight = total + ((weight + now).exp() - weight.exp()) * advantage[lane, t], weight + now
        return -total / 10

    def whole(log_prob: torch.Tensor) -> torch.Tensor:
        return path_loss(log_prob, behaviour, advantage, first, valid)

    def step(log_prob: torch.Tensor) -> torch.Tensor:
        return step_loss(log_prob, behaviour, advantage, valid)

    for ours, theirs in ((path(0.0), step), (path(0.6), written_out), (path(1.0), whole), (path(1 - 1e-12), whole)):
        for _ in range(3):
            ours, theirs = torch.func.jacrev(ours), torch.func.jacrev(theirs)
            torch.testing.assert_close(ours(log_prob), theirs(log_prob))
    assert torch.equal(path(1.0)(log_prob), whole(log_prob))
    curvature = [torch.func.jacrev(torch.func.jacrev(path(trace)))(log_prob) for trace in (0.0, 0.6, 1.0)]
    assert (curvature[0] - curvature[1]).norm() > 0.1 and (curvature[1] - curvature[2]).norm() > 0.1


def test_fitted_values_are_ridge_regression_on_each_tasks_own_data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 5, 2, generator=generator, dtype=torch.float64)
    returns = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    step = torch.arange(5.0, dtype=torch.float64).expand(2, 3, 5)
    valid = torch.rand(2, 3, 5, generator=generator) < 0.8
    values = fitted_values(inputs, returns, step, valid)
    for task in range(2):
        keep = valid[task].flatten().numpy()
        x, t = inputs[task].flatten(0, 1).numpy(), step[task].flatten().numpy()[:, None] / 100
        features, targets = np.hstack([x, x**2, t, t**2, t**3]), returns[task].flatten().numpy()
        features = (features - features[keep].mean(0)) / features[keep].std(0)
        gram = features[keep].T @ features[keep] + 1e-3 * keep.sum() * np.eye(features.shape[1])
        solution = np.linalg.solve(gram, features[keep].T @ (targets - targets[keep].mean())[keep])
        np.testing.assert_allclose(values[task].flatten().numpy(), targets[keep].mean() + features @ solution)


@pytest.mark.parametrize("steps", [20, 1_000, 10_000])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_what_the_features_can_tell_is_fitted_however_long_the_episode_and_whatever_the_units(steps: int, scale: float):
    inputs, time = scale * torch.randn(1, 4, steps, 3), torch.arange(steps).float().expand(1, 4, steps)
    every = torch.ones(1, 4, steps, dtype=torch.bool)
    for returns in (torch.full_like(time, 100.0), 100 * inputs[..., 0] / scale, 1e6 + 1e3 * time / steps):
        error = (fitted_values(inputs, returns, time, every) - returns).square().mean().sqrt()
        spread = (returns - returns.mean()).square().mean().sqrt()
        assert error <= 0.02 * spread + 1e-6 * returns.abs().max()


def test_what_is_not_valid_moves_no_value():
    inputs, returns = torch.randn(1, 2, 4, 1), torch.randn(1, 2, 4)
    valid = torch.tensor([[[True, True, True, False], [True, True, False, False]]])
    step = torch.arange(4.0).expand(1, 2, 4)
    changed = torch.where(valid, returns, 1e6)
    torch.testing.assert_close(fitted_values(inputs, returns, step, valid), fitted_values(inputs, changed, step, valid))
