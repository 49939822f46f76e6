"""Who sits at the other side of the table: kinds of opponents, each a way to draw a strategy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Generator, Tensor

from quickstudy.families.games.poker_exact import kuhn_equilibrium
from quickstudy.families.games.poker_tree import Game, GameName, game
from quickstudy.protocol import Split, Tasks
from quickstudy.tasks.parameters import Parameter, Simplex, Uniform, fraction

Kind = Literal["sensible", "dirichlet", "styles", "noisy-equilibrium"]
LEDUC_EQUILIBRIUM = Path(__file__).with_name("leduc_equilibrium.json")
"""Written by `python benchmarks/leduc_equilibrium.py`."""
STYLE = {
    "looseness": (0.5, 2.5),
    "aggression": (0.5, 2.5),
    "sharpness": (2.0, 8.0),
    "bluffing": (0.0, 0.5),
    "trapping": (0.0, 0.5),
    "caution": (0.0, 2.0),
}
"""The six numbers of a style and where each is drawn from; the first two may be below zero: tight, and passive."""
CORNERS = {"tight and passive": (-1, -1), "tight and aggressive": (-1, 1), "loose and passive": (1, -1)}
"""The signs of looseness and aggression that there are in training; loose and aggressive is what is left out."""
LEFT_OUT = (1, 1)


@dataclass(frozen=True)
class Style:
    """Six numbers of a way to play; loose and aggressive ones are met in the split `extrapolation` alone."""

    entries = tuple(STYLE)
    extrapolates = True

    def sample(self, count: int, split: Split, generator: Generator) -> Float[Tensor, "count 6"]:
        low, high = torch.tensor(list(STYLE.values()), dtype=torch.float64).T
        sizes = low + (high - low) * fraction((count, len(STYLE)), split, generator)
        signs = torch.tensor([LEFT_OUT] if split == "extrapolation" else list(CORNERS.values()))
        sizes[:, :2] *= signs[torch.randint(len(signs), (count,), generator=generator)]
        return sizes

    def normalise(self, values: Shaped[Tensor, "count 6"]) -> Float[Tensor, "count 6"]:
        low, high = torch.tensor(
            [(-end[1] if name in ("looseness", "aggression") else end[0], end[1]) for name, end in STYLE.items()]
        ).T
        return (2 * (values - low) / (high - low) - 1).float()

    def __str__(self) -> str:
        return f"a style: {', '.join(STYLE)}"


def hidden(name: GameName, kind: Kind) -> Mapping[str, Parameter]:
    """The parameters of a task: a strategy, what it is made of, or both."""
    known = game(name)
    strategy = {"strategy": Simplex((known.sets, known.child.shape[1]))}
    if kind == "styles":
        return {"style": Style()}
    return strategy | ({"noise": Uniform(0.2, 0.8)} if kind == "noisy-equilibrium" else {})


def chances(
    name: GameName, kind: Kind, task: Tasks, sets: Int64[Tensor, "*batch"], device: torch.device | str = "cpu"
) -> Float[Tensor, "*batch action"]:
    """With which chances the opponent does what, in an information set of each lane."""
    about = known_of(name, kind, str(device))
    if kind == "styles":
        return styled(about, task["style"], sets)
    strategy = task["strategy"]
    rows = strategy.expand(*sets.shape, *strategy.shape[-2:])
    index = sets[..., None, None].expand(*sets.shape, 1, strategy.shape[-1])
    drawn = rows.gather(-2, index).squeeze(-2) * about.allowed[sets]
    drawn = drawn / drawn.sum(-1, keepdim=True)
    if kind == "noisy-equilibrium":
        drawn = drawn + (1 - task["noise"])[..., None] * (about.equilibrium[sets] - drawn)
    return drawn


def whole_strategy(name: GameName, kind: Kind, task: Tasks) -> Float[Tensor, "*batch set action"]:
    """The opponents' chances in all information sets."""
    sets = game(name).sets
    lead = torch.broadcast_shapes(*(value.shape[: value.dim() - OWN_AXES[key]] for key, value in task.items()))
    each = {key: value.unsqueeze(len(lead)) for key, value in task.items()}
    some = next(iter(task.values()))
    index = torch.arange(sets, device=some.device).expand(*lead, sets)
    return chances(name, kind, each, index, some.device)


OWN_AXES = {"strategy": 2, "style": 1, "noise": 0}
"""How many axes a parameter has for itself."""


@dataclass(frozen=True)
class Known:
    """Tables over information sets, on a device."""

    allowed: Float[Tensor, "set action"]
    """1 for what an opponent of this kind may do, 0 for what it never does."""
    strength: Float[Tensor, "set"]
    """The chance that the card in hand beats another's, given what is on the table; half of it where they are equal."""
    bet: Bool[Tensor, "set"]
    """A bet stands."""
    pot: Float[Tensor, "set"]
    """How much is at stake, where a bet stands: 0 where that is the least that it can be, 1 where it is the most."""
    equilibrium: Float[Tensor, "set action"]


@cache
def known_of(name: GameName, kind: Kind, device: str) -> Known:
    """The tables of a game and a kind of opponents."""
    known = game(name)
    strength, bet, pot = torch.zeros(known.sets), torch.zeros(known.sets, dtype=torch.bool), torch.zeros(known.sets)
    stakes = known.chips.amax(-1)
    first = min(float(stakes[place]) for place in known.turns if known.chips[place, 0] != known.chips[place, 1])
    better = (1 + worth_of(known).sign()) / 2
    for place in known.turns:
        deal = known.deal if bool(known.board_known[place]) else known.deal.sum(-1, keepdim=True).expand_as(known.deal)
        beats = better if bool(known.board_known[place]) else (better * known.deal).sum(-1, keepdim=True) / deal.clamp(min=1e-9)
        strength[known.set_of[place]] = ((deal * beats).sum(1) / deal.sum(1).clamp(min=1e-9)).float()
        bet[known.set_of[place]] = bool(known.chips[place, 0] != known.chips[place, 1])
        pot[known.set_of[place]] = (float(stakes[place]) - first) / max(1, float(stakes.max()) - first)
    allowed = (allowed_of(name) if kind == "sensible" else known.set_legal).float()
    tables = allowed, strength, bet, pot, equilibrium(name).float()
    return Known(*(table.to(device) for table in tables))


def worth_of(known: Game) -> Float[Tensor, "rank rank board"]:
    """Above zero where seat 0's card is the better one."""
    return known.payoff[int(known.showdown.nonzero()[0, 0])]


def allowed_of(name: GameName) -> Bool[Tensor, "set action"]:
    """What somebody does who makes no plain mistake.

    Nobody folds what can't lose, checks it where that ends the hand, or calls with what can't win. In Kuhn's game a queen
    doesn't bet either: only a king would call, only a jack would fold. That leaves five chances, no action of them dominated.
    """
    known = game(name)
    allowed, worth = known.set_legal.clone(), worth_of(known)
    dealt = known.deal > 0
    for place in known.turns:
        if not bool(known.board_known[place]):
            continue
        bet, last = bool(known.chips[place, 0] != known.chips[place, 1]), int(known.player[place]) == 1
        for card in range(len(worth)):
            for board in range(worth.shape[-1]):
                row = allowed[known.set_of[place, card, board]]
                faced = worth[card, :, board][dealt[card, :, board]]
                if bool((faced > 0).all()) and (bet or last):
                    row[0 if bet else row.numel() - 2] = False
                if bool((faced < 0).all()) and bet:
                    row[-1 if name == "kuhn" else 1] = False
                if name == "kuhn" and card == 1 and not bet:
                    row[1] = False
    return allowed


def styled(about: Known, style: Float[Tensor, "*#batch 6"], sets: Int64[Tensor, "*#batch"]) -> Float[Tensor, "*batch action"]:
    """What a style does: stays in, where a bet stands, and bets or raises, each the likelier the better the card.

    A bluffer raises more with weak cards, a trapper less with strong ones, and who is cautious folds more in large pots.
    """
    looseness, aggression, sharpness, bluffing, trapping, caution = style.unbind(-1)
    strength, bet = about.strength[sets], about.bet[sets]
    stay = torch.sigmoid(sharpness * (strength - 0.5) + looseness - caution * about.pot[sets])
    attack = torch.sigmoid(sharpness * (strength - 0.5) + aggression)
    attack = attack * (1 - trapping * strength) + (1 - attack) * bluffing * (1 - strength)
    if about.allowed.shape[1] == 2:
        second = torch.where(bet, stay, attack)
        return torch.stack([1 - second, second], -1)
    attack = attack * about.allowed[sets][..., 2]
    stay = torch.where(bet, stay, torch.ones_like(stay))
    return torch.stack([1 - stay, stay * (1 - attack), stay * attack], -1)


@cache
def equilibrium(name: GameName, alpha: float = 1 / 3) -> Float[Tensor, "set action"]:
    """Kuhn's in closed form, by how often seat 0 bets a jack; Leduc's by CFR+, exploitable by less than 0.001 chips a hand."""
    if name == "kuhn":
        return kuhn_equilibrium(alpha)
    return torch.tensor(json.loads(LEDUC_EQUILIBRIUM.read_text())["chances"], dtype=torch.float64)
