"""What is won a hand, exactly, of opponents of each kind: at random, by an equilibrium, by the best fixed strategy, told.

    python benchmarks/population_poker.py [--num-tasks 500]

The best fixed strategy needs no search: it is the exact best response to the training opponents all together.
"""

from __future__ import annotations

import argparse
from typing import get_args

from quickstudy.families.games.poker import Poker
from quickstudy.families.games.poker_exact import best_responses, both_seats
from quickstudy.families.games.poker_opponents import Kind, equilibrium, whole_strategy
from quickstudy.families.games.poker_tree import GameName, game
from quickstudy.oracles.poker import population_response
from quickstudy.protocol import Split, counter
from quickstudy.tasks.native import NativeTasks


def line(name: GameName, kind: Kind, split: Split, count: int) -> str:
    """One row of the table."""
    family, known = Poker(game=name, opponents=kind), game(name)
    drawn = NativeTasks(family).sample(count, split, counter(0, 0, f"{split} opponents"))
    others, legal = whole_strategy(name, kind, drawn).double(), known.set_legal.double()
    told = float(best_responses(known, others)[0].mean())
    fixed = legal / legal.sum(-1, keepdim=True), equilibrium(name), population_response(family).double()
    random, balanced, population = (float(both_seats(known, mine.expand_as(others), others).mean()) for mine in fixed)
    share = (told - population) / (told - random)
    figures = "  ".join(f"{figure:8.3f}" for figure in (random, balanced, population, told, share))
    return f"{name:6} {kind:18} {split:14} {figures}"


def main() -> None:
    """Prints the table; the last column is what telling is worth, of all that there is between random and told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-tasks", type=int, default=500)
    given = parser.parse_args()
    print(f"{'':41}  random  equilibr.  populat.     told      gap")
    for name in get_args(GameName):
        for kind in get_args(Kind):
            for split in ("train", "test", "extrapolation") if kind in ("styles", "noisy-equilibrium") else ("train", "test"):
                print(line(name, kind, split, given.num_tasks * (8 if name == "kuhn" else 1)), flush=True)


if __name__ == "__main__":
    main()
