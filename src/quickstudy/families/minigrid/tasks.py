"""Layouts of a MiniGrid environment (Chevalier-Boisvert et al. 2023, arXiv:2306.13831) as tasks, stepped by the package."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import gymnasium
import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError, did_you_mean, in_a_line
from quickstudy.families.minigrid.rooms import LAYOUTS, MiniGrid
from quickstudy.ops.senses import LONGEST_TEXT, words_of
from quickstudy.ops.spaces import decode, encode, leaves_of, observed, taken
from quickstudy.protocol import Split, Splits, Tasks
from quickstudy.tasks.choices import dealt_numbers, require_split
from quickstudy.tasks.figures import Figures
from quickstudy.tasks.gymnasium_env import GymnasiumEnv
from quickstudy.tasks.lanes import Env, Values


def known_environments() -> list[str]:
    """What the minigrid package registers; UsageError with the install command where it is missing."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # pygame, which it imports, greets
    try:
        import minigrid  # noqa: F401 registers them
    except ImportError as error:
        raise UsageError("these tasks need MiniGrid; install it: pip install 'quickstudy[minigrid]'") from error
    return sorted(name for name, spec in gymnasium.registry.items() if str(spec.entry_point).startswith("minigrid."))


class Room(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One lane: whatever seed it is reset with, its layout is that of its task; the goal's reward is success."""

    layout = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=self.layout, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, "success": bool(terminated) and float(reward) > 0}


@checked
class MiniGridTasks:
    """Layouts of one of MiniGrid's environments, each the seed with which every episode of a trial is reset.

    The view ahead, 7 x 7 codes of things, colours and states, the direction and the mission are as MiniGrid gives them.
    """

    deadline = 60.0
    parameters: Mapping[str, Any] = MappingProxyType({})
    """None of them drawn from a support that means something: a seed is a name."""

    def __init__(self, dynamics: MiniGrid):
        known = known_environments()
        if dynamics.env_id not in known:
            raise UsageError(f"MiniGrid has no environment '{dynamics.env_id}'; {did_you_mean(dynamics.env_id, known)}")
        self.dynamics, self.workers = dynamics, dynamics.workers
        self.splits: Splits = dynamics.splits
        self.figures: Figures = {}
        self.max_episode_steps, self.episodes_per_trial = dynamics.max_episode_steps, dynamics.episodes_per_trial
        probe = self.build()
        self.env_observation_space, self.env_action_space = probe.observation_space, probe.action_space
        said = [words_of(mission) for mission in missions(leaves_of(probe.observation_space)["mission"])]
        vocabulary = sorted({word for words in said for word in words})
        self.observation_space = observed(probe.observation_space, vocabulary, max(map(len, said), default=LONGEST_TEXT))
        self.action_space = taken(probe.action_space)
        probe.close()

    def __repr__(self) -> str:
        return f"MiniGridTasks({self.dynamics!r})"

    def build(self) -> Room:
        """One lane, as yet of no task."""
        name = self.dynamics.env_id
        try:
            return Room(gymnasium.make(name, disable_env_checker=True, max_steps=self.dynamics.max_episode_steps))
        except Exception as error:  # some ask for files or packages that MiniGrid's own doesn't bring
            raise UsageError(f"MiniGrid can't build '{name}' here: {in_a_line(error)}") from error

    def put(self, env: Env, values: Values) -> None:
        """Puts a task into a lane that `build` made."""
        assert isinstance(env, Room)
        env.layout = values["layout"]

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        require_split(split)
        if split == "extrapolation":
            raise UsageError(f"{self!r} has no extrapolation split: nothing lies beyond seeds")
        return {"layout": torch.tensor(dealt_numbers(LAYOUTS, count, split, generator))}

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task 1"]:
        """The seed on [-1, 1], which tells a layout from another and nothing of what it is."""
        return (tasks["layout"].cpu().double() / (LAYOUTS - 1) * 2 - 1).float()[:, None]

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> GymnasiumEnv:
        return GymnasiumEnv(self, tasks, lanes, device)

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        return torch.as_tensor(encode(self.env_observation_space, observation, self.observation_space))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return decode(self.env_action_space, action.cpu().numpy())


def missions(space: Any) -> Iterator[str]:
    """Missions in which all comes that is ever filled in; none where the space doesn't tell, as BabyAI's."""
    slots = getattr(space, "ordered_placeholders", None)
    say = getattr(space, "mission_func", None)
    if say is None or type(space).__module__ != "minigrid.core.mission":
        return
    most = max(map(len, slots), default=0) if slots else 1
    for row in range(most):
        yield say(*(slot[row % len(slot)] for slot in slots or ()))
