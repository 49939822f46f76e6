"""Where the agent went: the trials that are shown are those that the evaluator scores."""

from __future__ import annotations

import pytest
import torch

import quickstudy as qs
from quickstudy.report.trials import first_different, live_trials
from quickstudy.report.world import world

GRID = {"size": 3, "max_episode_steps": 4, "episodes_per_trial": 3}


def test_its_trials_are_those_of_the_evaluation():
    agent = qs.RL2(qs.tasks.make("grid-navigation", **GRID), qs.RL2.Config(hidden_size=8))
    scored = qs.evaluate(agent, num_tasks=9, seed=3)
    lived = live_trials(agent, batch=1024, num_tasks=9, seed=3)
    found = world(lived)
    assert found is not None
    for row, trial in zip(lived.shown, found["trials"], strict=True):
        assert [episode["totals"][-1] for episode in trial["episodes"]] == pytest.approx(scored.returns[row].tolist())
        assert lived.tasks["goal"][row].tolist() == scored.drawn["goal"][row].tolist()
        for number, episode in enumerate(trial["episodes"]):
            arrived = lived.episodes[number].transition.arrival[row, 0]
            cells = [0, *arrived.tolist()]
            assert episode["trace"] == [[cell % 3, cell // 3] for cell in cells] and episode["steps"] == [0, 1, 2, 3, 4]


def test_what_is_hidden_from_the_agent_is_told_apart():
    lived = live_trials(qs.Random(qs.tasks.make("grid-navigation", **GRID)), batch=8, num_tasks=2)
    found = world(lived)
    assert found is not None
    for task, trial in zip(lived.shown, found["trials"], strict=True):
        [episode, *_] = trial["episodes"]
        shapes = [found["shapes"][number] for number in (*episode["ground"][0], *episode["figures"][0])]
        hidden = [shape for shape in shapes if shape[1]]
        row, column = lived.tasks["goal"][task].tolist()
        # the cell and the star in it
        assert len(hidden) == 2
        for _, _, _, points in hidden:
            assert (min(points[::2]) + max(points[::2])) / 2 == pytest.approx(column, abs=0.01)
            assert min(points[1::2]) > row - 0.51 and max(points[1::2]) < row + 0.51


def test_long_episodes_are_thinned_out_and_their_ends_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("quickstudy.report.world.MOMENTS", 60)
    agent = qs.Random(qs.tasks.make("point-navigation", max_episode_steps=25, episodes_per_trial=2))
    lived = live_trials(agent, batch=8, num_tasks=3)
    found = world(lived)
    assert found is not None and found["every"] == 3
    episode = found["trials"][2]["episodes"][1]
    assert episode["steps"] == [*range(0, 25, 3), 25]
    places = torch.cat([torch.zeros(1, 2), lived.episodes[1].transition.arrival[2, 0]])
    torch.testing.assert_close(torch.tensor(episode["trace"]), places[episode["steps"]], atol=1e-3, rtol=1e-3)
    assert all(abs(end) >= abs(place) for place, end in zip(episode["trace"][-1], found["trials"][2]["view"][2:], strict=True))


def test_an_episode_ends_where_its_own_lane_does():
    lived = live_trials(qs.Random(qs.tasks.make("cart-pole")), batch=8, num_tasks=4)
    found = world(lived)
    assert found is not None
    for row, trial in zip(lived.shown, found["trials"], strict=True):
        assert [episode["steps"][-1] for episode in trial["episodes"]] == [
            lived.trial.lengths(row)[0],
            lived.trial.lengths(row)[1],
        ]
        assert trial["episodes"][0]["trace"] is None
    assert len({trial["episodes"][0]["steps"][-1] for trial in found["trials"]}) > 1


def test_tasks_without_shapes_have_no_picture_and_equal_ones_are_shown_once():
    assert world(live_trials(qs.Random(qs.tasks.make("tabular-mdp")), batch=4, num_tasks=2)) is None
    assert first_different({"goal": torch.tensor([[1, 2], [1, 2], [2, 1], [1, 2]])}, 4) == [0, 2]
    assert first_different({}, 4) == [0]
