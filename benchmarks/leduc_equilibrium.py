"""Solves Leduc poker by CFR+ and writes the table that is shipped: `python benchmarks/leduc_equilibrium.py [ITERATIONS]`."""

from __future__ import annotations

import json
import sys

from quickstudy.families.games.poker_exact import best_responses, solve, value
from quickstudy.families.games.poker_opponents import LEDUC_EQUILIBRIUM
from quickstudy.families.games.poker_tree import game


def main() -> None:
    """Prints the value of the game and how much a best response wins."""
    iterations, leduc = int(sys.argv[1]) if len(sys.argv) > 1 else 3000, game("leduc")
    chances = solve(leduc, iterations).float().double()  # as many digits as are written
    chances = chances / chances.sum(-1, keepdim=True)
    worth, lost = float(value(leduc, chances, chances)), float(best_responses(leduc, chances)[0])
    print(f"value for the first to act {worth:.6f}, a best response wins {lost:.6f} a hand")
    says = f"CFR+, {iterations} iterations: value {worth:.6f}, exploitable by {lost:.6f} chips a hand"
    rows = [[round(chance, 7) for chance in row] for row in chances.tolist()]
    LEDUC_EQUILIBRIUM.write_text(json.dumps({"says": says, "chances": rows}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
