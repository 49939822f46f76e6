"""Meta-World through our own evaluator against Meta-World itself: its goals, its steps, its protocol."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.data.session import Session
from quickstudy.families import FAMILIES, METAWORLD
from quickstudy.families.metaworld.tasks import Lane, MetaWorldTasks, goals
from quickstudy.protocol import Act, Memory, Percept, counter

pytest.importorskip("metaworld", reason="needs the extra metaworld")
import metaworld
from metaworld.evaluation import metalearning_evaluation

ALL = metaworld.env_dict.ALL_V3_ENVIRONMENTS
QUICK = ("reach-v3", "door-open-v3", "basketball-v3")
BENCHMARKS = [name for name, entry in FAMILIES.items() if entry.simulator is METAWORLD]


@pytest.fixture
def few_goals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three goals an environment in the place of fifty: drawing them takes the most time."""
    goals.cache_clear()
    monkeypatch.setattr(metaworld, "_N_GOALS", 3)
    yield
    goals.cache_clear()


def small(name: str, **options: Any) -> MetaWorldTasks:
    """A family with short episodes."""
    return qs.tasks.make(name, **{"max_episode_steps": 12, "episodes_per_trial": 2} | options)


def places(tasks: list[Any]) -> set[tuple[Any, ...]]:
    """The package's own tasks: environments and where object and goal are, in six numbers."""
    rows = [(task.env_name, pickle.loads(task.data)["rand_vec"].tolist()) for task in tasks]
    return {(name, *row, *[0.0] * (6 - len(row))) for name, row in rows}


def drawn(tasks: MetaWorldTasks, split: Any, count: int = 2000) -> set[tuple[Any, ...]]:
    """All tasks of a split, likewise."""
    rows = tasks.sample(count, split, counter(0, 0, split))["goal"].tolist()
    return {(tasks.environments[int(row[0])], *row[1:]) for row in rows}


def build(name: str, steps: int = 500) -> Any:
    """An environment of the package as it ships."""
    env = ALL[name]()
    env.max_path_length = steps
    return env


def test_goals_are_those_of_ml1():
    tasks, theirs = small("metaworld-ml1", environment="door-open-v3", goals_seed=4), metaworld.ML1("door-open-v3", seed=4)
    assert drawn(tasks, "train") == places(theirs.train_tasks) and drawn(tasks, "test") == places(theirs.test_tasks)
    validation = drawn(tasks, "validation")
    assert len(validation) == 50 and not validation & (drawn(tasks, "train") | drawn(tasks, "test"))


@pytest.mark.usefixtures("few_goals")
@pytest.mark.parametrize("count", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_goals_are_those_of_ml10(count: int, monkeypatch: pytest.MonkeyPatch):
    """Of its first environments: each takes half a second to build, here and in the package."""
    for table in (metaworld.env_dict.ML10_V3, metaworld.env_dict.ML10_ARGS_KWARGS):
        for split in ("train", "test"):
            monkeypatch.setitem(table, split, dict(list(table[split].items())[:count]))
    tasks, theirs = small("metaworld-ml10", goals_seed=4), metaworld.ML10(seed=4)
    assert drawn(tasks, "train") == places(theirs.train_tasks) and drawn(tasks, "test") == places(theirs.test_tasks)
    assert {name for name, *_ in drawn(tasks, "validation")} == {name for name, *_ in drawn(tasks, "train")}
    assert not drawn(tasks, "validation") & drawn(tasks, "train")


@pytest.mark.slow
def test_ml10_keeps_the_contract_too():
    report = qs.check_tasks(small("metaworld-ml10"))
    assert not report.failed, str(report)


@pytest.mark.slow
def test_goals_are_those_of_ml45():
    tasks, theirs = small("metaworld-ml45"), metaworld.ML45(seed=0)
    assert drawn(tasks, "train", 20_000) == places(theirs.train_tasks) and drawn(tasks, "test") == places(theirs.test_tasks)


def test_every_goal_comes_once_before_any_comes_twice():
    tasks = small("metaworld-ml1")
    for count in (50, 100, 130):
        rows, times = np.unique(tasks.sample(count, "test", counter(0, 0, "t"))["goal"].numpy(), axis=0, return_counts=True)
        assert len(rows) == 50 and times.min() == count // 50 and times.max() == -(-count // 50)


@pytest.mark.usefixtures("few_goals")
def test_environments_come_equally_often_and_in_one_order():
    tasks = small("metaworld-ml10")
    for count in (20, 7, 1):
        numbers = [tasks.sample(count, "train", counter(seed, 0, "t"))["goal"][:, 0] for seed in range(20)]
        assert all(row.unique(return_counts=True)[1].max() == -(-count // 10) for row in numbers)
        assert (len({tuple(row.tolist()) for row in numbers}) == 1) == (count == 20)


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL])
def test_lanes_that_share_a_model_step_as_environments_of_their_own(name: str):
    """Bit for bit, two lanes by turns."""
    where = goals((name,), 3)[0]
    lanes, envs, generator = [Lane([name], 30) for _ in range(2)], [build(name, 30) for _ in range(2)], np.random.default_rng(0)
    for lane, env, place in zip(lanes, envs, where, strict=False):
        lane.put([0, *place.tolist()])
        data = {"rand_vec": place.numpy()[: len(env._random_reset_space.low)], "env_cls": object, "partially_observable": True}
        env.set_task(metaworld.Task(name, pickle.dumps(data)))
    for _ in range(2):
        for lane, env in zip(lanes, envs, strict=True):
            np.testing.assert_array_equal(lane.reset()[0], env.reset()[0])
        for _ in range(30):
            action = generator.uniform(-1, 1, 4).astype(np.float32)
            for lane, env in zip(lanes, envs, strict=True):
                mine, theirs = lane.step(action), env.step(action)
                np.testing.assert_array_equal(mine[0], theirs[0])
                assert mine[1:] == theirs[1:]
    assert mine[3] and not mine[0][-3:].any()
    assert lanes[0]._env.model is lanes[1]._env.model


def rewards(workers: int) -> torch.Tensor:
    """What random actions get in two short episodes."""
    tasks = small("metaworld-ml1", environment="push-v3", workers=workers)
    return qs.evaluate(qs.Random(tasks), num_tasks=5, seed=3).returns


def test_the_same_seed_gives_the_same_bits_in_any_number_of_processes():
    first = rewards(0)
    assert torch.equal(first, rewards(0)) and torch.equal(first, rewards(2)) and len(first.unique()) == 10


@pytest.mark.slow
def test_it_keeps_the_contract_of_a_task_distribution():
    report = qs.check_tasks(small("metaworld-ml1", environment="reach-v3"))
    assert not report.failed, str(report)


PLACES = torch.tensor([[x, 0.87, z] for z in (0.16, 0.24, 0.32) for x in (-0.08, 0.0, 0.08)] + [[0.0, 0.7, 0.1]])
"""Where a searcher has been after ten episodes, in metres."""


@dataclass(frozen=True)
class Feeler:
    """Goes to a place in each task, without chance and without a memory; knows the best one so far."""

    tried: int
    place: Any
    best: Any
    reward: Any

    def initial_memory(self, tasks: int, lanes: int) -> Memory:
        return {}

    def act(self, percept: Percept, memory: Memory, generator: Any) -> tuple[Act, Memory]:
        away = 20 * (self.place[:, None] - percept.observation[..., :3])
        return Act(torch.cat([away.clamp(-1, 1), torch.zeros_like(away[..., :1])], -1), None, {}), memory


class Searcher:
    """Tries one place after another in ten episodes, and from then on goes where the reward was highest."""

    name, device, lanes = "searcher", "cpu", 1

    def __init__(self, tasks: Any):
        self.tasks = tasks

    def explorer(self) -> Feeler:
        return Feeler(0, PLACES[:1], PLACES[:1], torch.zeros(1))

    def adapt(self, policy: Feeler, experience: Any) -> Feeler:
        reward = experience.transition.reward[:, 0].amax(-1)
        better = reward > policy.reward
        best = torch.where(better[:, None], policy.place, policy.best)
        tried = policy.tried + 1
        place = PLACES[tried].expand_as(best) if tried < len(PLACES) else best
        return Feeler(tried, place, best, torch.where(better, reward, policy.reward))


class Theirs:
    """An agent of ours as the package evaluates agents: a session in each environment."""

    def __init__(self, agent: Any):
        self.agent = agent

    def init(self) -> None:
        self.sessions: list[Session] = []

    def adapt_action(self, observations: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        self.sessions = self.sessions or [Session(self.agent) for _ in observations]
        return np.stack([each.act(seen) for each, seen in zip(self.sessions, observations, strict=True)]), {}

    def step(self, timestep: Any) -> None:
        for each, reward, terminated, truncated in zip(self.sessions, *timestep[2:5], strict=True):
            each.feedback(float(reward), bool(terminated), bool(truncated))

    def adapt(self) -> None:
        """Sessions adapt by themselves, as an episode ends."""

    def reset(self, mask: np.ndarray) -> None:
        """There is no memory to put back."""

    def eval_action(self, observations: np.ndarray) -> np.ndarray:
        return np.stack([each.fork().act(seen) for each, seen in zip(self.sessions, observations, strict=True)])


@pytest.mark.slow
@pytest.mark.usefixtures("few_goals")
@pytest.mark.parametrize(("family", "theirs"), [("metaworld-ml1", "reach-v3"), ("metaworld-ml10", "ML10")])
def test_the_protocol_gives_what_the_packages_own_evaluation_gives(family: str, theirs: str, monkeypatch: pytest.MonkeyPatch):
    """10 episodes to adapt on, 3 frozen, each goal of the test split once, one environment of a name.

    In the place of ML10's own test environments, in which a searcher never succeeds, are three where it does, or not.
    """
    names = ("reach-v3", "reach-wall-v3", "door-close-v3") if family == "metaworld-ml10" else ("reach-v3",)
    known = metaworld.env_dict
    monkeypatch.setitem(known.ML10_V3, "test", {name: ALL[name] for name in names})
    monkeypatch.setitem(known.ML10_ARGS_KWARGS, "test", {name: known.ML1_ARGS_KWARGS[name] for name in names})
    agent, tasks = Searcher(small(family, goals_seed=5, max_episode_steps=50)), 3 * len(names)
    mine = qs.evaluate(agent, num_tasks=tasks, adapt_episodes=10, frozen_episodes=3, greedy=True)
    envs = metaworld.make_ml_envs_test(theirs, seed=5, meta_batch_size=len(names), max_episode_steps=50)
    success, _, by_name = metalearning_evaluation(Theirs(agent), envs, num_evals=3)
    envs.close()
    assert mine.success is not None and 0 < success < 1
    assert mine.after_adapting["success"] == pytest.approx(success)
    rows = agent.tasks.sample(tasks, "test", counter(0, 0, "test tasks"))["goal"][:, 0]
    for name in names:
        own = rows == agent.tasks.environments.index(name)
        assert float(mine.success[own, 10:].mean()) == pytest.approx(by_name[name])


def test_what_is_told_is_where_the_goal_is():
    """In reach-v3 within 0.2 x 0.1 x 0.25 metres."""
    tasks = small("metaworld-ml1", environment="reach-v3")
    drawn = tasks.sample(50, "train", counter(0, 0, "t"))
    low, high = torch.tensor([-0.1, 0.8, 0.05]), torch.tensor([0.1, 0.9, 0.3])
    told = tasks.normalise(drawn)
    torch.testing.assert_close((told + 1) / 2 * (high - low) + low, drawn["goal"][:, 4:].float())
    assert 0.9 < told.abs().max() <= 1


def test_what_there_is_not_is_said():
    with pytest.raises(qs.UsageError, match="Meta-World has no environment 'reech-v3'; did you mean 'reach-v3'"):
        small("metaworld-ml1", environment="reech-v3")
    with pytest.raises(qs.UsageError, match="no extrapolation split"):
        small("metaworld-ml1").sample(2, "extrapolation", counter(0, 0, "t"))
    with pytest.raises(qs.UsageError, match="workers is -1, it must be at least 0"):
        small("metaworld-ml10", workers=-1)


@pytest.mark.usefixtures("few_goals")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name != "metaworld-ml1" else ()) for name in BENCHMARKS]
)
def test_it_is_trained_and_evaluated_from_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    short = ["--max-episode-steps", "5", "--episodes-per-trial", "2", "--trials", "5", "--minibatches", "1"]
    assert main(["train", "rl2", name, *short, "--iterations", "2", "--evaluate-every", "0", "--run", "run"]) == 0
    assert main(["evaluate", "run", "--num-tasks", "5", "--adapt-episodes", "2", "--frozen-episodes", "1"]) == 0
    assert f"rl2 on {name}: 5 test tasks" in (shown := capsys.readouterr().out)
    assert re.search(r"adapted on 2 episodes, then frozen for 1: mean [\d.]+ \[.*\], success [\d.]+ \[", shown)
