"""A planner that counts what it meets, against plans worked out by hand and a loop over the steps of each trial."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import lived
from probes import HiddenLedge
from torch import Tensor

import quickstudy as qs
from quickstudy.ops.planning import MDP, Seen, at_state, nothing_seen, plan, posterior_mean, values_at, with_step
from quickstudy.parts.planner import Planner, advice, planner_for
from quickstudy.protocol import Percept, counter


def some_mdps(*lead: int) -> MDP:
    generator = counter(0, 0, "mdps")
    rewards = torch.randn(*lead, 4, 2, generator=generator)
    return MDP(rewards, torch.rand(*lead, 4, 2, 4, generator=generator).softmax(-1) * 0.9)


def test_values_at_a_state_are_those_of_the_whole_plan_whatever_is_left():
    mdps, horizon = some_mdps(3, 2), 5
    state, steps = torch.tensor([[0, 3], [2, 1], [3, 3]]), torch.tensor([[5, 1], [3, 2], [4, 5]])
    whole = plan(mdps, horizon)
    for task in range(3):
        for lane in range(2):
            expected = whole[task, lane, horizon - steps[task, lane], state[task, lane]]
            torch.testing.assert_close(values_at(mdps, state, steps)[task, lane], expected)


def percept(action: int, reward: float, arrival: int, *, terminated: bool = False, first: bool = False) -> Percept:
    whole, number = (lambda value: torch.tensor([[value]])), torch.tensor([[reward]])
    ends = whole(terminated), whole(False)
    return Percept(
        whole(0 if terminated else arrival), whole(first or terminated), whole(action), number, whole(arrival), *ends
    )


def test_what_terminates_is_worth_what_it_paid_and_nothing_after():
    """Action 0 led from state 0 to state 1 once, and once to an end: a quarter of what comes after is lost."""
    seen = nothing_seen(1, 1, states=1 + 1, actions=2)
    state = torch.zeros(1, 1, dtype=torch.long)
    for step in (percept(0, 3.0, 1), percept(0, 3.0, 1, terminated=True)):
        seen = with_step(seen, state, step)
    assert seen.visits.tolist() == [[[[2, 0], [0, 0]]]] and seen.reward.tolist() == [[[[6, 0], [0, 0]]]]
    mdp = posterior_mean(seen, 1.0)
    assert mdp.rewards[0, 0, 0].tolist() == pytest.approx([7 / 3, 1])
    assert mdp.transitions[0, 0, 0].flatten().tolist() == pytest.approx([1 / 4, 2 / 4, 1 / 2, 1 / 2])
    # with two steps to go: 7/3 + 1/4 of 7/3 + 2/4 of 1
    values = values_at(mdp, state, torch.full((1, 1), 2))
    assert values[0, 0].tolist() == pytest.approx([7 / 3 + 7 / 12 + 1 / 2, 1 + (7 / 3 + 1) / 2])


def by_hand(planner: Planner, trial: Percept, length: int) -> list[Tensor]:
    """The advice at each step of one trial, counted in lists and planned whole."""
    visits = torch.zeros(planner.states, planner.actions)
    reward, arrivals = visits.clone(), torch.zeros(planner.states, planner.actions, planner.states)
    found, elapsed, before = [], 0, 0
    for step in range(length):
        if step:
            action = int(trial.action[step])
            visits[before, action] += 1
            reward[before, action] += trial.reward[step]
            arrivals[before, action, int(trial.arrival[step])] += not trial.terminated[step]
        elapsed = 0 if trial.first[step] else elapsed + 1
        before = int(trial.observation[step])
        means = (planner.prior_mean + reward) / (1 + visits)
        chances = (1 + arrivals) / (planner.states + visits)[..., None]
        values = plan(MDP(means, chances), planner.horizon)[elapsed, before]
        found.append(torch.cat([values - values.max(), (1 + visits[before]).log()]))
    return found


@pytest.mark.parametrize("tasks", [qs.NativeTasks(HiddenLedge(numbered=True)), qs.tasks.make("tabular-mdp", states=4)])
def test_its_advice_is_the_plan_for_what_was_met(tasks: Any):
    """In trials whose episodes end at different times, some by a fall."""
    planner = planner_for("test", tasks, 0.5)
    experience = lived(qs.Random(tasks), 6, 3, 30)
    memory, advised = planner.initial_memory(6, 1), []
    for step in range(experience.valid.shape[2]):
        reckoned, memory = planner.look(Percept(*(part[:, :, step] for part in experience.percept)), memory)
        advised.append(advice(reckoned))
    for trial in range(6):
        length = int(experience.valid[trial, 0].sum())
        lone = Percept(*(part[trial, 0] for part in experience.percept))
        for step, expected in enumerate(by_hand(planner, lone, length)):
            torch.testing.assert_close(advised[step][trial, 0], expected, atol=1e-4, rtol=1e-4)


def test_who_has_counted_without_end_knows_the_mdp():
    """Counts in proportion to the truth, so many that no prior matters: the best action of every state at every step."""
    tasks = qs.tasks.make("tabular-mdp", states=5)
    planner, much = planner_for("test", tasks, 1.0), 2.0**24
    drawn = tasks.sample(30, "test", counter(0, 0, "tasks"))
    truth = MDP(drawn["rewards"][:, None], drawn["transitions"][:, None])
    seen = Seen(torch.full_like(truth.rewards, much), much * truth.rewards, much * truth.transitions)
    optimal = plan(truth, planner.horizon)
    never, zero = torch.zeros(30, 1, dtype=torch.bool), torch.zeros(30, 1)
    for step in range(planner.horizon):
        for state in range(5):
            here = torch.full((30, 1), state)
            memory = seen._asdict() | {"before": here, "elapsed": torch.full((30, 1), step)}
            step_before = Percept(here, never, torch.zeros_like(here), zero, here, never, never)
            memory |= {"before": torch.zeros_like(here)}
            reckoned, _ = planner.look(step_before, memory)
            assert torch.equal(reckoned.values.argmax(-1), optimal[:, :, step, state].argmax(-1))


def test_it_never_writes_into_the_memory_that_it_is_given():
    tasks = qs.tasks.make("tabular-mdp", states=3)
    planner = planner_for("test", tasks, 1.0)
    memory = planner.initial_memory(2, 1)
    experience = lived(qs.Random(tasks), 2, 1, 3)
    for step in range(3):
        kept = {name: value.clone() for name, value in memory.items()}
        _, later = planner.look(Percept(*(part[:, :, step] for part in experience.percept)), memory)
        assert all(torch.equal(memory[name], value) for name, value in kept.items())
        memory = later
    assert float(memory["visits"].sum()) == 4 and at_state(memory["visits"], memory["before"]).shape == (2, 1, 5)


@pytest.mark.parametrize("family", ["point-navigation", "frozen-lake", "grid-navigation"])
def test_what_has_no_table_is_refused_in_a_line(family: str):
    tasks = qs.tasks.make(family, **{"view": "drawn"} if family == "grid-navigation" else {})
    with pytest.raises(qs.UsageError, match="rl3 plans in tables: observations and actions must be Discrete, these are "):
        planner_for("rl3", tasks, 1.0)
