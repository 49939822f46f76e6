"""Sampling by priority: a tree of sums, in which a draw and a change take one step a level (Schaul et al. 2016, sec. 3.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor


class Priorities:
    """A number of at least zero for each of `leaves` places, drawn in proportion to it."""

    def __init__(self, leaves: int):
        self.leaves = leaves
        self.width = 1 << (leaves - 1).bit_length()
        self.tree = torch.zeros(2 * self.width, dtype=torch.float64)
        """The root is entry 1, the children of entry n are 2n and 2n + 1, and the leaves come last."""

    @property
    def values(self) -> Float[Tensor, "leaf"]:
        """The priorities."""
        return self.tree[self.width : self.width + self.leaves]

    def update(self, leaf: Int[Tensor, "change"], priority: Float[Tensor, "change"]) -> None:
        """Changes some priorities; where a leaf is named twice, the higher one stays."""
        leaf, which = leaf.unique(return_inverse=True)
        node = leaf + self.width
        self.tree[node] = torch.zeros(len(leaf), dtype=torch.float64).scatter_reduce(0, which, priority.double(), "amax")
        while len(node) and int(node[0]) > 1:
            node = node // 2
            self.tree[node] = self.tree[2 * node] + self.tree[2 * node + 1]

    def draw(self, count: int, generator: Generator) -> Int[Tensor, "{count}"]:
        """Draws leaves with replacement, one from each of `count` equal shares of the whole."""
        share = (torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)) / count
        rest, node = share * self.tree[1], torch.ones(count, dtype=torch.long)
        while int(node[0]) < self.width:
            left = self.tree[2 * node]
            # rounding must not lead to where nothing is
            right = (rest >= left) & (self.tree[2 * node + 1] > 0)
            rest, node = torch.where(right, rest - left, rest), 2 * node + right
        return node - self.width

    def weights(self, leaf: Int[Tensor, "draw"], exponent: float) -> Float[Tensor, "draw"]:
        """What undoes the preference for high priorities, to the given power, at most 1 each (Schaul et al. 2016, sec. 3.4)."""
        number = (self.values > 0).sum()
        weight = (number * self.values[leaf] / self.tree[1]) ** -exponent
        return (weight / weight.max()).float()

    def load(self, values: Float[Tensor, "leaf"]) -> None:
        """Takes over all priorities."""
        self.update(torch.arange(self.leaves), values)
