"""Values and best responses of both games against OpenSpiel's, for random strategies: `make reference`.

Leduc is compared twice: as OpenSpiel plays it by default, with suits (936 information sets), each of which acts as its rank
does here, and with suits taken for the same (288).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyspiel
import torch
from open_spiel.python import policy as policies
from open_spiel.python.algorithms import best_response, expected_game_score

from quickstudy.families.games import poker_exact, poker_opponents
from quickstudy.families.games.poker_tree import Game, GameName, game

TOLERANCE = 1e-9
GAMES: dict[str, tuple[GameName, bool]] = {
    "kuhn_poker": ("kuhn", False),
    "leduc_poker": ("leduc", True),
    "leduc_poker(suit_isomorphism=true)": ("leduc", False),
}


def place_of(known: Game, state: Any, name: GameName, suits: bool) -> int:
    """The information set here of whoever's turn it is there."""
    node, cards = 0, []
    history = state.full_history()
    for pair in history:
        if pair.player < 0:
            cards.append(pair.action // 2 if suits else pair.action)
        else:
            node = int(known.child[node, pair.action])
    board = cards[2] if len(cards) > 2 else 0
    return int(known.set_of[node, cards[state.current_player()], board])


def sets_of(known: Game, theirs: Any, name: GameName, suits: bool) -> dict[str, int]:
    """For each of OpenSpiel's information sets the one here."""
    found: dict[str, int] = {}
    waiting = [theirs.new_initial_state()]
    while waiting:
        state = waiting.pop()
        if state.is_terminal():
            continue
        if not state.is_chance_node():
            found[state.information_state_string()] = place_of(known, state, name, suits)
        waiting += [state.child(action) for action in state.legal_actions()]
    return found


def as_theirs(theirs: Any, sets: dict[str, int], strategy: torch.Tensor) -> Any:
    """A strategy as OpenSpiel's table."""
    found = policies.TabularPolicy(theirs)
    for text, row in found.state_lookup.items():
        found.action_probability_array[row] = strategy[sets[text]].numpy()
    return found


def main() -> None:
    """Prints the largest difference for each game; fails above the tolerance."""
    warnings.filterwarnings("ignore")
    for text, (name, suits) in GAMES.items():
        known, theirs = game(name), pyspiel.load_game(text)
        sets = sets_of(known, theirs, name, suits)
        legal = known.set_legal.double()
        weights = (
            torch.from_numpy(np.random.default_rng(0).gamma(1.0, size=(20 if name == "kuhn" else 3, *legal.shape))) * legal
        )
        strategies = weights / weights.sum(-1, keepdim=True)
        equal = poker_opponents.equilibrium(name)
        worst = 0.0
        for strategy in strategies:
            table, balanced = as_theirs(theirs, sets, strategy), as_theirs(theirs, sets, equal)
            start = theirs.new_initial_state()
            for seat in (0, 1):
                ours = poker_exact.best_response(known, poker_exact.reach(known, strategy, 1 - seat), seat).value
                worst = max(worst, abs(float(ours) - best_response.BestResponsePolicy(theirs, seat, table).value(start)))
                pair = [balanced, table] if seat == 0 else [table, balanced]
                mine = (equal, strategy) if seat == 0 else (strategy, equal)
                expected = expected_game_score.policy_value(start, pair)[0]
                worst = max(worst, abs(float(poker_exact.value(known, *mine)) - expected))
        print(
            f"{text}: {len(set(sets))} information sets, {len(strategies)} strategies, largest difference {worst:.1e}",
            flush=True,
        )
        assert worst < TOLERANCE, text


if __name__ == "__main__":
    main()
