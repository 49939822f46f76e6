"""The rollout loop: who acts, who waits, and that no lane disturbs another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch
from gymnasium import spaces
from probes import HiddenButton
from torch import Generator, Tensor

import quickstudy as qs
from quickstudy import families
from quickstudy.algorithms.memory.rl2 import RL2, Config
from quickstudy.data.rollout import (
    Chosen,
    Lifetime,
    action_generator,
    collect_chosen,
    concatenate,
    draw_tasks,
    live,
    rollout,
    start_trials,
)
from quickstudy.errors import EnvironmentFault
from quickstudy.ops.tree import tree_map
from quickstudy.protocol import (
    Act,
    Experience,
    Memory,
    Observation,
    Percept,
    Shard,
    Tasks,
    Transition,
    begin_episode,
    begin_trial,
    counter,
)
from quickstudy.work import LocalSite

BUTTONS = spaces.Discrete(3)


class Countdown:
    """A scripted environment: lane (i, j) has episodes of `lengths[i, j]` steps; the reward is the step's number."""

    def __init__(self, lengths: list[list[int]]):
        self.lengths = torch.tensor(lengths)

    def reset(self, tasks: Tasks, generator: Generator) -> Observation:
        return self.restart()

    def restart(self) -> Observation:
        self.elapsed = torch.zeros_like(self.lengths)
        return self.elapsed[..., None].float()

    def step(self, action: Tensor) -> Transition:
        self.elapsed = self.elapsed + 1
        arrival = self.elapsed[..., None].float()
        reward, ended = self.elapsed.float(), self.elapsed == self.lengths
        self.elapsed = self.elapsed * ~ended
        never = torch.zeros_like(ended)
        return Transition(self.elapsed[..., None].float(), arrival, reward, ended, never, {})

    def close(self) -> None: ...


class Counter:
    """A policy that counts its steps."""

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {"steps": torch.zeros(tasks, lanes)}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        action = torch.zeros(percept.first.shape, dtype=torch.long)
        if generator is not None:
            action = torch.randint(3, action.shape, generator=generator)
        return Act(action, None, {"steps": memory["steps"]}), {"steps": memory["steps"] + 1}


def run(lengths: list[list[int]], episodes: int | None, steps: int = 50) -> Experience:
    env, policy = Countdown(lengths), Counter()
    percept = begin_trial(env.reset({}, counter(0, 0, "env")), BUTTONS)
    return rollout(env, policy, percept, policy.initial_memory(*percept.first.shape), steps, counter(0, 0, "actions"), episodes)


def test_a_lane_that_has_had_its_episodes_waits_with_its_memory_still():
    experience = run([[2, 5]], episodes=2)
    assert experience.valid.sum(-1).tolist() == [[4, 10]]
    assert experience.valid.shape[-1] == 10
    assert experience.end_memory["steps"].tolist() == [[4, 10]]
    assert experience.end_percept.reward.tolist() == [[2, 5]]
    assert experience.end_percept.terminated.all()


def test_a_percept_tells_of_the_step_before_and_arrival_of_its_true_successor():
    experience = run([[3]], episodes=2)
    percept, transition = experience.percept, experience.transition
    assert percept.first[0, 0].tolist() == [True, False, False, True, False, False]
    assert percept.reward[0, 0].tolist() == [0, 1, 2, 3, 1, 2]
    assert percept.terminated[0, 0].tolist() == [False, False, False, True, False, False]
    assert transition.arrival[0, 0, :, 0].tolist() == [1, 2, 3, 1, 2, 3]
    assert transition.observation[0, 0, :, 0].tolist() == [1, 2, 0, 1, 2, 0]
    assert percept.arrival[0, 0, :, 0].tolist() == [0, 1, 2, 3, 1, 2]
    assert torch.equal(percept.action[0, 0, 1:], experience.act.action[0, 0, :-1])


def test_without_a_number_of_episodes_nothing_waits():
    experience = run([[2, 5]], episodes=None, steps=7)
    assert experience.valid.all() and experience.valid.shape == (1, 2, 7)


def test_a_longer_episode_in_one_lane_changes_no_other_lane():
    short, long = run([[2, 3], [4, 2]], episodes=2), run([[2, 9], [4, 2]], episodes=2)
    steps = short.valid.shape[-1]
    for lane in [(0, 0), (1, 0), (1, 1)]:
        valid = short.valid[lane]
        for one, other in zip(leaves(short), leaves(long), strict=True):
            if one.dim() > 2 and one.shape[2] == steps:
                assert torch.equal(one[lane][valid], other[lane][:steps][valid])
        assert torch.equal(short.end_memory["steps"][lane], long.end_memory["steps"][lane])


def test_joining_pads_the_shorter_piece_with_steps_that_are_not_valid():
    joined = concatenate([run([[2]], episodes=1), run([[5]], episodes=1)])
    assert joined.valid.sum(-1).tolist() == [[2], [5]]
    assert joined.transition.reward[0, 0].tolist() == [1, 2, 0, 0, 0]


@pytest.mark.parametrize("name", ["bandit", "grid-navigation"])
@pytest.mark.parametrize("kind", ["gru", "lstm", "gru-norm"])
def test_folding_by_episodes_is_one_rollout_of_the_trial_bit_for_bit(name: str, kind: Any):
    tasks = families.make(name, episodes_per_trial=3)
    learner = RL2(tasks, Config(memory=kind, hidden_size=16))
    drawn = tasks.sample(5, "test", counter(0, 0, "tasks"))

    def start() -> tuple[Any, Percept, Generator]:
        env = tasks.make(5, 1)
        return env, begin_trial(env.reset(drawn, counter(0, 0, "env")), tasks.action_space), counter(0, 0, "actions")

    env, percept, generator = start()
    policy = learner.explorer()
    whole = rollout(env, policy, percept, policy.initial_memory(5, 1), 3 * tasks.max_episode_steps, generator, episodes=3)
    env, percept, generator = start()
    pieces = []
    for episode in range(3):
        if episode:
            percept = begin_episode(env.restart(), percept)
        piece = rollout(env, policy, percept, policy.initial_memory(5, 1), tasks.max_episode_steps, generator, episodes=1)
        policy, percept = learner.adapt(policy, piece), piece.end_percept
        pieces.append(piece)
    for part in ("percept", "act", "transition", "valid"):
        joined = tree_map(lambda *p: torch.cat(p, dim=2), *(getattr(piece, part) for piece in pieces))
        for one, other in zip(leaves(getattr(whole, part)), leaves(joined), strict=True):
            assert torch.equal(one, other)
    assert torch.equal(whole.end_memory["state"], pieces[-1].end_memory["state"])


def test_permuting_tasks_permutes_what_a_greedy_policy_does():
    tasks = families.make("grid-navigation")
    policy = RL2(tasks, Config(hidden_size=16)).explorer()
    drawn = tasks.sample(8, "test", counter(0, 0, "tasks"))
    order = torch.randperm(8, generator=counter(0, 0, "order"))

    def actions(these: Tasks) -> Tensor:
        env = tasks.make(8, 1)
        percept = begin_trial(env.reset(these, counter(0, 0, "env")), tasks.action_space)
        return rollout(env, policy, percept, policy.initial_memory(8, 1), 60, None, episodes=4).act.action

    assert torch.equal(actions(drawn)[order], actions({name: value[order] for name, value in drawn.items()}))


class Overwriting(Countdown):
    """Gives out the same tensors at every step, written over, and writes into the actions that it is given."""

    def __init__(self, lengths: list[list[int]]):
        super().__init__(lengths)
        self.given: Transition | None = None
        self.shown = torch.zeros(*self.lengths.shape, 1)

    def restart(self) -> Observation:
        return self.shown.copy_(super().restart())

    def step(self, action: Tensor) -> Transition:
        transition = super().step(action)._replace(info={"steps": self.elapsed})
        action.fill_(7)
        self.shown.copy_(transition.observation)
        if self.given is None:
            self.given = tree_map(torch.clone, transition)._replace(observation=self.shown)
        return tree_map(lambda own, new: own.copy_(new), self.given, transition)


@pytest.mark.parametrize("episodes", [2, None])
def test_experience_is_not_changed_by_an_environment_that_writes_over_what_it_gave(episodes: int | None):
    policy, found = Counter(), []
    for kind in (Countdown, Overwriting):
        env = kind([[2, 3], [4, 1]])
        percept = begin_trial(env.reset({}, counter(0, 0, "env")), BUTTONS)
        experience = rollout(env, policy, percept, policy.initial_memory(2, 2), 9, counter(0, 0, "actions"), episodes)
        env.restart()
        found.append(experience._replace(transition=experience.transition._replace(info={})))
    for one, other in zip(leaves(found[0]), leaves(found[1]), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("field", ["reward", "arrival"])
def test_a_value_that_is_not_finite_is_reported_with_task_lane_and_step(field: str):
    class Broken(Countdown):
        def step(self, action: Tensor) -> Transition:
            transition = super().step(action)
            if int(self.elapsed[1, 0]) == 3:
                getattr(transition, field)[1, 0] = float("nan")
            return transition

    env = Broken([[9, 9], [9, 9]])
    percept = begin_trial(env.reset({}, counter(0, 0, "env")), BUTTONS)
    with pytest.raises(EnvironmentFault, match=r"task 1, lane 0, step 2 .*NaN"):
        rollout(env, Counter(), percept, {"steps": torch.zeros(2, 2)}, 9, None, episodes=1)


def test_an_answer_of_a_wrong_shape_is_reported_with_its_step():
    class Broken(Countdown):
        def step(self, action: Tensor) -> Transition:
            transition = super().step(action)
            return transition._replace(reward=transition.reward[..., None])

    env = Broken([[9, 9]])
    percept = begin_trial(env.reset({}, counter(0, 0, "env")), BUTTONS)
    with pytest.raises(EnvironmentFault, match=r"step 0 .*reward of shape \(1, 2, 1\), not \(1, 2\)"):
        rollout(env, Counter(), percept, {"steps": torch.zeros(1, 2)}, 9, None, episodes=1)


class Listening:
    """A site that notes with which seeds its environments begin."""

    device = "cpu"
    distribution = qs.NativeTasks(HiddenButton())

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def env(self, tasks: int, lanes: int) -> Any:
        env = self.distribution.make(tasks, lanes)
        reset = env.reset

        def noted(drawn: Tasks, generator: Generator) -> Observation:
            self.seeds.append(generator.initial_seed())
            return reset(drawn, generator)

        env.reset = noted  # type: ignore[method-assign]
        return env


def test_no_two_units_of_work_share_a_draw():
    """Neither tasks nor actions nor chances, whether they differ in seed, meta-iteration, split or number."""
    kinds = product((0, 1), (0, 1), (0, 1), ("train", "validation", "test"))
    site, shards = Listening(), [Shard(seed, iteration, number, 64, split) for seed, iteration, number, split in kinds]
    for shard in shards:
        start_trials(site, 1, shard)
    seeds = [action_generator(site, shard).initial_seed() for shard in shards] + site.seeds
    assert len(set(seeds)) == 2 * len(shards) == 48
    drawn = {tuple(draw_tasks(site, shard)["button"].tolist()) for shard in shards}
    assert len(drawn) == len(shards)  # two sets of 64 coins are the same once in 2^64


@dataclass(frozen=True)
class Presser:
    """Presses the second button, or by chance, and notes how often it was adapted."""

    by_chance: bool
    adapted: int = 0

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Generator | None) -> tuple[Act, Memory]:
        button = torch.ones_like(percept.action)
        if self.by_chance:
            button = torch.randint(2, button.shape, generator=generator)
        return Act(button, None, {"adapted": torch.full(button.shape, self.adapted)}), memory


def once_more(policy: Presser, experience: Experience) -> Presser:
    return replace(policy, adapted=policy.adapted + 1)


@pytest.mark.parametrize("frozen", [0, 3])
def test_frozen_episodes_all_begin_where_adaptation_ended(frozen: int):
    site = LocalSite(qs.NativeTasks(HiddenButton()))
    lives = list(live(site, Lifetime(Presser(True), once_more, 1, 3, frozen=frozen), Shard(0, 0, 0, 32, "test")))
    assert [int(life.act.notes["adapted"].unique()) for life in lives] == [0, 1, 2, 3, 3, 3][: 3 + frozen]
    for number, life in enumerate(lives[1:], 1):
        before = lives[min(number, 3) - 1].end_percept
        assert bool(life.percept.first[:, :, 0].all())
        for name in ("action", "reward", "arrival", "terminated", "truncated"):
            assert torch.equal(getattr(life.percept, name)[:, :, 0], getattr(before, name))


def test_each_shard_lives_its_own_part_of_the_tasks_that_are_given():
    tasks = {"button": torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])}
    site, chosen = LocalSite(qs.NativeTasks(HiddenButton())), Chosen(Lifetime(Presser(False), once_more, 1, 1), tasks)
    paid = [collect_chosen(site, chosen, Shard(0, 0, number, 2, "train"))[0].transition.reward for number in range(3)]
    assert torch.equal(torch.cat(paid).flatten(), tasks["button"])


def leaves(tree: Any) -> list[Tensor]:
    """All tensors of a tree."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    tree_map(note, tree)
    return found
