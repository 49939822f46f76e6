"""Films show what the evaluator lived, in the right places, and get into files that play."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from said import complaint

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.data.rollout import Lifetime, collect_lives
from quickstudy.evaluation import batch_of, shards_of
from quickstudy.families import FAMILIES, MUJOCO, NATIVE, drawn_families, family
from quickstudy.families.classic.key_door import KeyDoorState
from quickstudy.families.classic.mission import MissionState
from quickstudy.families.classic.mountain_car import hill_height
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import counter
from quickstudy.scene import BLUE, GOLD, GREEN, ORANGE, PURPLE, YELLOW, Disc, Line, Scene, Text, rectangle
from quickstudy.tasks.mujoco import stage
from quickstudy.tasks.mujoco.bodies import HALF_CHEETAH
from quickstudy.video.film import Film, Frame, film
from quickstudy.video.frames import frames, headings, lay_out, shortened
from quickstudy.video.raster import place, rasterise
from quickstudy.work import LocalSite

WATER = "#1d3f52"
SMALL = {"max_episode_steps": 6, "episodes_per_trial": 2}
SCENES = [name for name in drawn_families() if FAMILIES[name].simulator is NATIVE]
ROBOTS = [name for name in drawn_families() if FAMILIES[name].simulator is MUJOCO]


def color(image: Any, pixel: tuple[float, float]) -> str:
    return "#" + "".join(f"{part:02x}" for part in image.getpixel((int(pixel[0]), int(pixel[1]))))


def test_shapes_lie_where_the_view_says():
    # one unit is 10 pixels, and y goes upwards
    shapes = (rectangle((0, 0), (2, 1), BLUE), Disc((7, 4), 1, GOLD), Line(((1, 3), (4, 3)), 0.6, ORANGE))
    image = rasterise(Scene((0, 0), (10, 5), shapes, ()), (100, 50))
    assert color(image, (5, 45)) == color(image, (19, 41)) == BLUE and color(image, (21, 45)) == "#ffffff"
    assert color(image, (70, 10)) == color(image, (70, 18)) == GOLD and color(image, (70, 22)) == "#ffffff"
    assert color(image, (25, 20)) == ORANGE and color(image, (25, 25)) == "#ffffff"
    # a view of another shape than the image stands in its middle
    assert place((0, 0), Scene((0, 0), (10, 5), (), ()), (100, 100)) == ((0, 75), 10)
    assert np.asarray(rasterise(Scene((0, 0), (10, 5), (Text((5, 2.5), "S", 2, BLUE),), ()), (100, 50)))[18:32].min() < 200


def test_a_trail_runs_between_ground_and_figures():
    scene = Scene((0, 0), (10, 10), (rectangle((0, 0), (10, 10), GOLD),), (Disc((8, 5), 1, BLUE),), (8, 5))
    image = rasterise(scene.with_trail([(2, 5), (8, 5)]), (100, 100))
    assert color(image, (50, 50)) not in (GOLD, BLUE) and color(image, (50, 40)) == GOLD and color(image, (80, 50)) == BLUE


def values(name: str, **changed: Any) -> dict[str, torch.Tensor]:
    drawn = family(name)()
    task = {key: value[0] for key, value in qs.NativeTasks(drawn).sample(1, "train", counter(0, 0, "tasks")).items()}
    return task | {key: torch.as_tensor(value) for key, value in changed.items()}


HOLES = torch.zeros(5, 5, dtype=torch.bool).index_put((torch.tensor([0]), torch.tensor([3])), torch.tensor(True))
NOT, NO = torch.tensor(False), torch.tensor(0)
AT = (
    KeyDoorState(torch.tensor([3, 1]), ~NOT, NOT),
    MissionState(torch.tensor(13), torch.tensor([0, 3, -1, 15]), torch.tensor([1, 0]), torch.zeros(0), NO, NO, NOT),
)
"""Row 3, column 1, in worlds whose states have names."""
SEEN = [
    # cells: row 3, column 1 counts from below on the grid, from above on the lake
    ("grid-navigation", [3, 1], {"goal": [4, 4]}, {(1, 3): BLUE, (4, 4): YELLOW}),
    ("key-door", AT[0], {"cells": [[0, 2], [4, 1]]}, {(1, 3): BLUE, (1.35, 3.2): GOLD, (1, 4.4): PURPLE}),
    ("mission", AT[1], {"last": 3.0}, {(1, 3): BLUE, (0, 0): GREEN, (3, 0): ORANGE, (3.42, 0): YELLOW}),
    ("frozen-lake", [3, 1], {"holes": HOLES}, {(1, 1): BLUE, (3, 4): WATER, (4, 0): YELLOW}),
    ("point-navigation", [0.3, -0.2], {"goal": [-0.4, 0.4]}, {(0.3, -0.2): BLUE, (-0.4, 0.4): YELLOW}),
    ("cart-pole", [1.0, 0.0, math.pi / 6, 0.0], {"length": 0.5}, {(0.8, 0.25): BLUE, (1.25, 0.32 + 0.433): GOLD}),
    ("pendulum", [math.pi / 2, 0.0], {"length": 1.0}, {(-0.5, 0.0): BLUE, (-0.95, 0.0): BLUE}),
    ("mountain-car", [-math.pi / 6, 0.0], {}, {(-math.pi / 6, 0.1 + 0.07): BLUE}),
    (
        "mountain-car-continuous",
        [-math.pi / 6, 0.0],
        {"goal": 0.3},
        {(-math.pi / 6, 0.1 + 0.07): BLUE, (0.33, hill_height(0.3) + 0.17): YELLOW},
    ),
]


@pytest.mark.parametrize(("name", "state", "task", "expected"), SEEN, ids=[row[0] for row in SEEN])
def test_a_family_draws_its_state_where_it_is(name: str, state: Any, task: Any, expected: dict[Any, str]):
    dynamics = family(name)()
    if isinstance(state, list):
        state = torch.tensor(state, dtype=torch.long if isinstance(state[0], int) else torch.float)
    here, elsewhere = (dynamics.scene(at, values(name, **task), None) for at in (state, tree_map(torch.zeros_like, state)))
    wide, high = (here.upper[0] - here.lower[0], here.upper[1] - here.lower[1])
    size = (400, round(400 * high / wide))
    image, other = rasterise(here, size), rasterise(elsewhere, size)
    for point, wanted in expected.items():
        assert color(image, place(point, here, size)[0]) == wanted, point
        if wanted in (BLUE, GOLD):
            assert color(other, place(point, elsewhere, size)[0]) != wanted, point


DOMAINS = {"glucose": "mg/dl", "traffic-signal": "vehicles wait", "poker": "you"}
"""Families whose state is more than a place, and what their pictures say."""


@pytest.mark.parametrize(("name", "says"), DOMAINS.items())
def test_a_domain_draws_what_happens_and_says_its_numbers(name: str, says: str):
    tasks = qs.tasks.make(name)
    env = tasks.make(2, 1)
    env.reset(tasks.sample(2, "test", counter(0, 0, "tasks")), counter(0, 0, "noise"))
    before, zero = env.draw(0, 0), np.zeros(tasks.action_space.shape or (), tasks.action_space.dtype)
    for _ in range(1 if name == "poker" else 30):
        env.step(torch.as_tensor(zero).expand(2, 1, *zero.shape))
    after, other = env.draw(0, 0), env.draw(1, 0)
    texts = [shape.text for shape in (*after.ground, *after.figures) if isinstance(shape, Text)]
    assert any(says in text for text in texts), texts
    assert before != after != other


def test_every_native_family_that_can_be_drawn_is_tried_above():
    tried = [*(row[0] for row in SEEN), *DOMAINS]
    assert sorted(tried) == sorted(SCENES)
    assert set(FAMILIES) - set(drawn_families()) == {"bandit", "tabular-mdp"}


@pytest.mark.parametrize(
    ("name", "task", "actions"),
    [
        ("cart-pole", {"direction": -1.0}, (0, 1)),
        ("mountain-car", {}, (2, 0)),
        ("mountain-car-continuous", {}, ([0.5], [-1.0])),
        ("pendulum", {}, ([-2.0], [2.0])),
    ],
)
def test_a_push_is_drawn_on_the_side_that_it_goes_to(name: str, task: Any, actions: Any):
    """Of two opposite actions the first pushes to the right: swapped buttons are drawn as they act."""
    dynamics, state = family(name)(), torch.tensor([-0.5] * 2 if "mountain" in name else [0.0] * 4)
    state = state[:2] if name == "pendulum" else state
    middles = []
    for action in actions:
        scene = dynamics.scene(state, values(name, **task), torch.tensor(action))
        [arrow] = [shape for shape in (*scene.ground, *scene.figures) if isinstance(shape, Line) and shape.color == ORANGE][-1:]
        middles.append(np.mean([x for x, _ in arrow.points]))
    assert middles[0] > middles[1]
    still = dynamics.scene(state, values(name, **task), None)
    assert len(still.figures) < len(scene.figures)


@pytest.mark.parametrize("name", SCENES)
def test_a_film_has_the_returns_that_an_evaluation_counts(name: str):
    agent = qs.Random(
        qs.tasks.make(name, **{field.name: 20 for field in fields(family(name)) if field.name == "max_episode_steps"})
    )
    shown = film(agent, episodes=3, task=6, num_tasks=8, seed=3, split="validation")
    found = qs.evaluate(agent, episodes=3, num_tasks=8, seed=3, split="validation")
    returns = torch.tensor([episode[-1].total for episode in shown.episodes])
    torch.testing.assert_close(returns, found.returns[6], rtol=1e-5, atol=1e-4)
    for key, value in shown.parameters.items():
        assert torch.equal(value, found.drawn[key][6])


def test_a_later_batch_of_tasks_is_filmed_as_it_is_evaluated():
    agent = qs.MAML(qs.tasks.make("point-navigation", max_episode_steps=4), qs.MAML.Config(hidden_size=8, lanes=1000))
    assert batch_of(agent.lanes) == 1
    shown = film(agent, episodes=1, task=2, num_tasks=3)
    [experience] = lives(agent, shard=2, episodes=1, num_tasks=3)
    torch.testing.assert_close(shown.episodes[0][-1].total, float(experience.transition.reward[0, 0].sum()))


def lives(agent: Any, shard: int, episodes: int, num_tasks: int) -> Any:
    life = Lifetime(agent.explorer(), agent.adapt, agent.lanes, episodes)
    return collect_lives(LocalSite(agent.tasks), life, shards_of(num_tasks, batch_of(agent.lanes), "test", 0)[shard])


def test_each_panel_shows_the_policy_after_all_adaptations_before_it():
    """On point-navigation the agent's place is what it observes: lane 0 of the evaluator's own lives, place by place."""
    config = qs.MAML.Config(hidden_size=8, inner_rate=5.0, lanes=4)
    agent = qs.MAML(qs.tasks.make("point-navigation", max_episode_steps=10), config)
    shown = film(agent, episodes=3, task=1, num_tasks=3)
    untouched = film(Unadapted(agent), episodes=3, task=1, num_tasks=3)
    assert shown.lanes == 4
    for number, (episode, experience) in enumerate(zip(shown.episodes, lives(agent, 0, 3, 3), strict=True)):
        places = [frame.picture.trace for frame in episode if isinstance(frame.picture, Scene)]
        np.testing.assert_allclose(places[1:], experience.transition.arrival[1, 0].numpy(), rtol=1e-6)
        assert places[0] == (0.0, 0.0)
        assert (episode == untouched.episodes[number]) == (number == 0)


class Unadapted:
    """Another agent that never adapts."""

    def __init__(self, agent: Any):
        self.name, self.tasks, self.device, self.lanes = agent.name, agent.tasks, agent.device, agent.lanes
        self.explorer = agent.explorer

    def adapt(self, policy: Any, experience: Any) -> Any:
        return policy


def test_an_episode_that_ends_early_is_seen_to_its_end():
    shown = film(qs.Random(qs.tasks.make("frozen-lake")), episodes=15, num_tasks=3)
    holes = shown.parameters["holes"]
    early = [episode for episode in shown.episodes if len(episode) < 35]
    assert len(early) > 5
    for episode in shown.episodes:
        start, end = (frame.picture.trace for frame in (episode[0], episode[-1]) if isinstance(frame.picture, Scene))
        assert start == (0, 4)
        assert len(episode) == 35 or bool(holes[4 - end[1], end[0]]) or end == (4, 0)


def test_the_last_picture_of_an_episode_stays_and_fades():
    scenes = [Scene((0, 0), (1, 1), (rectangle((0, 0), (1, 1), tone),), ()) for tone in (BLUE, GOLD, ORANGE)]
    long, short = ([Frame(scene, 1.0) for scene in scenes[:count]] for count in (3, 2))
    shown = Film("agent", "tasks", 0, "test", {}, 1, [long, short])
    layout, images = lay_out(shown, 400), list(frames(shown, 400))
    middles = [(x + layout.panel[0] // 2, y + layout.panel[1] // 2) for x, y in layout.places]
    colors = [[color(image, middle) for middle in middles] for image in images]
    faded = [[round(255 - 0.6 * (255 - int(tone[start : start + 2], 16))) for start in (1, 3, 5)] for tone in (GOLD, ORANGE)]
    assert colors[0] == [BLUE, BLUE] and colors[1][0] == GOLD and colors[1][1] == colors[2][1]
    for seen, wanted in ((colors[1][1], faded[0]), (colors[2][0], faded[1])):
        np.testing.assert_allclose([int(seen[start : start + 2], 16) for start in (1, 3, 5)], wanted, atol=1)


@pytest.mark.parametrize(("episodes", "width"), [(1, None), (3, 333), (7, 701), (12, 160)])
def test_panels_stand_apart_within_a_picture_of_even_sides(episodes: int, width: int | None):
    scene = Scene((0, 0), (2, 1), (), ())
    layout = lay_out(Film("agent", "tasks", 0, "test", {}, 1, [[Frame(scene, 0.0)]] * episodes), width)
    assert layout.size[0] % 2 == layout.size[1] % 2 == 0 and layout.size[0] <= (width or 10_000)
    boxes = [(x, y, x + layout.panel[0], y + layout.panel[1]) for x, y in layout.places]
    assert all(
        left >= 0 and top >= 0 and right <= layout.size[0] and bottom <= layout.size[1] for left, top, right, bottom in boxes
    )
    for index, one in enumerate(boxes):
        for other in boxes[:index]:
            assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]


def test_what_has_no_room_is_cut():
    assert shortened("grid-navigation", 1000, 20) == "grid-navigation"
    assert shortened("grid-navigation", 80, 20).endswith("...") and shortened("grid-navigation", 1, 20) == ""


@pytest.mark.parametrize(
    ("lanes", "width", "wanted"),
    [
        (1, 300, (["episode 1", "episode 2"], "return ")),
        (20, 300, (["episode 1, 0 seen", "episode 2, 20 seen"], "return ")),
        (20, 220, (["episode 1, 0 seen", "episode 2, 20 seen"], "")),
        (20, 150, (["episode 1", "episode 2"], "")),
        (20, 90, (["1", "2"], "")),
    ],
)
def test_headers_say_what_they_have_room_for(lanes: int, width: int, wanted: Any):
    episodes = [[Frame(Scene((0, 0), (1, 1), (), ()), total)] for total in (0.0, -1000.25)]
    assert headings(Film("agent", "tasks", 0, "test", {}, lanes, episodes), width) == wanted


def test_files_play_with_all_their_frames(tmp_path: Path):
    av, pillow = pytest.importorskip("av"), pytest.importorskip("PIL.Image")
    shown = film(qs.Random(qs.tasks.make("grid-navigation", max_episode_steps=5)), episodes=2, num_tasks=4)
    saved = qs.save_video(shown, tmp_path / "new" / "a.mp4", width=401, fps=8)
    with av.open(str(saved.path)) as container:
        [stream] = container.streams.video
        decoded = [frame.to_image() for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 8)
    # the start, 5 steps, and the last frame for another 1.5 seconds
    assert len(decoded) == saved.frames == 1 + 5 + 12
    assert decoded[0].size == saved.size == lay_out(shown, 401).size
    for image, wanted in zip(decoded, frames(shown, 401), strict=False):
        assert np.abs(np.asarray(image, float) - np.asarray(wanted, float)).mean() < 2
    saved = qs.save_video(shown, tmp_path / "a.gif", width=401, fps=8)
    with pillow.open(saved.path) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (6, lay_out(shown, 401).size, 0)
        for step, wanted in enumerate(frames(shown, 401)):
            image.seek(step)
            assert np.abs(np.asarray(image.convert("RGB"), float) - np.asarray(wanted, float)).mean() < 4
            assert image.info["duration"] == (120 if step < 5 else 1620)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.gif", "a.mp4", "new"]
    with pytest.raises(qs.UsageError, match=r"a\.webm is no name for a video; name it FILE\.mp4 or FILE\.gif"):
        qs.save_video(shown, tmp_path / "a.webm")


def test_a_build_without_h264_takes_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    av = pytest.importorskip("av")
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    saved = qs.save_video(film(qs.Random(qs.tasks.make("grid-navigation", **SMALL)), num_tasks=2), tmp_path / "a.mp4")
    with av.open(str(saved.path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        assert sum(1 for _ in container.decode(video=0)) == saved.frames


def test_a_seed_gives_the_same_files(tmp_path: Path):
    agent = qs.Random(qs.tasks.make("point-navigation", **SMALL))
    for name in ("a.gif", "b.gif", "a.mp4", "b.mp4"):
        qs.save_video(film(agent, num_tasks=3, seed=5), tmp_path / name, width=300)
    for suffix in ("gif", "mp4"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    qs.save_video(film(agent, num_tasks=3, seed=6), tmp_path / "c.gif", width=300)
    assert (tmp_path / "a.gif").read_bytes() != (tmp_path / "c.gif").read_bytes()


class Lamp(gymnasium.Env[Any, Any]):
    """As bright as the number of the step; its episodes end with the third."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space, action_space, power = gymnasium.spaces.Discrete(4), gymnasium.spaces.Discrete(2), 1.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.steps, self.power, self.steps == 3, False, {}

    def render(self) -> Any:
        assert self.render_mode == "rgb_array"
        return np.full((20, 40, 3), 10 + 50 * self.steps, np.uint8)


class Dark(Lamp):
    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012


class Broken(Lamp):
    def render(self) -> Any:
        raise RuntimeError("no bulb\nlook for one")


def lamps(kind: Any = Lamp, workers: int = 0) -> Any:
    return qs.GymnasiumTasks(kind, max_episode_steps=5, power=qs.Uniform(1.0, 2.0), workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_gymnasium_environments_draw_themselves_to_the_end_of_an_episode(workers: int):
    pillow = pytest.importorskip("PIL.Image")
    from io import BytesIO

    shown = film(qs.Random(lamps(workers=workers)), episodes=2, task=2, num_tasks=3)
    for episode in shown.episodes:
        tones = [np.unique(np.asarray(pillow.open(BytesIO(frame.picture)))).tolist() for frame in episode]  # pyright: ignore
        assert tones == [[10], [60], [110], [160]]
        assert episode[-1].total == pytest.approx(3 * float(shown.parameters["power"]))


def test_gymnasiums_own_environments_need_no_display():
    pytest.importorskip("pygame")
    shown = film(qs.Random(qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(0.25, 1.0))), episodes=1, num_tasks=2)
    # the first steps move it by less than a pixel
    assert len({frame.picture for frame in shown.episodes[0]}) > 5


@pytest.mark.parametrize("workers", [0, 2])
def test_an_environment_that_has_no_pictures_says_so(workers: int):
    with pytest.raises(qs.UsageError, match=r"Dark.*can't be drawn; what can: grid-navigation, .*rgb_array"):
        film(qs.Random(lamps(Dark, workers)), num_tasks=2)
    with pytest.raises(qs.UsageError, match=r"Broken.* can't draw itself here: RuntimeError: no bulb$"):
        film(qs.Random(lamps(Broken, workers)), num_tasks=2)


def test_tasks_that_are_told_are_drawn_as_they_are():
    tasks = qs.tasks.make("grid-navigation", **SMALL)
    told, plain = (film(qs.Random(each), num_tasks=3) for each in (qs.Informed(tasks), tasks))
    assert told.episodes == plain.episodes and told.tasks == "grid-navigation"


@pytest.fixture
def gl() -> None:
    try:
        stage.Stage(HALF_CHEETAH).close()
    except qs.UsageError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ROBOTS)
def test_robots_are_drawn_with_what_they_are_not_told(name: str, gl: None):
    tasks = qs.tasks.make(name)
    env = tasks.make(2, 2)
    try:
        generator = counter(0, 0, "dynamics")
        env.reset(tasks.sample(2, "train", counter(1, 0, "tasks")), generator)
        first = env.draw(1, 1)
        for _ in range(4):
            env.step(2 * torch.rand(2, 2, *tasks.action_space.shape, generator=generator) - 1)
        later = env.draw(1, 1)
        assert first.shape == (stage.HEIGHT, stage.WIDTH, 3) and first.std() > 10
        assert (first != later).any() and (later != env.draw(1, 0)).any()
        assert np.array_equal(later, env.draw(1, 1))
        red, green, blue = later.astype(int).transpose(2, 0, 1)
        yellow = int(((red - blue > 100) & (green - blue > 70)).sum())
        # nothing of a change is shown before it
        assert (yellow > 30) == (not name.endswith(("parameters", "crippled")))
    finally:
        env.close()


class NoContext:
    """A window where there is no screen."""

    def __init__(self, width: int, height: int):
        pass

    def make_current(self) -> None:
        raise RuntimeError("no\n  screen")


def test_where_no_gl_can_be_had_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("mujoco")
    monkeypatch.setattr(stage, "find_library", lambda _: None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert main(["video", "random", "ant-goal", "--num-tasks", "2"]) == 2
    said = complaint(capsys.readouterr().err)
    assert "robots can't be drawn here: neither libEGL nor libOSMesa is there; install libegl1 or libosmesa6" in said
    monkeypatch.setenv("MUJOCO_GL", "crayons")
    with pytest.raises(qs.UsageError, match="robots can't be drawn here: MUJOCO_GL is 'crayons', not egl, osmesa or glfw"):
        stage.Stage(HALF_CHEETAH)
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.setitem(sys.modules, "mujoco.glfw", SimpleNamespace(GLContext=NoContext))
    with pytest.raises(qs.UsageError, match=r"robots can't be drawn here: glfw fails \(RuntimeError: no screen\); install"):
        stage.Stage(HALF_CHEETAH)


SHORT = ["--size", "4", "--max-episode-steps", "5"]
TINY = ["--trials", "8", "--hidden-size", "8", "--iterations", "1", "--evaluate-every", "0"]


def test_the_command_films_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "rl2", "grid-navigation", *TINY, "--max-episode-steps", "5", "--run", "grid", "--seeds", "2"]) == 0
    run = ["video", "grid/seed-1", "--num-tasks", "3", "--episodes", "3", "--task", "2", "--width", "300"]
    capsys.readouterr()
    assert main(run) == 0
    said = capsys.readouterr()
    assert {path.name for path in Path("grid/seed-1/video").iterdir()} == {"test-task2-seed0.mp4", "test-task2-seed0.gif"}
    assert "grid/seed-1/video/test-task2-seed0.mp4  300 x" in said.out and len(said.out.splitlines()) == 2
    found = qs.evaluate(qs.load("grid/seed-1"), num_tasks=3, episodes=3).returns[2]
    assert f"return by episode: {', '.join(f'{value:.2f}' for value in found)}" in said.err
    assert main([*run, "--greedy", "--fps", "2", "-o", "one.gif"]) == 0
    assert Path("one.gif").exists() and not Path("one.mp4").exists()
    assert main(["video", "grid"]) == 2
    assert "take one: quickstudy video grid/seed-0" in capsys.readouterr().err
    # the folder is still a run, with its film
    assert main(["evaluate", "grid", "--num-tasks", "2"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["random", "bandit"], "bandit can't be drawn; what can: grid-navigation, key-door"),
        (["random", "tabular-mdp"], "tabular-mdp can't be drawn; what can: grid-navigation"),
        (["random", "pendulum", "--task", "100"], "task 100 is none of the 100 tasks, 0 to 99"),
        (["random", "pendulum", "-o", "film.avi"], "name it FILE.mp4 or FILE.gif"),
        (["nobody", "pendulum"], "unknown baseline 'nobody'"),
        (["runs/nothing"], "runs/nothing is no run"),
        (["random", "pendulum", "--task", "-1"], "--task '-1' must be at least 0"),
        (["random", "pendulum", "--width", "20"], "20 pixels are not from 160 to 7680"),
        (["random", "pendulum", "--fps", "0"], "0 frames a second are not from 0.1 to 120"),
    ],
)
def test_a_mistake_gets_one_clear_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["video", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["av", "PIL"])
def test_a_missing_extra_is_named_before_anything_is_lived(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["video", "random", "grid-navigation"]) == 2
    said = "videos need PyAV and Pillow; install them: pip install 'quickstudy[video]'"
    assert complaint(capsys.readouterr().err) == f"error: {said}"


def test_a_baseline_is_filmed_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert main(["video", "bayes-optimal", "grid-navigation", *SHORT, "--episodes", "1", "--num-tasks", "2"]) == 0
    names = {path.name for path in (tmp_path / "runs" / "video").iterdir()}
    assert names == {f"bayes-optimal-grid-navigation-test-task0-seed0.{suffix}" for suffix in ("mp4", "gif")}


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    page = (Path(__file__).parent.parent / "docs" / "video.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "rl2", "grid-navigation", *TINY, "--run", "runs/grid"]) == 0
    exec(compile(code, "video.md", "exec"), {})
    assert (tmp_path / "grid.mp4").exists() and capsys.readouterr().out.count(",") == 2
