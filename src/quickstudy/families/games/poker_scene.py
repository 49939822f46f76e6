"""A hand of poker as a picture."""

from __future__ import annotations

from quickstudy.families.games.poker_tree import CALL, FOLD, OVER, RULES, GameName, game
from quickstudy.scene import BLUE, GOLD, GREEN, GREY, INK, ORANGE, PALE, PAPER, Disc, Point, Scene, Shape, Text, rectangle, tint

LETTERS = "JQK"


def table_scene(name: GameName, seat: int, cards: list[int], board: int, node: int) -> Scene:
    """The agent below, the opponent above, whose card lies open at a showdown; at the side, what was done by whom."""
    known, mine = game(name), 1 if seat else 0
    ended, shown = int(known.player[node]) == OVER, bool(known.showdown[node])
    felt = rectangle((-3.0, -2.0), (3.0, 2.0), tint(GREEN, 0.3))
    figures: list[Shape] = [*card((-1.6, 1.15), cards[1 - mine], ORANGE, shown), *card((-1.6, -1.15), cards[mine], BLUE, True)]
    figures += [Text((-2.45, 1.15), "they", 0.16, ORANGE), Text((-2.45, -1.15), "you", 0.16, BLUE)]
    if known.deal.shape[-1] > 1:
        figures += card((-1.6, 0.0), board, INK, bool(known.board_known[node]))
    for player, height in ((mine, -0.55), (1 - mine, 0.55)):
        color = BLUE if player == mine else ORANGE
        put_in = int(known.chips[node, player])
        figures += [Disc((-0.7 + 0.17 * (chip % 7), height - 0.17 * (chip // 7)), 0.08, GOLD) for chip in range(put_in)]
        figures.append(Text((0.75, height), str(put_in), 0.16, color))
    for line, (player, word) in enumerate(said(name, node)):
        color = BLUE if player == mine else ORANGE
        figures.append(Text((2.0, 1.7 - 0.3 * line), f"{'you' if player == mine else 'they'} {word}", 0.15, color))
    if ended:
        won = int(known.payoff[node, cards[0], cards[1], board]) * (1 - 2 * mine)
        figures.append(Text((2.0, -1.6), f"{won:+d}" if won else "shared", 0.28, BLUE if won > 0 else ORANGE if won else GREY))
    return Scene((-3.1, -2.1), (3.1, 2.1), (felt,), tuple(figures))


def card(center: Point, rank: int, color: str, open_: bool) -> tuple[Shape, ...]:
    """A card that lies open, or face down."""
    across, up = center
    edge = rectangle((across - 0.36, up - 0.48), (across + 0.36, up + 0.48), color if open_ else GREY)
    inside = rectangle((across - 0.32, up - 0.44), (across + 0.32, up + 0.44), PAPER if open_ else PALE)
    return edge, inside, Text(center, LETTERS[rank] if open_ else "?", 0.42, color if open_ else GREY)


def said(name: GameName, node: int) -> list[tuple[int, str]]:
    """Who did what, from the first turn to a node."""
    known, rules, found = game(name), RULES[name], []
    while known.parent[node][0] >= 0:
        before, action = known.parent[node]
        bet = bool(known.chips[before, 0] != known.chips[before, 1])
        did = rules.actions(bet)[action]
        word = "fold" if did == FOLD else ("call" if bet else "check") if did == CALL else ("raise" if bet else "bet")
        found.append((int(known.player[before]), word))
        node = before
    return found[::-1]
