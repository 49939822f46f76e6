"""What an environment that doesn't draw itself looks like: the images in its observation, and its texts below them."""

from __future__ import annotations

import colorsys
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped, UInt8

from quickstudy.ops.senses import CODES_UP_TO, as_planes, layout_of, sense_of
from quickstudy.ops.spaces import is_text, leaves_of, values_of
from quickstudy.scene import INK, Pixels, Scene, Text

Space = gymnasium.Space[Any]
GAP = 0.1
"""Between images side by side, as a share of their height."""


def draws_itself(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether an environment has the render mode whose pictures are shown."""
    return "rgb_array" in env.metadata.get("render_modes", ())


def images_in(space: Space) -> dict[str, spaces.Box]:
    """The images in observations as the environment gives them, by their names."""
    boxes = {name: leaf for name, leaf in leaves_of(space).items() if isinstance(leaf, spaces.Box)}
    return {name: box for name, box in boxes.items() if sense_of(box) == "image"}


def seen_picture(space: Space, observation: Any) -> Scene | None:
    """An observation's images side by side, each as high as the first, and its texts below; None where there is no image."""
    images = images_in(space)
    if not images:
        return None
    values = values_of(space, observation)
    shown = {name: colours(box, np.asarray(values[name])) for name, box in images.items()}
    height, right, figures = float(next(iter(shown.values())).shape[0]), 0.0, []
    for image in shown.values():
        side = height / image.shape[0]
        figures.append(Pixels((right, 0.0), side, image))
        right += side * image.shape[1] + GAP * height
    right -= GAP * height
    texts = [str(values[name]) for name, leaf in leaves_of(space).items() if is_text(leaf) and values[name]]
    # a letter is about as wide as seven tenths of a capital's height
    sizes = [min(0.06 * right, 0.95 * right / (0.8 * len(text))) for text in texts]
    lower = 0.0
    for text, size in zip(texts, sizes, strict=True):
        lower -= 2 * size
        figures.append(Text((right / 2, lower + size), text, size, INK))
    return Scene((0.0, lower), (right, height), (), tuple(figures))


def colours(space: spaces.Box, image: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "height width 3"]:
    """An image in colours: grey and red-green-blue as they are, any other planes each in a colour of its own, mixed.

    Of frames one behind another the last is shown. A code of small images is a colour as well, 0 black.
    """
    layout = layout_of(space.shape)
    planes = as_planes(space, torch.as_tensor(np.ascontiguousarray(image)))[-layout.channels :].numpy()
    low, high = float(space.low.min()), float(space.high.max())
    if np.issubdtype(space.dtype, np.integer) and min(layout.height, layout.width) <= CODES_UP_TO and high > 1:
        return mixed(np.concatenate([planes == code for code in range(1, int(planes.max(initial=0)) + 1)] or [planes == -1]))
    if not np.isfinite(high - low):
        low, high = float(planes.min()), float(planes.max())
    shades = (np.nan_to_num(planes.astype(np.float64)).clip(low, high) - low) / max(high - low, 1e-9)
    if len(shades) in (1, 3):
        return np.broadcast_to((shades * 255).round().astype(np.uint8), (3, *shades.shape[1:])).transpose(1, 2, 0).copy()
    return mixed(shades)


def mixed(planes: Shaped[np.ndarray, "plane height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Planes on [0, 1], each in a hue of its own, on black; where several are, the mean of their colours."""
    amounts = planes.astype(np.float64)
    hues = palette(len(amounts))
    total = np.maximum(amounts.sum(0), 1.0)
    return (np.einsum("phw,pc->hwc", amounts, hues) / total[..., None] * 255).round().clip(0, 255).astype(np.uint8)


def palette(count: int) -> Float[np.ndarray, "count 3"]:
    """So many colours, neighbours far apart: hues that step by the golden ratio."""
    return np.array([colorsys.hsv_to_rgb(0.12 + 0.618034 * place % 1.0, 0.75, 0.95) for place in range(count)])
