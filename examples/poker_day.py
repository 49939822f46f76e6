"""A trained agent sits down with somebody it has never met, and plays a trial of Kuhn's or Leduc's game, printed hand by hand.

quickstudy train rl2 poker --tuned --run runs/poker
python examples/poker_day.py runs/poker --seed 3
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

import quickstudy as qs
from quickstudy.families.games.poker import PokerState
from quickstudy.families.games.poker_exact import best_responses, both_seats
from quickstudy.families.games.poker_opponents import equilibrium, whole_strategy
from quickstudy.families.games.poker_scene import LETTERS, said
from quickstudy.families.games.poker_tree import game
from quickstudy.oracles.poker import seen
from quickstudy.protocol import counter


def bets(session: Any, family: Any, seed: int) -> str:
    """How often the agent would bet a king in Kuhn's game where it is the first to act: its doubles are asked."""
    nothing = torch.tensor(0)
    state = PokerState(nothing, torch.tensor([2, 1]), nothing, nothing, torch.tensor(False))
    king = family.observation(state, {}).numpy()
    times = sum(int(session.fork(seed=100 * seed + each).act(king)) for each in range(100))
    return f"first to act, it would bet {times} of 100 kings, and check the others as a trap"


def main() -> None:
    """One session at the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--seed", type=int, default=0, help="who sits at the other side, and how the cards fall")
    given = parser.parse_args()
    learner: Any = qs.load(given.run)
    tasks = learner.tasks
    family = tasks.dynamics
    opponent = tasks.sample(1, "test", counter(given.seed, 0, "opponent"))
    table = tasks.make(1, 1)
    observation = table.reset(opponent, counter(given.seed, 0, "cards"))
    session = learner.session(seed=given.seed)
    total, tens, kuhn = 0.0, [], family.game == "kuhn"
    if kuhn:
        print(f"          {bets(session, family, 0)}")
    for hand in range(1, family.episodes_per_trial + 1):
        won, over = 0.0, False
        arrival = observation
        while not over:
            action = session.act(observation[0, 0].numpy())
            observation, arrival, reward, terminated, truncated, _ = table.step(torch.as_tensor(action).view(1, 1))
            session.feedback(float(reward), bool(terminated), bool(truncated), arrival[0, 0].numpy())
            won, over = won + float(reward), bool(terminated | truncated)
        total += won
        tens.append(won)
        now = seen(family, arrival[0, 0])
        turns = ", ".join(f"{'it' if seat == now.seat else 'they'} {word}" for seat, word in said(family.game, int(now.node)))
        shown = f"they show {LETTERS[int(now.shown)]}" if now.shown >= 0 else ""
        print(f"hand {hand:3}  {LETTERS[int(now.card)]}  {turns:44}  {shown:11} {won:+3.0f}  {total:+4.0f} in all")
        if hand % 10 == 0:
            habit = f"; {bets(session, family, hand)}" if kuhn else ""
            print(f"          the last ten hands: {sum(tens[-10:]) / 10:+.1f} a hand{habit}")
    strategy, known = whole_strategy(family.game, family.opponents, opponent)[0].double(), game(family.game)
    balanced = float(both_seats(known, equilibrium(family.game), strategy))
    most = float(best_responses(known, strategy)[0])
    if kuhn:
        calls = float(strategy[known.set_of[known.child[0, 1], 1, 0], 1])
        bluffs = float(strategy[known.set_of[known.child[0, 0], 0, 0], 1])
        print(
            f"in truth they call a bet with {calls:.0%} of their queens, after a check bluff with {bluffs:.0%} of their jacks:"
        )
        print(f"to {'bet a king' if calls > bluffs else 'check a king as a trap'} wins more")
    print(
        f"{total / family.episodes_per_trial:+.2f} chips a hand; of this opponent an equilibrium wins {balanced:+.2f}"
        f" on average, and who knows the opponent {most:+.2f}"
    )


if __name__ == "__main__":
    main()
