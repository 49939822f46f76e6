"""Counters, percepts and what they promise."""

import torch
from gymnasium import spaces

from quickstudy.protocol import begin_episode, begin_trial, counter, has_past


def test_a_counter_gives_the_same_numbers_again_and_others_for_any_other_counter():
    def draws(*arguments: object) -> tuple[float, ...]:
        return tuple(torch.rand(4, generator=counter(*arguments)).tolist())

    first = draws(1, 2, "actions", 3)
    assert first == draws(1, 2, "actions", 3)
    others = [draws(0, 2, "actions", 3), draws(1, 3, "actions", 3), draws(1, 2, "tasks", 3), draws(1, 2, "actions", 4)]
    assert first not in others


def test_iterations_of_one_purpose_never_share_a_seed():
    seeds = {counter(0, iteration, "actions").initial_seed() for iteration in range(20_000)}
    assert len(seeds) == 20_000


def test_only_the_first_step_of_a_trial_has_no_past():
    observation = torch.zeros(1, 1, 2)
    start = begin_trial(observation, spaces.Discrete(2))
    assert not has_past(start).item()
    middle = start._replace(first=torch.zeros(1, 1, dtype=torch.bool))
    assert has_past(middle).item()
    ended = middle._replace(truncated=torch.ones(1, 1, dtype=torch.bool), reward=torch.ones(1, 1))
    later = begin_episode(observation, ended)
    assert later.first.item() and has_past(later).item() and later.reward.item() == 1
