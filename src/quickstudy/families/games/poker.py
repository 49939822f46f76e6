"""Poker with few cards (Kuhn 1950; Leduc: Southey et al. 2005) against an opponent whose ways are hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from quickstudy.arguments import checked
from quickstudy.errors import require_at_least
from quickstudy.families.games.poker_opponents import chances, hidden
from quickstudy.families.games.poker_scene import table_scene
from quickstudy.families.games.poker_tree import OVER, RANKS, Game, GameName, game
from quickstudy.ops.draws import category
from quickstudy.protocol import Tasks
from quickstudy.scene import Scene
from quickstudy.tasks.parameters import Parameter


class PokerState(NamedTuple):
    """A hand."""

    seat: Int64[Tensor, "*batch"]
    """The agent's: seat 0 acts first."""
    cards: Int64[Tensor, "*batch seat"]
    """The rank of each seat's card."""
    board: Int64[Tensor, "*batch"]
    """The rank of the card on the table, which is dealt at once and seen later; 0 where the game has none."""
    node: Int64[Tensor, "*batch"]
    """The betting so far."""
    over: Bool[Tensor, "*batch"]


@checked
@dataclass(frozen=True, kw_only=True)
class Poker:
    """Win chips at a small game of poker, hand by hand, from an opponent whose ways of playing are hidden.

    An episode is a hand; who acts first is drawn for each, since nothing is remembered between episodes. Kuhn's game: three
    cards, one chip each, one bet of one chip; actions: pass (check or fold), bet (or call). Leduc: six cards of three ranks,
    one chip each, bets of two chips and, once a card lies on the table, of four, two in each round at most; actions: fold, call
    (or check), raise (or bet). What the rules forbid is a check or a call.
    """

    game: Literal["kuhn", "leduc"] = "kuhn"
    """Which game."""
    opponents: Literal["sensible", "dirichlet", "styles", "noisy-equilibrium"] = "sensible"
    """How opponents play: any chances but for plain mistakes, any chances, six-number styles, or an equilibrium with 20 to 80 %
    any chances."""
    showdown: Literal["arrival", "step"] = "arrival"
    """Where nobody folds, the other's card is seen in the hand's last arrival alone, or at one more step, which ends the hand
    whatever is done: for learners that read where they stand and not where an episode ended."""
    episodes_per_trial: int = 50
    """Hands of a trial, against the same opponent."""

    def __post_init__(self) -> None:
        require_at_least(1, "poker", self, "episodes_per_trial")

    @property
    def step_noise(self) -> int:
        """One number for each turn that the opponent may have in a row: a call, and the first turn of the next round."""
        return 2 if self.game == "leduc" else 1

    @property
    def initial_noise(self) -> int:
        return 3

    @property
    def max_episode_steps(self) -> int:
        """The most turns that one seat has, and the cards shown."""
        return (4 if self.game == "leduc" else 2) + (self.showdown == "step")

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0.0, 1.0, (1 + RANKS * (3 if self.game == "leduc" else 2) + 2 + tables(self.game).history.shape[1],))

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(tables(self.game).child.shape[1])

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return hidden(self.game, self.opponents)

    @property
    def figures(self) -> Mapping[str, Literal["mean", "sum", "last"]]:
        return {"hands won": "last", "went to showdown": "last"}

    def initial(self, task: Tasks, noise: Tensor) -> PokerState:
        table = tables(self.game, str(noise.device))
        dealt = torch.searchsorted(table.deal.flatten().cumsum(0), noise[..., 1].contiguous(), right=True)
        first, second, board = torch.unravel_index(dealt.clamp(max=table.deal.numel() - 1), table.deal.shape)
        node = torch.zeros_like(board)
        seat = (noise[..., 0] < 0.5).long()
        return self.answered(PokerState(seat, torch.stack([first, second], -1), board, node, node != 0), task, noise[..., 2:])

    def transition(self, state: PokerState, action: Tensor, task: Tasks, noise: Tensor) -> PokerState:
        table = tables(self.game, str(noise.device))
        after = self.answered(state._replace(node=table.child[state.node, action]), task, noise)
        over = table.player[after.node] == OVER
        if self.showdown == "step":
            over = over & (~table.showdown[after.node] | (table.player[state.node] == OVER))
        return after._replace(over=over)

    def answered(self, state: PokerState, task: Tasks, noise: Tensor) -> PokerState:
        """What is on the table when the opponent has had its turns."""
        table, node = tables(self.game, str(noise.device)), state.node
        card = other(state.cards, state.seat)
        for share in noise.unbind(-1):
            action = category(
                share, chances(self.game, self.opponents, task, table.set_of[node, card, state.board], noise.device)
            )
            node = torch.where(table.player[node] == 1 - state.seat, table.child[node, action], node)
        return state._replace(node=node)

    def observation(self, state: PokerState, task: Tasks) -> Tensor:
        """Seat, own card, the table's and the other's where they lie open, all that was done in the hand, chips put in."""
        table = tables(self.game, str(state.node.device))
        card = one_hot(own(state.cards, state.seat), RANKS)
        board = one_hot(state.board, RANKS) * table.board_known[state.node][..., None]
        shown = one_hot(other(state.cards, state.seat), RANKS) * table.showdown[state.node][..., None]
        chips, parts = (
            table.chips[state.node] / table.chips.max(),
            [card, board, shown] if self.game == "leduc" else [card, shown],
        )
        put_in = torch.stack([own(chips, state.seat), other(chips, state.seat)], -1)
        return torch.cat([state.seat[..., None], *parts, put_in, table.history[state.node]], -1).float()

    def won(self, state: PokerState) -> Float[Tensor, "*batch"]:
        """The chips that a hand has brought; 0 while it goes on."""
        first, second = state.cards.unbind(-1)
        return tables(self.game, str(state.node.device)).payoff[state.node, first, second, state.board] * (1 - 2 * state.seat)

    def reward(self, state: PokerState, action: Tensor, arrival: PokerState, task: Tasks, noise: Tensor) -> Tensor:
        table = tables(self.game, str(state.node.device))
        return self.won(arrival) * (table.player[state.node] != OVER)

    def terminal(self, state: PokerState, task: Tasks) -> Tensor:
        return state.over

    def info(self, state: PokerState, task: Tasks) -> dict[str, Tensor]:
        showdown = tables(self.game, str(state.node.device)).showdown[state.node]
        return {"hands won": (self.won(state) > 0).float(), "went to showdown": showdown.float()}

    def scene(self, state: PokerState, task: Tasks, action: Tensor | None) -> Scene:
        """The table from the agent's side, below: cards, chips, and what was done."""
        seat, node, board = (int(part) for part in (state.seat, state.node, state.board))
        return table_scene(self.game, seat, state.cards.tolist(), board, node)


def own(pair: Tensor, seat: Int64[Tensor, "*batch"]) -> Tensor:
    """Of what both seats have, the agent's."""
    return pair.gather(-1, seat[..., None]).squeeze(-1)


def other(pair: Tensor, seat: Int64[Tensor, "*batch"]) -> Tensor:
    """Of what both seats have, the opponent's."""
    return own(pair, 1 - seat)


@cache
def tables(name: GameName, device: str = "cpu") -> Game:
    """A game's tables as dynamics read them: on a device, numbers in float32."""
    parts = {key: value for key, value in game(name)._asdict().items() if isinstance(value, Tensor)}
    return game(name)._replace(
        **{key: (value.float() if value.is_floating_point() else value).to(device) for key, value in parts.items()}
    )
