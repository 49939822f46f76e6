"""Two small games of poker as tables.

A game is enumerated once: its nodes are histories of betting, in an order in which none comes before its parent. Cards are
ranks; suits make no difference to either game.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

GameName = Literal["kuhn", "leduc"]
RANKS = 3
"""Jack, queen, king."""
FOLD, CALL, RAISE = range(3)
"""What can be done; to call is to check where no bet stands, to raise is to bet there."""
OVER = -1
"""Whose turn it is when a hand is over."""


class Rules(NamedTuple):
    """What tells two games apart."""

    bets: tuple[int, ...]
    """The size of a bet in each round; a card lies open on the table from the second on."""
    raises: int
    """The most bets and raises of a round."""
    actions: Callable[[bool], tuple[int, ...]]
    """What each action means, where a bet stands or none does."""
    suits: int


RULES: dict[GameName, Rules] = {
    "kuhn": Rules((1,), 1, lambda bet: (FOLD, CALL) if bet else (CALL, RAISE), 1),
    "leduc": Rules((2, 4), 2, lambda bet: (FOLD, CALL, RAISE), 2),
}


class Game(NamedTuple):
    """A game as tables over its nodes, the ranks of both seats' cards and the rank on the table, where there is one."""

    player: Int64[Tensor, "node"]
    """The seat whose turn it is, or OVER."""
    child: Int64[Tensor, "node action"]
    """Where an action leads; an illegal one is a check or a call, and where the hand is over it stays so."""
    legal: Bool[Tensor, "node action"]
    parent: tuple[tuple[int, int], ...]
    """The node before, and the action that led from there; (-1, -1) for the first."""
    board_known: Bool[Tensor, "node"]
    showdown: Bool[Tensor, "node"]
    """The hand is over, and nobody folded."""
    chips: Float[Tensor, "node seat"]
    """What each seat has put in."""
    history: Float[Tensor, "node entry"]
    """What was done so far: for each turn of each round the action, one-hot, and zeros for turns that weren't had."""
    set_of: Int64[Tensor, "node rank board"]
    """The information set of whoever's turn it is, by their own card and the table's; 0 where the hand is over."""
    sets: int
    """Information sets of both seats."""
    deal: Float[Tensor, "rank rank board"]
    """The chance that seat 0 and seat 1 hold such cards, and such a one is on the table."""
    payoff: Float[Tensor, "node rank rank board"]
    """What seat 0 wins where the hand is over; 0 elsewhere."""

    @property
    def turns(self) -> list[int]:
        """The nodes at which somebody is to act."""
        return (self.player != OVER).nonzero()[:, 0].tolist()

    @property
    def set_legal(self) -> Bool[Tensor, "set action"]:
        """What is legal in each information set."""
        legal = torch.ones(self.sets, self.legal.shape[1], dtype=torch.bool)
        for node in self.turns:
            legal[self.set_of[node]] = self.legal[node]
        return legal


class Node(NamedTuple):
    """A history of betting, while a game is enumerated."""

    parent: tuple[int, int]
    done: tuple[tuple[int, ...], ...]
    """What was done in each round so far."""
    chips: tuple[int, int]
    folded: int
    """The seat that folded, or OVER."""
    over: bool

    @property
    def player(self) -> int:
        return OVER if self.over else len(self.done[-1]) % 2

    @property
    def raises(self) -> int:
        return self.done[-1].count(RAISE)


def after(node: Node, place: int, action: int, did: int, rules: Rules) -> Node:
    """What follows when whoever's turn it is folds, calls or raises."""
    mine, chips = node.player, list(node.chips)
    done = (*node.done[:-1], (*node.done[-1], did))
    if did == FOLD:
        return Node((place, action), done, node.chips, mine, True)
    chips[mine] = chips[1 - mine] + (rules.bets[len(done) - 1] if did == RAISE else 0)
    closed = did == CALL and len(done[-1]) > 1
    over = closed and len(done) == len(rules.bets)
    return Node((place, action), (*done, ()) if closed and not over else done, (chips[0], chips[1]), OVER, over)


@cache
def game(name: GameName) -> Game:
    """A game by name, enumerated once: 12 information sets in Kuhn's, 288 in Leduc's."""
    rules = RULES[name]
    actions, nodes, waiting = len(rules.actions(True)), [], [Node((-1, -1), ((),), (1, 1), OVER, False)]
    child, legal = [], []
    while waiting:
        node, place = waiting.pop(), len(nodes)
        nodes.append(node)
        child.append([place] * actions)
        legal.append([False] * actions)
        if node.parent[0] >= 0:
            child[node.parent[0]][node.parent[1]] = place
        if node.over:
            continue
        bet = node.chips[0] != node.chips[1]
        for action, did in reversed([*enumerate(rules.actions(bet))]):
            if (did != FOLD or bet) and (did != RAISE or node.raises < rules.raises):
                legal[place][action] = True
                waiting.append(after(node, place, action, did, rules))
    for place, node in enumerate(nodes):
        if not node.over:
            call = rules.actions(node.chips[0] != node.chips[1]).index(CALL)
            child[place] = [to if fine else child[place][call] for to, fine in zip(child[place], legal[place], strict=True)]
    boards, known = RANKS if len(rules.bets) > 1 else 1, [len(node.done) > 1 or len(rules.bets) == 1 for node in nodes]
    set_of, sets = information_sets(nodes, known, boards)
    return Game(
        player=torch.tensor([node.player for node in nodes]),
        child=torch.tensor(child),
        legal=torch.tensor(legal),
        parent=tuple(node.parent for node in nodes),
        board_known=torch.tensor(known),
        showdown=torch.tensor([node.over and node.folded == OVER for node in nodes]),
        chips=torch.tensor([node.chips for node in nodes], dtype=torch.float64),
        history=histories(nodes, child, rules),
        set_of=set_of,
        sets=sets,
        deal=deals(rules.suits, boards),
        payoff=payoffs(nodes, boards),
    )


def information_sets(nodes: list[Node], known: list[bool], boards: int) -> tuple[Int64[Tensor, "node rank board"], int]:
    """What a seat can tell apart: the betting, its card, and the table's once that is open."""
    found, sets = torch.zeros(len(nodes), RANKS, boards, dtype=torch.long), 0
    for place, node in enumerate(nodes):
        if not node.over:
            seen = RANKS * boards if known[place] else RANKS
            found[place] = sets + torch.arange(seen).view(RANKS, -1)
            sets += seen
    return found, sets


def histories(nodes: list[Node], child: list[list[int]], rules: Rules) -> Float[Tensor, "node entry"]:
    """What was done, one-hot for each turn of each round."""
    turns = max(len(done) for node in nodes for done in node.done)
    table = torch.zeros(len(nodes), len(rules.bets), turns, len(child[0]))
    for place, node in enumerate(nodes):
        if node.parent[0] >= 0:
            before, action = node.parent
            table[place] = table[before]
            table[place, len(nodes[before].done) - 1, len(nodes[before].done[-1]), action] = 1
    return table.flatten(1)


def deals(suits: int, boards: int) -> Float[Tensor, "rank rank board"]:
    """The chance of each deal from a deck of so many suits of three ranks, without replacement."""
    dealt = torch.zeros(RANKS, RANKS, boards, dtype=torch.float64)
    deck = [rank for rank in range(RANKS) for _ in range(suits)]
    for first in range(len(deck)):
        for second in range(len(deck)):
            for third in range(len(deck)) if boards > 1 else [-1]:
                if len({first, second, third}) == 3:
                    dealt[deck[first], deck[second], deck[third] if boards > 1 else 0] += 1
    return dealt / dealt.sum()


def payoffs(nodes: list[Node], boards: int) -> Float[Tensor, "node rank rank board"]:
    """What seat 0 wins: the other's chips, or it loses its own; a pair with the table beats any card, equals share."""
    ranks, table = torch.arange(RANKS), torch.arange(boards)
    worth = ranks[:, None] + RANKS * (ranks[:, None] == table) if boards > 1 else ranks[:, None]
    better = (worth[:, None] - worth[None]).sign().double()
    found = torch.zeros(len(nodes), RANKS, RANKS, boards, dtype=torch.float64)
    for place, node in enumerate(nodes):
        if node.over:
            found[place] = better * node.chips[0] if node.folded == OVER else node.chips[1] if node.folded else -node.chips[0]
    return found
