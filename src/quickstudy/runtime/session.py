"""A session of an exported agent: `quickstudy.Session` again, on arrays, with a graph in the place of a policy."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from quickstudy.answers import checked_answer
from quickstudy.errors import UsageError
from quickstudy.runtime.contents import LIVED

if TYPE_CHECKING:
    from quickstudy.runtime.agent import Agent

Arrays = dict[str, np.ndarray]


class Session:
    """An exported agent at work in the world, one step at a time.

        session = agent.session(seed=0)
        action = session.act(observation)
        session.feedback(reward, terminated, truncated, observation)   # as env.step returned them
        session.new_task()                                             # another patient, market, robot ...

    Observations and actions are those of the environment itself. The session remembers over the episodes of its task, and
    adapts whenever it has lived as many episodes as the agent pools. `greedy` takes the most likely actions, drawing none.
    """

    def __init__(self, agent: Agent, *, seed: int = 0, greedy: bool = False):
        self.agent = agent
        self._generator = None if greedy else np.random.default_rng(seed)
        self.new_task()

    def new_task(self) -> None:
        """Forgets the task: what comes next is another one."""
        contents = self.agent.contents
        self._memory = {name: value[None] for name, value in contents.memory.items()}
        self._weights = dict(contents.weights)
        self._adaptations = 0
        self._episodes: list[tuple[list[Arrays], Arrays]] = []
        """Steps of those that wait for as many others as an adaptation pools, and how each ended."""
        self._before: list[Arrays] = []
        """How each of the pooled episodes of the round before ended, as percepts."""
        self._begin()

    def _begin(self) -> None:
        self._last: Arrays | None = None
        self._rows: list[Arrays] = []
        self._acted: Arrays | None = None
        self._answer: Arrays | None = None

    @property
    def parameters(self) -> np.ndarray:
        """Of the distribution from which the last action was drawn, float32 (parameter,); UsageError before there is one."""
        return self._given("parameters")

    @property
    def value(self) -> float | None:
        """What the agent expected before the last action, in the unit of rewards in training; None where it tells no value."""
        self._given("parameters")
        return float(self._given("value")) if "value" in self.agent.step.outputs else None

    def _given(self, name: str) -> np.ndarray:
        if not hasattr(self, "_outputs"):
            raise UsageError(f"there is no {name} before the first action: session.act(observation)")
        return self._outputs[name][0]

    def act(self, observation: Any) -> Any:
        """The action to take; ValueError where the observation doesn't fit the environment's space, or isn't finite."""
        contents = self.agent.contents
        if self._acted and not self._answer:
            raise UsageError("act was called twice; first say what came of the last action: session.feedback(reward, ...)")
        seen = contents.observation.encode(observation)[None]
        if self._acted and self._answer:
            self._last = self._complete(self._answer, seen)
            self._acted = self._answer = None
        if contents.adapts == "gradient" and len(self._rows) >= contents.horizon:
            raise UsageError(
                f"the episode has {contents.horizon} steps, adaptation was exported for no more; end it with truncated=True,"
                " or export with a longer --horizon"
            )
        percept = self._percept(seen)
        told = {f"memory.{name}": value for name, value in self._memory.items()}
        told |= {f"weights.{name}": value for name, value in self._weights.items()}
        self._outputs = self.agent.step(percept | told)
        self._memory = {name: self._outputs[f"next.{name}"] for name in self._memory}
        action, parameters = self._outputs["greedy_action"], self._outputs["parameters"]
        if self._generator is not None:
            action = contents.draws.sample(parameters[0], self._generator)[None]
        self._acted = {"observation": seen, "action": action, "parameters": parameters}
        return contents.action.decode(action[0])

    def feedback(
        self,
        reward: SupportsFloat,
        terminated: bool | np.bool_ = False,
        truncated: bool | np.bool_ = False,
        observation: Any = None,
    ) -> None:
        """What came of the last action; at the end of an episode the agent adapts, and the next `act` begins another one.

        `observation` is what the environment returned with the reward: needed, at the end of an episode, by methods that learn
        from where it ended. ValueError for a reward that is no number that float32 holds, an end that is not True or False, or
        such an observation as `act` refuses; nothing of what was told is kept then, and it can be told again.
        """
        if not self._acted or self._answer:
            raise UsageError("feedback was given without an action; first ask for one: session.act(observation)")
        number, *ends = checked_answer(reward, terminated, truncated)
        told = {name: np.array([end]) for name, end in zip(("terminated", "truncated"), ends, strict=True)}
        answer = {"reward": np.array([number], np.float32)} | told
        seen = self._acted["observation"] if observation is None else self.agent.contents.observation.encode(observation)[None]
        if terminated or truncated:
            self._end(self._complete(answer, seen))
        else:
            self._answer = answer

    def fork(self, seed: int | None = None) -> Session:
        """A session that goes on from here by itself; with `seed`, with other luck in its actions."""
        twin = copy.copy(self)
        twin._rows = list(self._rows)
        if self._generator is not None:
            twin._generator = copy.deepcopy(self._generator) if seed is None else np.random.default_rng(seed)
        return twin

    def _complete(self, answer: Arrays, arrival: np.ndarray) -> Arrays:
        """Keeps a step that is over, now that where it led is known; what it tells the next one, as a percept."""
        assert self._acted is not None
        if self.agent.contents.adapts == "gradient":
            self._rows.append(self._acted | answer | {"arrival": arrival})
        return {
            "observation": arrival,
            "first": answer["terminated"] | answer["truncated"],
            "action": self._acted["action"],
            "arrival": arrival,
            **answer,
        }

    def _percept(self, seen: np.ndarray) -> Arrays:
        if self._last is not None:
            return self._last | {"observation": seen}
        if self._before:
            return self._before[len(self._episodes)] | {"observation": seen, "first": np.ones(1, bool)}
        dtype, shape = self.agent.step.inputs["action"]
        never, zero = np.zeros(1, bool), np.zeros(1, np.float32)
        past = {"action": np.zeros((1, *shape[1:]), dtype), "reward": zero, "arrival": np.zeros_like(seen)}
        return past | {"observation": seen, "first": ~never, "terminated": never, "truncated": never}

    def _end(self, last: Arrays) -> None:
        """An episode is over: adapts where it was the last of those that an adaptation pools."""
        contents, rows = self.agent.contents, self._rows
        if contents.adapts == "gradient":
            self._episodes = [*self._episodes, (rows, last)]
            if len(self._episodes) == contents.lanes:
                self._adapt([rows for rows, _ in self._episodes])
                self._before, self._episodes = [last for _, last in self._episodes], []
        else:
            self._before = [last]
            if contents.adapts == "nothing":
                self._memory = {name: value[None] for name, value in contents.memory.items()}
        self._begin()

    def _adapt(self, episodes: list[list[Arrays]]) -> None:
        """An inner step on the pooled episodes, each in a lane of its own, shorter ones padded with steps not valid."""
        adaptation = self.agent.adaptation
        assert adaptation is not None
        told = {name: np.zeros(shape, dtype) for name, (dtype, shape) in adaptation.inputs.items() if name in LIVED}
        for lane, rows in enumerate(episodes):
            told["valid"][lane, : len(rows)] = True
            for name in rows[0]:
                told[name][lane, : len(rows)] = np.concatenate([row[name] for row in rows])
        told["first_step"] = np.array(self._adaptations == 0)
        found = adaptation(told | {f"weights.{name}": value for name, value in self._weights.items()})
        self._weights = {name: found[f"next.{name}"] for name in self._weights}
        self._adaptations += 1
