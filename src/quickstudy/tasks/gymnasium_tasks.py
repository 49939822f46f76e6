"""Any Gymnasium environment as a task distribution: what differs from task to task is named, and drawn anew for each."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.wrappers import TimeLimit
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from quickstudy.arguments import checked, fits, shown
from quickstudy.errors import UsageError, did_you_mean, require_counts, shorten
from quickstudy.ops.senses import words_of
from quickstudy.ops.spaces import decode, encode, is_text, leaves_of, observed, taken
from quickstudy.protocol import Split, Splits, Tasks
from quickstudy.tasks.figures import require_figures
from quickstudy.tasks.gymnasium_env import GymnasiumEnv
from quickstudy.tasks.lanes import Env, Values
from quickstudy.tasks.parameters import Choice, Parameter, normalise_parameters, sample_parameters, splits_of
from quickstudy.tasks.pictures import draws_itself, images_in
from quickstudy.tasks.sentences import Sentences

MOST_WORDS = 2**15 - 3
"""Words are told apart by numbers of 16 bits, of which one is no word and one any other word."""


@checked
class GymnasiumTasks:
    """A task distribution over a Gymnasium environment.

        GymnasiumTasks("CartPole-v1", length=Uniform(0.25, 1.0), force_mag=Choice(-10.0, 10.0))

    `env` is a registered id or a function that builds the environment. Each keyword names an attribute of the unwrapped
    environment and where its value is drawn from; with `configure`, a function (environment, values) that puts a task's values
    into the unwrapped environment before a trial's first reset, the keywords are any names that it understands.

    `workers` processes step the lanes side by side, each its share, and hand over through shared memory; 0 steps them here. A
    step or reset of one environment that takes longer than `deadline` seconds is a fault.

    Observations may be Box, images and sounds among them, Discrete, MultiDiscrete, MultiBinary, Text, and Dict or Tuple of
    such parts; what learners see of them is in `observation_space`. `vocabulary` lists the words of texts, which are told
    apart by a hash of their letters without. `sentences` is the folder of a frozen encoder of texts in model2vec's format:
    each text is a vector then. Actions may be Box, Discrete, MultiDiscrete or MultiBinary.

    `figures` are figures of a field that an environment's info tells at every step, tabled beside returns:
    `{"delay": "mean", "cost": "sum", "stock": "last"}` says what an episode's figure is of its steps.

    `max_episode_steps` takes the place of the time limit that an id is registered with; of an environment that is built by a
    function it may only cut shorter. Raises UsageError for an unknown id or attribute, a space it can't use, words for
    observations without a text, or an environment without a time limit where `max_episode_steps` gives none.
    """

    def __init__(
        self,
        env: str | Callable[[], Env],
        /,
        *,
        episodes_per_trial: int = 2,
        max_episode_steps: int | None = None,
        configure: Callable[[Any, Values], None] | None = None,
        workers: int = 0,
        deadline: float = 60.0,
        vocabulary: tuple[str, ...] = (),
        sentences: str | Path | None = None,
        figures: Mapping[str, str] | None = None,
        **parameters: Any,
    ):
        self._env, self._configure = env, configure
        self.parameters: Mapping[str, Parameter] = parameters
        self.episodes_per_trial, self.workers, self.deadline = episodes_per_trial, workers, deadline
        self._limit = max_episode_steps
        require_figures(self, figures or {})
        self.figures: Any = dict(figures or {})
        require_words(self, vocabulary)
        if vocabulary and sentences is not None:
            raise UsageError(f"{self}: give vocabulary or sentences, not both: a text is its words or a vector")
        self._sentences = None if sentences is None else Sentences(sentences)
        require_counts(self, 1, episodes_per_trial=episodes_per_trial, max_episode_steps=max_episode_steps)
        require_counts(self, 0, workers=workers)
        if deadline <= 0:
            raise UsageError(f"{self}: deadline is {deadline} seconds, it must be more than 0")
        if not parameters:
            raise UsageError(f"{self}: name at least one attribute to vary, such as gravity=Uniform(8, 12)")
        for name, parameter in parameters.items():
            if not fits(parameter, Parameter):
                guess = did_you_mean(name, inspect.signature(GymnasiumTasks).parameters)
                raise UsageError(
                    f"{self}: {name}={shown(parameter)} is no distribution; write {name}=Uniform(low, high) or Choice(...)"
                    + (f"; or {guess}" if guess.startswith("did") else "")
                )
            if workers and isinstance(parameter, Choice):
                require_sendable(self, name, parameter)
        self.splits: Splits = splits_of(parameters)
        probe = self._alone()
        self.drawn_as_seen = not draws_itself(probe) and bool(images_in(probe.observation_space))
        """Whether pictures of it are the images that it shows."""
        try:
            self.max_episode_steps = self._time_limit(probe)
            if configure is None:
                self._require_attributes(probe.unwrapped)
            if (vocabulary or sentences is not None) and not any(map(is_text, leaves_of(probe.observation_space).values())):
                raise UsageError(f"{self}: vocabulary and sentences are for texts, and no part of the observation is a Text")
            self._told = probe.observation_space
            self.env_observation_space, self.env_action_space = self._as_vectors(self._told), probe.action_space
            try:
                self.observation_space = observed(self.env_observation_space, vocabulary)
                self.action_space = taken(self.env_action_space)
            except UsageError as error:
                raise UsageError(f"{self}: {error}") from error
        finally:
            probe.close()

    def __repr__(self) -> str:
        name = self._env if isinstance(self._env, str) else getattr(self._env, "__name__", type(self._env).__name__)
        return f"GymnasiumTasks({name!r})"

    def build(self) -> Env:
        """One environment, as yet of no task; with a time limit, where one was given, and texts as it was said."""
        return self._alone() if self._sentences is None else self._sentences.around(self._alone())

    def _as_vectors(self, space: gymnasium.Space[Any]) -> gymnasium.Space[Any]:
        return space if self._sentences is None else self._sentences.space_of(space)

    def _alone(self) -> Env:
        try:
            env = self._registered(self._env) if isinstance(self._env, str) else self._env()
        except gymnasium.error.DependencyNotInstalled as error:
            raise UsageError(f"{self}: a package is missing: {error}") from error
        except gymnasium.error.Error as error:
            raise UsageError(f"{self}: {error}") from error
        if not isinstance(env, gymnasium.Env):
            raise UsageError(f"{self}: it builds {shown(env)}, no gymnasium.Env")
        limits, limit = time_limits(env), self._limit
        if not limits and limit is None and env.spec is not None:
            limit = env.spec.max_episode_steps  # what it was registered with, where its wrapper was left out
        return env if limit is None or (limits and min(limits) <= limit) else TimeLimit(env, limit)

    def _registered(self, name: str) -> Env:
        limit = {} if self._limit is None else {"max_episode_steps": self._limit}
        return gymnasium.make(name, disable_env_checker=True, **limit)

    def put(self, env: Env, values: Values) -> None:
        """Puts a task's values into an environment that `build` made."""
        if self._configure is not None:
            self._configure(env.unwrapped, values)
            return
        for name, value in values.items():
            setattr(env.unwrapped, name, value)
        derive_physics(env.unwrapped)

    def _require_attributes(self, env: Env) -> None:
        for name in self.parameters:
            if not hasattr(env, name):
                known = [key for key in dir(env) if not key.startswith("_") and isinstance(getattr(env, key), int | float)]
                raise UsageError(
                    f"{self}: {type(env).__name__} has no attribute '{name}'; {did_you_mean(name, known)}"
                    " Or pass configure=..., which puts the values in."
                )

    def _time_limit(self, probe: Env) -> int:
        """The limit that ends episodes of what `build` made."""
        limits = time_limits(probe)
        if not limits:
            raise UsageError(f"{self}: the environment has no time limit; pass max_episode_steps=...")
        if self._limit is not None and min(limits) < self._limit:
            raise UsageError(
                f"{self}: max_episode_steps is {self._limit}, but the environment has a TimeLimit of {min(limits)} of its own,"
                f" which cuts episodes first; build it with another one, or pass max_episode_steps={min(limits)} or less"
            )
        return min(limits)

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        return sample_parameters(self.parameters, count, split, generator)

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        return normalise_parameters(self.parameters, tasks)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> GymnasiumEnv:
        return GymnasiumEnv(self, tasks, lanes, device)

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        if self._sentences is not None:
            observation = self._sentences.told(self._told, observation)
        return torch.as_tensor(encode(self.env_observation_space, observation, self.observation_space))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        return decode(self.env_action_space, action.cpu().numpy())


def require_words(tasks: GymnasiumTasks, vocabulary: tuple[str, ...]) -> None:
    """UsageError for what is no list of different single words, in small letters."""
    for word in vocabulary:
        if words_of(word) != [word]:
            raise UsageError(
                f"{tasks}: vocabulary has {shorten(word)}; list single words in small letters, without punctuation"
            )
    if len(set(vocabulary)) < len(vocabulary):
        twice = next(word for word in vocabulary if vocabulary.count(word) > 1)
        raise UsageError(f"{tasks}: vocabulary has {shorten(twice)} twice")
    if len(vocabulary) > MOST_WORDS:
        raise UsageError(f"{tasks}: vocabulary has {len(vocabulary)} words, {MOST_WORDS} at most are told apart")


def time_limits(env: Env) -> list[int]:
    """The limits of all TimeLimits around an environment, the outermost first."""
    limits = []
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TimeLimit):
            limits.append(env._max_episode_steps)
        env = env.env
    return limits


def require_sendable(tasks: GymnasiumTasks, name: str, choice: Choice) -> None:
    """UsageError where a listed value can't be sent to a worker process."""
    for value in choice.values:
        try:
            pickle.dumps(value)
        except Exception as error:  # whatever it is that somebody's own object raises
            raise UsageError(
                f"{tasks}: {name} can be {shown(value)}, which can't be sent to a worker process ({error}); list a name for it,"
                " and build it in configure, or take workers=0"
            ) from error


def derive_physics(env: Env) -> None:
    """Computes anew what CartPole works out in its constructor; the other classics read their physics at each step."""
    if isinstance(env, CartPoleEnv):
        env.total_mass = env.masspole + env.masscart
        env.polemass_length = env.masspole * env.length
