"""An environment of one's own that is seen, heard, read and felt, through all that takes observations."""

from __future__ import annotations

import math
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from levers import Levers, levers
from small import TINY

import quickstudy as qs
from quickstudy.check import drawing
from quickstudy.check.learner import train
from quickstudy.check.report import Broken
from quickstudy.check.walk import Trial
from quickstudy.data.session import Session
from quickstudy.data.session_check import require_observation
from quickstudy.errors import NotFiniteFault
from quickstudy.evaluation import evaluate
from quickstudy.live.play import Player
from quickstudy.ops.senses import Senses
from quickstudy.protocol import counter
from quickstudy.report.trials import live_trials
from quickstudy.report.world import world
from quickstudy.video.film import film
from quickstudy.video.frames import frames


def learner(tasks: Any = None) -> Any:
    return qs.RL2(tasks or levers(), qs.RL2.Config(**TINY["rl2"], language="mean"))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_part_comes_through_as_it_was_shown(workers: int):
    tasks = levers(workers=workers)
    assert isinstance(tasks.observation_space, Senses)
    env = tasks.make(3, 1)
    try:
        env.reset(tasks.sample(3, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
        step = env.step(torch.zeros(3, 1, dtype=torch.long))
        later = [env.step(torch.zeros(3, 1, dtype=torch.long)) for _ in range(3)]
    finally:
        env.close()
    assert step.observation.dtype == torch.uint8
    parts = tasks.observation_space.split(step.observation)
    alone = Levers()
    alone.reset(seed=0)
    expected = alone.step(0)[0]  # but for the vector, whatever its seed
    assert parts["image"].dtype == torch.uint8 and np.array_equal(parts["image"][2, 0], expected["image"])
    assert np.array_equal(parts["sound"][2, 0], expected["sound"])
    assert tasks.observation_space.parts["text"].decode(parts["text"][2, 0].tolist()) == "pull the right lever"
    assert parts["vector"].shape == (3, 1, 3) and len(parts["vector"][:, 0, 0].unique()) == 3
    # at the end of an episode, where it ended and where the next one begins
    for lane in range(3):
        last = next(number for number, each in enumerate(later) if bool(each.terminated[lane, 0]))
        reached, begun = (tasks.observation_space.split(seen)["image"][lane, 0, 1, :, 0] for seen in later[last][1::-1])
        assert int(reached.argmax()) == last + 2 and int(begun.argmax()) == 0


@pytest.mark.slow
def test_it_keeps_the_contract_of_tasks():
    report = qs.check_tasks(levers())
    assert not report.failed, report


def test_a_check_names_the_part_that_breaks_it():
    class Louder(Levers):
        def shown(self) -> Any:
            return super().shown() | {"sound": np.full(80, 1.5, np.float32)}

    class Wider(Levers):
        def shown(self) -> Any:
            return super().shown() | {"vector": np.zeros(3, np.float32)}

    class Telling(Levers):
        def shown(self) -> Any:
            return super().shown() | {"vector": np.array([self.side, 0, 0])}

    for env, clause, why in (
        (Louder, drawing.spaces, r"observation 'sound' entry 0 was 1.5, outside \[-1, 1\]"),
        (Wider, drawing.spaces, "an observation 'vector' of type float32, observation_space says float64"),
        (Telling, drawing.hidden_task, "first observations tell parameter 'side'"),
    ):
        with pytest.raises(Broken, match=why):
            clause(Trial(levers(env), 0))


def test_what_is_not_finite_within_a_row_is_named_with_its_place():
    class Cracks(Levers):
        def shown(self) -> Any:
            value = super().shown()
            value["sound"][7] = math.nan if self.steps == 2 else 0
            return value

    tasks = levers(Cracks)
    env = tasks.make(2, 1)
    env.reset(tasks.sample(2, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
    env.step(torch.zeros(2, 1, dtype=torch.long))
    with pytest.raises(NotFiniteFault, match=r"task 0 .*lane 0, step 1 .*observation 'sound' nan at \[7\]: NaN or infinite"):
        env.step(torch.zeros(2, 1, dtype=torch.long))
    env.close()


def live(session: Session, episodes: int = 1) -> list[int]:
    """Actions of a session in one environment."""
    env, actions = Levers(), []
    for episode in range(episodes):
        seen, ended = env.reset(seed=episode)[0], False
        while not ended:
            actions.append(int(session.act(seen)))
            seen, reward, ended, truncated, _ = env.step(actions[-1])
            session.feedback(reward, ended, truncated, seen)
    return actions


def test_a_session_is_stored_restored_and_forked_and_refuses_what_it_cannot_read(tmp_path: Path):
    agent = learner()
    session = agent.session(seed=0)
    live(session)
    env = Levers()
    seen, _ = env.reset(seed=5)
    session.act(seen)
    silent = seen | {"sound": np.full(80, math.nan, np.float32)}
    for wrong, why in ((silent, "NaN or infinity"), (seen | {"text": 3}, "'text': .* no text")):
        with pytest.raises(ValueError, match=why):
            session.feedback(0.0, observation=wrong)
    session.feedback(0.0, observation=seen)
    path = tmp_path / "session.safetensors"
    session.save(path)
    again, twin = Session.restore(path, agent), session.fork()
    assert live(session) == live(again) == live(twin)


def test_a_row_in_a_file_is_held_against_what_can_be_seen(tmp_path: Path):
    agent = learner()
    space: Any = agent.tasks.observation_space
    good = agent.tasks.encode(Levers().reset(seed=0)[0])[None, None]
    require_observation(agent, "last/observation", good)
    place = {name: space.places[name].start for name in space.parts}
    for name, byte, why in (("text", 99, "is not in Words"), ("sound", 0xFF, "NaN")):
        wrong = good.clone()
        wrong[..., place[name] : place[name] + 4] = byte
        with pytest.raises(ValueError, match=f"last/observation/{name} .*{why}"):
            require_observation(agent, "last/observation", wrong)
    with pytest.raises(ValueError, match=r"a tensor of torch\.uint8"):
        require_observation(agent, "last/observation", good.long())


def test_what_the_agent_sees_is_what_is_shown_of_it():
    pillow = pytest.importorskip("PIL.Image")
    agent = learner()
    told = list(Player(agent).trial(Player(agent).drawn(0), 0))[1:]
    shapes = [shape for part in told for shape in part["shapes"]]
    images = [pillow.open(BytesIO(b64decode(shape[5]))) for shape in shapes if shape[0] == "pixels"]
    # of codes each has a colour, no code is black; the dot walks one pixel a step
    assert [image.size for image in images] == [(6, 4)] * 4
    dots = [{(x, y) for x in range(6) for y in range(4) if image.getpixel((x, y)) != (0, 0, 0)} for image in images]
    assert dots == [{(steps, 1)} for steps in range(4)]
    assert [shape[5] for shape in shapes if shape[0] == "text"] == ["Pull the left lever!", "Pull the right lever!"]

    lived = live_trials(agent, batch=1, num_tasks=1)
    shown = world(lived)
    assert shown is not None and {shape[0] for shape in shown["shapes"]} == {"pixels", "text"}
    [first, *_] = list(frames(film(agent, episodes=1, num_tasks=1), 400))
    # scaled up without smoothing: the dot has one colour, all else of the image none
    colors = {color for _, color in first.getcolors(1 << 16)}
    dot = images[0].getpixel((0, 1))
    assert dot in colors
    assert first.width == 400


def test_it_is_learnt_from_and_evaluated():
    agent = learner()
    assert all(math.isfinite(value) for value in train(agent, 2)[-1].values())
    assert evaluate(agent, num_tasks=3).returns.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": ("Pull",)}, "vocabulary has 'Pull'; list single words in small letters"),
        ({"vocabulary": ("pull", "pull")}, "vocabulary has 'pull' twice"),
        ({"vocabulary": ("pull",), "sentences": "somewhere"}, "give vocabulary or sentences, not both"),
    ],
)
def test_a_vocabulary_is_different_words(options: Any, message: str):
    with pytest.raises(qs.UsageError, match=message):
        qs.GymnasiumTasks(Levers, side=qs.Uniform(0.0, 1.0), max_episode_steps=5, **options)


def test_words_for_what_has_none_are_refused():
    with pytest.raises(qs.UsageError, match="no part of the observation is a Text"):
        qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(0.25, 1.0), vocabulary=("go",))
