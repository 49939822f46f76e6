"""Trust-region steps (TRPO: Schulman et al. 2015, appendix C) on flat vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

Vector = Float[Tensor, "size"]


def conjugate_gradient(
    product: Callable[[Vector], Vector], target: Vector, iterations: int, tolerance: float = 1e-10
) -> Vector:
    """Solves A x = target for a positive-definite A that is known by its products alone (Hestenes & Stiefel 1952).

    x' = x + a d,  r' = r - a A d,  d' = r' + (r'.r' / r.r) d,  a = r.r / d.A d,  from x = 0 and r = d = target.

    Stops early when the squared residual has fallen to a share of `tolerance`; the solution for a zero target is zero.
    """
    solution, residual, direction = torch.zeros_like(target), target.clone(), target.clone()
    squared = residual @ residual
    enough = tolerance * float(squared)
    for _ in range(iterations):
        if float(squared) <= enough:
            break
        image = product(direction)
        length = squared / (direction @ image)
        solution = solution + length * direction
        residual = residual - length * image
        new_squared = residual @ residual
        direction = residual + new_squared / squared * direction
        squared = new_squared
    return solution


def trust_region_step(gradient: Vector, product: Callable[[Vector], Vector], max_kl: float, iterations: int) -> Vector:
    """The natural-gradient step whose second-order KL is `max_kl`: sqrt(2 max_kl / s'Fs) s, with F s = gradient."""
    direction = conjugate_gradient(product, gradient, iterations)
    return (2 * max_kl / (direction @ product(direction)).clamp(min=1e-12)).sqrt() * direction


def line_search(
    evaluate: Callable[[Vector], tuple[float, float]], step: Vector, start: float, max_kl: float, tries: int = 15
) -> tuple[Vector, float]:
    """The longest of `step`, 0.8 `step`, 0.64 `step` ... that improves on the objective `start` with a KL of at most `max_kl`.

    `evaluate` gives (objective, KL) after a step. Returns the step taken and its KL: no step and 0 where none will do.
    """
    for attempt in range(tries):
        shorter = 0.8**attempt * step
        objective, kl = evaluate(shorter)
        if objective > start and kl <= max_kl:
            return shorter, kl
    return torch.zeros_like(step), 0.0


def linear_maps(
    function: Callable[[dict[str, Tensor]], Tensor], point: Mapping[str, Tensor]
) -> tuple[Tensor, Callable[[Tensor], Vector], Callable[[Vector], Tensor]]:
    """A function's value at a point, and its Jacobian J there as two maps: u -> J'u and v -> Jv.

    Both are backward passes through graphs that are built once: J'u is linear in u, so the derivative of J'u along v is Jv.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in point.items()}
    with torch.enable_grad():
        value = function(leaves)
        cotangent = torch.zeros_like(value, requires_grad=True)
        transposed = flat_gradient(value, leaves, cotangent, create_graph=True)

    def pull(vector: Tensor) -> Vector:
        return flat_gradient(value, leaves, vector, create_graph=False)

    def push(vector: Vector) -> Tensor:
        return torch.autograd.grad(transposed, cotangent, vector, retain_graph=True)[0]

    return value.detach(), pull, push


def flat_gradient(value: Tensor, leaves: Mapping[str, Tensor], cotangent: Tensor, create_graph: bool) -> Vector:
    """The product of a cotangent with the Jacobian of `value` in the leaves, as one vector; zero where a leaf has no part."""
    parts = torch.autograd.grad(
        value, list(leaves.values()), cotangent, create_graph=create_graph, retain_graph=True, materialize_grads=True
    )
    return torch.cat([part.flatten() for part in parts])


def flatten(tensors: Mapping[str, Tensor]) -> Vector:
    """Named tensors as one vector, in the order of their names in the mapping."""
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def unflatten(vector: Vector, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `flatten`, with the names and shapes of `like`."""
    parts = vector.split([tensor.numel() for tensor in like.values()])
    return {name: part.view(tensor.shape) for part, (name, tensor) in zip(parts, like.items(), strict=True)}
