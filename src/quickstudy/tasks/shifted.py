"""Training images that are shifted at random, so that what is learnt doesn't depend on where in the image it was seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Int, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError
from quickstudy.ops.senses import Senses, layout_of, parts_of, sense_of
from quickstudy.ops.spaces import Space
from quickstudy.protocol import Split, Splits, TaskDistribution, Tasks
from quickstudy.tasks.figures import Figures, figures_of
from quickstudy.tasks.parameters import parameters_of
from quickstudy.tasks.shown import Show, ShownEnv

SHIFT = "shift"
"""The parameter of training tasks that says by how many pixels all of their images are shifted, down and to the right."""


@checked
class Shifted:
    """The same tasks; all images of a training task are shifted by a few pixels, the same over all of its trials.

        qs.RL2(qs.Shifted(tasks, pixels=4))

    That is the augmentation of DrQ (Kostrikov et al. 2021, arXiv:2004.13649), as a hidden parameter of the task: down and to
    the right by whole numbers of pixels from `-pixels` to `pixels`, each as likely; what comes in repeats the border. Tasks of
    other splits, and what a session is shown, aren't shifted. UsageError where there is no image of more than `pixels`.
    """

    def __init__(self, tasks: TaskDistribution, pixels: int = 4):
        if pixels_of(tasks):
            raise UsageError(f"Shifted: {tasks!r} are shifted already, by up to {pixels_of(tasks)} pixels")
        self.tasks, self.pixels = tasks, pixels
        self.observation_space = tasks.observation_space
        self._images = images_in(self.observation_space)
        require_room(self.observation_space, self._images, pixels)
        self.action_space = tasks.action_space
        self.max_episode_steps = tasks.max_episode_steps
        self.episodes_per_trial = tasks.episodes_per_trial
        self.splits: Splits = tasks.splits
        self.parameters: Mapping[str, Any] = parameters_of(tasks)
        self.figures: Figures = figures_of(tasks)

    def __repr__(self) -> str:
        return f"Shifted({self.tasks!r}, {self.pixels})"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        drawn = self.tasks.sample(count, split, generator)
        if split != "train" or not self.pixels:
            return drawn
        return drawn | {SHIFT: torch.randint(-self.pixels, self.pixels + 1, (count, 2), generator=generator)}

    def normalise(self, tasks: Tasks) -> Shaped[Tensor, "task parameter"]:
        return self.tasks.normalise({name: value for name, value in tasks.items() if name != SHIFT})

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> ShownEnv:
        return ShownEnv(self.tasks.make(tasks, lanes, device), self._showing, beside=SHIFT)

    def _showing(self, tasks: Tasks) -> Show:
        shift = tasks.get(SHIFT)
        return lambda seen: seen if shift is None else self._shifted(seen, shift.to(seen.device))

    def _shifted(self, seen: Shaped[Tensor, "task lane ..."], shift: Int[Tensor, "task 2"]) -> Shaped[Tensor, "task lane ..."]:
        if not isinstance(self.observation_space, Senses):
            return shifted(seen, self.observation_space.shape or (), shift)
        parts = self.observation_space.split(seen)
        moved = {name: shifted(parts[name], image.shape, shift) for name, image in self._images.items()}
        return self.observation_space.replaced(seen, moved)

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        return self.tasks.encode(observation)

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return self.tasks.decode(action)


def shifted(
    image: Shaped[Tensor, "task lane ..."], shape: tuple[int, ...], shift: Int[Tensor, "task 2"]
) -> Shaped[Tensor, "task lane ..."]:
    """Images of a shape, down and to the right by as many pixels as each task says; their border goes on outside."""
    layout = layout_of(shape)
    rows = -2 if layout.channels_first else -3
    for axis, size, by in ((rows, layout.height, shift[:, 0]), (rows + 1, layout.width, shift[:, 1])):
        places = (torch.arange(size, device=image.device) - by[:, None]).clamp(0, size - 1)
        along = [len(places), *[1] * (image.dim() - 1)]
        along[axis] = size
        image = image.gather(image.dim() + axis, places.view(along).expand_as(image))
    return image


def images_in(space: Space) -> dict[str, spaces.Box]:
    """The images among an observation's parts, by name."""
    return {name: part for name, part in parts_of(space).items() if isinstance(part, spaces.Box) and sense_of(part) == "image"}


def require_room(space: Space, images: Mapping[str, spaces.Box], pixels: int) -> None:
    """UsageError where there is nothing to shift, or a shift might leave nothing of an image."""
    if not images:
        raise UsageError(f"Shifted: observations are {space}, there is no image to shift")
    smallest = min(min(layout.height, layout.width) for layout in (layout_of(part.shape) for part in images.values()))
    if not 0 <= pixels < smallest:
        raise UsageError(f"Shifted: pixels is {pixels}, it must be at least 0 and less than the smallest image has, {smallest}")


def pixels_of(tasks: Any) -> int:
    """By how many pixels at most training images are shifted, whatever else is around the tasks that do it."""
    while tasks is not None and not isinstance(tasks, Shifted):
        tasks = getattr(tasks, "tasks", None)
    return tasks.pixels if tasks else 0


def with_shift(tasks: TaskDistribution, pixels: int) -> TaskDistribution:
    """The tasks shifted by so many pixels, as they are where they are shifted so already, or none are asked for."""
    return tasks if pixels in (0, pixels_of(tasks)) else Shifted(tasks, pixels)


def unshifted(tasks: TaskDistribution, drawn: Tasks) -> TaskDistribution:
    """What drawn tasks are of: those within, where their images aren't shifted."""
    return tasks.tasks if isinstance(tasks, Shifted) and SHIFT not in drawn else tasks
