"""The same stream of an environment lived by an agent's own session and by an exported one, side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from small import TINY

import quickstudy as qs
from quickstudy import runtime
from quickstudy.algorithms import ALGORITHMS
from quickstudy.exporting.agents import Recording, distribution_of, with_distribution
from quickstudy.protocol import counter
from quickstudy.work import InProcess

FAMILIES: dict[str, dict[str, Any]] = {
    "bandit": {"arms": 4, "pulls": 6, "episodes_per_trial": 4},
    "grid-navigation": {"size": 4, "max_episode_steps": 8, "episodes_per_trial": 4},
    "point-navigation": {"max_episode_steps": 8, "episodes_per_trial": 4},
}


class Parity(NamedTuple):
    """What came of living side by side."""

    steps: int
    adaptations: int
    """Ends of episodes, or for methods that pool lanes rounds of them."""
    other_actions: int
    """Actions of choices that differed."""
    action: float
    """The largest difference between continuous actions, as a share of the largest action."""
    parameters: float
    """And between the distributions' parameters."""


def learner(name: str, family: str, normalised: bool = False, iterations: int = 2, **options: Any) -> Any:
    """A learner of an algorithm after a little training."""
    entry = ALGORITHMS[name]
    made = entry.make(qs.tasks.make(family, **FAMILIES[family]), entry.config(**TINY[name] | options))
    if normalised:
        made = qs.Normalised(made, qs.Normalisation(normalise_observation=True, normalise_reward=True))
    work = InProcess(made.tasks)
    for _ in range(iterations):
        made.train_step(work)
    return made


class Same(NamedTuple):
    """Draws what the agent's own session has drawn."""

    session: Any

    def sample(self, parameters: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return self.session._acted.act.action[0, 0].numpy()


def side_by_side(agent: Any, path: Path, tasks: int = 2, rounds: int = 3) -> Parity:
    """Lives `tasks` tasks with both, each for so many adaptations; the environment takes the agent's own actions.

    Greedily, but where adapting is a gradient step: on its most likely actions a Gaussian's mean has none. There the exported
    agent takes what the agent has drawn.
    """
    exported = runtime.load(path)
    greedy = exported.contents.adapts != "gradient"
    ours, theirs = agent.session(greedy=greedy), exported.session(greedy=greedy)
    if not greedy:
        exported.contents = replace(exported.contents, draws=cast(Any, Same(ours)))
    env, drawn = agent.tasks.make(1, 1), agent.tasks.sample(tasks, "test", counter(0, 0, "tasks"))
    steps = others = adaptations = 0
    action_apart = parameters_apart = largest = 0.0
    for task in range(tasks):
        ours.new_task(), theirs.new_task()
        recording = Recording(distribution_of(ours._policy))
        ours._policy = with_distribution(ours._policy, recording)
        seen = env.reset({name: value[task : task + 1] for name, value in drawn.items()}, counter(0, task, "env"))
        episodes = 0
        while episodes < rounds * agent.lanes:
            observation = seen[0, 0].numpy()
            action, other = ours.act(observation), theirs.act(observation)
            wanted = recording.parameters
            assert wanted is not None
            assert np.isfinite(theirs.parameters).all()  # NaN would pass for no difference below
            parameters_apart = max(parameters_apart, np.abs(wanted.flatten().numpy() - theirs.parameters).max())
            assert np.asarray(action).dtype == np.asarray(other).dtype
            if np.asarray(action).dtype.kind == "f":
                action_apart, largest = max(action_apart, np.abs(action - other).max()), max(largest, np.abs(action).max())
            else:
                others += int(not np.array_equal(action, other))
            transition = env.step(torch.as_tensor(action)[None, None])
            ends = bool(transition.terminated), bool(transition.truncated)
            told = float(transition.reward), *ends, transition.arrival[0, 0].numpy()
            ours.feedback(*told), theirs.feedback(*told)
            seen, steps, episodes = transition.observation, steps + 1, episodes + any(ends)
        adaptations += episodes // agent.lanes
    env.close()
    return Parity(steps, adaptations, others, action_apart / (largest or 1.0), parameters_apart)
