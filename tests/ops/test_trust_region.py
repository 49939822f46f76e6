"""Trust-region pieces against linear algebra done directly."""

import torch

from quickstudy.ops.trust_region import conjugate_gradient, flatten, line_search, linear_maps, trust_region_step, unflatten


def matrix(size: int) -> torch.Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return root @ root.T + torch.eye(size, dtype=torch.float64)


def test_conjugate_gradient_solves_the_system():
    a, b = matrix(8), torch.arange(8.0, dtype=torch.float64)
    torch.testing.assert_close(conjugate_gradient(lambda v: a @ v, b, 8), torch.linalg.solve(a, b), rtol=1e-6, atol=1e-8)


def test_a_trust_region_step_lies_on_the_border_of_the_region():
    a, b = matrix(8), torch.arange(8.0, dtype=torch.float64)
    step = trust_region_step(b, lambda v: a @ v, 0.01, 20)
    torch.testing.assert_close(0.5 * step @ a @ step, torch.tensor(0.01, dtype=torch.float64))
    assert step @ b > 0


def test_without_a_slope_there_is_no_step():
    a, zero = matrix(8), torch.zeros(8, dtype=torch.float64)
    assert torch.equal(trust_region_step(zero, lambda v: a @ v, 0.01, 20), zero)


def test_the_line_search_takes_the_longest_step_that_will_do():
    step = torch.tensor([8.0])
    taken, kl = line_search(lambda s: (float(s), float(s) ** 2), step, 0.0, 5.0)
    torch.testing.assert_close(taken, step * 0.8**6)  # the first whose square is at most 5
    assert kl == float(taken) ** 2
    taken, kl = line_search(lambda s: (-float(s), 0.0), step, 0.0, 5.0)
    assert taken.item() == 0 and kl == 0


def test_linear_maps_are_the_jacobian_and_its_transpose():
    def function(x: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack([x["a"].sin().sum() * x["b"], x["a"].prod() + x["b"] ** 2])

    point = {"a": torch.tensor([0.3, 0.7], dtype=torch.float64), "b": torch.tensor(0.5, dtype=torch.float64)}
    value, pull, push = linear_maps(function, point)
    jacobian = torch.func.jacrev(lambda v: function(unflatten(v, point)))(flatten(point))
    torch.testing.assert_close(value, function(point))
    u, v = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    torch.testing.assert_close(pull(u), u @ jacobian)
    torch.testing.assert_close(push(v), jacobian @ v)


def test_flattening_has_an_inverse():
    named = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7.0)}
    again = unflatten(flatten(named), named)
    assert all(torch.equal(again[name], value) for name, value in named.items())
