"""The tasks of a Meta-World benchmark: goals drawn, and lanes stepped, by the maintained package itself."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked
from quickstudy.errors import UsageError, did_you_mean
from quickstudy.ops.spaces import decode, encode, observed, taken
from quickstudy.protocol import Split, Splits, Tasks
from quickstudy.tasks.figures import Figures
from quickstudy.tasks.gymnasium_env import GymnasiumEnv
from quickstudy.tasks.lanes import Env, Values
from quickstudy.tasks.parameters import require_split

LONGEST = 6
"""Numbers that place object and goal; environments where one of the two is fixed have three, padded with zeros."""


def package() -> Any:
    """The metaworld package; UsageError with the install command where it is missing."""
    try:
        import metaworld
    except ImportError as error:
        raise UsageError("these tasks need Meta-World; install it: pip install 'quickstudy[metaworld]'") from error
    return metaworld


@runtime_checkable
class Benchmark(Protocol):
    """One of Meta-World's benchmarks: which environments a split has, and the seed of their goals."""

    parameters: ClassVar[Mapping[str, str]]
    """The one task parameter, in words: reckoning its support takes the package."""
    splits: ClassVar[Splits]

    @property
    def goals_seed(self) -> int: ...
    @property
    def max_episode_steps(self) -> int: ...
    @property
    def episodes_per_trial(self) -> int: ...
    @property
    def workers(self) -> int: ...
    def environments(self, split: Split) -> list[str]: ...
    def seed_of(self, split: Split) -> int: ...


@lru_cache(maxsize=8)
def goals(environments: tuple[str, ...], seed: int) -> Float64[Tensor, "environment goal place"]:
    """The goals that the package draws for some environments under a seed, in double precision as it has them.

    It draws them one environment after another, by resetting each fifty times: 0.4 seconds an environment. A benchmark would
    build those of both splits, needed or not.
    """
    known = package().env_dict
    classes = {name: known.ALL_V3_ENVIRONMENTS[name] for name in environments}
    options = {name: known.ML1_ARGS_KWARGS[name] for name in environments}
    tasks = package()._make_tasks(classes, options, {"partially_observable": True}, seed=seed)
    places = torch.zeros(len(tasks), LONGEST, dtype=torch.float64)
    for row, task in zip(places, tasks, strict=True):
        place = pickle.loads(task.data)["rand_vec"]  # the package's own, made a moment ago
        row[: len(place)] = torch.from_numpy(place)
    return places.unflatten(0, (len(environments), -1))


@cache
def sharing_model(name: str) -> type[Any]:
    """An environment's class whose instances share one model, of twenty megabytes, most of them meshes."""
    mujoco: Any = import_module("mujoco")
    models = []

    class Sharing(package().env_dict.ALL_V3_ENVIRONMENTS[name]):
        def _initialize_simulation(self) -> tuple[Any, Any]:
            if not models:
                models.append(super()._initialize_simulation()[0])
            return models[0], mujoco.MjData(models[0])

    return Sharing


class Lane(gymnasium.Env[Any, Any]):
    """One lane: whichever environment its task asks for.

    Environments change of their model, when they are reset, the places of bodies and sites alone: each lane keeps its own, and
    puts them back before it steps. Nothing in them is random once the task is known, so seeds make no difference.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 80}  # noqa: RUF012 Gymnasium's name and type

    def __init__(self, environments: list[str], max_episode_steps: int):
        self._names, self._limit = environments, max_episode_steps
        self._built: dict[str, Any] = {}
        self._choose(environments[0])
        self.observation_space, self.action_space = self._env.observation_space, self._env.action_space

    def _choose(self, name: str) -> None:
        if name not in self._built:
            self._built[name] = sharing_model(name)()
            self._built[name].max_path_length = self._limit
        self._env = self._built[name]

    def put(self, goal: list[float]) -> None:
        """Puts a task in: the number of its environment, and where its object and its goal are."""
        name = self._names[int(goal[0])]
        self._choose(name)
        place = np.asarray(goal[1 : 1 + len(box(name)[0])])
        data = {"rand_vec": place, "env_cls": object, "partially_observable": True}  # its own class is a local one
        self._env.set_task(package().Task(name, pickle.dumps(data)))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self._env.reset()
        model = self._env.model
        self._places = model.body_pos.copy(), model.site_pos.copy()
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._put_back()
        return self._env.step(action)

    def _put_back(self) -> None:
        model = self._env.model
        model.body_pos[:], model.site_pos[:] = self._places

    def render(self) -> Any:
        self._put_back()
        self._env.render_mode = self.render_mode
        return self._env.render()

    def close(self) -> None:
        for env in self._built.values():
            env.close()


@cache
def box(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of what places object and goal in an environment."""
    env = sharing_model(name)()
    space = env._random_reset_space
    env.close()
    return space.low, space.high


@checked
class MetaWorldTasks:
    """The tasks of one of Meta-World's benchmarks, each the number of its environment and where its object and goal are."""

    deadline = 60.0
    parameters: Mapping[str, Any] = MappingProxyType({})
    """None of them drawn from a support that could be named: goals are a list of Meta-World's own."""

    def __init__(self, dynamics: Benchmark):
        known = package().env_dict.ALL_V3_ENVIRONMENTS
        self.dynamics, self.workers = dynamics, dynamics.workers
        self.splits: Splits = dynamics.splits
        self.figures: Figures = {}
        self.environments = list(dict.fromkeys(dynamics.environments("train") + dynamics.environments("test")))
        for name in self.environments:
            if name not in known:
                raise UsageError(f"Meta-World has no environment '{name}'; {did_you_mean(name, known)}")
        self.max_episode_steps, self.episodes_per_trial = dynamics.max_episode_steps, dynamics.episodes_per_trial
        probe = self.build()
        self.env_observation_space, self.env_action_space = probe.observation_space, probe.action_space
        self.observation_space, self.action_space = observed(probe.observation_space), taken(probe.action_space)
        probe.close()

    def __repr__(self) -> str:
        return f"MetaWorldTasks({self.dynamics!r})"

    def build(self) -> Lane:
        """One lane, as yet of no task."""
        return Lane(self.environments, self.max_episode_steps)

    def put(self, env: Env, values: Values) -> None:
        """Puts a task into a lane that `build` made."""
        assert isinstance(env, Lane)
        env.put(values["goal"])

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        """Draws tasks, each environment as often as the others, and none of its goals twice before all have come once.

        Neighbours are of different environments, in an order that stays the same where `count` is a multiple of their number:
        then no lane has to change its environment from trial to trial.
        """
        require_split(split)
        if split == "extrapolation":
            raise UsageError(f"{self!r} has no extrapolation split: nothing lies beyond Meta-World's goals")
        names = self.dynamics.environments(split)
        places = goals(tuple(names), self.dynamics.seed_of(split))
        rows, each = -(-count // len(names)), places.shape[1]
        first = int(torch.randint(len(names), (), generator=generator)) if count % len(names) else 0
        order = torch.rand(-(-rows // each), each, len(names), generator=generator).argsort(1).flatten(0, 1)[:rows].flatten()
        environment = ((torch.arange(len(order)) + first) % len(names))[:count]
        numbers = torch.tensor([self.environments.index(name) for name in names], dtype=torch.float64)
        return {"goal": torch.cat([numbers[environment][:, None], places[environment, order[:count]]], 1)}

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task 3"]:
        """Where the goals are, each within the bounds of its environment; of the object where that alone is placed."""
        rows = []
        for number, *place in tasks["goal"].tolist():
            low, high = box(self.environments[int(number)])
            middle, reach = (low + high) / 2, (high - low) / 2
            rows.append(((np.asarray(place[: len(low)]) - middle) / np.where(reach > 0, reach, 1))[-3:])
        return torch.from_numpy(np.stack(rows)).float()

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> GymnasiumEnv:
        return GymnasiumEnv(self, tasks, lanes, device)

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        return torch.as_tensor(encode(self.env_observation_space, observation))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return decode(self.env_action_space, action.cpu().numpy())
