"""Poker: games as enumerated, values as OpenSpiel reckons them, hands as dealt and played."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.families.games.poker import Poker, PokerState, other, tables
from quickstudy.families.games.poker_exact import best_response, best_responses, both_seats, reach, solve, value
from quickstudy.families.games.poker_opponents import CORNERS, allowed_of, equilibrium, known_of, whole_strategy
from quickstudy.families.games.poker_tree import CALL, OVER, RULES, GameName, game
from quickstudy.oracles.poker import seen
from quickstudy.protocol import counter

BOTH: tuple[GameName, ...] = ("kuhn", "leduc")
OPENSPIEL = {
    "kuhn": ((0.5, 0.4166666666666667), (0.7184072461523083, 0.6558075165718873), 0.23457507263466965),
    "leduc": ((2.0875, 2.6597222222222223), (2.481054046794072, 2.7601005748648553), -0.12815192276943022),
}
"""By OpenSpiel 2.0.2 (`make reference`): what best responses in seat 0 and seat 1 win of a player who does each legal thing as
often, and of `written`; and what the former wins of the latter in seat 0."""


def uniform(name: GameName) -> torch.Tensor:
    legal = game(name).set_legal.double()
    return legal / legal.sum(-1, keepdim=True)


def written(name: GameName) -> torch.Tensor:
    """A strategy that anyone can write down."""
    legal = game(name).set_legal.double()
    weights = (torch.arange(legal.numel(), dtype=torch.float64).view(legal.shape) * 0.618034 % 1 + 0.1) * legal
    return weights / weights.sum(-1, keepdim=True)


@pytest.mark.parametrize(("name", "nodes", "sets", "most"), [("kuhn", 9, 12, 2), ("leduc", 85, 288, 13)])
def test_a_game_is_enumerated_once(name: GameName, nodes: int, sets: int, most: int):
    known = game(name)
    assert (len(known.player), known.sets, int(known.payoff.abs().max())) == (nodes, sets, most)
    assert abs(float(known.deal.sum()) - 1) < 1e-12
    assert torch.equal(known.payoff.sign()[known.showdown], -known.payoff.transpose(1, 2).sign()[known.showdown])
    assert len({tuple(row) for row in known.history.tolist()}) == nodes
    places = [known.set_of[node].unique() for node in known.turns]
    assert sorted(torch.cat(places).tolist()) == list(range(sets))


@pytest.mark.parametrize("name", BOTH)
def test_values_are_openspiels(name: GameName):
    of_uniform, of_written, expected = OPENSPIEL[name]
    for strategy, theirs in ((uniform(name), of_uniform), (written(name), of_written)):
        ours = [float(best_response(game(name), reach(game(name), strategy, 1 - seat), seat).value) for seat in (0, 1)]
        assert ours == pytest.approx(theirs, abs=1e-9)
    assert float(value(game(name), uniform(name), written(name))) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", BOTH)
def test_a_best_response_wins_what_it_says_and_more_than_others(name: GameName):
    known, strategy = game(name), written(name)
    most, response = best_responses(known, strategy)
    assert float(both_seats(known, response, strategy)) == pytest.approx(float(most), abs=1e-12)
    for other_one in (uniform(name), equilibrium(name), strategy):
        assert float(both_seats(known, other_one, strategy)) < float(most)


def test_equilibria_lose_to_nobody():
    kuhn, leduc = game("kuhn"), game("leduc")
    for alpha in (0.0, 0.2, 1 / 3):
        balanced = equilibrium("kuhn", alpha)
        assert float(value(kuhn, balanced, balanced)) == pytest.approx(-1 / 18, abs=1e-12)
        assert float(best_responses(kuhn, balanced)[0]) == pytest.approx(0, abs=1e-12)
    balanced = equilibrium("leduc")
    assert float(value(leduc, balanced, balanced)) == pytest.approx(-0.085606, abs=1e-5)
    assert float(best_responses(leduc, balanced)[0]) < 1e-4
    assert float(best_responses(kuhn, solve(kuhn, 100))[0]) < 0.005


def played(name: GameName, opponents: Any, showdown: Any, strategy: torch.Tensor, hands: int) -> dict[str, torch.Tensor]:
    """Hands of a strategy against one opponent."""
    family = Poker(game=name, opponents=opponents, showdown=showdown)
    task = qs.NativeTasks(family).sample(1, "train", counter(0, 0, "tasks"))
    generator = counter(0, 0, "noise")
    noise = [torch.rand(hands, family.step_noise, generator=generator) for _ in range(family.max_episode_steps)]
    states = [family.initial(task, torch.rand(hands, family.initial_noise, generator=generator))]
    won, over = torch.zeros(hands), torch.zeros(hands, dtype=torch.bool)
    for each in noise:
        now = seen(family, family.observation(states[-1], task))
        assert torch.equal(now.node, states[-1].node) and torch.equal(now.seat, states[-1].seat)
        assert torch.equal(now.shown >= 0, tables(name).showdown[now.node])
        assert torch.equal(now.shown.clamp(min=0), other(states[-1].cards, now.seat) * tables(name).showdown[now.node])
        chances = strategy.float()[tables(name).set_of[now.node, now.card, now.board]]
        action = torch.multinomial(chances, 1, generator=generator)[:, 0]
        states.append(family.transition(states[-1], action, task, each))
        won += family.reward(states[-2], action, states[-1], task, each) * ~over
        over |= family.terminal(states[-1], task)
    assert bool(over.all())  # every hand is over before the time limit
    return {"won": won, "seat": states[0].seat.float(), **{key: each[None] for key, each in task.items()}}


@pytest.mark.parametrize(
    ("opponents", "showdown"),
    [("sensible", "arrival"), ("dirichlet", "step"), ("styles", "arrival"), ("noisy-equilibrium", "step")],
)
@pytest.mark.parametrize("name", BOTH)
def test_hands_pay_what_the_tables_say(name: GameName, opponents: Any, showdown: Any):
    hands = 20_000 if name == "kuhn" else 6_000
    found = played(name, opponents, showdown, written(name), hands)
    task = {key: found[key][0] for key in found if key not in ("won", "seat")}
    opponent = whole_strategy(name, opponents, task)[0].double()
    assert bool((opponent >= 0).all()) and torch.allclose(opponent.sum(-1), torch.ones(game(name).sets).double(), atol=1e-6)
    assert not opponent[~game(name).set_legal].any()
    for seat in (0, 1):
        pair = (written(name), opponent) if seat == 0 else (opponent, written(name))
        expected = float(value(game(name), *pair)) * (1 - 2 * seat)
        won = found["won"][found["seat"] == seat]
        assert abs(float(won.mean()) - expected) < 4 * float(won.std()) / len(won) ** 0.5
    assert abs(float(found["seat"].mean()) - 0.5) < 0.02


def test_what_the_rules_forbid_is_a_check_or_a_call():
    leduc = game("leduc")
    for node in leduc.turns:
        for action in range(3):
            assert leduc.child[node, action] == leduc.child[node, action if leduc.legal[node, action] else CALL]
    assert leduc.legal[0].tolist() == [False, True, True] and (leduc.player[leduc.child[leduc.player == OVER]] == OVER).all()
    assert RULES["kuhn"].actions(False) == (CALL, CALL + 1)


def test_sensible_opponents_of_kuhns_game_have_five_chances():
    """Bet a jack or a king first, call a bet with a queen as the first or as the second to act, bet a jack after a check."""
    free = allowed_of("kuhn").all(-1)
    assert int(free.sum()) == 5
    assert int((~allowed_of("leduc") & game("leduc").set_legal).sum()) > 0
    assert torch.equal(known_of("kuhn", "sensible", "cpu").strength.unique(), torch.tensor([0.0, 0.5, 1.0]))


def test_loose_and_aggressive_opponents_are_left_out_of_training():
    tasks = qs.tasks.make("poker", opponents="styles")
    for split in ("train", "validation", "test", "extrapolation"):
        style = tasks.sample(500, split, counter(0, 0, split))["style"]
        met = {tuple(row) for row in style[:, :2].sign().long().tolist()}
        assert met == ({(1, 1)} if split == "extrapolation" else set(CORNERS.values()))
        assert tasks.normalise({"style": style}).abs().max() <= 1 + 1e-5


def test_figures_tell_of_hands():
    tasks = qs.tasks.make("poker")
    evaluation = qs.evaluate(qs.Random(tasks), num_tasks=200, episodes=10)
    assert set(evaluation.figures) == {"hands won", "went to showdown"}
    won, shown = (evaluation.figures[name] for name in ("hands won", "went to showdown"))
    assert torch.equal(won, (evaluation.returns > 0).to(won.dtype))
    # chips are two or more apart only where a bet was called
    assert bool((shown[evaluation.returns.abs() == 2] == 1).all()) and 0 < float(shown.mean()) < 1


def test_a_hand_by_hand():
    """Seat 1 with a king, whom a jack bets into: it calls, sees the jack, and has won two chips when the cards lie open."""
    family, node = Poker(showdown="step"), game("kuhn").child
    bet = int(node[0, 1])
    state = PokerState(torch.tensor(1), torch.tensor([0, 2]), torch.tensor(0), torch.tensor(bet), torch.tensor(False))
    task, call = {"strategy": torch.full((12, 2), 0.5)}, torch.tensor(1)
    assert family.observation(state, task).tolist() == [1, 0, 0, 1, 0, 0, 0, 0.5, 1, 0, 1, 0, 0, 0, 0]
    shown = family.transition(state, call, task, torch.tensor([0.3]))
    assert float(family.reward(state, call, shown, task, torch.zeros(1))) == 2 and not bool(family.terminal(shown, task))
    assert family.observation(shown, task)[4:7].tolist() == [1, 0, 0]
    over = family.transition(shown, call, task, torch.tensor([0.3]))
    assert bool(family.terminal(over, task)) and float(family.reward(shown, call, over, task, torch.zeros(1))) == 0
    assert [float(figure) for figure in family.info(over, task).values()] == [1, 1]
    assert bool(Poker().transition(state, call, task, torch.tensor([0.3])).over)  # where it is no step of its own
    folded = family.transition(state, torch.tensor(0), task, torch.tensor([0.3]))
    assert bool(family.terminal(folded, task)) and not family.observation(folded, task)[4:7].any()
