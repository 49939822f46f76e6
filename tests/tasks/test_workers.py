"""Lanes in worker processes: the same bits as here, and every way to fail named with task, lane and step."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import quickstudy as qs
from quickstudy.protocol import counter
from quickstudy.tasks.gymnasium_env import live_again
from quickstudy.tasks.lanes import LaneFault


def trial(workers: int, tasks: int = 5, lanes: int = 3) -> torch.Tensor:
    """All that was seen in a trial of two episodes, one cut short."""
    distribution = qs.GymnasiumTasks("Pendulum-v1", max_episode_steps=25, g=qs.Uniform(5.0, 15.0), workers=workers)
    env = distribution.make(tasks, lanes)
    drawn = distribution.sample(tasks, "test", counter(0, 0, "tasks"))
    seen = [env.reset(drawn, counter(0, 0, "env"))]
    actions = counter(0, 0, "actions")
    try:
        for step in range(40):
            transition = env.step(torch.randn(tasks, lanes, 1, generator=actions))
            seen += [transition.observation, transition.arrival, transition.reward[..., None].expand(tasks, lanes, 3)]
            if step == 30:
                seen.append(env.restart())
    finally:
        env.close()
    return torch.stack(seen)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_give_the_same_bits(workers: int):
    assert torch.equal(trial(0), trial(workers))


class Faulty(gymnasium.Env[Any, Any]):
    """Breaks at its third step where its gain is above a half."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)
    gain = 0.0
    fault = "none"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.steps = 0
        if self.fault == "raises in reset":
            raise OSError("no robot")
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        observation: Any = np.zeros(2, np.float32)
        reward: Any = 0.0
        if self.steps == 3 and self.gain > 0.5:
            if self.fault == "raises":
                raise ZeroDivisionError("the wheel came off")
            if self.fault == "hangs":
                time.sleep(60)
            if self.fault == "hangs deep":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
                time.sleep(60)
            if self.fault == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "segfaults":
                faulthandler.disable()
                os.kill(os.getpid(), signal.SIGSEGV)
            if self.fault == "exits":
                os._exit(3)
            if self.fault == "NaN":
                observation[1] = np.nan
            if self.fault == "infinite reward":
                reward = np.inf
            if self.fault == "shape":
                observation = np.zeros(3, np.float32)
            if self.fault == "type":
                observation = np.array(["a", "b"])
            if self.fault == "no reward":
                reward = None
        return observation, reward, False, False, {}


HERE = {
    "raises": "step raised ZeroDivisionError: the wheel came off",
    "hangs": "step raised TimeoutError: no answer within the deadline of 0.5 s",
    "NaN": r"observation \[0.0, nan\]: NaN or infinite",
    "infinite reward": "reward inf: NaN or infinite",
    "shape": r"shape \(3,\), its space says \(2,\)",
    "type": "not numbers",
    "no reward": "the reward None is no number",
}
WORKERS_ONLY = {
    "hangs deep": "no answer within 1 s; its worker process was ended",
    "is killed": "its worker process died by SIGKILL",
    "segfaults": "its worker process died by SIGSEGV",
    "exits": "its worker process died with status 3",
}


def faulty(fault: str, workers: int) -> qs.GymnasiumTasks:
    def build() -> Faulty:
        env = Faulty()
        env.fault = fault
        return env

    return qs.GymnasiumTasks(build, max_episode_steps=10, gain=qs.Uniform(0.0, 1.0), workers=workers, deadline=0.5)


@pytest.mark.parametrize(("fault", "workers"), [*((name, 0) for name in HERE), *((name, 2) for name in HERE | WORKERS_ONLY)])
def test_a_fault_names_task_lane_step_and_seed(fault: str, workers: int):
    tasks = faulty(fault, workers)
    gains = tasks.sample(4, "test", counter(7, 0, "test tasks"))["gain"]
    first = int((gains > 0.5).nonzero()[0])
    where = rf"task {first} \(gain={gains[first]:.4g}\), lane 0, step 2 of the trial: .*"
    with pytest.raises(qs.EnvironmentFault, match=where + (HERE | WORKERS_ONLY)[fault]) as caught:
        qs.evaluate(qs.Random(tasks), num_tasks=4, episodes=1, seed=7)
    assert "(seed 7, iteration 0, test tasks, shard 0)" in str(caught.value)
    replay = caught.value.replay
    assert replay and replay["task"] == first and len(replay["actions"]) == 3 and [step for step, _ in replay["starts"]] == [0]
    if fault in HERE and fault not in ("NaN", "infinite reward"):
        with pytest.raises(LaneFault, match=HERE[fault].replace("0.5 s", "0.5 s")):
            list(live_again(tasks, replay))


def test_a_fault_of_reset_is_one_of_step_zero():
    for workers in (0, 1):
        with pytest.raises(qs.EnvironmentFault, match=r"lane 0, step 0 of the trial: reset raised OSError: no robot"):
            qs.evaluate(qs.Random(faulty("raises in reset", workers)), num_tasks=2)


def test_an_action_that_no_environment_takes_is_the_policys_fault():
    for tasks in (faulty("none", 0), qs.tasks.make("bandit")):
        env = tasks.make(2, 1)
        env.reset(tasks.sample(2, "train", counter(0, 0, "t")), counter(0, 0, "e"))
        with pytest.raises(qs.EnvironmentFault, match="the policy gave an action that the environment can't take: it is 9"):
            env.step(torch.full((2, 1), 9))


def test_no_process_is_left():
    import multiprocessing

    trial(2)
    assert not multiprocessing.active_children()


def test_odd_numbers_of_workers_are_refused():
    with pytest.raises(qs.UsageError, match="workers is -1, it must be at least 0"):
        qs.GymnasiumTasks("CartPole-v1", workers=-1, length=qs.Uniform(0.25, 1.0))
