"""Chips that agents win at Kuhn's game, hand by hand, each hand's value reckoned exactly from what the agent would do in it.

    python benchmarks/poker_hands.py RL2=RUN,RUN,RUN [--opponents styles] [--split extrapolation] [--picture FILE]

What varies is the opponent and what was learnt of it, no more: before each hand the agent is asked what it would do in each of
its information sets, and the hand's mean over cards, seats and both players' chances is taken. Beside runs stand the rules.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

import quickstudy as qs
from quickstudy.data.rollout import rollout
from quickstudy.families.games.poker import Poker, PokerState
from quickstudy.families.games.poker_exact import both_seats
from quickstudy.families.games.poker_opponents import whole_strategy
from quickstudy.families.games.poker_tree import RANKS, game
from quickstudy.looks import looks_of
from quickstudy.oracles import ORACLES, oracle
from quickstudy.oracles.poker import FixedPolicy
from quickstudy.plots import finish, new_figure, save
from quickstudy.protocol import Agent, Memory, Percept, Policy, Tasks, begin_episode, begin_trial, counter
from quickstudy.tasks.told import Told

RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "equilibrium": ("equilibrium", {}),
    "best response, population": ("best-response", {}),
    "Bayes' best response": ("bayes-best-response", {}),
    "best response, told": ("best-response", {"settings": "told"}),
}


def strategy_of(
    family: Poker, policy: Any, percept: Percept, memory: Memory, generator: Generator
) -> Float[Tensor, "task set action"]:
    """What a policy would do in the coming hand, in each of its information sets."""
    lead, known = percept.first.shape, game("kuhn")
    inner = policy.policy if hasattr(policy, "policy") else policy
    if isinstance(inner, FixedPolicy):
        return inner.strategy.expand(lead[0], *inner.strategy.shape)
    if "strategy" in memory:
        return policy.act(percept, memory, generator)[1]["strategy"][:, 0]
    chances = torch.zeros(lead[0], known.sets, 2)
    nodes = [0, *known.child[0].tolist()]  # nothing was done, or the other checked, or bet
    for node in nodes:
        for card in range(RANKS):
            seat = int(known.player[node])
            seen = observed(family, lead, seat, card, node)
            bets, after = asked(policy, percept._replace(observation=seen), memory, generator)
            chances[:, int(known.set_of[node, card, 0])] = torch.stack([1 - bets, bets], -1)[:, 0]
            if node:
                continue
            raised = int(known.child[nodes[1], 1])
            again, nothing = observed(family, lead, seat, card, raised), torch.zeros(lead)
            never = torch.zeros(lead, dtype=torch.bool)
            later = Percept(again, never, torch.zeros(lead, dtype=torch.long), nothing, again, never, never)
            bets, _ = asked(policy, later, after, generator)
            chances[:, int(known.set_of[raised, card, 0])] = torch.stack([1 - bets, bets], -1)[:, 0]
    return chances


def asked(policy: Policy, percept: Percept, memory: Memory, generator: Generator) -> tuple[Tensor, Memory]:
    """With which chance a policy bets or calls, and what it remembers then."""
    act, after = policy.act(percept, memory, generator)
    chance = torch.full(percept.first.shape, 0.5) if act.log_prob is None else act.log_prob.exp()
    return torch.where(act.action == 1, chance, 1 - chance), after


def observed(family: Poker, lead: Any, seat: int, card: int, node: int) -> Tensor:
    """What is seen at a node with a card."""
    full = torch.full(lead, 0)
    cards = torch.full((*lead, 2), card)
    return family.observation(PokerState(full + seat, cards, full, full + node, full > 0), {})


def by_hand(agent: Agent, split: Any, count: int, seed: int = 0) -> Float[Tensor, "opponent hand"]:
    """The exact value of each hand of a trial against each of some opponents, who are the same for every agent."""
    told: Any = agent.tasks
    plain: Any = told.tasks if isinstance(told, Told) or not hasattr(told, "dynamics") else told
    family, known = plain.dynamics, game("kuhn")
    tasks: Tasks = plain.sample(count, split, counter(seed, 0, f"{split} opponents"))
    opponents = whole_strategy("kuhn", family.opponents, tasks).double()
    env, luck = told.make(count, 1), counter(seed, 0, "actions")
    percept = begin_trial(env.reset(tasks, counter(seed, 0, "cards")), told.action_space)
    policy, found = agent.explorer(), []
    for hand in range(family.episodes_per_trial):
        if hand:
            percept = begin_episode(env.restart(), percept)
        memory = policy.initial_memory(count, 1)
        with torch.no_grad():
            mine = strategy_of(family, policy, percept, memory, counter(seed, hand, "asked")).double()
        found.append(both_seats(known, mine, opponents))
        lived = rollout(env, policy, percept, memory, family.max_episode_steps, luck, episodes=1)
        percept, policy = lived.end_percept, agent.adapt(policy, lived)
    return torch.stack(found, 1)


def measured(agents: list[Agent], split: Any, count: int) -> dict[str, list[float]]:
    """The mean of each hand over opponents and seeds, and twice the standard error over opponents of that of ten hands."""
    values = torch.stack([by_hand(agent, split, count) for agent in agents])
    tens = [part.mean((0, 2)) for part in (*values.split(10, 2), values)]
    seeds = values.mean((1, 2)).tolist() if len(agents) > 1 else []
    return {
        "hands": values.mean((0, 1)).tolist(),
        "tens": [float(part.mean()) for part in tens],
        "errors": [float(2 * part.std() / count**0.5) for part in tens],
        "seeds": seeds,
    }


def drawn(found: dict[str, dict[str, list[float]]], title: str, path: Path) -> None:
    """A picture of chips a hand by hand played."""
    figure = new_figure((7, 4.6), dpi=130)
    axes = figure.subplots()
    for (label, row), look in zip(found.items(), looks_of(list(found)), strict=True):
        hands = range(1, len(row["hands"]) + 1)
        line = (0, look.dash) if look.dash else "solid"
        axes.plot(hands, row["hands"], label=label, color=look.light, linestyle=line, linewidth=1.6)
    axes.set(title=title, xlabel="hand of the trial", ylabel="chips a hand, exact")
    finish(figure, [axes], columns=2)
    save(figure, path)


def main() -> None:
    """Prints a table: the mean over ten hands each and over all, with twice its standard error over opponents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="LABEL=RUN[,RUN...]", help="a learner, and its seeds")
    parser.add_argument("--opponents", default="sensible")
    parser.add_argument("--split", default="test")
    parser.add_argument("--num-tasks", type=int, default=2000)
    parser.add_argument("--without-random", action="store_true", help="leave it out, whose line makes others hard to tell")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    tasks = qs.tasks.make("poker", opponents=given.opponents)
    groups: dict[str, list[Agent]] = {}
    for label, (name, options) in RULES.items():
        known = name in ORACLES
        groups[label] = [oracle(name, tasks, replace(ORACLES[name].options(), **options)) if known else qs.Random(tasks)]
    for word in given.runs:
        label, _, runs = word.partition("=")
        learners = [qs.load(run) for run in runs.split(",")]
        groups[label] = [*learners]
        if learners[0].name == "rl2":
            groups[f"{label}, memory wiped every episode"] = [qs.Forgetful(learner, "episode") for learner in learners]
    found: dict[str, dict[str, list[float]]] = {}
    for label, agents in groups.items():
        if not (given.without_random and label == "random"):
            row = found[label] = measured(agents, given.split, given.num_tasks)
            figures = "  ".join(f"{mean:6.3f} ({error:.3f})" for mean, error in zip(row["tens"], row["errors"], strict=True))
            print(f"{label:34} {figures}  {' '.join(f'{seed:.3f}' for seed in row['seeds'])}", flush=True)
    if given.picture:
        drawn(found, f"Kuhn's game, {given.opponents} opponents of the split {given.split}", given.picture)


if __name__ == "__main__":
    main()
