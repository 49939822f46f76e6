"""What a planner's model foresaw, as plain values of a page: against the model's own answer, and drawn."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import drawn, opened, placed
from made_up import contents
from small import TINY

import quickstudy as qs
from quickstudy.algorithms import algorithm
from quickstudy.insight import Foreseen, Foresees, foreseen_by
from quickstudy.report.contents import of_trials
from quickstudy.report.foreseen import around, foreseen, over_tasks, story
from quickstudy.report.page import page as html
from quickstudy.report.trials import Lived, live_trials
from quickstudy.wrappers.normalised import Normalisation, Normalised

PENDULUM = {"changes": True, "max_episode_steps": 12, "episodes_per_trial": 2}


@cache
def lived_by(name: str) -> tuple[Lived, Foreseen]:
    """Trials of an untrained planner in a world that changes, and what its model foresaw, 12 steps ahead."""
    entry = algorithm(name)
    lived = live_trials(entry.make(qs.tasks.make("pendulum", **PENDULUM), entry.config(**TINY[name])), batch=8, num_tasks=5)
    assert isinstance(lived.agent, Foresees)
    return lived, foreseen_by(lived.agent, lived.trial, 12)


@pytest.mark.parametrize("name", ["grbal", "mpc"])
def test_a_page_holds_what_the_model_foresaw(name: str):
    lived, found = lived_by(name)
    told = foreseen(lived)
    assert told is not None and (told["ahead"], told["tasks"], told["features"]) == (12, 5, 4)
    for number, error in enumerate(found.error):
        torch.testing.assert_close(torch.tensor(told["errors"][number]["middle"]), error.median(0).values, rtol=1e-2, atol=0)
        for task, trial in zip(lived.shown, told["trials"], strict=True):
            episode = trial["episodes"][number]
            assert episode["errors"]["middle"] == pytest.approx(error[task].tolist(), rel=1e-2)
            begun = lived.episodes[number].percept.observation[task, 0, 0]
            assert [path[0] for path in episode["lived"]["features"]] == pytest.approx(begun.tolist(), rel=1e-3)
            [path] = episode["foreseen"]
            assert path["steps"] == list(range(13)) and [each[0] for each in path["features"]] == pytest.approx(
                begun.tolist(), rel=1e-3
            )
            torch.testing.assert_close(
                torch.tensor(path["features"]).T[1:], found.features[number][task, 0], rtol=1e-3, atol=1e-6
            )
    for task, trial in zip(lived.shown, told["trials"], strict=True):
        assert trial["change"] == math.ceil(float(lived.tasks["change_step"][task]))


@pytest.mark.parametrize("name", ["grbal", "mpc"])
def test_a_run_is_drawn(name: str, browser: Any, tmp_path: Path):
    lived, _ = lived_by(name)
    shown = contents() | of_trials(lived)
    (tmp_path / "report.html").write_text(html(shown))
    with opened(browser, tmp_path / "report.html") as (page, wrong):
        page.select_option("#foreseen select >> nth=0", index=2)
        page.select_option("#foreseen select >> nth=1", index=1)
        episode = shown["foreseen"]["trials"][2]["episodes"][1]
        for feature in range(4):
            chart = f"#foreseen .controls ~ .beside > div:nth-child({feature + 2}) .chart"
            for kind, path in (("lived", episode["lived"]), ("foretold", episode["foreseen"][0])):
                points = list(zip(path["steps"], path["features"][feature], strict=True))
                assert drawn(page, chart, f"[aria-description={kind}] path") == placed(page, chart, points)
        assert "the world has changed" in page.inner_text("#foreseen")
    assert not wrong


def test_around_its_change_each_task_is_moved_to_its_own():
    """The error jumps to 1 at the change of each task and falls to .5 two steps later; one task has ended by then."""
    error, changes = torch.zeros(3, 20), torch.tensor([5, 9, 13])
    for task, change in enumerate(changes.tolist()):
        error[task, change : change + 2], error[task, change + 2 :] = 1, 0.5
    error[2, 14:] = math.nan
    [found] = around([error], changes, 5)
    assert found["steps"] == list(range(-5, 5))
    assert found["middle"] == found["low"] == found["high"] == [0] * 5 + [1, 1, 0.5, 0.5, 0.5]
    assert story([error], changes, 5) == {"before": 0, "at": 1, "later": 0.5, "from": 0, "to": 5}


def test_steps_that_no_task_had_are_left_out():
    error = torch.tensor([[1.0, 2.0, math.nan, math.nan], [3.0, math.nan, math.nan, math.nan]])
    assert over_tasks(error, range(4)) == {"steps": [0, 1], "low": [1.5, 2], "middle": [2, 2], "high": [2.5, 2]}


def test_a_world_that_does_not_change_and_an_agent_without_a_model():
    entry, tasks = algorithm("grbal"), qs.tasks.make("cart-pole", max_episode_steps=12, episodes_per_trial=2)
    told = foreseen(live_trials(entry.make(tasks, entry.config(**TINY["grbal"])), batch=8, num_tasks=3))
    assert told is not None and told["around"] is None and told["story"] is None
    assert {trial["change"] for trial in told["trials"]} == {None}
    assert foreseen(live_trials(qs.Random(tasks), batch=8, num_tasks=2)) is None


def test_a_normalised_planner_has_its_picture():
    entry, tasks = algorithm("mpc"), qs.tasks.make("pendulum", **PENDULUM)
    agent = Normalised(entry.make(tasks, entry.config(**TINY["mpc"])), Normalisation(normalise_observation=True))
    assert of_trials(live_trials(agent, batch=8, num_tasks=3))["foreseen"]["features"] == 4
