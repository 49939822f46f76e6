"""Environments that are filmed while trials are lived in them; whoever lives there sees no difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from jaxtyping import Shaped
from torch import Generator, Tensor

from quickstudy.protocol import BatchEnv, Observation, Site, Tasks, Transition
from quickstudy.scene import Drawable, Picture

Kept = TypeVar("Kept")


class Studio(Generic[Kept]):
    """A site in whose environments the first lanes of some tasks are filmed; `keep` says what is kept of each picture."""

    def __init__(self, site: Site, rows: Sequence[int], keep: Callable[[Picture | None], Kept]):
        self.distribution, self.device = site.distribution, site.device
        self._site, self._rows, self._keep = site, rows, keep
        self.films: list[list[list[Kept]]] = [[] for _ in rows]
        """By row and episode: its start, and what each step led to."""

    def env(self, tasks: int, lanes: int) -> Filmed[Kept]:
        return Filmed(self._site.env(tasks, lanes), dict(zip(self._rows, self.films, strict=True)), self._keep)


class Filmed(Generic[Kept]):
    """An environment that is filmed: all passes through unchanged."""

    def __init__(self, env: BatchEnv, films: dict[int, list[list[Kept]]], keep: Callable[[Picture | None], Kept]):
        self._env, self._films, self._keep = env, films, keep

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        observation = self._env.reset(tasks, generator)
        self._begin()
        return observation

    def restart(self) -> Observation:
        observation = self._env.restart()
        self._begin()
        return observation

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        transition = self._env.step(action)
        self._shoot()
        ended = (transition.terminated | transition.truncated)[:, 0]
        # once its episode has ended, a lane waits for the others
        self._rolling = [row for row in self._rolling if not ended[row]]
        return transition

    def close(self) -> None:
        self._env.close()

    def _begin(self) -> None:
        self._rolling = list(self._films)
        for film in self._films.values():
            film.append([])
        self._shoot()

    def _shoot(self) -> None:
        for row in self._rolling:
            picture = self._env.draw(row, 0) if isinstance(self._env, Drawable) else None
            self._films[row][-1].append(self._keep(picture))
