"""What is shown of environments that don't draw themselves: colours by hand, and that those which do are left alone."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import quickstudy as qs
from quickstudy.protocol import counter
from quickstudy.report.trials import has_scenes
from quickstudy.report.world import WIDEST, as_list
from quickstudy.scene import Pixels, Scene, as_png
from quickstudy.tasks.pictures import colours, palette, seen_picture
from quickstudy.video.raster import rasterise

RGB = spaces.Box(0, 255, (16, 20, 3), np.uint8)


def random_image(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_red_green_and_blue_are_as_they_are_wherever_channels_stand():
    image = random_image((16, 20, 3))
    assert np.array_equal(colours(RGB, image), image)
    first = spaces.Box(0, 255, (3, 16, 20), np.uint8)
    assert np.array_equal(colours(first, image.transpose(2, 0, 1)), image)
    frames = spaces.Box(0, 255, (2, 16, 20, 3), np.uint8)
    assert np.array_equal(colours(frames, np.stack([np.zeros_like(image), image])), image)


def test_floats_lie_between_their_bounds_and_grey_is_three_times_the_same():
    grey = spaces.Box(-1.0, 1.0, (12, 12, 1))
    shown = colours(grey, np.linspace(-1, 1, 144, dtype=np.float32).reshape(12, 12, 1))
    assert shown.shape == (12, 12, 3) and shown[0, 0].tolist() == [0, 0, 0] and shown[-1, -1].tolist() == [255, 255, 255]
    assert (shown == shown[..., :1]).all()


def test_planes_have_colours_of_their_own_and_mix_where_several_are():
    planes = np.zeros((12, 12, 5), np.float32)
    planes[0, 0, 1] = planes[0, 1, 4] = planes[0, 2, 1] = planes[0, 2, 4] = 1
    shown = colours(spaces.Box(0, 1, (12, 12, 5)), planes).astype(float)
    one, other = palette(5)[[1, 4]] * 255
    assert np.abs(shown[0, :3] - np.stack([one, other, (one + other) / 2])).max() <= 0.5
    assert shown[1:].max() == 0 and np.abs(one - other).max() > 50


def test_a_code_has_the_same_colour_in_every_frame():
    space, frames = spaces.Box(0, 255, (4, 6, 1), np.uint8), np.zeros((2, 4, 6, 1), np.uint8)
    frames[:, 0, 0], frames[1, 3, 3] = 2, 9
    before, after = (colours(space, frame) for frame in frames)
    assert before[0, 0].any() and np.array_equal(before[0, 0], after[0, 0]) and after[3, 3].tolist() != after[0, 0].tolist()


def test_images_stand_side_by_side_and_texts_below():
    space = spaces.Dict(a=RGB, b=spaces.Box(0, 255, (32, 32, 3), np.uint8), said=spaces.Text(30), n=spaces.Discrete(2))
    scene = seen_picture(space, {"a": random_image((16, 20, 3)), "b": random_image((32, 32, 3)), "said": "go", "n": 1})
    assert scene is not None
    left, right, text = scene.figures
    assert isinstance(left, Pixels) and isinstance(right, Pixels)
    assert left.size == (20, 16) and right.size == (16, 16) and right.corner == (20 + 1.6, 0)
    assert scene.upper == (37.6, 16) and scene.lower[1] < text.center[1] < 0 and text.text == "go"
    assert seen_picture(spaces.Dict(n=spaces.Discrete(2)), {"n": 0}) is None


def test_pixels_have_edges_in_videos():
    image = random_image((2, 2, 3))
    drawn = rasterise(Scene((0, 0), (2, 2), (), (Pixels((0, 0), 1, image),)), (40, 40))
    assert np.array_equal(np.asarray(drawn), image.repeat(20, 0).repeat(20, 1))


def test_a_page_gets_the_same_pixels_and_of_large_images_some():
    pillow: Any = pytest.importorskip("PIL.Image")
    image = random_image((5, 3, 3))
    assert np.array_equal(np.asarray(pillow.open(BytesIO(as_png(image)))), image)
    told = as_list(Pixels((1, 2), 0.5, random_image((300, 200, 3))))
    assert told[:5] == ["pixels", 0, "", [1, 2], [100, 150]]
    assert max(pillow.open(BytesIO(b64decode(told[5]))).size) <= WIDEST


def test_environments_that_draw_themselves_still_do():
    pytest.importorskip("pygame")
    tasks = qs.GymnasiumTasks("CartPole-v1", length=qs.Uniform(0.25, 1.0))
    assert not has_scenes(tasks)
    env = tasks.make(1, 1)
    env.reset(tasks.sample(1, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
    picture = env.draw(0, 0)
    env.close()
    assert isinstance(picture, np.ndarray) and picture.shape == (400, 600, 3)
