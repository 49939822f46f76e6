"""What an agent that is told its task reads: the senses of its family, and the task beside them (see `Informed`)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Tensor

from quickstudy.ops.features import vector_size
from quickstudy.ops.senses import Senses, is_read, parts_of, sense_of


def parts_told(
    space: gymnasium.Space[Any], size: int, observation: Shaped[Tensor, "*lead ..."]
) -> tuple[dict[str, Shaped[Tensor, "*lead ..."]], Float[Tensor, "*lead {size}"]]:
    """An observation's parts by name and the normalised task of so many numbers; a single sense is called by its kind.

    `space` is what the family itself shows. A Discrete is given as the number that it was.
    """
    if is_read(space):
        own = {name or sense_of(space): part for name, part in parts_of(space).items()}
        parts = Senses(own | {"task": spaces.Box(-np.inf, np.inf, (size,))}).split(observation)
        return parts, parts.pop("task")
    shown = observation[..., : vector_size(space)]
    seen = shown.argmax(-1) if isinstance(space, spaces.Discrete) else shown
    return {sense_of(space): seen}, observation[..., vector_size(space) :]
