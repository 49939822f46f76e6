"""What can be reckoned of a small game exactly: values, best responses, an equilibrium.

A strategy is a table (..., set, action) of chances over the information sets of both seats, of which each seat reads its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from quickstudy.families.games.poker_tree import Game, game


def reach(game: Game, strategy: Float[Tensor, "*lead set action"], seat: int) -> Float[Tensor, "*lead node rank board"]:
    """The chance that a seat's own actions lead to each node, by its card and the table's."""
    found = [torch.ones_like(strategy[..., game.set_of[0], 0])] * len(game.player)
    for place in range(1, len(found)):
        before, action = game.parent[place]
        found[place] = found[before]
        if int(game.player[before]) == seat:
            found[place] = found[before] * strategy[..., game.set_of[before], action]
    return torch.stack(found, -3)


def stakes(game: Game, seat: int) -> Float[Tensor, "node rank rank board"]:
    """What a seat wins times the chance of the deal, with its own card first."""
    paid = game.payoff * game.deal
    return paid if seat == 0 else -paid.transpose(1, 2)


def value(game: Game, first: Float[Tensor, "*lead set action"], second: Float[Tensor, "*lead set action"]) -> Tensor:
    """What seat 0 wins a hand on average, where it plays one strategy and seat 1 another."""
    reached = reach(game, first, 0), reach(game, second, 1)
    return torch.einsum("...nib,...njb,nijb->...", *reached, stakes(game, 0).to(first.dtype))


def both_seats(game: Game, mine: Float[Tensor, "*lead set action"], other: Float[Tensor, "*lead set action"]) -> Tensor:
    """What a strategy wins a hand against another, sitting in each seat as often."""
    return (value(game, mine, other) - value(game, other, mine)) / 2


Weigh = Callable[[Float[Tensor, "*lead rank board action"], int], Float[Tensor, "*lead rank board action"]]
"""The chances of actions, of what each is worth, at a node."""


class Worth(NamedTuple):
    """What a seat can win against another who reaches each node with known chances."""

    value: Float[Tensor, "*lead"]
    """A hand."""
    actions: Float[Tensor, "*lead set action"]
    """Of each action where it is this seat's turn, times the chance that all others lead there; -inf where it is illegal."""
    chances: Float[Tensor, "*lead set action"]
    """With which each was weighed."""


def worth(game: Game, other: Float[Tensor, "*lead node rank board"], seat: int, weigh: Weigh) -> Worth:
    """Backward through the tree, for a seat that acts by what its actions are worth."""
    own = [*torch.einsum("...njb,nijb->...nib", other, stakes(game, seat).to(other.dtype)).unbind(-3)]
    lead, actions = other.shape[:-3], game.child.shape[1]
    table = other.new_zeros(*lead, game.sets, actions), other.new_zeros(*lead, game.sets, actions)
    for place in reversed(game.turns):
        below = torch.stack([own[child] for child in game.child[place].tolist()], -1)
        if int(game.player[place]) != seat:
            own[place] = below[..., game.legal[place]].sum(-1)
            continue
        of_set = below if bool(game.board_known[place]) else below.sum(-2, keepdim=True).expand_as(below)
        of_set = of_set.masked_fill(~game.legal[place], -torch.inf)
        chances = weigh(of_set, place)
        for kept, filled in zip(table, (of_set, chances), strict=True):
            kept[..., game.set_of[place], :] = filled
        own[place] = (below * chances).sum(-1)
    return Worth(own[0].sum((-2, -1)), *table)


def best_response(game: Game, other: Float[Tensor, "*lead node rank board"], seat: int) -> Worth:
    """The most that a seat can win against another who reaches each node so, and how: of equals the first action."""
    return worth(game, other, seat, lambda values, _: one_hot_of(values.argmax(-1), values))


def best_responses(game: Game, other: Float[Tensor, "*lead set action"]) -> tuple[Tensor, Float[Tensor, "*lead set action"]]:
    """What the best response to a strategy wins a hand, in each seat as often, and the response, for both seats."""
    found = [best_response(game, reach(game, other, 1 - seat), seat) for seat in (0, 1)]
    return (found[0].value + found[1].value) / 2, found[0].chances + found[1].chances


def one_hot_of(choice: Int64[Tensor, "*lead"], like: Float[Tensor, "*lead action"]) -> Float[Tensor, "*lead action"]:
    """Chance 1 for one action."""
    return torch.zeros_like(like).scatter_(-1, choice[..., None], 1.0)


def kuhn_equilibrium(alpha: float) -> Float[Tensor, "set action"]:
    """Kuhn's equilibria (1950): seat 0 bets a jack with chance `alpha`, from 0 to 1/3, and wins -1/18 a hand."""
    kuhn, bets = game("kuhn"), torch.zeros(12, dtype=torch.float64)
    root, checked, bet = 0, int(game("kuhn").child[0, 0]), int(game("kuhn").child[0, 1])
    raised = int(kuhn.child[checked, 1])
    by_node = {root: (alpha, 0, 3 * alpha), checked: (1 / 3, 0, 1), bet: (0, 1 / 3, 1), raised: (0, alpha + 1 / 3, 1)}
    for place, chances in by_node.items():
        bets[kuhn.set_of[place, :, 0]] = torch.tensor(chances, dtype=torch.float64)
    return torch.stack([1 - bets, bets], -1)


def solve(game: Game, iterations: int) -> Float[Tensor, "set action"]:
    """An equilibrium by CFR+ (Tammelin 2014, arXiv:1407.5042): regrets above zero, seats in turn, later ones weigh more."""
    legal, set_seat = game.set_legal.double(), torch.zeros(game.sets, dtype=torch.long)
    for place in game.turns:
        set_seat[game.set_of[place]] = game.player[place]
    regrets, total = torch.zeros_like(legal), torch.zeros_like(legal)
    strategy = legal / legal.sum(-1, keepdim=True)
    for iteration in range(1, iterations + 1):
        for seat in (0, 1):
            found = worth(game, reach(game, strategy, 1 - seat), seat, partial(playing, game, strategy))
            gained = (found.actions.masked_fill(legal == 0, 0) - mean_of(found, legal)) * legal * (set_seat == seat)[:, None]
            regrets = (regrets + gained).clamp(min=0)
            share = regrets / regrets.sum(-1, keepdim=True).clamp(min=1e-300)
            strategy = torch.where(regrets.sum(-1, keepdim=True) > 0, share, legal / legal.sum(-1, keepdim=True))
            total += iteration * by_set(game, reach(game, strategy, seat), seat)[:, None] * strategy
    return total / total.sum(-1, keepdim=True)


def playing(
    game: Game, strategy: Float[Tensor, "set action"], values: Tensor, place: int
) -> Float[Tensor, "rank board action"]:
    """A strategy's chances at a node, whatever actions are worth."""
    return strategy[game.set_of[place]]


def mean_of(found: Worth, legal: Float[Tensor, "set action"]) -> Float[Tensor, "set 1"]:
    """What a seat's own strategy is worth in each set."""
    return (found.actions.masked_fill(legal == 0, 0) * found.chances).sum(-1, keepdim=True)


def by_set(game: Game, reached: Float[Tensor, "node rank board"], seat: int) -> Float[Tensor, "set"]:
    """With which chance a seat's own actions lead to each of its information sets."""
    found = reached.new_zeros(game.sets)
    for place in game.turns:
        if int(game.player[place]) == seat:
            found[game.set_of[place]] = reached[place]
    return found
