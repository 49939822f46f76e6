"""Tasks told by texts and objects, through everything that shows a task: they are shown in their own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.live.play import Player
from quickstudy.protocol import counter
from quickstudy.report.steps import named
from quickstudy.report.tasks import task_map
from quickstudy.report.trials import live_trials
from quickstudy.video.frames import told


class Curve:
    """An object of somebody's own."""

    def __init__(self, corners: int):
        self.corners = corners

    def __repr__(self) -> str:
        return f"Curve of {self.corners}"


class Race(gymnasium.Env[Any, Any]):
    """Two steps; the track is a text, the curve an object, the laps a number to count to."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 Gymnasium's name and type
    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)
    track, curve, laps = "oval", Curve(0), 1
    broken = False
    render_mode = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        if self.broken:
            raise RuntimeError("off the track")
        rest = sum(self.curve.corners for _ in range(self.laps)) + len(self.track)
        return np.array([action, rest / 100], np.float32), float(rest), False, False, {}

    def render(self) -> Any:
        return np.zeros((8, 8, 3), np.uint8)


class Broken(Race):
    broken = True


def races(env: Any = Race) -> qs.GymnasiumTasks:
    return qs.GymnasiumTasks(
        env, max_episode_steps=2, track=qs.Choice("oval", "eight"), curve=qs.Choice(Curve(2), Curve(3)), laps=qs.Choice(1, 2, 3)
    )


def test_a_learner_is_trained_and_judged_on_them():
    for make in (qs.RL2, lambda tasks, config: qs.MultiTask(qs.Informed(tasks), config)):
        config = qs.RL2.Config(trials=8, hidden_size=4, minibatches=1) if make is qs.RL2 else qs.MultiTask.Config(n_envs=8)
        learner: Any = make(races(), config)
        qs.train(learner, iterations=1, quiet=True, threads=1)
        evaluation = qs.evaluate(learner, num_tasks=40)
        drawn = evaluation.drawn
        assert {name: value.dtype for name, value in drawn.items()} == dict.fromkeys(drawn, torch.int64)
        rests = (drawn["curve"] + 2) * drawn["laps"] + torch.tensor([4, 5])[drawn["track"]]
        torch.testing.assert_close(evaluation.returns[:, 0], 2.0 * rests)
        assert json.dumps(evaluation.as_json())


def test_they_are_shown_in_their_own_words():
    tasks = races()
    agent = qs.Random(tasks)
    found = task_map([qs.evaluate(agent, num_tasks=20)], tasks.parameters)
    assert found["axes"][0]["words"] == {0: "oval", 1: "eight"} and found["axes"][1]["words"] == {
        0: "Curve of 2",
        1: "Curve of 3",
    }
    lived = live_trials(agent, batch=4, num_tasks=4)
    for task in range(4):
        assert named(lived, task) == {
            "track": ["oval", "eight"][lived.tasks["track"][task]],
            "curve": ["Curve of 2", "Curve of 3"][lived.tasks["curve"][task]],
            "laps": int(lived.tasks["laps"][task]),
        }
    film = qs.film(agent, task=1, num_tasks=4, episodes=1)
    texts = told(film.parameters, film.words)
    assert texts.startswith(("track oval, curve Curve of ", "track eight, curve Curve of ")) and texts[-1] in "123"


def test_they_can_be_set_on_a_page():
    player = Player(qs.Random(races()), episodes=1)
    assert [field.options for field in player.fields] == [["oval", "eight"], ["Curve of 2", "Curve of 3"], ["1", "2", "3"]]
    task, luck = player.picked({"track": 1.0, "curve": 0.0, "laps": 2.0, "luck": 3.0})
    first, *episodes = player.trial(task, luck)
    assert first["task"] == "track eight; curve Curve of 2; laps 3"
    assert first["values"] == {"track": 1.0, "curve": 0.0, "laps": 2.0}
    assert episodes[0]["total"] == 2 * (2 * 3 + 5)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_names_them_and_its_record_lives_them_again(workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tasks = races(Broken)
    tasks.workers = workers
    env = tasks.make(2, 1)
    drawn = tasks.sample(2, "train", counter(0, 0, "tasks")) | {"track": torch.tensor([1, 0]), "curve": torch.tensor([0, 1])}
    env.reset(drawn, counter(0, 0, "dynamics"))
    try:
        with pytest.raises(qs.EnvironmentFault, match=r"task 0 \(track=eight, curve=Curve of 2, laps=\d\)") as caught:
            env.step(torch.zeros(2, 1, dtype=torch.long))
    finally:
        env.close()
    (tmp_path / "fault.json").write_text(json.dumps(caught.value.replay))
    assert main(["check", f"{__file__}:broken", "--replay", str(tmp_path / "fault.json")]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("track=eight, curve=Curve of 2, laps=") and "off the track" in said.err
    assert json.loads((tmp_path / "fault.json").read_text())["parameters"]["track"] == 1


def test_what_cannot_be_sent_to_a_worker_is_refused_where_there_are_workers():
    rules = qs.Choice(lambda speed: speed, lambda speed: 2 * speed)
    for workers in (0, 2):
        make = lambda workers=workers: qs.GymnasiumTasks(Race, max_episode_steps=2, track=rules, workers=workers)  # noqa: E731
        if workers:
            with pytest.raises(qs.UsageError, match="track can be a function, which can't be sent to a worker process"):
                make()
        else:
            assert callable(make().parameters["track"].env_values(torch.tensor([1]))[0])


def test_two_objects_that_hold_the_same_are_one_value():
    with pytest.raises(qs.UsageError, match="Curve of 2 is listed twice"):
        qs.Choice(Curve(2), Curve(3), Curve(2))


def test_the_checker_judges_them():
    report = qs.check_tasks(races())
    assert not report.failed, str(report)
    many = qs.GymnasiumTasks(Race, max_episode_steps=2, track=qs.Choice(*("x" * number for number in range(60))))
    assert "partitioned: no task of" in str(qs.check_tasks(many))


broken = races(Broken)
