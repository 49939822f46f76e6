"""Functions over trees of tensors: NamedTuples and dicts, nested, with None where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

Tree = TypeVar("Tree")
Value = TypeVar("Value")


def tree_map(function: Callable[..., Tensor], tree: Tree, *others: Any) -> Tree:
    """Applies a function to the tensors in the same place of equally shaped trees."""
    return _mapped(function, tree, *others)


def where_lane(mask: Bool[Tensor, "task lane"], yes: Tree, no: Tree) -> Tree:
    """Takes each lane from `yes` where the mask holds and from `no` elsewhere."""
    return tree_map(lambda a, b: torch.where(mask.view(*mask.shape, *[1] * (a.dim() - 2)), a, b), yes, no)


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors of a tree, in its order."""
    if tree is None or isinstance(tree, Tensor):
        return [] if tree is None else [tree]
    return [tensor for part in (tree.values() if isinstance(tree, dict) else tree) for tensor in tensors_in(part)]


def under(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Values under names that begin so."""
    return {f"{prefix}{name}": value for name, value in values.items()}


def within(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Those whose names begin so, under the rest of their names: what `under` put there."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def as_mapping(tree: Any) -> Any:
    """A tree of NamedTuples and dicts as nested dicts, as a state holds it; its tensors without gradients."""
    if isinstance(tree, Tensor):
        return tree.detach()
    parts = tree if isinstance(tree, dict) else tree._asdict()
    return {name: as_mapping(part) for name, part in parts.items()}


def _mapped(function: Callable[..., Tensor], tree: Any, *others: Any) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {key: _mapped(function, value, *(other[key] for other in others)) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return type(tree)(*(_mapped(function, *parts) for parts in zip(tree, *others, strict=True)))
    return function(tree, *others)
