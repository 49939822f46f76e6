"""Actions that are held: steps by hand with their rewards added up, also where lanes end at different times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy.data.rollout import Plan, collect
from quickstudy.errors import EnvironmentFault
from quickstudy.protocol import Shard, TaskDistribution, Transition, counter
from quickstudy.runs.config import Training, config_of, read_config
from quickstudy.tasks.gymnasium_env import live_again
from quickstudy.tasks.holding import Holding
from quickstudy.tasks.lanes import Source
from quickstudy.work.local import LocalSite

LIMIT = 7


@dataclass(frozen=True)
class Count:
    """Counts its steps; a step pays action x count, an episode ends at the task's length, and the third step succeeds."""

    max_episode_steps: int = LIMIT
    episodes_per_trial: int = 2
    initial_noise = step_noise = 0
    observation_space = spaces.Box(0, 10, (1,))
    action_space = spaces.Box(0, 9, (1,))

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {"length": qs.Uniform(1.0, 9.0)}

    def initial(self, task: Any, noise: torch.Tensor) -> torch.Tensor:
        return noise.new_zeros(*noise.shape[:-1], 1)

    def transition(self, state: Any, action: Any, task: Any, noise: Any) -> Any:
        return state + 1

    def observation(self, state: Any, task: Any) -> Any:
        return state

    def reward(self, state: Any, action: Any, arrival: Any, task: Any, noise: Any) -> Any:
        return (action * arrival)[..., 0]

    def terminal(self, state: Any, task: Any) -> Any:
        return state[..., 0] >= task["length"]

    def info(self, state: Any, task: Any) -> Any:
        return {"success": state[..., 0] == 3}


class Counting(gymnasium.Env[Any, Any]):
    """The same as an environment of Gymnasium's; it breaks when it is given a nine."""

    observation_space, action_space, length = Count.observation_space, Count.action_space, 5.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.count = 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        if action[0] == 9:
            raise ValueError("nine")
        self.count += 1
        reward = float(action[0] * self.count)
        return self._seen(), reward, self.count >= self.length, False, {"success": self.count == 3}

    def _seen(self) -> Any:
        return np.array([self.count], np.float32)


def gymnasium_tasks(workers: int = 0) -> qs.GymnasiumTasks:
    return qs.GymnasiumTasks(Counting, max_episode_steps=LIMIT, workers=workers, length=qs.Uniform(1.0, 9.0))


KINDS: dict[str, Any] = {
    "native": lambda: qs.NativeTasks(Count()),
    "gymnasium": gymnasium_tasks,
    "workers": lambda: gymnasium_tasks(workers=2),
}
LENGTHS = torch.tensor([2.0, 4.0, 5.0, 9.0])


def by_hand(length: float, actions: list[float], times: int) -> list[tuple[float, ...]]:
    """Observation, arrival, reward, terminated, truncated and success of each action in one lane."""
    told, count = [], 0
    for action in actions:
        reward, success, ended = 0.0, False, False
        for _ in range(times):
            count += 1
            reward, success = reward + action * count, success or count == 3
            ended = count >= length or count >= LIMIT
            if ended:
                break
        told.append((0 if ended else count, count, reward, count >= length, count >= LIMIT and count < length, success))
        count = 0 if ended else count
    return told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [1, 2, 3, 10])
def test_holding_an_action_is_stepping_by_hand_also_over_the_ends_of_episodes(kind: str, times: int):
    tasks = qs.Repeated(KINDS[kind](), times)
    assert tasks.max_episode_steps == -(-LIMIT // times)
    env, actions = tasks.make(4, 1), [1.0, 3.0, 2.0, 5.0, 4.0, 1.0, 2.0, 2.0]
    env.reset({"length": LENGTHS}, counter(0, 0, "env"))
    told = []
    for action in actions:
        step = env.step(torch.full((4, 1, 1), action))
        columns = step.observation[..., 0], step.arrival[..., 0], step.reward, step.terminated, step.truncated
        told.append(torch.stack([column.float() for column in (*columns, step.info["success"])], -1)[:, 0])
    expected = [by_hand(float(length), actions, times) for length in LENGTHS]
    assert torch.equal(torch.stack(told, 1), torch.tensor(expected, dtype=torch.float32))
    env.close()


@pytest.mark.parametrize("name", ["cart-pole", "pendulum", "mountain-car-continuous"])
def test_actions_that_are_held_for_one_step_change_no_bit(name: str):
    tasks = qs.tasks.make(name)
    policy = qs.RL2(tasks, qs.RL2.Config(trials=2, hidden_size=4, minibatches=1)).explorer()
    plan, shard = Plan(policy, 2, 60, None), Shard(0, 0, 0, 3, "train")
    plain, held = (collect(LocalSite(each), plan, shard) for each in (tasks, qs.Repeated(tasks, 1)))
    for one, other in zip(plain.transition[:5], held.transition[:5], strict=True):
        assert torch.equal(one, other)


def stepped(tasks: TaskDistribution, actions: list[float], held: torch.Tensor | None, at: int) -> Transition:
    """The last of some steps, at one of which some lanes were held."""
    env = tasks.make(2, 2)
    env.reset(tasks.sample(2, "train", counter(0, 0, "tasks")), counter(0, 0, "env"))
    low, high = tasks.action_space.low, tasks.action_space.high  # pyright: ignore[reportAttributeAccessIssue]
    last = None
    for step, action in enumerate(actions):
        if held is not None:
            assert isinstance(env, Holding)
            env.hold(held if step == at else torch.zeros_like(held))
        last = env.step(torch.from_numpy(low + action * (high - low)).expand(2, 2, -1))
    env.close()
    assert last is not None
    return last


@pytest.mark.parametrize(
    "tasks",
    [
        lambda: qs.tasks.make("pendulum"),
        lambda: qs.Informed(qs.tasks.make("pendulum")),
        lambda: qs.GymnasiumTasks("Pendulum-v1", g=qs.Uniform(5.0, 15.0)),
        lambda: qs.GymnasiumTasks("Pendulum-v1", g=qs.Uniform(5.0, 15.0), workers=2),
        lambda: qs.tasks.make("half-cheetah-velocity"),
    ],
)
def test_lanes_that_are_held_stay_where_they_are_and_the_others_go_on(tasks: Any):
    tasks = tasks()
    held = torch.tensor([[True, False], [False, True]])
    found = stepped(tasks, [0.1, 0.9, 0.3], held, at=1)
    without, with_all = stepped(tasks, [0.1, 0.3], None, 0), stepped(tasks, [0.1, 0.9, 0.3], None, 0)
    assert not torch.equal(without.observation, with_all.observation)
    assert torch.equal(found.observation[held], without.observation[held])
    assert torch.equal(found.reward[held], without.reward[held])
    assert torch.equal(found.observation[~held], with_all.observation[~held])


def test_a_fault_is_lived_again_without_the_steps_that_its_lane_waited():
    tasks = gymnasium_tasks()
    env = qs.Repeated(tasks, 3).make(1, 2)
    env.reset({"length": torch.tensor([4.0])}, counter(0, 0, "env"))
    for action in (1.0, 2.0):
        env.step(torch.full((1, 2, 1), action))
    with pytest.raises(EnvironmentFault, match="nine") as caught:
        env.step(torch.tensor([[[1.0], [9.0]]]))
    replay = caught.value.replay
    assert replay is not None and replay["actions"] == [[1.0]] * 3 + [[2.0], [9.0]]
    assert isinstance(tasks, Source)
    again = live_again(tasks, replay)
    assert [answer.arrival.item() for _, answer in zip(range(4), (answer for _, answer in again), strict=False)] == [1, 2, 3, 4]


class Own:
    """A batch of environments of somebody's own, which holds no lanes."""

    def reset(self, tasks: Any, generator: Any) -> Any: ...
    def restart(self) -> Any: ...
    def close(self) -> None: ...
    def step(self, action: Any) -> Transition:
        nothing = torch.zeros(1, 1)
        return Transition(nothing, nothing, nothing, nothing.bool(), nothing.bool(), {})


def test_what_can_not_be_repeated_is_refused(monkeypatch: pytest.MonkeyPatch):
    tasks = qs.NativeTasks(Count())
    with pytest.raises(qs.UsageError, match="must be at least 1"):
        qs.Repeated(tasks, 0)
    with pytest.raises(qs.UsageError, match="held already, for 2 steps"):
        qs.Repeated(qs.Informed(qs.Repeated(tasks, 2)), 2)
    monkeypatch.setattr(tasks, "make", lambda *_: Own())
    with pytest.raises(qs.UsageError, match="a Own can't let lanes"):
        qs.Repeated(tasks, 2).make(1, 1).step(torch.zeros(1, 1, 1))


def test_repeated_tasks_keep_the_contract():
    report = qs.check_tasks(qs.Repeated(qs.tasks.make("cart-pole"), 3))
    assert not report.failed, report


def test_holding_actions_is_an_option_of_a_run(tmp_path: Path):
    small = qs.RL2.Config(trials=2, hidden_size=4, minibatches=1)
    config = config_of(qs.RL2(qs.Repeated(qs.tasks.make("pendulum"), 4), small), Training())
    (tmp_path / "config.toml").write_text(config.write())
    stored = read_config(tmp_path / "config.toml")
    assert stored == config and (stored.tasks, stored.training.repeat) == ("pendulum", 4)
    tasks = stored.build_learner().tasks
    assert isinstance(tasks, qs.Repeated) and (tasks.times, tasks.max_episode_steps) == (4, 50)
    with pytest.raises(qs.UsageError, match="held already"):
        replace(stored, training=Training(repeat=2)).build_learner(qs.Repeated(qs.tasks.make("pendulum"), 4))
    with pytest.raises(qs.UsageError, match="repeat is the tasks'"):
        qs.train(qs.RL2(qs.tasks.make("pendulum"), small), 1, repeat=2)
