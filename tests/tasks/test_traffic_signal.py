"""The crossing against queueing theory: Webster's delay, vehicles that are conserved, and lights that keep their times."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

import quickstudy as qs
from quickstudy.families import make
from quickstudy.families.traffic.signal import DECISION, LOST_TIME, MINIMUM_GREEN, SignalState, TrafficSignal, served
from quickstudy.protocol import Tasks, counter

GREENS = (8, 4, 6, 4)
"""Decisions for which each phase is asked for: a cycle of 110 s."""
CYCLE = sum(GREENS)
SPLIT = (2.0, 1.6, 0.5, 0.4, 1.2, 1.5, 0.3, 0.5)
"""Of the demand, to which that plan is fitting."""


def task_of(load: float, saturation: float = 1.0, dead: bool = False, split: tuple[float, ...] = SPLIT) -> Tasks:
    shares = torch.tensor(split, dtype=torch.float64)
    task = {"split": shares / shares.sum(), "load": torch.tensor(load), "saturation": torch.tensor(saturation)}
    return {name: value.double() for name, value in task.items()} | {"dead": torch.full((8,), dead)}


def plan(step: int) -> int:
    """The phase that a fixed plan asks for."""
    return next(phase for phase in range(4) if step % CYCLE < sum(GREENS[: phase + 1]))


def cycled(
    family: TrafficSignal, task: Tasks, lanes: int, steps: int, warm: int, noise: torch.Generator | None
) -> torch.Tensor:
    """Seconds that a vehicle waits under the fixed plan once it has settled, Poisson arrivals with `noise`, else even ones."""
    state = family.initial(task, torch.zeros(lanes, 0, dtype=torch.float64))
    before = state
    for step in range(steps):
        before = state if step == warm else before
        action = torch.full((lanes,), plan(step))
        if noise is None:
            state = family.moved(state, action, task, DECISION * family.demand(state.clock, task).expand(lanes, 8))
        else:
            state = family.transition(state, action, task, torch.rand(lanes, 8, generator=noise, dtype=torch.float64))
    return (state.waited - before.waited) / (state.arrived - before.arrived)


def websters(family: TrafficSignal, task: Tasks) -> tuple[float, float]:
    """Webster's delay under the fixed plan, averaged over vehicles: the uniform term, and the random one, corrected."""
    rate, flow = family.demand(torch.tensor(0.0), task), family.saturation_flow(task)
    cycle, share = CYCLE * DECISION, rate / rate.sum()
    green = (torch.tensor(GREENS, dtype=torch.float64) * DECISION - LOST_TIME).repeat_interleave(2) / cycle
    degree = rate / (flow * green)
    assert degree.max() < 1
    uniform = cycle * (1 - green) ** 2 / (2 * (1 - rate / flow))
    random = degree**2 / (2 * rate * (1 - degree)) - 0.65 * (cycle / rate**2) ** (1 / 3) * degree ** (2 + 5 * green)
    return float((share * uniform).sum()), float((share * random).sum())


@pytest.mark.parametrize("load", [0.2, 0.5, 0.6])
@pytest.mark.parametrize("saturation", [0.75, 1.0])
def test_even_arrivals_wait_as_long_as_the_uniform_term_of_webster_says(load: float, saturation: float):
    family, task = TrafficSignal(), task_of(load, saturation)
    found = cycled(family, task, 1, 12 * CYCLE, 2 * CYCLE, None)
    assert float(found) == pytest.approx(websters(family, task)[0], rel=1e-6)


@pytest.mark.parametrize("load", [0.4, 0.6])
def test_poisson_arrivals_wait_as_long_as_webster_says_within_a_twentieth(load: float):
    family, task = TrafficSignal(), task_of(load)
    found = float(cycled(family, task, 200, 25 * CYCLE, 5 * CYCLE, counter(0, 0, "arrivals")).mean())
    uniform, random = websters(family, task)
    assert found == pytest.approx(uniform + random, rel=0.05) and found > uniform


def lived(family: TrafficSignal, count: int, steps: int, seed: int = 0) -> tuple[Tasks, list[SignalState], list[torch.Tensor]]:
    """States under random actions."""
    tasks = qs.NativeTasks(family).sample(count, "train", counter(seed, 0, "tasks"))
    noise, states = counter(seed, 0, "noise"), [family.initial(tasks, torch.zeros(count, 0))]
    actions = [torch.randint(4, (count,), generator=noise) for _ in range(steps)]
    for action in actions:
        states.append(family.transition(states[-1], action, tasks, torch.rand(count, 8, generator=noise)))
    return tasks, states, actions


@pytest.mark.parametrize("options", [{}, {"bay": 5}, {"change_point": True}])
def test_vehicles_are_conserved_and_nobody_leaves_at_red_or_above_saturation_flow(options: dict[str, int]):
    family = TrafficSignal(**options)
    tasks, states, _ = lived(family, 100, 60)
    flow = family.saturation_flow(tasks)
    for before, state in pairwise(states):
        came = state.arrived - before.arrived
        left = came + before.queue.sum(-1) - state.queue.sum(-1)
        most = DECISION - LOST_TIME * (state.phase != before.phase)
        assert (left >= -1e-3).all() and (left <= (flow * served(state.phase)).sum(-1) * most + 1e-3).all()
        assert (((state.queue - before.queue) * ~served(state.phase)) >= 0).all() and (state.queue >= 0).all()
        assert (state.stopped <= state.arrived + 1e-3).all() and (state.waited >= before.waited).all()
    told = family.info(states[-1], tasks)
    left = told["throughput"] * states[-1].clock / 3600
    torch.testing.assert_close(left + states[-1].queue.sum(-1), states[-1].arrived, atol=0.01, rtol=0)


def test_a_phase_stays_for_its_minimum_green_and_a_change_loses_four_seconds():
    _, states, actions = lived(TrafficSignal(), 50, 60)
    for before, action, state in zip(states, actions, states[1:], strict=False):
        may = before.green >= MINIMUM_GREEN
        assert torch.equal(state.phase, torch.where(may, action, before.phase))
        assert torch.equal(state.green, torch.where(state.phase != before.phase, DECISION - LOST_TIME, before.green + DECISION))


def test_demand_is_of_the_split_with_the_load_that_the_task_says():
    family = TrafficSignal()
    tasks = qs.NativeTasks(family).sample(500, "test", counter(0, 0, "tasks"))
    rate = family.demand(torch.zeros(500), tasks)
    torch.testing.assert_close(rate / rate.sum(-1, keepdim=True), tasks["split"])
    torch.testing.assert_close(family.flow_ratios(rate, tasks).sum(-1), tasks["load"])
    assert 0.4 <= float(tasks["load"].min()) and float(tasks["load"].max()) <= 0.9
    beyond = qs.NativeTasks(family).sample(500, "extrapolation", counter(0, 0, "tasks"))
    assert float(beyond["load"].max()) > 1 and not ((beyond["load"] > 0.4) & (beyond["load"] < 0.9)).any()


def test_arrivals_are_as_many_as_the_demand():
    family = TrafficSignal()
    tasks, states, _ = lived(family, 600, 120)
    expected = family.demand(torch.zeros(600), tasks).sum(-1) * 600
    assert float((states[-1].arrived / expected).mean()) == pytest.approx(1, abs=0.005)


def test_dead_detectors_read_zero_and_others_count_to_twenty():
    family = TrafficSignal()
    tasks, states, _ = lived(family, 200, 100)
    seen = family.observation(states[-1], tasks)[..., :8] * 20
    torch.testing.assert_close(seen, states[-1].queue.clamp(max=20) * ~tasks["dead"])
    assert float(tasks["dead"].float().mean()) == pytest.approx(family.dead, abs=0.05)


def test_a_controller_knows_how_long_detectors_were_silent_and_phases_red():
    family = TrafficSignal()
    tasks, states, _ = lived(family, 50, 40)
    silent, since = torch.zeros(50, 8), torch.zeros(50, 4)
    for state in states[1:]:
        shown = family.observation(state, tasks)
        silent = torch.where(shown[:, :8] > 0, 0.0, silent + 5)
        since = torch.where(shown[:, 8:12] > 0, 0.0, since + 5)
    torch.testing.assert_close(shown[:, 12:24] * 120, torch.cat([silent, since], -1).clamp(max=120))


@pytest.mark.parametrize("every", [1, 12])
def test_an_episode_pays_for_all_waiting_when_it_is_reported(every: int):
    family = TrafficSignal(report_every=every)
    tasks, states, actions = lived(family, 20, 24)
    paid = [
        family.reward(before, action, state, tasks, torch.zeros(0))
        for before, action, state in zip(states, actions, states[1:], strict=False)
    ]
    torch.testing.assert_close(torch.stack(paid).sum(0), -states[-1].waited / 3600)
    assert all(bool((pay == 0).all()) == ((step + 1) % every > 0) for step, pay in enumerate(paid))


def test_a_change_point_turns_the_demand_at_its_time():
    family = TrafficSignal(change_point=True)
    tasks = qs.NativeTasks(family).sample(50, "train", counter(0, 0, "tasks"))
    before, after = (family.demand(tasks["change"] * 1800 + shift, tasks) for shift in (-1, 1))
    plain = {name: value for name, value in tasks.items() if name not in ("later", "change")}
    torch.testing.assert_close(before, TrafficSignal().demand(torch.zeros(50), plain))
    torch.testing.assert_close(after, TrafficSignal().demand(torch.zeros(50), plain | {"split": tasks["later"]}))


def test_a_full_bay_closes_a_through_lane():
    family, task = TrafficSignal(bay=5), task_of(0.5)
    start = family.initial(task, torch.zeros(1, 0, dtype=torch.float64))
    queue = torch.full((1, 8), 30.0, dtype=torch.float64)
    queue[0, 2] = 4.0  # north's bay has room, south's has none
    state = family.moved(start._replace(queue=queue), torch.zeros(1, dtype=torch.long), task, torch.zeros(1, 8))
    assert (queue - state.queue)[0, :2].tolist() == [5.0, 2.5]


def test_figures_are_what_the_last_step_of_an_episode_tells():
    tasks = make("traffic-signal", max_episode_steps=36, episodes_per_trial=2)
    found = qs.evaluate(qs.Random(tasks), num_tasks=40)
    arrived = 180 * TrafficSignal().demand(torch.zeros(40), found.drawn).sum(-1)
    waited = -found.returns.double().mean(1) * 3600
    assert float((found.figures["delay per vehicle"].mean(1) * arrived).sum() / waited.sum()) == pytest.approx(1, abs=0.05)
    assert set(found.figures) == {"delay per vehicle", "stops per vehicle", "longest queue", "throughput"}


def test_the_last_report_is_at_the_end():
    family = TrafficSignal(report_every=7, max_episode_steps=24)
    _, states, _ = lived(family, 20, 24)
    assert torch.equal(states[-1].reported, states[-1].waited) and not torch.equal(states[-2].reported, states[-2].waited)
