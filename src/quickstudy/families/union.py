"""Families with different spaces as one distribution of tasks: one learner over several domains."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float, Int, Shaped
from torch import Generator, Tensor
from torch.nn.functional import pad

from quickstudy.arguments import checked
from quickstudy.errors import UsageError, shorten
from quickstudy.families.making import called
from quickstudy.ops.features import as_vector, vector_size
from quickstudy.ops.senses import is_read
from quickstudy.ops.spaces import decode, encode
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import BatchEnv, Observation, Split, Splits, TaskDistribution, Tasks, Transition
from quickstudy.scene import Drawable, Picture
from quickstudy.tasks.choices import FAMILY, Choice
from quickstudy.tasks.figures import Figures, figures_of
from quickstudy.tasks.holding import hold
from quickstudy.tasks.parameters import parameters_of


@checked
class Union:
    """Tasks of several families, as many of each, whatever they show and take.

        qs.RL2(qs.Union(qs.tasks.make("bandit"), qs.tasks.make("tabular-mdp", episodes_per_trial=1)))

    An observation is the member's own as a vector, with zeros up to the longest, and behind that which member it is, one-hot.
    Actions are numbered up to the largest count, and a number beyond a member's own means its remainder by that count, so that
    each is one it can take; or they are Box(-1, 1) of the largest size, scaled to each member's bounds, what is beyond its own
    ignored. Each member keeps its own time limit.

    A task's parameters are `family`, and those of all members, each as `member.parameter`, of which its own member's count;
    what tells the task (`normalise`) is zero elsewhere. `names` are what members are called, by default their registered names.
    A split is drawn from the same split of each member. A union of one is that member, and its parameters keep their names.

    UsageError where members don't have as many episodes a trial, are partly discrete and partly continuous, have actions that
    are neither Discrete nor a bounded Box, or show images, sounds or texts (which `qs.Encoded` makes vectors of).
    """

    def __init__(self, *members: TaskDistribution, names: Sequence[str] = ()):
        if not members or (names and len(names) != len(members)):
            raise UsageError(f"Union: it takes at least one member, and a name for each or none; {len(members)} and {names!r}")
        self.members = dict(zip(named(members, names), members, strict=True))
        require_alike(self.members)
        self._all, self._alone = list(members), len(members) == 1
        self._drawn = torch.arange(len(members))
        first = members[0]
        self.observation_space = first.observation_space if self._alone else self._shared_observations()
        self.action_space = first.action_space if self._alone else shared_actions(self.members)
        self.max_episode_steps = max(member.max_episode_steps for member in members)
        self.episodes_per_trial = first.episodes_per_trial
        apart = all(member.splits == "partitioned" for member in members)
        self.splits: Splits = "partitioned" if apart else "iid"
        self.figures: Figures = figures_of(first) if self._alone else {}
        self.shows = () if self._alone else (FAMILY,)
        """The parameters that observations tell, as they are meant to."""
        parameters = {} if self._alone else {FAMILY: Choice(*self.members)}
        for name, member in self.members.items():
            parameters |= {self._called(name, parameter): drawn for parameter, drawn in parameters_of(member).items()}
        self.parameters: Mapping[str, Any] = parameters

    def __repr__(self) -> str:
        fewer = [repr(list(self.members)[number]) for number in self._drawn]
        alone = f".only({', '.join(fewer)})" if len(fewer) < len(self._all) else ""
        return f"Union({', '.join(map(repr, self._all))}){alone}"

    def _shared_observations(self) -> spaces.Box:
        self._width = max(vector_size(member.observation_space) for member in self._all)
        return spaces.Box(-np.inf, np.inf, (self._width + len(self._all),))

    def _called(self, member: str, parameter: str) -> str:
        return parameter if self._alone else f"{member}.{parameter}"

    def sample(self, count: int, split: Split, generator: Generator) -> Tasks:
        tasks: Tasks = {}
        if not self._alone:
            # dealt out in turn, so that shards of all sizes have as many of each, up to one
            start = torch.randint(len(self._drawn), (), generator=generator)
            tasks[FAMILY] = self._drawn[(start + torch.arange(count)) % len(self._drawn)]
        for name, member in self.members.items():
            drawn = member.sample(count, split, generator)
            tasks |= {self._called(name, parameter): value for parameter, value in drawn.items()}
        return tasks

    def only(self, *names: str) -> Union:
        """The same spaces, in which tasks of some members alone are drawn: what learns in one acts in the other."""
        fewer = copy.copy(self)
        fewer._drawn = torch.tensor(sorted(map(self._number, names)))
        if not names or len(set(names)) < len(names):
            raise UsageError(f"Union.only: name at least one member, each once; its members are {', '.join(self.members)}")
        return fewer

    def family_of(self, tasks: Tasks) -> Int[Tensor, "task"]:
        """The number of each task's member."""
        count = len(next(iter(tasks.values())))
        return torch.zeros(count, dtype=torch.long) if self._alone else tasks[FAMILY].long().cpu()

    def own(self, name: str, tasks: Tasks) -> Tasks:
        """The parameters of one member, as that member calls them."""
        if self._alone:
            return tasks
        return {key.removeprefix(f"{name}."): value for key, value in tasks.items() if key.startswith(f"{name}.")}

    def normalise(self, tasks: Tasks) -> Float[Tensor, "task parameter"]:
        if self._alone:
            return self._all[0].normalise(tasks)
        family = self.family_of(tasks)
        told = [self.parameters[FAMILY].normalise(family)]
        for number, (name, member) in enumerate(self.members.items()):
            told.append(member.normalise(self.own(name, tasks)).cpu() * (family == number)[:, None])
        return torch.cat(told, -1)

    def make(self, tasks: int, lanes: int, device: str = "cpu") -> UnionEnv:
        return UnionEnv(self, lanes, device)

    def seen(self, number: int, observation: Shaped[Tensor, "*lead ..."]) -> Shaped[Tensor, "*lead ..."]:
        """What a member shows, as the union shows it."""
        if self._alone:
            return observation
        vector = as_vector(self._all[number].observation_space, observation)
        member = vector.new_zeros(*vector.shape[:-1], len(self._all))
        member[..., number] = 1.0
        return torch.cat([pad(vector, (0, self._width - vector.shape[-1])), member], -1)

    def taken(self, number: int, action: Shaped[Tensor, "*lead ..."]) -> Shaped[Tensor, "*lead ..."]:
        """What an action of the union's means to a member."""
        if self._alone:
            return action
        space = self._all[number].action_space
        if isinstance(space, spaces.Discrete):
            return action % int(space.n)
        assert isinstance(space, spaces.Box)
        low, high = (torch.as_tensor(bound, device=action.device) for bound in (space.low, space.high))
        own = action[..., : low.numel()].unflatten(-1, space.shape)
        return (low + high) / 2 + (high - low) / 2 * own

    def encode(self, observation: Any) -> Shaped[Tensor, "..."]:
        """An observation of the union's, as `tell` makes it; of a union of one, its member's own."""
        return self._all[0].encode(observation) if self._alone else torch.as_tensor(encode(self.observation_space, observation))

    def tell(self, name: str, observation: Any) -> Shaped[Tensor, "entry"]:
        """What a policy reads where a member's own environment shows this."""
        return self.seen(self._number(name), self.members[name].encode(observation))

    def decode(self, action: Shaped[Tensor, "..."]) -> Any:
        """An action of the union's, which `act` translates; of a union of one, its member's own."""
        return self._all[0].decode(action) if self._alone else decode(self.action_space, action.cpu().numpy())

    def act(self, name: str, action: Any) -> Any:
        """What a member's own environment takes, where a policy chose this action of the union's."""
        return self.members[name].decode(self.taken(self._number(name), torch.as_tensor(action)))

    def _number(self, name: str) -> int:
        if name not in self.members:
            raise UsageError(f"Union: there is no member {shorten(name)}; its members are {', '.join(self.members)}")
        return list(self.members).index(name)


class Part(NamedTuple):
    """The tasks of one member, in a batch."""

    number: int
    rows: Int[Tensor, "row"]
    """Their places in the batch."""
    env: BatchEnv


class UnionEnv:
    """Steps each member's environments; which tasks are whose may change with each trial."""

    def __init__(self, union: Union, lanes: int, device: str):
        self._union, self._lanes, self._device = union, lanes, device
        self._envs: dict[tuple[int, int], BatchEnv] = {}
        self._parts: list[Part] = []

    def _env(self, number: int, tasks: int) -> BatchEnv:
        if (number, tasks) not in self._envs:
            member = list(self._union.members.values())[number]
            self._envs[number, tasks] = member.make(tasks, self._lanes, self._device)
        return self._envs[number, tasks]

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        family, self._parts, seen = self._union.family_of(tasks), [], []
        for number, name in enumerate(self._union.members):
            rows = (family == number).nonzero()[:, 0].to(self._device)
            if not len(rows):
                continue
            env = self._env(number, len(rows))
            self._parts.append(Part(number, rows, env))
            own = {key: value[rows] for key, value in self._union.own(name, tasks).items()}
            seen.append(self._union.seen(number, env.reset(own, generator)))
        self._order = torch.cat([part.rows for part in self._parts]).argsort()
        return self._joined(seen)

    def _joined(self, parts: Sequence[Tensor]) -> Shaped[Tensor, "task lane ..."]:
        return parts[0] if len(parts) == 1 else torch.cat(list(parts))[self._order]

    def restart(self) -> Observation:
        return self._joined([self._union.seen(part.number, part.env.restart()) for part in self._parts])

    def step(self, action: Shaped[Tensor, "task lane ..."]) -> Transition:
        steps = [part.env.step(self._union.taken(part.number, action[part.rows])) for part in self._parts]
        infos = [self._told(part, step) for part, step in zip(self._parts, steps, strict=True)]
        shown = [
            step._replace(
                observation=self._union.seen(part.number, step.observation),
                arrival=self._union.seen(part.number, step.arrival),
                info=info,
            )
            for part, step, info in zip(self._parts, steps, infos, strict=True)
        ]
        return tree_map(lambda *parts: self._joined(parts), *shown)

    def _told(self, part: Part, step: Transition) -> dict[str, Tensor]:
        """What the scorer may know: a member's own words where it is alone, else what all can be asked for."""
        if len(self._union.members) == 1:
            return step.info
        nothing = torch.full(step.reward.shape, -1, dtype=torch.int8, device=step.reward.device)
        success = step.info.get("success", nothing).to(torch.int8)
        return {"success": success, "dense_reward": step.info.get("dense_reward", step.reward)}

    def hold(self, lanes: Bool[Tensor, "task lane"]) -> None:
        """Lets lanes wait."""
        for part in self._parts:
            hold(part.env, lanes[part.rows])

    def draw(self, task: int, lane: int) -> Picture | None:
        """What the environment of the task's member draws."""
        for part in self._parts:
            place = (part.rows == task).nonzero()
            if len(place) and isinstance(part.env, Drawable):
                return part.env.draw(int(place[0, 0]), lane)
        return None

    def close(self) -> None:
        for env in self._envs.values():
            env.close()


def named(members: Sequence[TaskDistribution], names: Sequence[str]) -> list[str]:
    """What members are called, each otherwise: the second of a name has a 2 behind it."""
    found = list(names or map(called, members))
    return [f"{name}-{again + 1}" if (again := found[:place].count(name)) else name for place, name in enumerate(found)]


def require_alike(members: Mapping[str, TaskDistribution]) -> None:
    """UsageError where families can't be members of one union."""
    episodes = {name: member.episodes_per_trial for name, member in members.items()}
    if len(set(episodes.values())) > 1:
        told = ", ".join(f"{count} of {name}" for name, count in episodes.items())
        raise UsageError(f"Union: members must have as many episodes a trial: {told}; say episodes_per_trial")
    if len(members) == 1:
        return
    for name, member in members.items():
        if is_read(member.observation_space):
            raise UsageError(f"Union: {name} shows {member.observation_space}, no vector; show features instead (qs.Encoded)")
        space = member.action_space
        if not isinstance(space, spaces.Discrete) and not (isinstance(space, spaces.Box) and space.is_bounded()):
            raise UsageError(f"Union: {name} takes {space}; members take Discrete, or Box with bounds")
    kinds = {name: isinstance(member.action_space, spaces.Discrete) for name, member in members.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} {'discrete' if discrete else 'continuous'}" for name, discrete in kinds.items())
        raise UsageError(f"Union: actions are all discrete or all continuous: {told}")


def shared_actions(members: Mapping[str, TaskDistribution]) -> gymnasium.Space[Any]:
    """The smallest space that has actions for all members."""
    own = [member.action_space for member in members.values()]
    counts = [int(space.n) for space in own if isinstance(space, spaces.Discrete)]
    if counts:
        return spaces.Discrete(max(counts))
    return spaces.Box(-1.0, 1.0, (max(int(np.prod(space.shape or ())) for space in own),))
