"""Rules of poker: what they win, and what Bayes' best response believes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.data.rollout import rollout
from quickstudy.families.games.poker import Poker, PokerState
from quickstudy.families.games.poker_exact import best_response, best_responses, both_seats, reach
from quickstudy.families.games.poker_opponents import equilibrium, whole_strategy
from quickstudy.families.games.poker_tree import game
from quickstudy.oracles import ORACLES, oracle
from quickstudy.oracles.poker import BayesPolicy, population_response, prior, training_opponents
from quickstudy.protocol import Percept, begin_episode, begin_trial, counter


@pytest.mark.parametrize(("name", "opponents"), [("kuhn", "sensible"), ("kuhn", "styles"), ("leduc", "sensible")])
def test_knowing_the_opponent_is_worth_a_fifth_of_what_can_be_won(name: Any, opponents: Any):
    """Exactly: what a best response wins, told or to the population, and what acting at random does, against test opponents."""
    family, known = Poker(game=name, opponents=opponents), game(name)
    drawn = qs.NativeTasks(family).sample(2000 if name == "kuhn" else 300, "test", counter(0, 0, "opponents"))
    others, legal = whole_strategy(name, opponents, drawn).double(), known.set_legal.double()
    told = best_responses(known, others)[0].mean()
    population, random = (
        both_seats(known, mine.expand_as(others), others).mean()
        for mine in (population_response(family).double(), legal / legal.sum(-1, keepdim=True))
    )
    assert told - population >= 0.2 * (told - random)


def test_no_fixed_strategy_wins_more_of_training_opponents():
    family, known = Poker(), game("kuhn")
    strategies, found = training_opponents(family), population_response(family)
    for seat in (0, 1):
        most = best_response(known, reach(known, strategies, 1 - seat).mean(0), seat).value
        for fixed in (found, equilibrium("kuhn").float()):
            won = both_seats(known, fixed.expand_as(strategies), strategies).mean()
            assert won <= both_seats(known, found.expand_as(strategies), strategies).mean() + 1e-6 and most > -1


def hand(family: Poker, seat: int, cards: tuple[int, int], node: int) -> Percept:
    """The first percept after a hand that ended so."""
    end = PokerState(torch.tensor([[seat]]), torch.tensor([[cards]]), *(torch.tensor([[each]]) for each in (0, node, True)))
    seen, yes, no = family.observation(end, {}), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)
    return Percept(torch.zeros_like(seen), yes, torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1), seen, yes, no)


def steps_to(node: int) -> list[tuple[int, int]]:
    """The nodes of Kuhn's game on the way to one, and what was done at each."""
    before = game("kuhn").parent[node]
    return [*steps_to(before[0]), before] if before[0] >= 0 else []


def test_beliefs_are_those_of_every_way_that_hidden_cards_may_lie():
    """Four hands, of which one is shown: the particles' mean is that of all eight ways, weighed by their chances."""
    family, known, counts = Poker(), game("kuhn"), prior(Poker())
    checked, bet = known.child[0].tolist()
    (folded, called), raised = known.child[bet].tolist(), int(known.child[checked, 1])
    # seat of the agent, its card, the other's where it is known, and where the hand ended
    hands = [(0, 1, None, folded), (1, 1, None, folded), (1, 2, None, int(known.child[raised, 0])), (0, 1, 2, called)]
    policy = BayesPolicy(family, counts, 4000)
    memory = policy.initial_memory(1, 1)
    for seat, mine, theirs, node in hands:
        dealt = (mine, 0 if theirs is None else theirs)
        percept = hand(family, seat, dealt if seat == 0 else dealt[::-1], node)
        memory = policy.learnt(percept, memory, counter(0, node + mine, "cards"))
    of_particle = memory["counts"] / memory["counts"].sum(-1, keepdim=True)
    found = (of_particle * memory["weights"][..., None, None]).sum(2)[0, 0]
    total, mean = 0.0, torch.zeros(12, 2)
    ways = [[card for card in range(3) if card != mine] if theirs is None else [theirs] for _, mine, theirs, _ in hands]
    for guess in product(*ways):
        tally, chance = counts.clone(), 1.0
        for (seat, _, _, node), card in zip(hands, guess, strict=True):
            for place, did in steps_to(node):
                if int(known.player[place]) != seat:
                    row = tally[int(known.set_of[place, card, 0])]
                    chance *= float(row[did] / row.sum())
                    row[did] += 1
        total, mean = total + chance, mean + chance * tally / tally.sum(-1, keepdim=True)
    torch.testing.assert_close(found, mean / total, atol=0.02, rtol=0)


def test_bayes_best_response_wins_more_the_more_it_has_seen():
    """By the exact value of what it would do in each hand, against each opponent."""
    tasks, count = qs.tasks.make("poker", episodes_per_trial=30), 300
    agent, drawn = oracle("bayes-best-response", tasks), tasks.sample(count, "test", counter(0, 0, "opponents"))
    others, env, luck = whole_strategy("kuhn", "sensible", drawn).double(), tasks.make(count, 1), counter(0, 0, "luck")
    percept, policy, won = begin_trial(env.reset(drawn, luck), tasks.action_space), agent.explorer(), []
    for _ in range(tasks.episodes_per_trial):
        lived = rollout(env, policy, percept, policy.initial_memory(count, 1), 2, luck, episodes=1)
        won.append(float(both_seats(game("kuhn"), lived.end_memory["strategy"][:, 0].double(), others).mean()))
        percept, policy = begin_episode(env.restart(), lived.end_percept), agent.adapt(policy, lived)
    assert won[0] < won[10] < won[-1]
    assert won[0] == pytest.approx(0.083, abs=0.02) and 0.11 < won[-1] < float(best_responses(game("kuhn"), others)[0].mean())


def test_told_it_wins_what_is_to_be_won_and_no_opponent_is_told_to_others():
    tasks = qs.tasks.make("poker", episodes_per_trial=10)
    told = oracle("best-response", tasks, ORACLES["best-response"].options(settings="told"))
    assert told.tasks.observation_space.shape == (15 + 24,)
    evaluation = qs.evaluate(told, num_tasks=1000)
    others = whole_strategy("kuhn", "sensible", evaluation.drawn).double()
    most = best_responses(game("kuhn"), others)[0]
    error = (evaluation.returns.double().mean(1) - most).std() / len(most) ** 0.5
    assert abs(float(evaluation.returns.mean() - most.mean())) < 4 * float(error)


def test_an_equilibrium_of_another_kind_is_refused():
    options = replace(ORACLES["equilibrium"].options(), alpha=0.5)
    with pytest.raises(qs.UsageError, match="from 0 to 1/3"):
        oracle("equilibrium", qs.tasks.make("poker"), options)


@pytest.mark.parametrize("name", ["equilibrium", "best-response", "bayes-best-response"])
def test_rules_play_leduc_too(name: str):
    tasks = qs.tasks.make("poker", game="leduc", episodes_per_trial=3)
    assert float(qs.evaluate(oracle(name, tasks), num_tasks=64).returns.mean()) > -1
