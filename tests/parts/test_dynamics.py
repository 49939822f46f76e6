"""A model of steps: what it learns from, in which units, and plans tried in it against a loop over their steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probes import HiddenLedge, HiddenSide
from torch import Tensor

import quickstudy as qs
from quickstudy.data.rollout import Plan, collect
from quickstudy.parts.belief import as_records
from quickstudy.parts.collecting import trial_steps
from quickstudy.parts.dynamics import (
    Steps,
    Units,
    aims_of,
    by_member,
    evidence_of,
    evidence_size,
    foretold,
    imagined_returns,
    last_step,
    model_loss,
    no_scales,
    pack,
    packed_size,
    pushed,
    read,
    require_vectors,
    step_error,
    steps_of,
    units_of,
    unpack,
    up_to_the_end,
    with_steps,
)
from quickstudy.protocol import Experience, Shard, counter
from quickstudy.work import LocalSite


def some_steps(*lead: int, features: int = 3, actions: int = 2) -> Steps:
    draws = counter(0, 0, "steps")
    seen, arrival = (2 + torch.randn(*lead, features, generator=draws) for _ in range(2))
    flags = (torch.rand(2, *lead, generator=draws) < torch.tensor([0.2, 0.8]).view(2, *[1] * len(lead))).unbind(0)
    action = torch.randn(*lead, actions, generator=draws)
    return Steps(seen, action, torch.randn(*lead, generator=draws), arrival, *flags)


def units() -> Units:
    """Of a world of three features, in which episodes end."""
    return Units(
        torch.tensor([1.0, 2.0, 3.0]),
        torch.tensor([1.0, 2.0, 0.5]),
        torch.tensor([0.0, 0.0, 0.0, 5.0]),
        torch.tensor([0.1, 0.2, 0.3, 4.0]),
        torch.tensor(1.0),
    )


def lives(tasks: int = 6) -> tuple[Any, Experience]:
    """Trials of random walks, whose episodes end by falls and at time limits."""
    world = qs.NativeTasks(HiddenLedge())
    agent = qs.Random(world)
    site = LocalSite(world)
    return world, collect(site, Plan(agent.explorer(), 1, trial_steps(world), 3), Shard(0, 0, 0, tasks, "train"))


def test_recorded_steps_are_those_that_were_lived_and_know_where_each_led():
    world, experience = lives()
    steps = steps_of(world, as_records(world, experience, trial_steps(world)))
    valid = experience.valid[:, 0]
    long = steps.valid.shape[1]
    assert (
        torch.equal(steps.valid[:, : valid.shape[1]], valid) and not bool(steps.valid[:, valid.shape[1] :].any()) and long == 15
    )
    lived = steps.valid
    # a step moves by one, at the end of an episode too, where the next observation is that of a new one
    torch.testing.assert_close((steps.arrival - steps.seen)[lived].abs(), torch.ones(int(lived.sum()), 1))
    assert torch.equal(steps.ends[lived], (steps.arrival[lived].abs() >= 3)[:, 0])


def test_moments_are_those_of_all_lived_steps_however_they_came():
    steps = some_steps(40)
    at_once = with_steps(no_scales(qs.NativeTasks(Wide()), "cpu"), steps)
    parts = no_scales(qs.NativeTasks(Wide()), "cpu")
    for at in (slice(0, 7), slice(7, 40)):
        parts = with_steps(parts, Steps(*(part[at] for part in steps)))
    for one, other in zip(at_once, parts, strict=True):
        torch.testing.assert_close(one.mean, other.mean)
        torch.testing.assert_close(one.std, other.std)
    lived = steps.seen[steps.valid]
    found = units_of(at_once)
    torch.testing.assert_close(found.center, lived.mean(0))
    torch.testing.assert_close(found.spread, lived.std(0, correction=0))
    change = (steps.arrival - steps.seen)[steps.valid]
    torch.testing.assert_close(found.aim_spread[:3], change.square().mean(0).sqrt())
    assert float(found.ending) == 1


class Wide(HiddenSide):
    """Three features."""

    @property
    def observation_space(self) -> Any:
        from gymnasium import spaces

        return spaces.Box(-1, 1, (3,))


def test_where_nothing_was_seen_the_units_are_one_and_no_end_is_feared():
    found = units_of(no_scales(qs.NativeTasks(Wide()), "cpu"))
    assert found.spread.tolist() == [1, 1, 1] and found.aim_spread.tolist() == [1, 1, 1, 1] and float(found.ending) == 0


def test_steps_after_an_episodes_end_belong_to_another_one():
    ended = torch.tensor([[False, True, False, True], [False, False, False, False], [True, False, False, False]])
    valid = torch.ones_like(ended)
    valid[1, 3] = False
    expected = [[True, True, False, False], [True, True, True, False], [True, False, False, False]]
    assert up_to_the_end(valid, ended).tolist() == expected


def outputs_of(inputs: Tensor, size: int) -> Tensor:
    """Some smooth function of what a model reads."""
    matrix = torch.randn(inputs.shape[-1], size, generator=counter(0, 0, "outputs")) / 4
    return (inputs @ matrix).sin()


@pytest.mark.parametrize("beside", [0, 2])
def test_plans_return_what_a_loop_over_their_steps_says(beside: int):
    """In one lane after another, with ends that may come and what the model reads beside."""
    draws = counter(0, 0, "plans")
    seen, plans = torch.randn(2, 3, 3, generator=draws), torch.randn(2, 3, 4, 5, 2, generator=draws)
    told = torch.randn(2, 3, beside, generator=draws)
    forward = lambda inputs: outputs_of(inputs, 5)  # noqa: E731
    found = imagined_returns(forward, units(), seen, plans, 0.9, beside=told if beside else None)
    for task in range(2):
        for lane in range(3):
            for candidate in range(4):
                state, alive, total = seen[task, lane], 1.0, 0.0
                for time in range(5):
                    near = ((state - units().center) / units().spread).clamp(-10, 10)
                    outputs = outputs_of(torch.cat([near, plans[task, lane, candidate, time], told[task, lane]]), 5)
                    total += 0.9**time * alive * float(5 + 4 * outputs[3])
                    alive *= 1 - float(outputs[4].sigmoid())
                    state = state + torch.tensor([0.1, 0.2, 0.3]) * outputs[:3]
                assert abs(float(found[task, lane, candidate]) - total) < 1e-4


def test_ends_that_never_came_are_not_feared():
    seen, plans = torch.zeros(1, 1, 3), torch.zeros(1, 1, 1, 3, 2)
    forward = lambda inputs: torch.tensor([0.0] * 4 + [9.0]).expand(*inputs.shape[:-1], 5)  # noqa: E731
    without = imagined_returns(forward, units()._replace(ending=torch.tensor(0.0)), seen, plans, 1.0)
    assert float(without) == 15 and abs(float(imagined_returns(forward, units(), seen, plans, 1.0)) - 5) < 0.01


def test_particles_keep_to_one_member_from_beginning_to_end():
    """Two members that walk in opposite directions: a particle that changed sides would come back."""
    members = torch.tensor([1.0, -1.0])

    def net(inputs: Tensor) -> Tensor:
        where = inputs[..., :1] * units().spread[0] + units().center[0]
        step = members[:, None, None].expand(*inputs.shape[:2], 1) / units().aim_spread[0]
        pay = (where.square() - units().aim_center[3]) / units().aim_spread[3]
        nothing = torch.zeros_like(step)
        return torch.cat([step, nothing, nothing, pay, nothing], -1)

    still = units()._replace(ending=torch.tensor(0.0))
    found = imagined_returns(by_member(net, 2), still, torch.zeros(1, 1, 3), torch.zeros(1, 1, 1, 4, 2), 1.0, particles=4)
    assert abs(float(found) - (0 + 1 + 4 + 9)) < 1e-3


def test_gaussian_steps_are_drawn_with_their_deviation():
    """One step from 0 whose reward has deviation 4 exp(-.5): the mean over candidates and particles has the right spread."""
    plans = torch.zeros(1, 1, 20_000, 1, 2)
    forward = lambda inputs: torch.tensor([0.0] * 4 + [-1.0] * 4 + [0.0]).expand(*inputs.shape[:-1], 9)  # noqa: E731
    found = imagined_returns(forward, units(), torch.zeros(1, 1, 3), plans, 1.0, generator=counter(0, 0, "draws"))
    told = foretold(units(), forward(torch.zeros(1, 5)))
    assert told.log_variance is not None
    expected = 4 * float((0.5 * told.log_variance[0, 3]).exp())
    assert abs(float(found.mean()) - 5) < 0.1 and abs(float(found.std()) / expected - 1) < 0.03


def test_a_rows_error_is_half_the_squared_distance_and_the_ends_surprise():
    steps = some_steps(4)
    aims = aims_of(units(), steps)
    torch.testing.assert_close(aims[..., :3] * units().aim_spread[:3], steps.arrival - steps.seen)
    torch.testing.assert_close(aims[..., 3] * 4 + 5, steps.reward)
    told = foretold(units(), torch.cat([aims + 0.2, torch.zeros(4, 1)], -1))
    error = step_error(told, aims, steps.ends)
    torch.testing.assert_close(error, torch.full((4,), 0.02 + 0.02 + 0.6931472))
    sure = told._replace(aim=aims, ends=torch.where(steps.ends, 30.0, -30.0))
    torch.testing.assert_close(step_error(sure, aims, steps.ends), torch.zeros(4), rtol=0, atol=1e-6)


def test_steps_that_never_were_count_for_nothing():
    steps = some_steps(30)
    outputs = torch.randn(30, 5, generator=counter(0, 0, "told"))
    lived = Steps(*(part[steps.valid] for part in steps))
    torch.testing.assert_close(model_loss(units(), outputs, steps), model_loss(units(), outputs[steps.valid], lived))
    told = evidence_of(units(), steps)
    assert told.shape[-1] == evidence_size(3, 2)
    assert not bool(told[~steps.valid].any()) and bool((told[steps.valid][:, -1] == 1).all())


def test_rows_of_a_memory_are_the_steps_again():
    steps = some_steps(3, 4)
    rows = pack(steps)
    assert rows.shape[-1] == packed_size(3, 2)
    for one, other in zip(steps, unpack(rows, 3), strict=True):
        assert torch.equal(one, other)


def test_a_memory_holds_the_last_steps_of_the_trial():
    """Folded step by step over a trial, against the recorded steps themselves; where a trial begins there was none."""
    world, experience = lives()
    steps = steps_of(world, as_records(world, experience, trial_steps(world)))
    past, before = torch.zeros(6, 1, 4, packed_size(1, 2)), torch.zeros(6, 1, 1)
    for time in range(experience.valid.shape[2]):
        percept = type(experience.percept)(*(part[:, :, time] for part in experience.percept))
        past = pushed(past, pack(last_step(world, percept, before)))
        before = percept.observation
        for task in range(6):
            if not bool(experience.valid[task, 0, time]):
                continue
            held = unpack(past[task, 0], 1)
            recent = range(max(0, time - 4), time)
            assert int(held.valid.sum()) == len(recent)
            for place, step in zip(range(4 - len(recent), 4), recent, strict=True):
                for one, other in zip(held, steps, strict=True):
                    torch.testing.assert_close(one[place], other[task, step])


def test_what_is_read_stays_near_what_was_seen():
    seen = torch.tensor([[1e6, 2.0, 3.0]])
    assert read(units(), seen, torch.zeros(1, 2)).tolist() == [[10, 0, 0, 0, 0]]


def test_images_and_texts_are_refused():
    with pytest.raises(qs.UsageError, match="mpc predicts vectors, not images, sounds or texts"):
        require_vectors("mpc", qs.tasks.make("mission"))
