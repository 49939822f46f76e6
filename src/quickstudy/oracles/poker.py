"""Poker by those who reckon: an equilibrium, best responses, and Bayes' best response to what an opponent was seen to do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError, require_at_least
from quickstudy.families.games.poker import Poker, tables
from quickstudy.families.games.poker_exact import best_response, best_responses, reach
from quickstudy.families.games.poker_opponents import allowed_of, equilibrium, whole_strategy
from quickstudy.families.games.poker_tree import RANKS, GameName, game
from quickstudy.ops.draws import category
from quickstudy.ops.tree import where_lane
from quickstudy.oracles.agent import Oracle, ruled
from quickstudy.protocol import Act, Memory, Percept, Policy, counter, has_past
from quickstudy.tasks.native import NativeTasks
from quickstudy.tasks.parameters import sample_parameters, to_single
from quickstudy.tasks.told import Told

TRAINING = 4096
"""Training opponents, whom all together the best response of the population is one to."""


@checked
@dataclass(frozen=True, kw_only=True)
class EquilibriumOptions:
    """What the equilibrium can be told."""

    alpha: float = 1 / 3
    """In Kuhn's game, the chance from 0 to 1/3 with which a jack bets first: all are equilibria, this one wins the most."""


@checked
@dataclass(frozen=True, kw_only=True)
class BestResponseOptions:
    """What a best response can be told."""

    settings: Literal["population", "told"] = "population"
    """To the training opponents all together, or to the one at the table, who is told."""


@checked
@dataclass(frozen=True, kw_only=True)
class BayesOptions:
    """What Bayes' best response can be told."""

    particles: int = 32
    """Guesses of all cards that stayed hidden."""

    def __post_init__(self) -> None:
        require_at_least(1, "bayes-best-response", self, "particles")


class Seen(NamedTuple):
    """What an observation says."""

    seat: Int64[Tensor, "*lead"]
    card: Int64[Tensor, "*lead"]
    board: Int64[Tensor, "*lead"]
    """0 where none lies open."""
    shown: Int64[Tensor, "*lead"]
    """The other's card, or -1."""
    node: Int64[Tensor, "*lead"]


def seen(family: Poker, observation: Float[Tensor, "*lead entry"]) -> Seen:
    """An observation of the family, read back."""
    table = tables(family.game)
    parts = [1, RANKS, *([RANKS] if family.game == "leduc" else []), RANKS, 2, table.history.shape[1]]
    seat, card, *board, shown, _, history = observation.split(parts, -1)
    node = (history[..., None, :] == table.history).all(-1).long().argmax(-1)
    open_card = board[0].argmax(-1) if board else torch.zeros_like(node)
    return Seen(seat[..., 0].long(), card.argmax(-1), open_card, shown.argmax(-1) - (shown.sum(-1) == 0).long(), node)


def chosen(
    family: Poker, now: Seen, strategy: Float[Tensor, "*lead set action"], generator: Generator | None
) -> Int64[Tensor, "*lead"]:
    """An action by a strategy's chances, or the likeliest."""
    sets = tables(family.game).set_of[now.node, now.card, now.board]
    chances = strategy.gather(-2, sets[..., None, None].expand(*sets.shape, 1, strategy.shape[-1])).squeeze(-2)
    if generator is None:
        return chances.argmax(-1)
    return category(torch.rand(sets.shape, generator=generator), chances)


@dataclass(frozen=True)
class FixedPolicy:
    """Plays one strategy against everybody."""

    family: Poker
    strategy: Float[Tensor, "set action"]

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        strategy = self.strategy.expand(*percept.first.shape, *self.strategy.shape)
        return Act(chosen(self.family, seen(self.family, percept.observation), strategy, generator), None, {}), memory


@dataclass(frozen=True)
class ToldPolicy:
    """Plays the best response to the opponent, who is told; reckoned once, and kept in the memory."""

    family: Poker
    tasks: Told

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        known = game(self.family.game)
        return {"strategy": torch.zeros(tasks, lanes, known.sets, known.child.shape[1])}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        own, task = self.tasks.parted(percept.observation)
        strategy = memory["strategy"]
        if bool((strategy.sum((-2, -1)) == 0).any()):
            opponent = whole_strategy(self.family.game, self.family.opponents, task)
            strategy = best_responses(game(self.family.game), opponent.double())[1].float()
        return Act(chosen(self.family, seen(self.family, own), strategy, generator), None, {}), {"strategy": strategy}


@dataclass(frozen=True)
class BayesPolicy:
    """Before each hand, the best response to what may be believed of the opponent (Southey et al. 2005, Bayes' bluff).

    Each information set has a Dirichlet prior, to which what was done there is added. Whose card stayed hidden isn't left out:
    `particles` guesses of all hidden cards are kept, each with counts of its own, weighed by how likely what was seen is under
    it and drawn anew where few of them weigh anything (a particle filter, whose counts are exact given its guesses). The
    response is the exact one to the weighed mixture, for the coming hand: it explores no further than that pays at once.
    """

    family: Poker
    prior: Float[Tensor, "set action"]
    particles: int

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        counts = self.prior.expand(tasks, lanes, self.particles, *self.prior.shape)
        first = responded(self.family, self.prior[None], torch.ones(1))
        return {
            "counts": counts.clone(),
            "weights": torch.full((tasks, lanes, self.particles), 1 / self.particles),
            "strategy": first.expand(tasks, lanes, *first.shape).clone(),
            "hands": torch.zeros(tasks, lanes, dtype=torch.long),
        }

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        after = percept.first & has_past(percept)
        if bool(after.any()):
            luck = counter(0, int(memory["hands"].max()), "hidden cards") if generator is None else generator
            memory = where_lane(after, self.learnt(percept, memory, luck), memory)
        now = seen(self.family, percept.observation)
        return Act(chosen(self.family, now, memory["strategy"], generator), None, {}), memory

    def learnt(self, percept: Percept, memory: Memory, generator: Generator) -> Memory:
        """What a hand that is over says."""
        turns = opponent_turns(self.family, seen(self.family, percept.arrival))
        lead = memory["weights"].shape
        likely = turns.dealt[..., None, :].expand(*lead, RANKS)
        for sets, actions, had in zip(turns.sets, turns.actions, turns.had, strict=True):
            chance = at(memory["counts"], sets, actions) / at(memory["counts"], sets, None)
            likely = torch.where(had[..., None, None], likely * chance, likely)
        heavy = memory["weights"] * likely.sum(-1)
        total = heavy.sum(-1, keepdim=True)
        weights = torch.where(total > 0, heavy / total, memory["weights"])  # nobody foresaw it: nothing is learnt of guesses
        guess = category(torch.rand(lead, generator=generator), likely)
        counts = memory["counts"].clone()
        for sets, actions, had in zip(turns.sets, turns.actions, turns.had, strict=True):
            of_guess = sets[..., None, :].expand(*lead, RANKS).gather(-1, guess[..., None])[..., 0]
            place = of_guess * counts.shape[-1] + actions[..., None]
            counts.flatten(-2).scatter_add_(-1, place[..., None], had[..., None, None].float().expand(*lead, 1))
        kept = resampled(weights, torch.rand(lead[:2], generator=generator))
        counts = counts.gather(2, kept[..., None, None].expand(counts.shape))
        drawn = (kept != torch.arange(lead[-1])).any(-1, keepdim=True)
        weights = torch.where(drawn, torch.full_like(weights, 1 / lead[-1]), weights)
        strategy = responded(self.family, counts, weights)
        return {"counts": counts, "weights": weights, "strategy": strategy, "hands": memory["hands"] + 1}


class Turns(NamedTuple):
    """The opponent's turns in a hand that is over, padded, and what the deal says of its card."""

    sets: list[Int64[Tensor, "task lane rank"]]
    """For each turn the information set, by what its card may have been."""
    actions: list[Int64[Tensor, "task lane"]]
    had: list[Bool[Tensor, "task lane"]]
    """Whether there was such a turn."""
    dealt: Float[Tensor, "task lane rank"]
    """The chance of each card, given the agent's and the table's, up to a factor; of one alone where it was shown."""


@cache
def path(name: GameName) -> tuple[Int64[Tensor, "node turn"], Int64[Tensor, "node turn"]]:
    """For each node the nodes on the way there and the actions at them, -1 behind them."""
    known = game(name)
    ways: list[list[tuple[int, int]]] = [[]]
    for before in known.parent[1:]:
        ways.append([*ways[before[0]], before])
    longest = max(map(len, ways))
    table = torch.tensor([[*way, *[(-1, -1)] * (longest - len(way))] for way in ways])
    return table[..., 0], table[..., 1]


def opponent_turns(family: Poker, end: Seen) -> Turns:
    """What the opponent did in a hand that is over."""
    table, (nodes, actions) = tables(family.game), path(family.game)
    known = table.board_known[end.node][..., None]
    dealt = torch.where(known, table.deal[end.card, :, end.board], table.deal.sum(-1)[end.card])
    shown = end.shown[..., None]
    dealt = torch.where(shown >= 0, dealt * (torch.arange(RANKS) == shown), dealt)
    found = Turns([], [], [], dealt)
    for turn in range(nodes.shape[1]):
        node = nodes[end.node, turn]
        found.sets.append(table.set_of[node.clamp(min=0)[..., None], torch.arange(RANKS), end.board[..., None]])
        found.actions.append(actions[end.node, turn].clamp(min=0))
        found.had.append((node >= 0) & (table.player[node.clamp(min=0)] == 1 - end.seat))
    return found


def at(
    counts: Float[Tensor, "task lane particle set action"],
    sets: Int64[Tensor, "task lane rank"],
    actions: Int64[Tensor, "task lane"] | None,
) -> Float[Tensor, "task lane particle rank"]:
    """The counts of an action in some sets, or of all actions together."""
    index = sets[:, :, None, :, None].expand(*counts.shape[:3], -1, counts.shape[-1])
    rows = counts.gather(3, index)
    if actions is None:
        return rows.sum(-1)
    return rows.gather(-1, actions[:, :, None, None, None].expand(*rows.shape[:-1], 1)).squeeze(-1)


def resampled(weights: Float[Tensor, "*lead particle"], share: Float[Tensor, "*lead"]) -> Int64[Tensor, "*lead particle"]:
    """Which particles go on: all, or systematic draws where the weights are worth fewer than half of them."""
    size = weights.shape[-1]
    every = torch.arange(size).expand(weights.shape)
    places = (every + share[..., None]) / size
    drawn = torch.searchsorted(weights.cumsum(-1), places.contiguous()).clamp(max=size - 1)
    few = 1 / weights.square().sum(-1, keepdim=True) < size / 2
    return torch.where(few, drawn, every)


def responded(
    family: Poker, counts: Float[Tensor, "*lead particle set action"], weights: Float[Tensor, "*lead particle"]
) -> Float[Tensor, "*lead set action"]:
    """The best response to a mixture of opponents, each the mean of its counts, in both seats.

    No set is met twice in a hand, so that the mean of independent Dirichlets is all that a hand asks of them.
    """
    known, strategy = game(family.game), counts / counts.sum(-1, keepdim=True)
    found = []
    for seat in (0, 1):
        mixed = (reach(known, strategy, 1 - seat) * weights[..., None, None, None]).sum(weights.dim() - 1)
        found.append(best_response(known, mixed, seat).chances)
    return found[0] + found[1]


def training_opponents(family: Poker, count: int = TRAINING) -> Float[Tensor, "opponent set action"]:
    """Strategies of the split `train`, always the same."""
    drawn = sample_parameters(family.parameters, count, "train", counter(0, 0, "population"))
    return whole_strategy(family.game, family.opponents, to_single(family.parameters, drawn))


def population_response(family: Poker) -> Float[Tensor, "set action"]:
    """The exact best response to the training opponents all together: of all fixed strategies, none wins more against them."""
    strategies = training_opponents(family)
    seats = [best_response(game(family.game), reach(game(family.game), strategies, 1 - seat).mean(0), seat) for seat in (0, 1)]
    return seats[0].chances + seats[1].chances


def prior(family: Poker) -> Float[Tensor, "set action"]:
    """Dirichlet counts before any hand: those that opponents are drawn with, or else as many, shared as they act on average."""
    legal = game(family.game).set_legal
    if family.opponents in ("sensible", "dirichlet"):
        return (allowed_of(family.game) if family.opponents == "sensible" else legal).float()
    return training_opponents(family).mean(0) * legal.sum(-1, keepdim=True)


def balanced(tasks: NativeTasks, family: Poker, options: EquilibriumOptions) -> Oracle:
    """Plays an equilibrium."""
    if not 0 <= options.alpha <= 1 / 3:
        raise UsageError(f"equilibrium: alpha is {options.alpha:g}, it must be from 0 to 1/3")
    strategy = equilibrium(family.game, options.alpha).float()
    return Oracle("equilibrium", tasks, FixedPolicy(family, strategy))


def responding(tasks: NativeTasks, family: Poker, options: BestResponseOptions) -> Oracle:
    """Plays a best response."""

    def policy(told: Told | None) -> Policy:
        return ToldPolicy(family, told) if told else FixedPolicy(family, population_response(family).float())

    return ruled("best-response", tasks, options.settings, policy)


def believing(tasks: NativeTasks, family: Poker, options: BayesOptions) -> Oracle:
    """Plays Bayes' best response."""
    return Oracle("bayes-best-response", tasks, BayesPolicy(family, prior(family), options.particles))
