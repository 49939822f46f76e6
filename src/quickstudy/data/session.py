"""A live agent: one lane of one task at a time, told step by step what came of its actions, adapting as the evaluator does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import torch
from torch import Generator, Tensor

from quickstudy.answers import checked_answer
from quickstudy.arguments import checked
from quickstudy.data.session_check import require_held, restored
from quickstudy.data.session_file import (
    Acted,
    Answer,
    Episode,
    Row,
    read_session,
    refusing,
    stacked,
    unstacked,
    write_session,
)
from quickstudy.errors import UsageError, shorten
from quickstudy.ops.senses import is_finite
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import Agent, Experience, Percept, Transition, begin_episode, begin_trial, counter


@checked
class Session:
    """An agent at work in the world, one step at a time.

        session = learner.session(seed=0)
        action = session.act(observation)
        session.feedback(reward, terminated, truncated, observation)   # as env.step returned them
        session.new_task()                                             # another patient, market, robot ...

    Observations and actions are those of the environment itself. The session remembers over the episodes of its task, and
    adapts whenever it has lived as many episodes as the agent pools (`agent.lanes`: RL2 1, MAML 10). `greedy` takes the most
    likely actions instead of sampling. Sampled actions are those of `evaluate` on one task, one lane and the same seed.
    """

    def __init__(self, agent: Agent, *, seed: int = 0, greedy: bool = False):
        self.agent = agent
        self._generator = None if greedy else counter(seed, 0, "test actions", 0, agent.device)
        self.new_task()

    def new_task(self) -> None:
        """Forgets the task: what comes next is another one."""
        self._policy: Any = self.agent.explorer()
        self._episodes: list[Episode] = []
        self._before: list[Percept] = []
        """How each of the pooled episodes of the round before ended."""
        self._begin()

    def _begin(self) -> None:
        self._memory = self._start_memory = self._policy.initial_memory(1, 1)
        self._last: Percept | None = None
        self._rows: list[Row] = []
        self._acted: Acted | None = None
        self._answer: Answer | None = None

    @torch.no_grad()
    def act(self, observation: Any) -> Any:
        """The action to take; ValueError where the observation doesn't fit the environment's space, or isn't finite."""
        if self._acted and not self._answer:
            raise UsageError("act was called twice; first say what came of the last action: session.feedback(reward, ...)")
        seen = self._seen(observation)
        if self._acted and self._answer:
            row, self._last = completed(self._acted, self._answer, seen)
            self._rows.append(row)
            self._acted = self._answer = None
        percept = self._percept(seen)
        act, self._memory = self._policy.act(percept, self._memory, self._generator)
        self._acted, self._answer = Acted(percept, act), None
        return self.agent.tasks.decode(act.action[0, 0])

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
        numbers = checked_answer(reward, terminated, truncated)
        answer = Answer(*(torch.full((1, 1), number, device=self.agent.device) for number in numbers))
        arrival = self._acted.percept.observation if observation is None else self._seen(observation)
        if terminated or truncated:
            self._end(answer, arrival)
        else:
            self._answer = answer

    def _seen(self, observation: Any) -> Tensor:
        """An observation as policies read it, (1, 1, ...)."""
        seen = self.agent.tasks.encode(observation)[None, None].to(self.agent.device)
        if not is_finite(self.agent.tasks.observation_space, seen):
            raise ValueError(f"the observation {shorten(observation)} holds NaN or infinity in float32")
        return seen

    def _percept(self, seen: Tensor) -> Percept:
        if self._last is not None:
            return self._last._replace(observation=seen)
        before = self._before[len(self._episodes)] if self._before else None
        return begin_trial(seen, self.agent.tasks.action_space) if before is None else begin_episode(seen, before)

    def _end(self, answer: Answer, arrival: Tensor) -> None:
        """An episode is over: adapts where it was the last of those that an adaptation pools."""
        assert self._acted is not None
        row, last = completed(self._acted, answer, arrival)
        episodes = [*self._episodes, Episode(stacked([*self._rows, row]), last, self._start_memory, self._memory)]
        if len(episodes) == self.agent.lanes:
            with torch.no_grad():
                self._policy = self.agent.adapt(self._policy, pooled(episodes))
            self._before, episodes = [episode.end_percept for episode in episodes], []
        self._episodes = episodes
        self._begin()

    def fork(self, seed: int | None = None) -> Session:
        """A session that goes on from here by itself; with `seed`, with other luck in its actions."""
        twin = Session.__new__(Session)
        twin.__dict__ = {name: list(value) if isinstance(value, list) else value for name, value in self.__dict__.items()}
        if self._generator is not None:
            twin._generator = Generator(self.agent.device)
            twin._generator.set_state(self._generator.get_state())
            if seed is not None:
                twin._generator = counter(seed, 0, "test actions", 0, self.agent.device)
        return twin

    def save(self, path: str | Path) -> None:
        """Writes all that the session holds as one safetensors file, atomically; call it after `feedback`."""
        if self._acted and not self._answer:
            raise UsageError("save was called between act and feedback; first say what came of the last action")
        write_session(Path(path), self.agent.name, self._policy, self._held())

    def _held(self) -> dict[str, Any]:
        """All that the session holds but its policy."""
        return {
            "generator": None if self._generator is None else self._generator.get_state(),
            "memory": self._memory,
            "start_memory": self._start_memory,
            "last": self._last,
            "rows": stacked(self._rows) if self._rows else None,
            "acted": self._acted,
            "answer": self._answer,
            "episodes": self._episodes,
            "before": self._before,
        }

    @classmethod
    def restore(cls, path: str | Path, agent: Agent) -> Session:
        """A stored session of this agent, going on bit for bit; runs no code from the file.

        QuickstudyError where the file was altered or is not of such an agent.
        """
        session, path = cls(agent), Path(path)
        policy, held = read_session(path, agent.name, session._policy, agent.device)
        with torch.no_grad(), refusing(path, agent.name):
            require_held(agent, policy, session._policy.initial_memory(1, 1), held)
        session._policy = policy
        generator, rows = held.pop("generator"), held.pop("rows")
        for name, value in held.items():
            setattr(session, f"_{name}", value)
        session._rows = unstacked(rows) if rows else []
        session._generator = None if generator is None else restored(generator, agent.device)
        return session


def completed(acted: Acted, answer: Answer, arrival: Tensor) -> tuple[Row, Percept]:
    """A step that is over, now that where it led is known, and what it tells the next one."""
    percept, act = acted
    reward, terminated, truncated = answer
    row = Row(percept, act, Transition(arrival, arrival, reward, terminated, truncated, {}))
    return row, Percept(arrival, terminated | truncated, act.action, reward, arrival, terminated, truncated)


def pooled(episodes: list[Episode]) -> Experience:
    """Episodes as experience, each in a lane of its own, shorter ones padded with steps that are not valid."""
    longest = max(episode.rows.transition.reward.shape[2] for episode in episodes)

    def joined(*parts: Tensor) -> Tensor:
        return torch.cat([torch.cat([p, p.new_zeros(1, 1, longest - p.shape[2], *p.shape[3:])], 2) for p in parts], 1)

    rows = tree_map(joined, *(episode.rows for episode in episodes))
    valid = joined(*(torch.ones_like(episode.rows.percept.first) for episode in episodes))
    end_percept, start_memory, end_memory = (
        tree_map(lambda *parts: torch.cat(parts, 1), *(getattr(episode, name) for episode in episodes))
        for name in ("end_percept", "start_memory", "end_memory")
    )
    return Experience(*rows, valid, start_memory, end_percept, end_memory)
