"""Rules of crossings: Webster's plan by hand, gap-out, maxima, recall, reckoned queues; and what being told is worth."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import quickstudy as qs
from quickstudy.families import make
from quickstudy.families.traffic.signal import TrafficSignal
from quickstudy.oracles import oracle, practitioner
from quickstudy.oracles.traffic_signal import (
    ActuatedOptions,
    MaxPressureOptions,
    Seen,
    WebsterOptions,
    next_called,
    webster,
)
from quickstudy.protocol import Act, Memory, Percept, begin_trial, counter
from quickstudy.tasks.told import Told

EVEN = (2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0)
"""Shares of demand with which all phases are as busy."""


def percept(queue: tuple[float, ...], phase: int, green: float, first: bool = False) -> Percept:
    """What is seen of such queues."""
    seen = torch.tensor(
        [*(each / 20 for each in queue), *(float(phase == each) for each in range(4)), *[0.0] * 12, green / 60, 1.0, 0.5, 0.0]
    )
    return begin_trial(seen[None, None], make("traffic-signal").action_space)._replace(first=torch.tensor([[first]]))


def asked(agent: Any, memory: Memory | None, *rest: Any, **more: Any) -> tuple[int, Memory]:
    """The phase that a rule asks for, and what it remembers."""
    policy = agent.explorer()
    act, memory = policy.act(percept(*rest, **more), policy.initial_memory(1, 1) if memory is None else memory, None)
    assert isinstance(act, Act)
    return int(act.action), memory


def test_websters_plan_by_hand():
    """Y = 0.6, four changes of four seconds: a cycle of (24 + 5) / 0.4 = 72.5 s, of which 56.5 are green."""
    task = {"split": torch.tensor(EVEN) / 12, "load": torch.tensor(0.6), "saturation": torch.tensor(0.8)}
    zero = torch.tensor(0.0)
    greens = webster(TrafficSignal(), Seen(torch.zeros(8), torch.tensor(0), zero, zero, task))
    torch.testing.assert_close(greens, torch.full((4,), 56.5 / 4))
    long = webster(TrafficSignal(), Seen(torch.zeros(8), torch.tensor(0), zero, zero, task | {"load": torch.tensor(0.95)}))
    torch.testing.assert_close(long, torch.full((4,), (150 - 16) / 4))


@pytest.mark.parametrize(("phase", "green", "expected"), [(0, 26.0, 0), (0, 31.0, 1), (1, 21.0, 1), (1, 26.0, 2), (3, 26.0, 0)])
def test_a_fixed_plan_turns_when_its_seconds_are_over(phase: int, green: float, expected: int):
    agent = oracle("webster", make("traffic-signal"), WebsterOptions(through_green=31.0, left_green=26.0))
    assert asked(agent, None, (9.0,) * 8, phase, green)[0] == expected


@pytest.mark.parametrize(
    ("queue", "phase", "green", "expected"),
    [
        ((9.0, 0.0, 3.0, 0.0, 5.0, 0.0, 0.0, 1.0), 0, 31.0, 0),  # the queue has not cleared
        ((1.0, 2.0, 3.0, 0.0, 5.0, 0.0, 0.0, 1.0), 0, 31.0, 1),  # it has: the next phase that is called
        ((1.0, 2.0, 0.0, 0.4, 5.0, 0.0, 0.0, 1.0), 0, 31.0, 2),  # the next is not called
        ((9.0, 9.0, 3.0, 0.0, 5.0, 0.0, 0.0, 1.0), 0, 61.0, 1),  # its maximum is over
        ((1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0, 61.0, 0),  # nobody else is there
    ],
)
def test_actuated_phases_clear_their_queues_in_turn(queue: tuple[float, ...], phase: int, green: float, expected: int):
    agent = oracle("actuated", make("traffic-signal"), ActuatedOptions(through_maximum=60.0, cleared=2.0))
    assert asked(agent, None, queue, phase, green)[0] == expected


def test_a_silent_detector_calls_its_phase_and_keeps_it_for_its_recall_until_it_speaks():
    agent = oracle("actuated", make("traffic-signal"), ActuatedOptions(silence=1.0, left_recall=21.0))
    queue, memory = (3.0, 3.0, 0.0, 3.0, 3.0, 3.0, 3.0, 3.0), None
    for _ in range(12):  # a minute
        _, memory = asked(agent, memory, queue, 3, 5.0)
    cleared = (3.0, 3.0, 0.0, 0.0, 3.0, 3.0, 3.0, 3.0)
    assert asked(agent, memory, cleared, 0, 200.0)[0] == 1  # called though it shows nobody
    assert asked(agent, memory, cleared, 1, 11.0)[0] == 1 and asked(agent, memory, cleared, 1, 21.0)[0] == 2
    _, memory = asked(agent, memory, (3.0, 3.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0), 1, 16.0)
    assert asked(agent, memory, cleared, 1, 16.0)[0] == 2  # what has spoken is not dead


def test_the_next_called_phase_is_the_next_in_turn():
    called = torch.tensor([[True, False, True, True], [False, False, False, False], [True, False, False, False]])
    assert next_called(called, torch.tensor([2, 1, 0])).tolist() == [3, 1, 0]


def test_max_pressure_turns_only_where_the_other_queue_is_enough_longer():
    queue = (4.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0)
    for hysteresis, expected in ((0.0, 2), (1.0, 2), (1.5, 0)):
        agent = oracle("max-pressure", make("traffic-signal"), MaxPressureOptions(hysteresis=hysteresis))
        assert asked(agent, None, queue, 0, 31.0)[0] == expected


def test_who_is_told_reckons_the_queue_that_a_dead_detector_does_not_see():
    """With even arrivals the reckoning is exact, through changes, minimum greens and a new episode."""
    family = TrafficSignal()
    tasks = qs.NativeTasks(family)
    agent, task = oracle("actuated", tasks, ActuatedOptions(settings="told")), tasks.sample(30, "test", counter(0, 0, "tasks"))
    assert isinstance(agent.tasks, Told)
    policy, state = agent.explorer(), family.initial(task, torch.zeros(30, 0))
    memory, row = (
        policy.initial_memory(30, 1),
        torch.cat([value.flatten(1) if value.ndim > 1 else value[:, None] for value in task.values()], -1),
    )
    for step in range(80):
        seen = torch.cat([family.observation(state, task), row], -1)[:, None]
        now = begin_trial(seen, tasks.action_space)._replace(first=torch.full((30, 1), step % 40 == 0))
        act, memory = policy.act(now, memory, None)
        torch.testing.assert_close(memory["reckoned"][:, 0], state.queue, atol=1e-3, rtol=1e-3)
        state = family.moved(state, act.action[:, 0], task, 5 * family.demand(state.clock, task))
        state = family.initial(task, torch.zeros(30, 0)) if step == 39 else state


def test_the_rule_of_the_field_has_both_settings():
    tasks = make("traffic-signal")
    for settings in ("population", "told"):
        agent = practitioner(tasks, settings)
        assert agent is not None and agent.name == "actuated"


def test_being_told_is_worth_a_fifth_of_what_told_is_better_than_chance():
    """Of the first episode's first fifteen minutes, on few tasks; docs/domains/traffic-signal.md has the whole figure."""
    found = qs.gap(make("traffic-signal", max_episode_steps=180, episodes_per_trial=1), num_tasks=200)
    assert found.share is not None and found.share > 0.2, found.share
