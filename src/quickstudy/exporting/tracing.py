"""Functions of tensors as ONNX graphs, by PyTorch's exporter, without what tells of the machine they were made on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from quickstudy.errors import UsageError, in_a_line
from quickstudy.ops import adaptation, returns

Function = Callable[..., tuple[Tensor, ...]]
aten = torch.ops.aten
REFINEMENTS = 40
"""Steps of Newton and Schulz: enough for condition numbers up to 2^34, and ridges keep those of baselines below 2^25."""


class Traced(nn.Module):
    """A function as a module, which is what PyTorch's exporter takes."""

    def __init__(self, function: Function):
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self.function(*tensors)


def require_packages() -> None:
    """Raises UsageError with the install command where a package is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(name)
        except ImportError as error:
            raise UsageError(f"exporting needs {name}; install it: pip install 'quickstudy[export]'") from error


@torch.no_grad()
def graph_of(
    what: str,
    function: Function,
    example: Sequence[Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    leading: Sequence[str] = (),
    derived: bool = False,
) -> Any:
    """An ONNX model (`onnx.ModelProto`) of a function; UsageError where it can't be traced.

    The first axis of the inputs named in `leading` may have any length, all the same. A function that takes derivatives is
    `derived`: it is unfolded into plain operations first, of which each is one that ONNX has.
    """
    with quiet():
        try:
            if derived:
                with unfoldable():
                    function = make_fx(function, decomposition_table=REPLACED)(*example)
            any_length = tuple({0: torch.export.Dim.DYNAMIC} if name in leading else None for name in inputs)
            module = Traced(function)
            traced = torch.export.export(module, tuple(example), dynamic_shapes=(any_length,), strict=False)
            program = torch.onnx.export(
                traced, dynamo=True, verbose=False, input_names=list(inputs), output_names=list(outputs)
            )
        except Exception as error:  # whatever somebody's own network or a method's arithmetic makes of it
            cause = in_a_line(error.__cause__ or error).split(" For more information")[0]
            raise UsageError(f"{what} can't be traced: {cause[:200]}") from error
    assert program is not None
    model = program.model_proto
    for part in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        model.graph,
        *model.functions,
    ):
        # where in whose files each operation was called
        part.doc_string = ""
        del part.metadata_props[:]
    return model


@contextmanager
def unfoldable() -> Iterator[None]:
    """Puts functions that unfold well in the place of those that look at values, or unfold into operations for each step."""
    usual = [(module, name, getattr(module, name)) for module, name in STAND_INS]
    try:
        for (module, name), stand_in in STAND_INS.items():
            setattr(module, name, stand_in)
        yield
    finally:
        for module, name, function in usual:
            setattr(module, name, function)


def one_hot(values: Tensor, size: int) -> Tensor:
    """PyTorch's, without the look at whether values are within the size."""
    return (values[..., None] == torch.arange(size)).long()


def discounted_sum(values: Tensor, discount: Tensor) -> Tensor:
    """G_t = values_t + discount_t G_{t+1}, by doubling how far ahead each step reckons (Hillis & Steele 1986)."""
    reach = 1
    while reach < values.shape[-1]:
        ahead = functional.pad(values[..., reach:], (0, reach))
        values, discount = values + discount * ahead, discount * functional.pad(discount[..., reach:], (0, reach))
        reach *= 2
    return values


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps back what PyTorch's exporter says of itself, which is nobody's concern here."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def inverse_times(matrix: Tensor, target: Tensor, left: bool = True, check_errors: bool = False) -> tuple[Tensor, ...]:
    """A^-1 B of symmetric positive definite A by products alone, since ONNX solves no equations (Schulz 1933).

    X' = X (2 I - A X) from X = I / trace(A): the error I - A X, below 1 to begin with, is squared in each step.
    """
    ones = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    twice = 2 * ones  # once: each constant is stored as often as it is made
    inverse = ones / matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    for _ in range(REFINEMENTS):
        inverse = inverse @ (twice - matrix @ inverse)
    nothing = matrix.new_zeros(matrix.shape[:-2], dtype=torch.int32)
    return inverse @ target, matrix, nothing, nothing


def running_maximum(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The largest number so far along the last axis, which are none below 0 here; where it was isn't told."""
    size = values.shape[-1]
    so_far = torch.ones(size, size, dtype=torch.bool).tril()
    largest = torch.where(so_far, values[..., None, :], 0).amax(-1)
    return largest, torch.zeros_like(largest)


REPLACED: dict[Any, Callable[..., Any]] = {
    aten._linalg_solve_ex.default: inverse_times,
    aten._linalg_check_errors.default: lambda *_, **__: None,
    aten.cummax.default: running_maximum,
}
"""Operations that ONNX lacks, as adaptation uses them, and what stands in their place."""

STAND_INS: dict[tuple[Any, str], Callable[..., Any]] = {
    (returns, "discounted_sum"): discounted_sum,
    (adaptation, "discounted_sum"): discounted_sum,
    (functional, "one_hot"): one_hot,
}
"""Functions by where they stand, and what stands in for them while a function is unfolded."""
